"""Output: what commands print: data on stdout, everything else on stderr.

Owns the three shapes of a list: a table for a terminal (the only place that imports rich), TSV
with the values themselves for a pipe, JSON when asked for. Leaves to `formats.py` the words of
single values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from taskyard.cli import formats
from taskyard.cli.invocation import is_terminal


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a list: the row's key, how a person sees it, and whether it holds a number.

    `show` is `formats`' function for the value; "ago" and "state" stand for those that need more
    than the value.
    """

    key: str
    title: str = ""
    show: Callable[[Any], str] | str = formats.text
    right: bool = False
    wide: bool = False

    @property
    def header(self) -> str:
        """The column's title."""
        return self.title or self.key


def print_list(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    *,
    as_json: bool,
    color: bool = True,
    empty: str = "Nothing there.",
) -> None:
    """Print a list: as JSON, for a terminal, or for a pipe. `empty` is said to a person."""
    if as_json:
        print_json(list(rows))
    elif is_terminal():
        _print_table(rows, columns, color, empty)
    else:
        _print_tsv(rows, columns)


def print_json(value: Any) -> None:
    """Print a value as JSON, times in ISO 8601 with their offset."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    sys.stdout.write(orjson.dumps(value, default=str, option=options).decode())
    sys.stdout.flush()


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """Print names and values below each other; long texts under their name."""
    width = max(len(name) for name, _ in fields)
    for name, value in fields:
        if "\n" in value:
            print(f"{name}:")
            print("\n".join(f"  {line}" for line in value.rstrip().splitlines()))
        else:
            print(f"{name + ':':<{width + 1}} {value}".rstrip())


def say(text: str) -> None:
    """Tell a person something that is no data."""
    print(text, file=sys.stderr, flush=True)


def value(item: Any) -> str:
    """A value for a program: ISO times, nothing shortened, one line."""
    if item is None:
        return ""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, datetime):
        return item.isoformat()
    text = str(item)
    for sign, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(sign, escape)
    return text


def _print_tsv(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    lines = ["\t".join(column.key for column in columns)]
    lines += ["\t".join(value(row.get(column.key)) for column in columns) for row in rows]
    print("\n".join(lines), flush=True)


def _print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], color: bool, empty: str
) -> None:
    if not rows:
        say(empty)
        return
    from datetime import UTC

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.header.upper().replace("_", " "),
            justify="right" if column.right else "left",
            no_wrap=not column.wide,
            overflow="ellipsis",
        )
    now = datetime.now(UTC)
    for row in rows:
        table.add_row(*(_cell(column, row.get(column.key), now) for column in columns))
    Console(no_color=not color, highlight=False, soft_wrap=False).print(table)


def _cell(column: Column, item: Any, now: datetime) -> Any:
    from rich.text import Text

    if column.show == "ago":
        return Text(formats.ago(item, now))
    if column.show == "state":
        return Text(*formats.state(item))
    assert callable(column.show)
    return Text(column.show(item))
