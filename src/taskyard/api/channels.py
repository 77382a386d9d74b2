"""Channels over HTTP: where people are told. The verbs are `alerts.channels`'.

A channel's secrets are written and never shown again: its answers have them masked, and none of
them is kept for an Idempotency-Key.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from taskyard.access.permissions import Permission
from taskyard.alerts import channels
from taskyard.alerts.channel import ChannelKind
from taskyard.api import asked, wire
from taskyard.api.alert_rules import NAME
from taskyard.api.fields import Absent, Body, OneOf
from taskyard.api.gate import Ask
from taskyard.api.noun import PREFIX, Noun
from taskyard.core.errors import (
    AddressRefused,
    AlertInvalid,
    ChannelUnknown,
    MissingExtra,
    NameTaken,
    NotNow,
    QueryInvalid,
    TenantUnknown,
)

noun = Noun("alerts")

ChannelId = Annotated[int, Path(ge=1, lt=2**63)]

_SETTINGS = Field(
    description='`{"to": [addresses]}` of a mail, `{"url": …, "secret"?: …}` of a webhook,'
    ' `{"url": …}` of a service of apprise.',
    examples=[{"to": ["ops@example.com"]}, {"url": "https://hooks.example.com/taskyard"}],
)
_INVALID = (AlertInvalid, AddressRefused, MissingExtra, NameTaken)


class Channel(BaseModel):
    """Where people are told; its secrets are masked."""

    id: int
    name: str
    kind: ChannelKind
    settings: dict[str, Any] = _SETTINGS
    tenant_id: str
    status: int = Field(description="1, or 0 for disabled.")
    last_sent_at: datetime | None
    last_error: str | None = Field(description="Why the newest message did not get out.")
    created_at: datetime
    updated_at: datetime


class MadeChannel(Channel):
    """A channel that was just made; `secret` cannot be had again."""

    secret: str | None = Field(description="What a webhook's messages are signed with.")


class NewChannel(Body):
    """A channel to be."""

    name: Annotated[str, NAME]
    kind: OneOf[ChannelKind]
    settings: Annotated[dict[str, Any], _SETTINGS]
    tenant_id: str | None = Field(None, description="Whose it is; empty is the platform's.")
    status: int = Field(1, ge=0, le=1)


class ChannelChanges(Body):
    """What is to be different; what is left out stays, also within the settings."""

    name: Annotated[str | Absent, NAME] = None
    settings: Annotated[dict[str, Any] | Absent, _SETTINGS] = None
    status: int = Field(1, ge=0, le=1)


class Sent(BaseModel):
    """The task that sends a message; its run says whether it got out."""

    ref: str = Field(examples=["alerts/42"])
    queue: str
    id: int


@noun.get(
    "/channels",
    needs=Permission.ALERTS_READ,
    answers=wire.page_of(Channel),
    takes=asked.of_list(channels.CHANNELS),
    raises=(QueryInvalid,),
)
def list_channels(ask: Ask) -> dict[str, Any]:
    """Channels by name."""
    query = asked.query_of(ask.query, channels.CHANNELS)
    return wire.listed(channels.list_channels(ask.db, ask.caller, query))


@noun.create(
    "/channels",
    needs=Permission.ALERTS_WRITE,
    audit="channel.create",
    answers=MadeChannel,
    raises=(*_INVALID, TenantUnknown),
    once=False,  # Its answer holds a secret, which must not be kept.
)
def create_channel(ask: Ask, new: NewChannel) -> wire.Created:
    """Make a channel; a webhook's secret is in this answer and nowhere else."""
    fields = new.model_dump(exclude_unset=True)
    fields["tenant_id"] = ask.tenant(fields.get("tenant_id"))
    hosts = ask.settings.alert_hosts
    made = channels.create_channel(ask.db, ask.caller, **fields, alert_hosts=hosts)
    shown = made.channel.shown() | {"secret": made.secret}
    return wire.Created(shown, f"{PREFIX}/channels/{made.channel.id}")


@noun.get(
    "/channels/{channel_id}",
    needs=Permission.ALERTS_READ,
    answers=Channel,
    raises=(ChannelUnknown,),
)
def show_channel(ask: Ask, channel_id: ChannelId) -> dict[str, Any]:
    """One channel."""
    return channels.show_channel(ask.db, ask.caller, channel_id).shown()


@noun.patch(
    "/channels/{channel_id}",
    needs=Permission.ALERTS_WRITE,
    audit="channel.update",
    answers=Channel,
    raises=(ChannelUnknown, *_INVALID),
)
def update_channel(ask: Ask, channel_id: ChannelId, changes: ChannelChanges) -> dict[str, Any]:
    """Change a channel; a setting that is given as it was shown stays."""
    fields = changes.model_dump(exclude_unset=True)
    hosts = ask.settings.alert_hosts
    found = channels.update_channel(ask.db, ask.caller, channel_id, **fields, alert_hosts=hosts)
    return found.shown()


@noun.delete(
    "/channels/{channel_id}",
    needs=Permission.ALERTS_WRITE,
    audit="channel.delete",
    raises=(ChannelUnknown, NotNow),
)
def delete_channel(ask: Ask, channel_id: ChannelId) -> None:
    """Delete a channel that no rule names."""
    channels.delete_channel(ask.db, ask.caller, channel_id)


@noun.post(
    "/channels/{channel_id}/test",
    needs=Permission.ALERTS_WRITE,
    audit="channel.test",
    answers=Sent,
    raises=(ChannelUnknown,),
)
def test_channel(ask: Ask, channel_id: ChannelId) -> dict[str, Any]:
    """Have a test message sent; it is tried once."""
    ref = channels.check_channel(ask.db, ask.caller, channel_id)
    return {"ref": str(ref), "queue": ref.queue, "id": ref.id}
