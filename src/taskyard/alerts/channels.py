"""Channels: where people are told. The verbs over `ty_channels`.

Owns creating, listing, changing, testing and deleting channels. What a channel may be, and what is
shown of it, is `channel.py`'s; that messages get out is `telling.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from taskyard.access import audit
from taskyard.access.caller import PLATFORM, Caller
from taskyard.access.permissions import Permission
from taskyard.access.tenants import require_known
from taskyard.alerts import channel as channels_
from taskyard.alerts import telling
from taskyard.alerts.addresses import Allowed
from taskyard.alerts.channel import COLUMNS, Channel, ChannelKind, masked, new_secret, of_row
from taskyard.core.errors import ChannelUnknown, NameTaken, NotNow
from taskyard.db.database import Database, Tx
from taskyard.db.listing import (
    Filter,
    Listing,
    Operator,
    Page,
    Query,
    Source,
    integer,
    one_of,
    page,
)
from taskyard.tasks.enqueue import TaskRef

CHANNELS = Listing(
    columns=COLUMNS,
    filters={
        "kind": Filter("kind", read=one_of(*ChannelKind), help="How messages get out."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
        "status": Filter("status", read=integer, help="1, or 0 for disabled."),
        "q": Filter("name", Operator.CONTAINS, help="With this in its name."),
    },
    sorts={"id": "id", "name": "name"},
    sort="name",
)
"""What may be asked of the list of channels."""

_INSERT = """
INSERT INTO ty_channels (name, kind, settings, tenant_id, status, created_at, updated_at)
VALUES (:name, :kind, :settings, :tenant_id, :status, {now}, {now})
"""

_NEWEST = "SELECT MAX(id) FROM ty_channels WHERE tenant_id = :tenant_id AND name = :name"

_UPDATE = """
UPDATE ty_channels
   SET name = :name, settings = :settings, status = :status, updated_at = {now}
 WHERE id = :id
"""


@dataclass(frozen=True, slots=True)
class NewChannel:
    """A channel that was just made. `secret` is what its messages are signed with, where that was
    made as well: it cannot be had again."""

    channel: Channel
    secret: str | None


def list_channels(db: Database, caller: Caller, query: Query) -> Page:
    """One page of the channels that the caller sees, as dictionaries without their secrets.

    Raises QueryInvalid or NotAllowed.
    """
    caller.require(Permission.ALERTS_READ)
    asked = replace(query, filters=caller.narrow(query.filters))
    found = db.read(partial(page, listing=CHANNELS, sources=[Source("ty_channels")], query=asked))
    return replace(found, rows=[of_row(row).shown() for row in found.rows])


def show_channel(db: Database, caller: Caller, channel_id: int) -> Channel:
    """One channel. Raises ChannelUnknown, also for one that the caller does not see; NotAllowed."""
    caller.require(Permission.ALERTS_READ)
    return db.read(partial(_visible, caller=caller, channel_id=channel_id))


def find_channel(db: Database, caller: Caller, name: str) -> Channel:
    """The channel of a name, or of an id written as text; raises ChannelUnknown or NotAllowed."""
    caller.require(Permission.ALERTS_READ)
    found = db.read(partial(_named, caller=caller, name=name))
    if not found and name.isdecimal():
        return show_channel(db, caller, int(name))
    if len(found) != 1:
        known = [row["name"] for row in list_channels(db, caller, Query(limit=500)).rows]
        raise ChannelUnknown(name, known)
    return found[0]


def create_channel(
    db: Database,
    caller: Caller,
    name: str,
    kind: str,
    settings: Mapping[str, Any],
    *,
    tenant_id: str = PLATFORM,
    status: int = 1,
    alert_hosts: Sequence[str] = (),
) -> NewChannel:
    """Make a channel.

    `settings` are `{"to": [addresses]}` of a mail, `{"url": …, "secret"?: …}` of a webhook (without
    a secret one is made), `{"url": …}` of an apprise service. `alert_hosts` is the setting of this
    name. Raises AlertInvalid naming the field, AddressRefused, MissingExtra, NameTaken,
    TenantUnknown or NotAllowed.
    """
    caller.require_tenant(tenant_id, Permission.ALERTS_WRITE)
    name = channels_.valid_name(name)
    known = channels_.valid_kind(name, kind)
    kept = channels_.valid_settings(name, known, settings, Allowed.of(alert_hosts))
    made = new_secret() if known is ChannelKind.WEBHOOK and "secret" not in kept else None
    row = {
        "name": name,
        "kind": known.value,
        "settings": orjson.dumps(kept | ({"secret": made} if made else {})).decode(),
        "tenant_id": tenant_id,
        "status": channels_.valid_status(name, status),
    }

    def work(tx: Tx) -> Channel:
        require_known(tx, [tenant_id])
        tx.execute(_INSERT.format(now=tx.dialect.utc_now), **row)
        channel_id = tx.value(_NEWEST, tenant_id=tenant_id, name=name)
        found = _visible(tx, caller, channel_id)
        _audit(tx, caller, "channel.create", found, None, _kept(found))
        return found

    try:
        channel = db.run(work, again=False)
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise NameTaken(channels_.thing(name)) from error
        raise
    telling.ready(db)  # so that Servers know its queue before there is something to tell
    return NewChannel(channel, made)


def update_channel(
    db: Database,
    caller: Caller,
    channel_id: int,
    *,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    status: int | None = None,
    alert_hosts: Sequence[str] = (),
) -> Channel:
    """Change a channel; what is left out stays, also within its settings.

    A setting that is given as it was shown (masked) stays as well. Raises ChannelUnknown,
    AlertInvalid, AddressRefused, MissingExtra, NameTaken or NotAllowed.
    """
    caller.require(Permission.ALERTS_WRITE)

    def work(tx: Tx) -> Channel:
        current = _visible(tx, caller, channel_id)
        allowed = Allowed.of(alert_hosts)
        after = replace(
            current,
            name=current.name if name is None else channels_.valid_name(name),
            settings=channels_.valid_settings(
                current.name, current.kind, settings or {}, allowed, current.settings
            ),
            status=current.status
            if status is None
            else channels_.valid_status(current.name, status),
        )
        if after == current:
            return current
        tx.execute(
            _UPDATE.format(now=tx.dialect.utc_now),
            id=channel_id,
            name=after.name,
            settings=orjson.dumps(after.settings).decode(),
            status=after.status,
        )
        changed = sorted(n for n in after.settings if after.settings[n] != current.settings.get(n))
        kept = _kept(after) | {"changed_settings": changed}
        _audit(tx, caller, "channel.update", after, _kept(current), kept)
        return _visible(tx, caller, channel_id)

    try:
        return db.run(work)
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise NameTaken(channels_.thing(str(name))) from error
        raise


def delete_channel(db: Database, caller: Caller, channel_id: int) -> None:
    """Delete a channel. Raises NotNow while a rule names it, ChannelUnknown or NotAllowed."""
    caller.require(Permission.ALERTS_WRITE)

    def work(tx: Tx) -> None:
        found = _visible(tx, caller, channel_id)
        users = _rules_of(tx, found)
        if users:
            state = f"used by the alert rule {', '.join(users)}"
            fix = "Change these rules first, or disable the channel."
            raise NotNow("delete", f'channel "{found.name}"', state, fix)
        tx.execute("DELETE FROM ty_channels WHERE id = :id", id=channel_id)
        _audit(tx, caller, "channel.delete", found, _kept(found), None)

    db.run(work)


def check_channel(db: Database, caller: Caller, channel_id: int) -> TaskRef:
    """Have a test message sent through a channel; returns its Task.

    The Task is tried once: what went wrong is its error. Raises ChannelUnknown or NotAllowed.
    """
    caller.require(Permission.ALERTS_WRITE)
    found = db.read(partial(_visible, caller=caller, channel_id=channel_id))
    telling.ready(db)
    db.run(lambda tx: _audit(tx, caller, "channel.test", found, None, None))
    return telling.enqueue_message(db, found.id, telling.TEST, [], found.tenant_id, max_retries=0)


# --- below ----------------------------------------------------------------------------------------


def _visible(tx: Tx, caller: Caller, channel_id: int) -> Channel:
    found = channels_.read(tx, channel_id)
    if found is None or not caller.sees(found.tenant_id):
        raise ChannelUnknown(str(channel_id))
    return found


def _named(tx: Tx, caller: Caller, name: str) -> list[Channel]:
    sql = f"SELECT {', '.join(COLUMNS)} FROM ty_channels WHERE name = :name"
    found = [of_row(row) for row in tx.rows(sql, name=name)]
    return [one for one in found if caller.sees(one.tenant_id)]


def _rules_of(tx: Tx, channel: Channel) -> list[str]:
    """The rules that name a channel."""
    sql = "SELECT name, channels FROM ty_alert_rules WHERE tenant_id = :tenant_id ORDER BY name"
    rows = tx.all(sql, tenant_id=channel.tenant_id)
    return [f'"{name}"' for name, text in rows if channel.id in (orjson.loads(text) or ())]


def _kept(channel: Channel) -> dict[str, Any]:
    """What of a channel goes into the audit: never its secrets."""
    return {
        "name": channel.name,
        "kind": channel.kind.value,
        "settings": masked(channel.settings),
        "status": channel.status,
    }


def _audit(
    tx: Tx,
    caller: Caller,
    action: str,
    channel: Channel,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    thing = f"channel/{channel.id}"
    audit.write(tx, caller, action, thing, tenant_id=channel.tenant_id, before=before, after=after)
