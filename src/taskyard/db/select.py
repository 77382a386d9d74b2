"""Select: the statements that lists are made with.

Owns their text and parameters: one page, the row that a page starts behind, how many there are, how
far a walk of so many rows reaches. What may be asked is `listing.py`'s, how far a list looks when
no index helps is `search.py`'s.

A list of several sources is one statement, so it shows one moment; each source is cut to the page
before they are merged, so each is read along its own index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from taskyard.db.database import Tx

COUNT_CAP = 10_000
"""Rows up to which a list is counted; beyond it is only said that there are more."""


class Operator(StrEnum):
    """How a filter compares its column with what was asked for."""

    IN = "in"
    """Equal to the value, or to one of several (a list, or a text with commas)."""
    FROM = "from"
    """At least the value."""
    TO = "to"
    """Less than the value."""
    CONTAINS = "contains"
    """Text with the value somewhere in it, in upper or lower case."""
    HAS = "has"
    """Text with the value somewhere in it; upper and lower case may or may not be told apart."""


@dataclass(frozen=True, slots=True)
class Source:
    """A table that a list is made of.

    `table` is quoted already. `columns` holds the expressions of columns that are called otherwise
    here; `where` is a condition of its own that an index serves, `rest` one that none does, with
    `parameters` whose names no other source uses. They say what filters of the columns in `settles`
    say, so that these are left out. `few` says that an index leads to no more than a few rows.
    """

    table: str
    columns: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    rest: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settles: frozenset[str] = frozenset()
    few: bool = False

    def column(self, name: str) -> str:
        """The expression that gives a column of the list."""
        return self.columns.get(name, name)


@dataclass(frozen=True, slots=True)
class Condition:
    """A column compared with values."""

    column: str
    operator: Operator
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Behind:
    """Where a page starts: behind this value of its order; behind this key where that is equal.

    Without a key it is behind all that are equal.
    """

    value: Any
    key: Any = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A query that has been understood: which columns, under which conditions, in which order."""

    columns: tuple[str, ...]
    conditions: tuple[Condition, ...]
    column: str
    key: str
    descending: bool
    behind: Behind | None = None


def fetch(
    tx: Tx, asked: Asked, sources: Sequence[Source], limit: int, skip: int = 0
) -> list[dict[str, Any]]:
    """At most `limit` rows behind where the page starts, in order, without the first `skip`."""
    return tx.rows(
        _statement(asked, sources, asked.columns),
        **_parameters(asked, sources),
        _rows=limit,
        _offset=skip,
        _reach=limit + skip,
    )


def position(tx: Tx, asked: Asked, sources: Sequence[Source], number: int) -> Behind | None:
    """The place of row `number` (the first is 1) behind where the page starts; None: fewer rows.

    It selects the order alone, which an index has: skipping a hundred thousand rows that way costs
    little more than reading a page.
    """
    row = tx.one(
        _statement(asked, sources, (asked.column, asked.key)),
        **_parameters(asked, sources),
        _rows=1,
        _offset=number - 1,
        _reach=number,
    )
    return Behind(*row) if row else None


def keys(
    tx: Tx,
    asked: Asked,
    sources: Sequence[Source],
    order: Sequence[tuple[str, bool]],
    limit: int,
    skip: int = 0,
) -> list[Any]:
    """The keys of a page in an order that no index has: all that is let through is read for it.

    `order` is columns, each with whether its largest value comes first; nulls come last.
    """
    names = dict.fromkeys([asked.key, *(column for column, _ in order)])
    sorts = "ORDER BY " + ", ".join(
        f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END, {column}{' DESC' if down else ''}"
        for column, down in order
    )
    # Each part is cut before they are merged; only outside of it PostgreSQL orders by its names.
    parts = [
        f"(SELECT * FROM (SELECT {_names(source, names)} FROM {source.table}"
        f"{_where(asked, source)}) AS every_{number} {sorts} LIMIT :_reach) AS part_{number}"
        for number, source in enumerate(sources)
    ]
    merged = " UNION ALL ".join(f"SELECT * FROM {part}" for part in parts)
    rows = tx.all(
        f"SELECT {asked.key} FROM ({merged}) AS merged {sorts} LIMIT :_rows OFFSET :_offset",
        **_parameters(asked, sources),
        _rows=limit,
        _offset=skip,
        _reach=limit + skip,
    )
    return [row[0] for row in rows]


def count(tx: Tx, asked: Asked, sources: Sequence[Source], cap: int = COUNT_CAP) -> int:
    """Count what the conditions let through, up to one more than `cap`."""
    parts = [
        f"SELECT n FROM (SELECT 1 AS n FROM {source.table}{_where(asked, source)} LIMIT :_cap)"
        f" AS part_{number}"
        for number, source in enumerate(sources)
    ]
    sql = f"SELECT COUNT(*) FROM ({' UNION ALL '.join(parts)} LIMIT :_cap) AS counted"
    return int(tx.value(sql, **_parameters(asked, sources), _cap=cap + 1))


# --- the text ------------------------------------------------------------------------------------


def _statement(asked: Asked, sources: Sequence[Source], columns: Sequence[str]) -> str:
    if len(sources) == 1:
        return f"{_part(asked, sources[0], columns, ':_rows')} OFFSET :_offset"
    # A derived table each: SQLite takes no ORDER BY and LIMIT inside a UNION in any other way.
    parts = [
        f"SELECT * FROM ({_part(asked, source, columns, ':_reach')}) AS part_{number}"
        for number, source in enumerate(sources)
    ]
    return "\nUNION ALL\n".join(parts) + f"\n{_order(asked)} LIMIT :_rows OFFSET :_offset"


def _part(asked: Asked, source: Source, columns: Sequence[str], limit: str) -> str:
    return (
        f"SELECT {_names(source, columns)} FROM {source.table}{_where(asked, source)}"
        f" {_order(asked)} LIMIT {limit}"
    )


def _names(source: Source, columns: Iterable[str]) -> str:
    return ", ".join(
        name if source.column(name) == name else f"{source.column(name)} AS {name}"
        for name in columns
    )


def _order(asked: Asked) -> str:
    """ORDER BY by the list's names: every database looks for those of the SELECT first."""
    direction = " DESC" if asked.descending else ""
    return f"ORDER BY {asked.column}{direction}, {asked.key}{direction}"


def _where(asked: Asked, source: Source) -> str:
    conditions = [text for text in (source.where, source.rest) if text]
    for number, condition in enumerate(asked.conditions):
        if condition.column not in source.settles:
            conditions.append(_compare(source.column(condition.column), condition, number))
    if asked.behind:
        conditions.append(_beyond(asked, asked.behind, source))
    return " WHERE " + " AND ".join(conditions) if conditions else ""


def _beyond(asked: Asked, behind: Behind, source: Source) -> str:
    column, key = source.column(asked.column), source.column(asked.key)
    sign = "<" if asked.descending else ">"
    if behind.key is None:
        return f"{column} {sign} :_value"
    # Not (column, key) < (…): MySQL finds no range of an index in that.
    return f"{column} {sign}= :_value AND ({column} {sign} :_value OR {key} {sign} :_key)"


def _compare(column: str, condition: Condition, number: int) -> str:
    first = f":_f{number}_0"
    match condition.operator:
        case Operator.IN:
            names = ", ".join(f":_f{number}_{n}" for n in range(len(condition.values)))
            return f"{column} IN ({names})"
        case Operator.FROM:
            return f"{column} >= {first}"
        case Operator.TO:
            return f"{column} < {first}"
        case Operator.CONTAINS:
            return f"LOWER({column}) LIKE {first} ESCAPE '!'"
        case Operator.HAS:
            return f"{column} LIKE {first} ESCAPE '!'"


def _parameters(asked: Asked, sources: Sequence[Source]) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for source in sources:
        parameters.update(source.parameters)
    for number, condition in enumerate(asked.conditions):
        for n, value in enumerate(condition.values):
            parameters[f"_f{number}_{n}"] = _value(condition.operator, value)
    if asked.behind:
        parameters["_value"], parameters["_key"] = asked.behind.value, asked.behind.key
    return parameters


def _value(operator: Operator, value: Any) -> Any:
    match operator:
        case Operator.CONTAINS:
            return _pattern(value.lower())
        case Operator.HAS:
            return _pattern(value)
        case _:
            return value


def _pattern(text: str) -> str:
    for sign in "!%_":
        text = text.replace(sign, f"!{sign}")
    return f"%{text}%"
