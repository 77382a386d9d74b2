"""Create: a new batch, filled item by item, and started.

Owns these verbs. Items go in by the thousand, each lot in a transaction of its own, so that a
million of them are never in memory and never lock anything for long; only when all are there the
batch may start. What a batch may be is `definition.py`'s, what its items may be `items.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import orjson

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.alerts import telling
from taskyard.batches import definition, items, row, slots
from taskyard.batches.definition import Definition
from taskyard.batches.items import NewItem
from taskyard.batches.row import Locked, Now
from taskyard.core.errors import BatchInvalid, BatchRunning, NotNow, ParamsInvalid
from taskyard.core.payload import load_params
from taskyard.core.shape import problems
from taskyard.db.database import Database, Tx
from taskyard.handlers import HandlerSpec
from taskyard.tasks.catalog import Catalog

_CHECKED = 1_000
"""Items whose data is compared with what the handler takes before any goes in: a wrong file is
refused at once, and a wrong line in a right file fails alone."""

_INSERT = """
INSERT INTO ty_batches (tenant_id, task_type, name, status, active_key, unfinished, params,
                        concurrency, rate_limit, pause, max_retries, stop_after, on_inflight,
                        notify, template_id, created_by, created_at, updated_at)
VALUES (:tenant_id, :task_type, :name, 'pending', :active_key, 1, :params, :concurrency,
        :rate_limit, :pause, :max_retries, :stop_after, :on_inflight, :notify, :template_id,
        :created_by, {now}, {now})
"""


def create_batch(
    db: Database,
    caller: Caller,
    fields: Mapping[str, Any],
    source: Iterable[Any],
    *,
    start: bool = True,
    template_id: int | None = None,
    spec: HandlerSpec | None = None,
) -> dict[str, Any]:
    """Create a batch of the fields of `Definition` over the items of `source`, and start it.

    `source` is read once, as it comes: a list, a generator, the rows of a file. `spec` says what
    its handler promises; without it the servers are asked. Returns the batch as `show_batch` does.
    Raises BatchInvalid naming the field, BatchRunning, HandlerUnknown, ParamsInvalid, NotAllowed.
    """
    found = spec or Catalog(db).get(str(fields.get("task_type", ""))).spec
    made = definition.read(fields, _promises(found))
    caller.require_tenant(made.tenant_id, Permission.BATCHES_WRITE)
    _check_params(found, made.params)
    made = replace(made, notify=db.read(partial(_wish, made=made)))
    lots = items.chunks(_checked(found, made, items.read_items(source)))
    first = next(lots, None)
    if first is None:
        raise BatchInvalid("items", "there are none", "Give at least one item.")
    second = next(lots, None)
    table = slots.ready(db)

    def begin(tx: Tx) -> int:
        batch_id = _insert(tx, caller, made, template_id)
        batch = row.lock(tx, batch_id)
        assert batch is not None
        _add(tx, batch, first)
        if second is None:
            _finish(tx, caller, batch, made, table, start)
        batch.save(tx)
        return batch_id

    batch_id = exclusively(db, made.tenant_id, made.task_type, partial(db.run, begin, again=False))
    if second is not None:
        _fill(db, batch_id, chain([second], lots))
        _finish_filled(db, caller, batch_id, made, table, start)
    db.bell.ring(table)
    return db.read(lambda tx: row.shown(row.fetch(tx, caller, batch_id)))


def add_items(db: Database, caller: Caller, batch_id: int, source: Iterable[Any]) -> dict[str, Any]:
    """Put more items into a batch that has not been started. Returns the batch.

    Raises BatchUnknown, BatchInvalid, NotNow for one that was started, or NotAllowed. Of the lots
    of 5 000 before a wrong one all are in.
    """
    caller.require(Permission.BATCHES_WRITE)

    def work(tx: Tx, lot: list[NewItem]) -> None:
        batch = row.lock_visible(tx, caller, batch_id)
        if batch["status"] != "pending" or batch["unfinished"]:
            state = "being filled" if batch["unfinished"] else batch["status"]
            raise NotNow("add items to", f"batch {batch_id}", state, "Create another batch.")
        _add(tx, batch, lot)
        batch.save(tx)

    db.read(lambda tx: row.fetch(tx, caller, batch_id))
    for lot in items.chunks(items.read_items(source)):
        _unless_twice(db, batch_id, lot, partial(work, lot=lot), again=False)
    return db.read(lambda tx: row.shown(row.fetch(tx, caller, batch_id)))


def start_batch(db: Database, caller: Caller, batch_id: int) -> dict[str, Any]:
    """Start a batch that was created without. Raises BatchUnknown, NotNow or NotAllowed."""
    caller.require(Permission.BATCHES_WRITE)
    table = slots.ready(db)

    def work(tx: Tx) -> None:
        batch = row.lock_visible(tx, caller, batch_id)
        if batch["status"] != "pending" or batch["unfinished"] or not batch["total_count"]:
            state = "being filled" if batch["unfinished"] else batch["status"]
            raise NotNow("start", f"batch {batch_id}", state)
        launch(tx, batch, table)
        batch.save(tx)
        audit_batch(tx, caller, "start", batch)

    db.run(work)
    db.bell.ring(table)
    return db.read(lambda tx: row.shown(row.fetch(tx, caller, batch_id)))


# --- for the neighbours ---------------------------------------------------------------------------


def launch(tx: Tx, batch: Locked, table: str) -> None:
    """Let a batch that is locked run: it holds its key, and its slots have Tasks."""
    batch.set(status="running", rate=None, rate_from=None, completed_at=None, error=None)
    batch.set(failed_before=batch["failed_count"], active_key=_key(batch), unfinished=0)
    if batch["started_at"] is None:
        batch.set(started_at=Now)
    slots.fill(tx, batch, table)


def audit_batch(tx: Tx, caller: Caller, verb: str, batch: Locked, **after: Any) -> None:
    """Audit what was done to a batch."""
    thing = f"batch/{batch.id}"
    audit.write(
        tx, caller, f"batch.{verb}", thing, tenant_id=batch["tenant_id"], after=after or None
    )


def exclusively(db: Database, tenant_id: str, task_type: str, work: Any) -> Any:
    """Do what takes the key of a tenant and type. Raises BatchRunning, naming who has it."""
    try:
        return work()
    except Exception as error:
        if not db.dialect.is_duplicate(error):
            raise
        sql = "SELECT id, name FROM ty_batches WHERE active_key = :key"
        key = f"{tenant_id}/{task_type}"
        other = db.read(lambda tx: tx.one(sql, key=key))
        if other is None:
            return exclusively(db, tenant_id, task_type, work)  # it ended just now
        raise BatchRunning(task_type, tenant_id, int(other[0]), str(other[1])) from None


# --- below ----------------------------------------------------------------------------------------


def _promises(spec: HandlerSpec) -> Mapping[str, Any]:
    if spec.batch is None:
        why = f"{spec.name} is no handler of batches"
        raise BatchInvalid("task_type", why, "Register it with @yard.batch(…).")
    return spec.batch


def _check_params(spec: HandlerSpec, params: str | None) -> None:
    given = load_params(params) or {}
    if "item" in given:
        raise BatchInvalid("params", '"item" is each item\'s own', "Call the parameter otherwise.")
    faults = [f for f in problems(_schema(spec, items=False), given) if '"item"' not in f]
    if faults:
        raise ParamsInvalid(spec.name, faults)


def _wish(tx: Tx, *, made: Definition) -> str | None:
    """Who is told of the end, as the alerts keep it; channels may be named."""
    if made.notify is None:
        return None
    given = orjson.loads(made.notify)
    if isinstance(given.get("channels"), list):
        given["channels"] = [_channel(tx, made.tenant_id, one) for one in given["channels"]]
    kept = telling.valid_notify(tx, f'Batch "{made.name}"', made.tenant_id, given)
    return None if kept is None else orjson.dumps(kept).decode()


def _channel(tx: Tx, tenant_id: str, named: Any) -> Any:
    sql = "SELECT id FROM ty_channels WHERE tenant_id = :t AND name = :n"
    found = tx.value(sql, t=tenant_id, n=str(named))
    return named if found is None else found


def _checked(spec: HandlerSpec, made: Definition, source: Iterator[NewItem]) -> Iterator[NewItem]:
    """The items; the first of them are compared with what the handler takes."""
    schema = _schema(spec, items=True)
    for number, item in enumerate(source, 1):
        if number <= _CHECKED:
            faults = problems(schema, {"item": load_params(item.data)}, shown=not spec.secrets)
            if faults:
                why = f'item {number} ("{item.item_id}"): {"; ".join(faults)}'
                raise BatchInvalid("items", why, f"Give what {spec.name} takes.")
        yield item


def _schema(spec: HandlerSpec, *, items: bool) -> dict[str, Any]:
    """The schema of a handler's parameters: of its item alone, or of all others."""
    parts = spec.parameters.get("properties", {})
    required = spec.parameters.get("required", [])
    wanted = [name for name in parts if (name == "item") is items]
    return {
        **spec.parameters,
        "properties": {name: parts[name] for name in wanted},
        "required": [name for name in required if name in wanted],
    }


def _insert(tx: Tx, caller: Caller, made: Definition, template_id: int | None) -> int:
    key = f"{made.tenant_id}/{made.task_type}"
    fields = {name: getattr(made, name) for name in definition.FIELDS}
    tx.execute(
        _INSERT.format(now=tx.dialect.utc_now),
        **fields,
        active_key=key,
        template_id=template_id,
        created_by=caller.name[:150],
    )
    return int(tx.value("SELECT id FROM ty_batches WHERE active_key = :key", key=key))


def _add(tx: Tx, batch: Locked, lot: list[NewItem]) -> None:
    items.insert(tx, batch.id, lot)
    batch.set(total_count=batch["total_count"] + len(lot))


def _fill(db: Database, batch_id: int, lots: Iterable[list[NewItem]]) -> None:
    """Put in the lots that follow the first. On any error the batch is taken back."""
    inside = items.CHUNK
    try:
        for lot in lots:
            work = partial(_put_lot, batch_id=batch_id, lot=lot, inside=inside)
            _unless_twice(db, batch_id, lot, work, again=True)
            inside += len(lot)
    except BaseException:
        discard(db, batch_id)
        raise


def _put_lot(tx: Tx, *, batch_id: int, lot: list[NewItem], inside: int) -> None:
    """Put in one lot, once, also where a lost answer has it tried again."""
    batch = row.lock(tx, batch_id)
    if batch is None or not batch["unfinished"] or batch["status"] != "pending":
        why = "the batch was deleted while it was being filled"
        raise BatchInvalid("items", why, "Create it again.")
    if batch["total_count"] == inside:
        _add(tx, batch, lot)
        batch.save(tx)


def _unless_twice(db: Database, batch_id: int, lot: list[NewItem], work: Any, again: bool) -> None:
    try:
        db.run(work, again=again)
    except Exception as error:
        if not db.dialect.is_duplicate(error):
            raise
        doubles = db.read(partial(items.known, batch_id=batch_id, chunk=lot))
        raise items.twice(doubles) from None


def _finish_filled(
    db: Database, caller: Caller, batch_id: int, made: Definition, table: str, start: bool
) -> None:
    def work(tx: Tx) -> None:
        batch = row.lock(tx, batch_id)
        if batch is not None and batch["unfinished"] and batch["status"] == "pending":
            _finish(tx, caller, batch, made, table, start)
            batch.save(tx)

    db.run(work)


def _finish(
    tx: Tx, caller: Caller, batch: Locked, made: Definition, table: str, start: bool
) -> None:
    """All items are there."""
    batch.set(unfinished=0)
    told = {name: getattr(made, name) for name in ("name", "task_type", *definition.PROMISES)}
    audit_batch(tx, caller, "create", batch, items=batch["total_count"], started=start, **told)
    if start:
        launch(tx, batch, table)


def discard(db: Database, batch_id: int) -> None:
    """Take a batch away with its items, a few thousand at a time; its key is free at once."""
    free = "UPDATE ty_batches SET status = 'cancelled', active_key = NULL WHERE id = :id"
    db.run(lambda tx: tx.execute(free, id=batch_id))
    while db.run(partial(_delete_some, batch_id=batch_id)):
        pass

    def work(tx: Tx) -> None:
        tx.execute("DELETE FROM ty_batch_slots WHERE batch_id = :id", id=batch_id)
        tx.execute("DELETE FROM ty_batches WHERE id = :id", id=batch_id)

    db.run(work)


def _delete_some(tx: Tx, *, batch_id: int) -> int:
    sql = "SELECT id FROM ty_batch_items WHERE batch_id = :id LIMIT 1000"
    ids = [found[0] for found in tx.all(sql, id=batch_id)]
    if ids:
        tx.execute(f"DELETE FROM ty_batch_items WHERE {tx.dialect.looked_up('id', ids)}")
    return len(ids)


def _key(batch: Locked) -> str:
    return f"{batch['tenant_id']}/{batch['task_type']}"
