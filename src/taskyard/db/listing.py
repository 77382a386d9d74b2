"""Listing: how every list is asked for: its filters, its order, its pages.

Owns `Filter`, `Listing` (what may be asked of a list, declared once as data), `Source` (a table it
is made of) and the one SELECT that every list is made with. A list of several sources is one
statement, so it shows one moment; each source is cut to the page before they are merged, so each is
read along its own index. Leaves to the nouns which columns there are and what they mean.

What a user writes is only ever a key into these declarations or a bound parameter, never SQL.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson

from taskyard.core.durations import parse_duration
from taskyard.core.errors import QueryInvalid, did_you_mean
from taskyard.db.database import Tx

MAX_LIMIT = 500
"""Rows that a page may have."""
COUNT_CAP = 10_000
"""Rows up to which a list is counted; beyond it is only said that there are more."""

_MAX_VALUES = 200


# --- what can be asked ---------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Filter:
    """One word that narrows a list: the column it is about, how it compares, and its type.

    `read` turns what was asked (text, or a value already) into what the column is compared with; it
    raises ValueError with the reason.
    """

    column: str
    operator: Operator = Operator.IN
    read: Callable[[Any], Any] = str


@dataclass(frozen=True, slots=True)
class Listing:
    """What may be asked of a list.

    `columns` are selected always, `large` (payload-sized) only when asked for. `sorts` says by
    which column a word sorts; such a column is never null. Rows that are equal in it are sorted by
    `key`.
    """

    columns: tuple[str, ...]
    filters: Mapping[str, Filter]
    sorts: Mapping[str, str]
    sort: str
    large: tuple[str, ...] = ()
    key: str = "id"


@dataclass(frozen=True, slots=True)
class Source:
    """A table that a list is made of.

    `table` is quoted already. `columns` holds the expressions of columns that are called otherwise
    here; `where` is a condition of its own, with `parameters` whose names no other source uses.
    """

    table: str
    columns: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """The expression that gives a column of the list."""
        return self.columns.get(name, name)


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a list: filters by name (None: not asked), order, and which page.

    `sort` is a word of the listing, with a leading "-" for the largest first. A page starts behind
    `cursor` (from the page before), or at `offset`. `large` names payload-sized columns to select
    as well; `count` asks for the total.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    sort: str = ""
    limit: int = 50
    cursor: str | None = None
    offset: int = 0
    large: tuple[str, ...] = ()
    count: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `total` is None unless asked for, and exact unless it is capped."""

    rows: list[dict[str, Any]]
    next_cursor: str | None = None
    total: int | None = None
    total_is_capped: bool = False


def page(tx: Tx, listing: Listing, sources: Sequence[Source], query: Query) -> Page:
    """Give one page of a list. Raises QueryInvalid, which says what was asked wrongly."""
    asked = _understand(listing, query)
    rows = tx.rows(_select(asked, sources), **_parameters(asked, sources))
    more = len(rows) > asked.limit
    rows = rows[: asked.limit]
    total = _count(tx, asked, sources) if query.count else None
    return Page(
        rows=rows,
        next_cursor=_write_cursor(asked, rows[-1]) if more else None,
        total=None if total is None else min(total, COUNT_CAP),
        total_is_capped=total is not None and total > COUNT_CAP,
    )


# --- the types of filters ------------------------------------------------------------------------


def integer(value: Any) -> int:
    """Read a whole number."""
    try:
        number = int(str(value).strip())
    except ValueError:
        raise ValueError(f'"{value}" is not a whole number') from None
    if not -(2**63) <= number < 2**63:
        raise ValueError("the number is too large")
    return number


def seconds(value: Any) -> float:
    """Read a duration: seconds, or a text like "5m"."""
    return parse_duration(value)


def microseconds(value: Any) -> int:
    """Read a moment (an aware datetime, or ISO 8601 with its offset) as microseconds since 1970."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    if moment.tzinfo is None:
        raise ValueError('a time needs its offset, like "2026-01-31T08:00:00+00:00"')
    return round(moment.timestamp() * 1_000_000)


def one_of(*words: str) -> Callable[[Any], str]:
    """Read one of a few words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(
                f'"{value}" is none of {", ".join(words)}.{did_you_mean(str(value), words)}'
            )
        return str(value)

    return read


def utc(value: Any) -> datetime | None:
    """A time as a driver gives it from a `ty_*` table (or as `Dialect.iso` writes it), aware."""
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# --- understanding a query -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Condition:
    column: str
    operator: Operator
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    columns: tuple[str, ...]
    conditions: tuple[_Condition, ...]
    sort: str
    column: str
    descending: bool
    key: str
    limit: int
    offset: int
    behind: tuple[Any, Any] | None


def _understand(listing: Listing, query: Query) -> _Asked:
    if not 1 <= query.limit <= MAX_LIMIT:
        raise QueryInvalid(
            "limit", f"A page cannot have {query.limit} rows.", f"Give 1 to {MAX_LIMIT}."
        )
    if query.offset < 0:
        raise QueryInvalid("offset", f"A page cannot start at {query.offset}.", "Give 0 or more.")
    sort = query.sort or listing.sort
    word = sort.removeprefix("-")
    if word not in listing.sorts:
        raise _unknown("sort", word, listing.sorts)
    behind = _read_cursor(query.cursor, sort) if query.cursor else None
    return _Asked(
        columns=listing.columns + tuple(name for name in listing.large if name in query.large),
        conditions=tuple(_conditions(listing, query.filters)),
        sort=sort,
        column=listing.sorts[word],
        descending=sort.startswith("-"),
        key=listing.key,
        limit=query.limit,
        offset=0 if behind else query.offset,
        behind=behind,
    )


def _conditions(listing: Listing, asked: Mapping[str, Any]) -> list[_Condition]:
    conditions = []
    for name, value in asked.items():
        if name not in listing.filters:
            raise _unknown("filter", name, listing.filters)
        if value is not None:
            declared = listing.filters[name]
            values = read_filter(listing, name, value)
            conditions.append(_Condition(declared.column, declared.operator, values))
    return conditions


def read_filter(listing: Listing, name: str, value: Any) -> tuple[Any, ...]:
    """What a filter was asked for, as values of its type; raises QueryInvalid."""
    declared = listing.filters[name]
    several: Sequence[Any] = [value]
    if declared.operator is Operator.IN:
        if isinstance(value, str):
            several = [part.strip() for part in value.split(",") if part.strip()] or [""]
        elif isinstance(value, list | tuple | set | frozenset):
            several = list(value)
    if len(several) > _MAX_VALUES:
        raise QueryInvalid(
            name, f"{name} has {len(several)} values.", f"Give at most {_MAX_VALUES}."
        )
    try:
        return tuple(declared.read(part) for part in several)
    except (ValueError, TypeError, OverflowError) as error:
        end = "" if str(error).endswith(("?", ".")) else "."
        raise QueryInvalid(name, f"{name}: {error}{end}", "Correct the value.") from None


def _unknown(what: str, word: str, known: Mapping[str, Any]) -> QueryInvalid:
    text = f'There is no {what} "{word}".{did_you_mean(word, known)}'
    return QueryInvalid(what, text, f"There are: {', '.join(known)}.")


# --- the SELECT ----------------------------------------------------------------------------------


def _select(asked: _Asked, sources: Sequence[Source]) -> str:
    if len(sources) == 1:
        return f"{_part(asked, sources[0], ':_rows')} OFFSET :_offset"
    # A derived table each: SQLite takes no ORDER BY and LIMIT inside a UNION in any other way.
    parts = [
        f"SELECT * FROM ({_part(asked, source, ':_reach')}) AS part_{number}"
        for number, source in enumerate(sources)
    ]
    return "\nUNION ALL\n".join(parts) + f"\n{_order(asked)} LIMIT :_rows OFFSET :_offset"


def _part(asked: _Asked, source: Source, limit: str) -> str:
    columns = ", ".join(
        name if source.column(name) == name else f"{source.column(name)} AS {name}"
        for name in asked.columns
    )
    return (
        f"SELECT {columns} FROM {source.table}{_where(asked, source)} {_order(asked)} LIMIT {limit}"
    )


def _order(asked: _Asked) -> str:
    """ORDER BY by the list's names: every database looks for those of the SELECT first."""
    direction = " DESC" if asked.descending else ""
    return f"ORDER BY {asked.column}{direction}, {asked.key}{direction}"


def _where(asked: _Asked, source: Source) -> str:
    conditions = [source.where] if source.where else []
    for number, condition in enumerate(asked.conditions):
        conditions.append(_compare(source.column(condition.column), condition, number))
    if asked.behind:
        column, key = source.column(asked.column), source.column(asked.key)
        sign = "<" if asked.descending else ">"
        # Not (column, key) < (…): MySQL finds no range of an index in that.
        conditions.append(
            f"{column} {sign}= :_value AND ({column} {sign} :_value OR {key} {sign} :_key)"
        )
    return " WHERE " + " AND ".join(conditions) if conditions else ""


def _compare(column: str, condition: _Condition, number: int) -> str:
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


def _parameters(asked: _Asked, sources: Sequence[Source]) -> dict[str, Any]:
    parameters: dict[str, Any] = {"_rows": asked.limit + 1, "_offset": asked.offset}
    parameters["_reach"] = asked.limit + 1 + asked.offset
    parameters["_cap"] = COUNT_CAP + 1
    for source in sources:
        parameters.update(source.parameters)
    for number, condition in enumerate(asked.conditions):
        for n, value in enumerate(condition.values):
            pattern = condition.operator is Operator.CONTAINS
            parameters[f"_f{number}_{n}"] = _pattern(value) if pattern else value
    if asked.behind:
        parameters["_value"], parameters["_key"] = asked.behind
    return parameters


def _pattern(value: str) -> str:
    for sign in "!%_":
        value = value.replace(sign, f"!{sign}")
    return f"%{value.lower()}%"


def _count(tx: Tx, asked: _Asked, sources: Sequence[Source]) -> int:
    """Count what the filters let through, up to one more than the cap."""
    everything = replace(asked, behind=None)
    parts = [
        f"SELECT n FROM (SELECT 1 AS n FROM {source.table}{_where(everything, source)} LIMIT :_cap)"
        f" AS part_{number}"
        for number, source in enumerate(sources)
    ]
    sql = f"SELECT COUNT(*) FROM ({' UNION ALL '.join(parts)} LIMIT :_cap) AS counted"
    return int(tx.value(sql, **_parameters(everything, sources)))


# --- cursors -------------------------------------------------------------------------------------


def _write_cursor(asked: _Asked, row: Mapping[str, Any]) -> str:
    data = orjson.dumps([asked.sort, row[asked.column], row[asked.key]])
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _read_cursor(text: str, sort: str) -> tuple[Any, Any]:
    try:
        data = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        made_for, value, key = data
    except (binascii.Error, ValueError, TypeError):
        made_for = value = key = None
    whole = all(isinstance(v, int | float | str) and not isinstance(v, bool) for v in (value, key))
    if made_for != sort or not whole:
        raise QueryInvalid(
            "cursor",
            "The cursor is not one of this list in this order.",
            "Take the cursor of the page before, with the same sort; or start without one.",
        )
    return value, key
