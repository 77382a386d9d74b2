"""Telling: how a message comes into the line, and what the handler does that sends it.

Owns the Tasks of the built-in handler `taskyard.notify`: so a message is retried, has a Run, and
needs nobody to wait for it. They hold ids only; what is said, and the secrets of a channel, are
read when the message is sent. The ways out are `mail.py`, `webhook.py` and `services.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from taskyard.access.caller import ENGINE
from taskyard.alerts import channel as channels
from taskyard.alerts import incident as incidents
from taskyard.alerts.channel import Channel, ChannelKind
from taskyard.alerts.incident import Incident
from taskyard.core.errors import NotSent, RunUnknown
from taskyard.core.payload import storable
from taskyard.db.database import Database, Tx
from taskyard.queues import ensure_queue
from taskyard.runs.browse import show_run
from taskyard.tasks.enqueue import NewTask, TaskRef, enqueue, route

if TYPE_CHECKING:
    from taskyard.alerts.messages import Message
    from taskyard.settings import Settings

NOTIFY = "taskyard.notify"
"""The handler that sends a message."""
QUEUE = "alerts"
"""The queue of messages: an alert must not wait behind the work that it is about."""
TEST = "test"
"""The event of a message that somebody wants to see arrive."""

_RETRIES = 12
_TIMEOUT = 60.0

_SENT = """
UPDATE ty_channels SET last_sent_at = {now}, last_error = NULL WHERE id = :id
"""

_FAILED = "UPDATE ty_channels SET last_error = :error WHERE id = :id"


# --- into the line --------------------------------------------------------------------------------


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
    given = {
        "channel_id": channel_id,
        "event": event,
        "incident_ids": list(incident_ids),
        # Drawn once, so that who gets it knows it again when it is sent twice.
        "delivery": f"msg_{secrets.token_hex(12)}",
    }
    task = NewTask(
        NOTIFY,
        orjson.dumps(given).decode(),
        QUEUE,
        priority=100,
        max_retries=max_retries,
        timeout=_TIMEOUT,
        tenant_id=tenant_id,
    )
    return enqueue(db, ENGINE, task, connection=connection)


# --- out ------------------------------------------------------------------------------------------


def send(
    db: Database,
    settings: Settings,
    channel_id: int,
    event: str,
    incident_ids: Sequence[int],
    delivery: str,
) -> dict[str, Any]:
    """Tell a channel of an event of incidents; returns what to keep of it.

    `delivery` names the message, the same at each attempt. Raises NotSent when it did not get out;
    Undeliverable when it never will as things are.
    """
    channel = db.read(lambda tx: channels.read(tx, channel_id))
    if channel is None or (channel.status == 0 and event != TEST):
        return {"sent": False, "why": "the channel was removed or disabled meanwhile"}
    message = _message(db, settings, channel, event, incident_ids)
    if message is None:
        return {"sent": False, "why": "its incidents are gone"}
    try:
        told = _send(channel, message, settings, delivery)
    except NotSent as error:
        words = storable(str(error))
        db.run(lambda tx: tx.execute(_FAILED, id=channel_id, error=words))
        raise
    db.run(lambda tx: tx.execute(_SENT.format(now=tx.dialect.utc_now), id=channel_id))
    return {"sent": True, "channel": channel.name, **told}


def _message(
    db: Database, settings: Settings, channel: Channel, event: str, incident_ids: Sequence[int]
) -> Message | None:
    from taskyard.alerts import messages

    if event == TEST:
        return messages.of_test(channel, settings)
    ids = ", ".join(str(int(number)) for number in incident_ids)
    found = db.read(lambda tx: _incidents(tx, ids, channel))
    if not found:
        return None
    return messages.of_incidents(event, found, [_run(db, one) for one in found[:1]], settings)


def _incidents(tx: Tx, ids: str, channel: Channel) -> list[Incident]:
    if not ids:
        return []
    # A Task can be written by hand: a channel tells nobody of another tenant's incidents.
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
