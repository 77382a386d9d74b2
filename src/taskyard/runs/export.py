"""Export: the Runs of a filter as a file, however many there are.

Owns the forms. Which Runs are in it, in which order, and what is masked is `browse.py`'s: an export
is its list, all pages one after the other, of which one is in memory.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from taskyard.access.caller import Caller
from taskyard.db.database import Database
from taskyard.db.listing import MAX_LIMIT, Page, Query
from taskyard.runs.browse import list_runs
from taskyard.runs.listed import RUNS

_JSON_COLUMNS = ("payload", "output")

# What a spreadsheet takes for the start of a formula, or strips and then takes for one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

_MAX_SAFE = 2**53 - 1

Rows = list[dict[str, Any]]


class Form(StrEnum):
    """What a file of Runs looks like."""

    CSV = "csv"
    JSON = "json"
    JSON_LINES = "jsonl"


def export_runs(db: Database, caller: Caller, query: Query, form: Form) -> Iterator[bytes]:
    """The Runs of `list_runs` with these filters and this order, all pages, as parts of a file.

    `limit`, `cursor` and `offset` of the query mean nothing here; `large` columns come when asked
    for. In CSV no cell starts with a sign that a spreadsheet takes for a formula. Raises what
    `list_runs` raises, before the first part.
    """
    query = replace(query, limit=MAX_LIMIT, cursor=None, offset=0, count=False)
    first = list_runs(db, caller, query)
    names = [name for name in RUNS.columns if name != "claimed_at"]
    names += [name for name in RUNS.large if name in query.large]
    return _WRITERS[form](names, _pages(db, caller, query, first))


def _pages(db: Database, caller: Caller, query: Query, page: Page) -> Iterator[Rows]:
    yield page.rows
    while page.next_cursor is not None:
        page = list_runs(db, caller, replace(query, cursor=page.next_cursor))
        yield page.rows


# --- csv -----------------------------------------------------------------------------------------


def _csv(names: Sequence[str], pages: Iterable[Rows]) -> Iterator[bytes]:
    yield _csv_lines([names])
    for rows in pages:
        yield _csv_lines([_cell(row[name]) for name in names] for row in rows)


def _csv_lines(lines: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


# --- json ----------------------------------------------------------------------------------------


def _json(names: Sequence[str], pages: Iterable[Rows]) -> Iterator[bytes]:
    separator = b"[\n"
    for rows in pages:
        if rows:
            yield separator + b",\n".join(_object(names, row) for row in rows)
            separator = b",\n"
    yield b"[]\n" if separator == b"[\n" else b"\n]\n"


def _json_lines(names: Sequence[str], pages: Iterable[Rows]) -> Iterator[bytes]:
    for rows in pages:
        yield b"".join(_object(names, row) + b"\n" for row in rows)


def _object(names: Sequence[str], row: dict[str, Any]) -> bytes:
    return orjson.dumps({name: _value(name, row[name]) for name in names})


def _value(name: str, value: Any) -> Any:
    """A value as JSON: what is JSON stays as it is, numbers too large for many readers are text."""
    if name in _JSON_COLUMNS and isinstance(value, str):
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
        return orjson.Fragment(value)
    if isinstance(value, int) and abs(value) > _MAX_SAFE:
        return str(value)
    return value


_WRITERS: dict[Form, Callable[[Sequence[str], Iterable[Rows]], Iterator[bytes]]] = {
    Form.CSV: _csv,
    Form.JSON: _json,
    Form.JSON_LINES: _json_lines,
}
