"""Batch items: where the items of a batch come from on the command line, and where they go.

Owns opening a file, a list or a query, each read as it is needed, and writing what came of them.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import orjson
import typer

from taskyard.batches.items import from_csv, from_json_lines, from_rows
from taskyard.core.errors import BatchInvalid

_COLUMNS = (
    *("item_id", "status", "attempts", "duration", "started_at", "completed_at"),
    *("data", "result", "error"),
)


@contextmanager
def open_items(
    file: str | None, ids: str | None, query: str | None, database_url: str
) -> Iterator[Iterable[Any]]:
    """The items that the options name, of which there must be exactly one."""
    given = [option for option in (file, ids, query) if option is not None]
    if len(given) != 1:
        raise typer.BadParameter("name the items: --items FILE, --ids A,B or --query SQL")
    if ids is not None:
        yield [part.strip() for part in ids.split(",") if part.strip()]
    elif query is not None:
        with _rows(query, database_url) as rows:
            yield rows
    else:
        with _file(str(file)) as rows:
            yield rows


def write_items(found: Iterable[Mapping[str, Any]], file: Path | None) -> int:
    """Write items as JSON lines, or as CSV into a file whose name says so; how many they were."""
    if file is None:
        return _write_lines(found, sys.stdout)
    with file.open("w", encoding="utf-8", newline="") as out:
        return _write_csv(found, out) if file.suffix == ".csv" else _write_lines(found, out)


@contextmanager
def _file(name: str) -> Iterator[Iterable[Any]]:
    if name == "-":
        yield from_json_lines(sys.stdin)
        return
    try:
        with Path(name).open(encoding="utf-8-sig", newline="") as opened:
            yield from_csv(opened) if name.endswith(".csv") else from_json_lines(opened)
    except OSError as error:
        raise BatchInvalid("items", str(error), "Name a file that can be read.") from None
    except UnicodeDecodeError as error:
        why = f"{name} is no UTF-8: {error.reason}"
        raise BatchInvalid("items", why, "Save it as UTF-8.") from None


@contextmanager
def _rows(query: str, database_url: str) -> Iterator[Iterable[Any]]:
    """The rows of a SELECT, as the database gives them out: never all of them in memory."""
    import sqlalchemy as sa

    engine = sa.create_engine(database_url)
    try:
        with engine.connect().execution_options(stream_results=True, yield_per=1000) as connection:
            result = connection.execute(sa.text(query))
            yield from_rows(list(result.keys()), (tuple(row) for row in result))
    except sa.exc.SQLAlchemyError as error:
        why = str(error).splitlines()[0]
        raise BatchInvalid("query", why, "Correct the SELECT, or --query-db.") from None
    finally:
        engine.dispose()


def _write_lines(found: Iterable[Mapping[str, Any]], out: TextIO) -> int:
    count = 0
    for item in found:
        out.write(orjson.dumps(item, default=str).decode() + "\n")
        count += 1
    return count


def _write_csv(found: Iterable[Mapping[str, Any]], out: TextIO) -> int:
    writer, count = csv.writer(out), 0
    writer.writerow(_COLUMNS)
    for item in found:
        writer.writerow([_cell(item[name]) for name in _COLUMNS])
        count += 1
    return count


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        # A spreadsheet must not take what an item says for a formula.
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t")) else value
    return value.isoformat() if hasattr(value, "isoformat") else orjson.dumps(value).decode()
