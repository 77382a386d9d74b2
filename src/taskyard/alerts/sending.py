"""Sending: what the built-in handler `taskyard.notify` does.

Owns the way of one message from its Task to its channel: who is told, what is read for it, and what
the channel remembers of it. The ways out are `mail.py`, `webhook.py` and `services.py`; the words
are `messages.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from taskyard.access.caller import ENGINE, PLATFORM
from taskyard.alerts import channel as channels
from taskyard.alerts import incident as incidents
from taskyard.alerts.channel import Channel, ChannelKind
from taskyard.alerts.incident import Incident
from taskyard.alerts.telling import BATCH, TEST
from taskyard.core.errors import NotSent, RunUnknown
from taskyard.core.payload import storable
from taskyard.db.database import Database, Tx
from taskyard.runs.browse import show_run

if TYPE_CHECKING:
    from taskyard.alerts.messages import Message
    from taskyard.settings import Settings

_BATCH = """
SELECT id, name, task_type, tenant_id, status, total_count, success_count, failed_count,
       skipped_count, error, created_by, started_at, completed_at, notify
  FROM ty_batches WHERE id = :id AND status IN ('completed', 'failed', 'cancelled')
"""

_SENT = """
UPDATE ty_channels SET last_sent_at = {now}, last_error = NULL WHERE id = :id
"""

_FAILED = "UPDATE ty_channels SET last_error = :error WHERE id = :id"


def send(
    db: Database,
    settings: Settings,
    tenant_id: str,
    event: str,
    delivery: str,
    *,
    channel_id: int | None = None,
    incident_ids: Sequence[int] = (),
    batch_id: int | None = None,
) -> dict[str, Any]:
    """Send the message of a tenant's Task: of incidents, of a batch's end, or a test.

    Without a channel it goes to the addresses that the batch itself names. `delivery` names the
    message, the same at each attempt. Returns what to keep of it. Raises NotSent when it did not
    get out; Undeliverable when it never will as things are.
    """
    batch = None if batch_id is None else db.read(lambda tx: _batch(tx, batch_id))
    if channel_id is None:
        return _send_to_addresses(settings, tenant_id, batch, delivery)
    channel = db.read(lambda tx: channels.read(tx, channel_id))
    # A Task can be written by hand: a channel tells its own tenant's people, of nothing else.
    if channel is None or channel.tenant_id != tenant_id:
        return _not_sent("the channel was removed meanwhile")
    if channel.status == 0 and event != TEST:
        return _not_sent("the channel was disabled meanwhile")
    message = _message(db, settings, channel, event, incident_ids, batch)
    if message is None:
        return _not_sent("what it is about is gone, or goes on")
    try:
        told = _send(channel, message, settings, delivery)
    except NotSent as error:
        words = storable(str(error))
        db.run(lambda tx: tx.execute(_FAILED, id=channel_id, error=words))
        raise
    db.run(lambda tx: tx.execute(_SENT.format(now=tx.dialect.utc_now), id=channel_id))
    return {"sent": True, "channel": channel.name, **told}


def _send_to_addresses(
    settings: Settings, tenant_id: str, batch: dict[str, Any] | None, delivery: str
) -> dict[str, Any]:
    from taskyard.alerts import mail, messages

    if batch is None or batch["tenant_id"] != tenant_id:
        return _not_sent("the batch is gone, or goes on")
    to = orjson.loads(batch["notify"] or "{}").get("to")
    if not to:
        return _not_sent("the batch names nobody")
    return {"sent": True, **mail.send(settings, to, messages.of_batch(batch, settings), delivery)}


def _not_sent(why: str) -> dict[str, Any]:
    return {"sent": False, "why": why}


# --- what it is about -----------------------------------------------------------------------------


def _message(
    db: Database,
    settings: Settings,
    channel: Channel,
    event: str,
    incident_ids: Sequence[int],
    batch: dict[str, Any] | None,
) -> Message | None:
    from taskyard.alerts import messages

    if event == TEST:
        return messages.of_test(channel, settings)
    if event == BATCH:
        # A rule of the platform is about the batches of all tenants.
        ours = batch is not None and channel.tenant_id in (PLATFORM, batch["tenant_id"])
        return messages.of_batch(batch, settings) if batch is not None and ours else None
    ids = ", ".join(str(int(number)) for number in incident_ids)
    found = db.read(lambda tx: _incidents(tx, ids, channel))
    if not found:
        return None
    return messages.of_incidents(event, found, [_run(db, one) for one in found[:1]], settings)


def _batch(tx: Tx, batch_id: int) -> dict[str, Any] | None:
    """A batch that has ended; None for another, which may have been taken up again."""
    rows = tx.rows(_BATCH, id=batch_id)
    return rows[0] if rows else None


def _incidents(tx: Tx, ids: str, channel: Channel) -> list[Incident]:
    if not ids:
        return []
    where = f"id IN ({ids}) AND tenant_id = :tenant_id"
    return incidents.select(tx, where, tenant_id=channel.tenant_id)


def _run(db: Database, incident: Incident) -> dict[str, Any] | None:
    """The Run that an incident shows, live or ended; None where there is none (any more)."""
    if incident.run_id is None:
        return None
    try:
        return show_run(db, ENGINE, incident.run_id)
    except RunUnknown:
        return None


# --- out ------------------------------------------------------------------------------------------


def _send(channel: Channel, message: Message, settings: Settings, delivery: str) -> dict[str, Any]:
    """Send a message by the way of its channel."""
    # Imported here: a runner that sends nothing stays small.
    from taskyard.alerts.addresses import Allowed

    allowed = Allowed.of(settings.alert_hosts)
    match channel.kind:
        case ChannelKind.MAIL:
            from taskyard.alerts import mail

            return mail.send(settings, channel.settings["to"], message, delivery)
        case ChannelKind.WEBHOOK:
            from taskyard.alerts import webhook

            url, secret = channel.settings["url"], channel.settings["secret"]
            return webhook.send(url, secret, message, delivery, allowed)
        case ChannelKind.APPRISE:
            from taskyard.alerts import services

            return services.send(channel.settings["url"], message, allowed)
