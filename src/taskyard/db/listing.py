"""Listing: what may be asked of a list: its filters, its order, its pages.

Owns `Filter` and `Listing` (what may be asked, declared once as data: the HTTP API, the command
line and the reference read the same declarations), the reading of a `Query`, cursors, and `page`,
the one way to a page of a list. The statements are `select.py`'s; lists too long to be read whole
go through `search.py`. Leaves to the nouns which columns there are and what they mean.

What a user writes is only ever a key into these declarations or a bound parameter, never SQL.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from taskyard.core.durations import parse_duration
from taskyard.core.errors import QueryInvalid, did_you_mean
from taskyard.db import select
from taskyard.db.database import Tx
from taskyard.db.select import COUNT_CAP as COUNT_CAP
from taskyard.db.select import Asked, Behind, Condition
from taskyard.db.select import Operator as Operator
from taskyard.db.select import Source as Source

MAX_LIMIT = 500
"""Rows that a page may have."""
MAX_OFFSET = 100_000
"""Rows that a page may skip: they are read all the same; a cursor goes as far as there are rows."""

_MAX_VALUES = 200


# --- what can be asked ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """One word that narrows a list: the column it is about, how it compares, and its type.

    `read` turns what was asked (text, or a value already) into what the column is compared with; it
    raises ValueError with the reason. `help` says in a line what the word means.
    """

    column: str
    operator: Operator = Operator.IN
    read: Callable[[Any], Any] = str
    help: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words that may be asked for; empty where any value may."""
        return self.read.words if isinstance(self.read, OneOf) else ()

    @property
    def kind(self) -> str:
        """What is asked for: "words", "integer", "duration", "time" or "text"."""
        return "words" if self.words else _KINDS.get(self.read, "text")


@dataclass(frozen=True, slots=True)
class Listing:
    """What may be asked of a list.

    `columns` are selected always, `large` (payload-sized) only when asked for. `sorts` says by
    which column a word sorts; such a column is never null. Rows that are equal in it are sorted by
    `key`. By `loose_sorts`, which no index serves, only the newest rows are sorted (`search.py`).
    """

    columns: tuple[str, ...]
    filters: Mapping[str, Filter]
    sorts: Mapping[str, str]
    sort: str
    large: tuple[str, ...] = ()
    key: str = "id"
    loose_sorts: Mapping[str, str] = field(default_factory=dict)


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
    """One page of a list. `total` is None unless asked for, and exact unless it is capped.

    A list that no index helps to narrow looks only so far in one go: then `searched_to` is the
    value of the order (for Runs: microseconds since 1970) up to which it looked. The page may have
    fewer rows than asked for, or none, and `next_cursor` goes on from there.
    """

    rows: list[dict[str, Any]]
    next_cursor: str | None = None
    total: int | None = None
    total_is_capped: bool = False
    searched_to: Any = None


def page(tx: Tx, listing: Listing, sources: Sequence[Source], query: Query) -> Page:
    """Give one page of a list. Raises QueryInvalid, which says what was asked wrongly."""
    asked = understand(listing, query)
    start = asked.behind
    if query.offset and not query.cursor:
        start = select.position(tx, asked, sources, query.offset)
        if start is None:
            return Page([], **totals(select.count(tx, asked, sources) if query.count else None))
    rows = select.fetch(tx, replace(asked, behind=start), sources, query.limit + 1)
    more = len(rows) > query.limit
    total = None
    if query.count:
        whole = start is None and not more
        total = len(rows) if whole else select.count(tx, replace(asked, behind=None), sources)
    rows = rows[: query.limit]
    cursor = write_cursor(listing, query, place(asked, rows[-1])) if more else None
    return Page(rows, cursor, **totals(total))


def totals(count: int | None) -> dict[str, Any]:
    """A count as the fields of a page."""
    if count is None:
        return {}
    return {"total": min(count, COUNT_CAP), "total_is_capped": count > COUNT_CAP}


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


def iso_text(value: Any) -> str:
    """Read a moment as `microseconds` does, to compare it with what `Dialect.iso` writes."""
    moment = datetime.fromtimestamp(microseconds(value) / 1_000_000, UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class OneOf:
    """Reads one of a few words."""

    words: tuple[str, ...]

    def __call__(self, value: Any) -> str:
        """Give the word; raises ValueError."""
        if value not in self.words:
            listed = ", ".join(self.words)
            hint = did_you_mean(str(value), self.words)
            raise ValueError(f'"{value}" is none of {listed}.{hint}')
        return str(value)


def one_of(*words: str) -> OneOf:
    """Read one of a few words."""
    return OneOf(tuple(map(str, words)))


_KINDS: dict[Callable[[Any], Any], str] = {
    integer: "integer",
    seconds: "duration",
    microseconds: "time",
    iso_text: "time",
}


def utc(value: Any) -> datetime | None:
    """A time as a driver gives it from a `ty_*` table (or as `Dialect.iso` writes it), aware."""
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# --- understanding a query -----------------------------------------------------------------------


def understand(listing: Listing, query: Query) -> Asked:
    """Read a query as its listing declares it. Raises QueryInvalid."""
    _check_numbers(query)
    word, column = _order(listing, query)
    large = [name for name in listing.large if name in query.large]
    return Asked(
        columns=tuple(dict.fromkeys((*listing.columns, *large, column))),
        conditions=tuple(_conditions(listing, query.filters)),
        column=column,
        key=listing.key,
        descending=word.startswith("-"),
        behind=read_cursor(query.cursor, word)[0] if query.cursor else None,
    )


def _check_numbers(query: Query) -> None:
    if not 1 <= query.limit <= MAX_LIMIT:
        raise QueryInvalid(
            "limit", f"A page cannot have {query.limit} rows.", f"Give 1 to {MAX_LIMIT}."
        )
    if query.offset < 0:
        raise QueryInvalid("offset", f"A page cannot start at {query.offset}.", "Give 0 or more.")
    if query.offset > MAX_OFFSET:
        raise QueryInvalid(
            "offset",
            f"A page cannot start at {query.offset}.",
            f"Give at most {MAX_OFFSET}; to go further, follow next_cursor, or narrow the filters.",
        )


def _order(listing: Listing, query: Query) -> tuple[str, str]:
    """The sort that was asked for, and its column."""
    sort = query.sort or listing.sort
    word = sort.removeprefix("-")
    known = {**listing.sorts, **listing.loose_sorts}
    if word not in known:
        raise _unknown("sort", word, known)
    return sort, known[word]


def _conditions(listing: Listing, asked: Mapping[str, Any]) -> list[Condition]:
    conditions = []
    for name, value in asked.items():
        if name not in listing.filters:
            raise _unknown("filter", name, listing.filters)
        if value is not None:
            declared = listing.filters[name]
            values = read_filter(listing, name, value)
            conditions.append(Condition(declared.column, declared.operator, values))
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


# --- cursors -------------------------------------------------------------------------------------


def place(asked: Asked, row: Mapping[str, Any]) -> Behind:
    """The place behind a row."""
    return Behind(row[asked.column], row[asked.key])


def write_cursor(listing: Listing, query: Query, behind: Behind, floor: int | None = None) -> str:
    """A place as text, good for the same order only. `floor` is how far its list reaches."""
    data = orjson.dumps([query.sort or listing.sort, behind.value, behind.key, floor])
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def read_cursor(text: str, sort: str) -> tuple[Behind, int | None]:
    """The place and the floor of a cursor. Raises QueryInvalid."""
    try:
        data = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        made_for, value, key, floor = data
    except (binascii.Error, ValueError, TypeError):
        made_for = value = key = floor = None
    sound = (
        made_for == sort
        and _is_plain(value)
        and (key is None or _is_plain(key))
        and (floor is None or type(floor) is int)
    )
    if not sound:
        raise QueryInvalid(
            "cursor",
            "The cursor is not one of this list in this order.",
            "Take the cursor of the page before, with the same sort; or start without one.",
        )
    return Behind(value, key), floor


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)
