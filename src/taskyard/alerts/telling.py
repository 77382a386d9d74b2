"""Telling: how a message comes into the line.

Owns the Tasks of the built-in handler `taskyard.notify`: so a message is retried, has a Run, and
needs nobody to wait for it. They hold ids only: what is said, to whom, and the secrets of a channel
are read when the message is sent (`sending.py`). So a Task that somebody wrote by hand says nothing
that is not so, to nobody who was not to be told.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from taskyard.access.caller import ENGINE
from taskyard.alerts import channel as channels
from taskyard.alerts import rules
from taskyard.alerts.kinds import RuleKind
from taskyard.alerts.readings import moment
from taskyard.alerts.rule import Rule
from taskyard.core.errors import AlertInvalid
from taskyard.db.database import Database, Tx
from taskyard.db.listing import integer
from taskyard.queues import ensure_queue
from taskyard.tasks.enqueue import NewTask, TaskRef, enqueue, put, route

NOTIFY = "taskyard.notify"
"""The handler that sends a message."""
QUEUE = "alerts"
"""The queue of messages: an alert must not wait behind the work that it is about."""
TEST = "test"
"""The event of a message that somebody wants to see arrive."""
BATCH = "batch"
"""The event of a message that says what a batch has come to."""

_RETRIES = 12
_TIMEOUT = 60.0

_BATCH = """
SELECT tenant_id, task_type, status, failed_count, notify FROM ty_batches WHERE id = :id
"""

_ENABLED = "SELECT id FROM ty_channels WHERE tenant_id = :tenant_id AND status = 1 ORDER BY id"


def ready(db: Database) -> str:
    """Make sure that there is a queue for messages; returns its table."""
    ensure_queue(db, QUEUE)
    return route(db, QUEUE)


def enqueue_message(
    db: Database,
    channel_id: int,
    event: str,
    incident_ids: Sequence[int],
    tenant_id: str,
    *,
    connection: Any = None,
    max_retries: int = _RETRIES,
) -> TaskRef:
    """Put a message into the queue, which must be `ready`; `connection` is a transaction's."""
    given = {"event": event, "channel_id": channel_id, "incident_ids": list(incident_ids)}
    task = _task(given, tenant_id, max_retries)
    return enqueue(db, ENGINE, task, connection=connection)


def channels_of(tx: Tx, rule: Rule) -> list[int]:
    """The enabled channels that a rule tells."""
    known = [row[0] for row in tx.all(_ENABLED, tenant_id=rule.tenant_id)]
    return [number for number in known if rule.channels is None or number in rule.channels]


# --- the end of a batch ---------------------------------------------------------------------------


def tell_batch(tx: Tx, table: str, batch_id: int) -> int:
    """Have people told that a batch has ended; returns how many messages that makes.

    Call it in the transaction that ends the batch, after the row says so, with the `table` that
    `ready` gave before the transaction; ring the bell for that table after it. Told are those whom
    the batch's own `notify` names (see `valid_notify`) and the channels of the `batch_finished`
    rules that it fits: each channel once, and the plain addresses in one mail.
    """
    [batch] = tx.rows(_BATCH, id=batch_id)
    wish = orjson.loads(batch["notify"] or "{}")
    own = {row[0] for row in tx.all(_ENABLED, tenant_id=batch["tenant_id"])}
    told = {(batch["tenant_id"], number) for number in wish.get("channels", ()) if number in own}
    told |= _told_by_rules(tx, batch)
    given: list[tuple[str, int | None]] = [*sorted(told)]
    if wish.get("to"):
        given.append((batch["tenant_id"], None))
    tasks = [
        _task({"event": BATCH, "channel_id": number, "batch_id": batch_id}, tenant_id)
        for tenant_id, number in given
    ]
    put(tx, table, tasks)
    return len(tasks)


def is_meant(rule: Rule, batch: Mapping[str, Any]) -> bool:
    """Is a `batch_finished` rule about this batch (`_BATCH`), which has ended?"""
    failed = batch["status"] == "failed" or batch["failed_count"] > 0
    return (failed or rule.settings["outcome"] == "any") and rule.fits(batch)


def valid_notify(
    tx: Tx, what: str, tenant_id: str, given: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Who is to be told when a batch ends, as it is kept: `{"channels": [ids], "to": [addresses]}`.

    `what` names the batch in errors. Raises AlertInvalid naming the field.
    """
    if not given:
        return None
    checks: dict[str, Callable[[Any], Any]] = {
        "channels": partial(_known_channels, tx, what, tenant_id),
        "to": partial(channels.recipients, what, "notify.to"),
    }
    for name in given:
        if name not in checks:
            why = f'there is no field "{name}"'
            raise AlertInvalid(what, f"notify.{name}", why, f"There are: {', '.join(checks)}.")
    return {name: checks[name](value) for name, value in given.items() if value}


def _told_by_rules(tx: Tx, batch: Mapping[str, Any]) -> set[tuple[str, int]]:
    """The channels of the rules that a batch fits, each with its tenant."""
    found = set()
    now = moment(tx)
    for rule in rules.of_kind(tx, RuleKind.BATCH_FINISHED):
        if is_meant(rule, batch) and not rule.is_silent(now):
            found |= {(rule.tenant_id, number) for number in channels_of(tx, rule)}
    return found


def _known_channels(tx: Tx, what: str, tenant_id: str, value: Any) -> list[int]:
    rows = tx.all("SELECT id FROM ty_channels WHERE tenant_id = :tenant_id", tenant_id=tenant_id)
    known = {row[0] for row in rows}
    listed = f"There are: {', '.join(map(str, sorted(known)))}." if known else "Make one first."
    if not isinstance(value, list | tuple):
        raise AlertInvalid(what, "notify.channels", "it is no list of ids of channels", listed)
    try:
        ids = list(dict.fromkeys(integer(number) for number in value))
    except ValueError as error:
        raise AlertInvalid(what, "notify.channels", str(error), listed) from None
    for number in ids:
        if number not in known:
            why = f"there is no channel {number} of this tenant"
            raise AlertInvalid(what, "notify.channels", why, listed)
    return ids


# --- below ----------------------------------------------------------------------------------------


def _task(given: Mapping[str, Any], tenant_id: str, max_retries: int = _RETRIES) -> NewTask:
    # The delivery is drawn once, so that who gets it knows it again when it is sent twice.
    params = {**given, "delivery": f"msg_{secrets.token_hex(12)}"}
    return NewTask(
        NOTIFY,
        orjson.dumps(params).decode(),
        QUEUE,
        priority=100,
        max_retries=max_retries,
        timeout=_TIMEOUT,
        tenant_id=tenant_id,
    )
