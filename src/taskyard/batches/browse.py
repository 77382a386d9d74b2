"""Browse: batches and their items as people look at them.

Owns these verbs: lists, one in full, and all items of one, read as they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import orjson

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.batches import row
from taskyard.core.errors import ItemUnknown
from taskyard.core.payload import mask
from taskyard.db.database import Database, Tx
from taskyard.db.listing import (
    Filter,
    Listing,
    Operator,
    Page,
    Query,
    Source,
    integer,
    microseconds,
    one_of,
    page,
    utc,
)
from taskyard.db.search import search

ITEM_COLUMNS = (
    *("id", "item_id", "status", "attempts", "crashes", "run_id", "duration"),
    *("started_at", "completed_at"),
)

_PARTS = ("data", "result", "error")

BATCHES = Listing(
    columns=row.COLUMNS,
    filters={
        "q": Filter("name", Operator.CONTAINS, help="With this in its name."),
        "status": Filter("status", read=one_of(*row.STATUSES), help="How far it is."),
        "task_type": Filter("task_type", help="Its handler."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
        "created_by": Filter("created_by", help="Who made it."),
        "from": Filter("by_created_at", Operator.FROM, microseconds, "Made then or later."),
        "to": Filter("by_created_at", Operator.TO, microseconds, "Made before then."),
    },
    sorts={"id": "id", "created_at": "id"},
    sort="-created_at",
)
"""What may be asked of the list of batches; the newest first unless asked otherwise."""

ITEMS = Listing(
    columns=ITEM_COLUMNS,
    filters={
        "status": Filter("status", read=one_of(*row.ITEM_STATUSES), help="What became of it."),
        "item_id": Filter("item_id", help="With this very id."),
        "q": Filter("searched", Operator.CONTAINS, help="With this in its id or its error."),
        "run_id": Filter("run_id", read=integer, help="The run that had it last."),
    },
    sorts={"id": "id"},
    sort="id",
    large=_PARTS,
)
"""What may be asked of the items of a batch, which come in the order in which they were given."""


def list_batches(db: Database, caller: Caller, query: Query) -> Page:
    """One page of batches as dictionaries. Raises QueryInvalid or NotAllowed."""
    caller.require(Permission.BATCHES_READ)
    asked = replace(query, filters=caller.narrow(query.filters))

    def work(tx: Tx) -> Page:
        micros = f"{tx.dialect.epoch('created_at')} * 1000000"
        found = page(tx, BATCHES, [Source("ty_batches", {"by_created_at": micros})], asked)
        return replace(found, rows=[row.shown(one) for one in found.rows])

    return db.read(work)


def show_batch(db: Database, caller: Caller, batch_id: int) -> dict[str, Any]:
    """One batch, with its `rate` (items a second, lately) and `eta` (seconds) while it runs.

    Raises BatchUnknown, also for one of a tenant that the caller does not see; NotAllowed.
    """
    caller.require(Permission.BATCHES_READ)
    return db.read(lambda tx: row.shown(row.fetch(tx, caller, batch_id)))


def list_items(db: Database, caller: Caller, batch_id: int, query: Query) -> Page:
    """One page of the items of a batch; of many it may look at a part only (`Page.searched_to`).

    Raises BatchUnknown, QueryInvalid or NotAllowed.
    """
    caller.require(Permission.BATCHES_READ)

    def work(tx: Tx) -> Page:
        row.fetch(tx, caller, batch_id)
        found = search(tx, ITEMS, [_sources(tx, batch_id, query.filters)], query)
        return replace(found, rows=[_item(one) for one in found.rows])

    return db.read(work)


def show_item(db: Database, caller: Caller, batch_id: int, item_id: str) -> dict[str, Any]:
    """One item in full. Raises BatchUnknown, ItemUnknown or NotAllowed."""
    query = Query({"item_id": [item_id]}, limit=1, large=_PARTS)
    found = list_items(db, caller, batch_id, query).rows
    if not found:
        raise ItemUnknown(str(batch_id), item_id)
    return found[0]


def export_items(
    db: Database, caller: Caller, batch_id: int, filters: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """All items that the filters let through, in full, read a few hundred at a time.

    Raises at once what `list_items` raises.
    """
    query = Query(dict(filters), limit=500, large=_PARTS)
    first = list_items(db, caller, batch_id, query)

    def rows() -> Iterator[dict[str, Any]]:
        found = first
        yield from found.rows
        while found.next_cursor is not None:
            asked = replace(query, cursor=found.next_cursor)
            found = list_items(db, caller, batch_id, asked)
            yield from found.rows

    return rows()


# --- below ----------------------------------------------------------------------------------------


def _sources(tx: Tx, batch_id: int, filters: Mapping[str, Any]) -> list[Source]:
    """Items by their names; or one source a status, each read along the index, in order."""
    table = "ty_batch_items"
    searched = {"searched": f"COALESCE({tx.dialect.joined('item_id', 'error')}, item_id)"}
    mine = f"batch_id = {int(batch_id)}"
    if filters.get("item_id") is not None:
        return [Source(table, searched, where=mine, few=True)]
    asked = filters.get("status")
    words: tuple[str, ...] = row.ITEM_STATUSES
    if asked is not None:
        given = asked.split(",") if isinstance(asked, str) else asked
        words = tuple(word for word in words if word in {str(one).strip() for one in given})
    settles = frozenset({"status"})
    return [
        Source(table, searched, where=f"{mine} AND status = '{word}'", settles=settles)
        for word in words
    ] or [Source(table, searched, where="1 = 0")]


def _item(found: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: found[name] for name in ITEM_COLUMNS}
    shown |= {name: utc(shown[name]) for name in ("started_at", "completed_at")}
    for name in _PARTS:
        if name in found:
            shown[name] = found[name]
    for name in ("data", "result"):
        if shown.get(name) is not None:
            shown[name] = mask(orjson.loads(shown[name]))
    return shown
