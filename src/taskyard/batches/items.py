"""Items: what a batch is over, read from wherever it comes, one after the other.

Owns the forms that an item may be given in (a value, an object with `item_id` and `data`, a row of
CSV, a line of JSON) and their insertion. Nothing here holds more than a few thousand of them.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any, NamedTuple

import orjson

from taskyard.core.errors import BatchInvalid, TaskyardError
from taskyard.core.payload import dump_params
from taskyard.db.database import Tx

CHUNK = 5_000
"""Items that go in with one transaction."""

ID_LENGTH = 190
"""Characters of an item_id."""

_NAMED = 10


class NewItem(NamedTuple):
    """An item to be: its id, unique in its batch, and what its handler gets, as JSON text."""

    item_id: str
    data: str | None


def read_items(source: Iterable[Any]) -> Iterator[NewItem]:
    """Read items one by one. Raises BatchInvalid, which says which one is wrong and why.

    A text or a number is its own id; an object has an `item_id`, and `data` where its handler
    needs more than that.
    """
    if isinstance(source, str | bytes | Mapping) or not isinstance(source, Iterable):
        raise BatchInvalid("items", "they must be a list", 'Give [{"item_id": "7"}, …].')
    for number, given in enumerate(source, 1):
        yield _item(number, given)


def from_json_lines(lines: Iterable[str | bytes]) -> Iterator[Any]:
    """The values of a file with one JSON document a line. Raises BatchInvalid naming the line."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                why = f"line {number} is no JSON: {error}"
                raise BatchInvalid("items", why, "Write one JSON value a line.") from None


def from_csv(file: IO[str]) -> Iterator[Mapping[str, Any]]:
    """The rows of a CSV file with a header. Raises BatchInvalid naming the line.

    The column `item_id`, or else the first, is the id; the whole row is the data.
    """
    rows = csv.DictReader(file, strict=True)
    try:
        names = list(rows.fieldnames or [])
        yield from from_rows(names, (_cells(rows, names, row) for row in rows))
    except csv.Error as error:
        why = f"line {rows.line_num}: {error}"
        raise BatchInvalid("items", why, "Save it as CSV in UTF-8, with a header.") from None


def from_rows(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows of a table, by the names of its columns, as items (see `from_csv`)."""
    if not names:
        raise BatchInvalid("items", "there is no header", "Name the columns in the first line.")
    place = names.index("item_id") if "item_id" in names else 0
    for row in rows:
        data = dict(zip(names, row, strict=True)) if len(names) > 1 else None
        yield {"item_id": row[place], "data": data}


def chunks(items: Iterable[NewItem], size: int = CHUNK) -> Iterator[list[NewItem]]:
    """The items in lists of at most `size`. Raises BatchInvalid where a list has one twice."""
    ahead = iter(items)
    while chunk := list(islice(ahead, size)):
        ids = Counter(item.item_id for item in chunk)
        if len(ids) < len(chunk):
            raise twice([item_id for item_id, count in ids.items() if count > 1])
        yield chunk


def insert(tx: Tx, batch_id: int, chunk: Sequence[NewItem]) -> None:
    """Insert items that wait. Raises what the driver raises where the batch has one already."""
    tx.dialect.insert_many(
        tx,
        "ty_batch_items",
        ("batch_id", "item_id", "data", "status"),
        [(batch_id, item.item_id, item.data, "pending") for item in chunk],
    )


def known(tx: Tx, batch_id: int, chunk: Sequence[NewItem]) -> list[str]:
    """Those of these ids that the batch has already."""
    found: list[str] = []
    for start in range(0, len(chunk), 500):
        names = {f"i{n}": item.item_id for n, item in enumerate(chunk[start : start + 500])}
        marks = ", ".join(f":{name}" for name in names)
        sql = f"SELECT item_id FROM ty_batch_items WHERE batch_id = :b AND item_id IN ({marks})"
        found += [row[0] for row in tx.all(sql, b=batch_id, **names)]
    return found


def twice(ids: Sequence[str]) -> BatchInvalid:
    """The error that names the ids that were given more than once."""
    named = ", ".join(f'"{item_id}"' for item_id in sorted(ids)[:_NAMED])
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    why = f"each item_id may be there once, but these are there twice: {named}{more}"
    return BatchInvalid("items", why, "Take the doubles out; nothing was created.")


def _item(number: int, given: Any) -> NewItem:
    item_id, data = given, None
    if isinstance(given, Mapping):
        if unknown := given.keys() - {"item_id", "data"}:
            why = f"item {number} has no item_id and data but {', '.join(map(str, unknown))}"
            fix = 'Write {"item_id": …, "data": {…}}; what the handler gets is data.'
            raise BatchInvalid("items", why, fix)
        item_id, data = given.get("item_id"), given.get("data")
    elif isinstance(given, tuple) and len(given) == 2:
        item_id, data = given
    if isinstance(item_id, bool) or not isinstance(item_id, str | int):
        why = f"item {number} needs an item_id that is text or a whole number, not {item_id!r:.60}"
        raise BatchInvalid("items", why, "Give each item an item_id of its own.")
    try:
        value = item_id if data is None else data
        return NewItem(_checked_id(number, str(item_id)), dump_params(value, f"item {item_id}"))
    except BatchInvalid:
        raise
    except TaskyardError as error:
        raise BatchInvalid("items", f"item {number}: {error.text}", error.fix) from None


def _checked_id(number: int, text: str) -> str:
    text = text.strip()
    if not text or len(text) > ID_LENGTH or not text.isprintable():
        why = f"the item_id of item {number} must be 1 to {ID_LENGTH} visible characters"
        raise BatchInvalid("items", why, "Shorten it; what the handler needs besides is data.")
    return text


def _cells(rows: csv.DictReader[str], names: Sequence[str], row: dict[Any, Any]) -> list[str]:
    if None in row or None in row.values():
        why = f"line {rows.line_num} has not {len(names)} cells as the header has"
        raise BatchInvalid("items", why, "Give each line the cells of the header.")
    return [row[name] for name in names]
