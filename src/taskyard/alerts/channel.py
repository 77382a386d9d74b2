"""Channel: what a row of `ty_channels` is, what it may be, and what people see of it.

Owns the kinds of channels with their settings, and which of them are secrets: these are written,
used, and never shown again. The verbs are `channels.py`'s; how a message gets out is `mail.py`'s,
`webhook.py`'s and `services.py`'s.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import orjson

from taskyard.alerts import services
from taskyard.alerts.addresses import Allowed, check_literal
from taskyard.core.errors import AlertInvalid, did_you_mean
from taskyard.core.payload import MASK
from taskyard.db.database import Tx
from taskyard.db.listing import utc

COLUMNS = (
    "id",
    "name",
    "kind",
    "settings",
    "tenant_id",
    "status",
    "last_sent_at",
    "last_error",
    "created_at",
    "updated_at",
)

SECRET_PREFIX = "whsec_"  # noqa: S105 (that of Standard Webhooks)

_LONGEST_NAME = 100
_MOST_RECIPIENTS = 50
_LONGEST_URL = 2_000
_SECRET_BYTES = (24, 64)
# What a mail server will make of it is its own affair; here is only kept out what breaks a header.
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]\\\x00-\x1f]{1,64}@[^\s@<>,;:\"()\[\]\\\x00-\x1f]{1,255}")


class ChannelKind(StrEnum):
    """How a message gets out."""

    MAIL = "mail"
    WEBHOOK = "webhook"
    APPRISE = "apprise"


@dataclass(frozen=True, slots=True)
class Channel:
    """Where people are told. `settings` hold its secrets: `shown()` is what may be seen of it.

    `last_error` says why the newest message did not get out; None when it did.
    """

    id: int
    name: str
    kind: ChannelKind
    settings: dict[str, Any] = field(repr=False)
    tenant_id: str
    status: int
    last_sent_at: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime

    def shown(self) -> dict[str, Any]:
        """The fields by name, secrets masked."""
        fields = asdict(self)
        return fields | {"settings": masked(self.settings)}


def of_row(row: Mapping[str, Any]) -> Channel:
    """The channel of a row with `COLUMNS`."""
    times = {name: utc(row[name]) for name in ("last_sent_at", "created_at", "updated_at")}
    settings = orjson.loads(row["settings"])
    return Channel(**{**row, **times, "settings": settings, "kind": ChannelKind(row["kind"])})


def read(tx: Tx, channel_id: int) -> Channel | None:
    """The channel of an id, whoever asks."""
    sql = f"SELECT {', '.join(COLUMNS)} FROM ty_channels WHERE id = :id"
    rows = tx.rows(sql, id=channel_id)
    return of_row(rows[0]) if rows else None


def thing(name: str) -> str:
    """How messages name a channel."""
    return f'Channel "{name}"'


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as people may see them: of an address only where it leads, of a secret nothing."""
    shown = dict(settings)
    if "url" in shown:
        parts = urlsplit(shown["url"])
        place = parts.netloc.rpartition("@")[2] if parts.scheme in ("http", "https") else ""
        shown["url"] = f"{parts.scheme}://{place}/{MASK}" if place else f"{parts.scheme}://{MASK}"
    if "secret" in shown:
        shown["secret"] = MASK
    return shown


def new_secret() -> str:
    """A secret to sign with."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


# --- what may be ----------------------------------------------------------------------------------


def valid_name(name: str) -> str:
    """The name as it is kept; raises AlertInvalid."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise AlertInvalid(
            thing(name[:_LONGEST_NAME]),
            "name",
            "it is empty, too long, or has a character that cannot be",
            f"Use 1–{_LONGEST_NAME} characters on one line.",
        )
    return name.strip()


def valid_kind(name: str, kind: str) -> ChannelKind:
    """The kind of a channel to be; raises AlertInvalid."""
    try:
        return ChannelKind(kind)
    except ValueError:
        why = f'there is no kind "{kind}".{did_you_mean(kind, ChannelKind)}'
        known = f"There are: {', '.join(ChannelKind)}."
        raise AlertInvalid(thing(name), "kind", why, known) from None


def valid_status(name: str, status: Any) -> int:
    """A status as it is kept; raises AlertInvalid."""
    if isinstance(status, bool) or status not in (0, 1):
        raise AlertInvalid(thing(name), "status", f"it cannot be {status!r}", "Give 1 or 0.")
    return int(status)


def valid_settings(
    name: str,
    kind: ChannelKind,
    given: Mapping[str, Any],
    allowed: Allowed,
    current: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The settings of a channel as they are kept.

    What is left out, or given as it was shown, stays as `current` has it. Raises AlertInvalid,
    AddressRefused, or MissingExtra.
    """
    known = _SETTINGS[kind]
    shown = masked(current or {})
    found = dict(current or {})
    for field_, value in given.items():
        if field_ not in known:
            why = f'a {kind} channel has no setting "{field_}"'
            raise AlertInvalid(thing(name), field_, why, f"There are: {', '.join(known)}.")
        if value is not None and value != shown.get(field_):
            found[field_] = known[field_](name, value, allowed)
    for field_ in known:
        if field_ not in found and field_ != "secret":
            raise AlertInvalid(thing(name), field_, f"a {kind} channel needs it", _FIXES[field_])
    return found


def recipients(what: str, field_: str, value: Any) -> list[str]:
    """Addresses of people as they are kept; `what` names the thing in errors (AlertInvalid)."""
    words = [value] if isinstance(value, str) else value
    sound = isinstance(words, list | tuple) and 0 < len(words) <= _MOST_RECIPIENTS
    if not sound:
        raise AlertInvalid(what, field_, "it is no list of addresses", _FIXES["to"])
    for word in words:
        if not isinstance(word, str) or not _ADDRESS.fullmatch(word):
            raise AlertInvalid(what, field_, f"{word!r:.80} is no address", _FIXES["to"])
    return list(dict.fromkeys(words))


def _recipients(name: str, value: Any, allowed: Allowed) -> list[str]:
    return recipients(thing(name), "to", value)


def _webhook_url(name: str, value: Any, allowed: Allowed) -> str:
    try:
        parts = urlsplit(_one_line(value))
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise AlertInvalid(
            thing(name), "url", "it is no http:// or https:// address", _FIXES["url"]
        )
    if parts.username is not None or parts.password is not None:
        why = "it has a name or a password in it"
        raise AlertInvalid(thing(name), "url", why, "Leave it out: messages are signed.")
    check_literal(parts.hostname or "", allowed)
    return str(value)


def _service_url(name: str, value: Any, allowed: Allowed) -> str:
    try:
        services.check(_one_line(value), allowed)
    except ValueError as error:
        raise AlertInvalid(thing(name), "url", str(error), services.FIX) from None
    return str(value)


def _secret(name: str, value: Any, allowed: Allowed) -> str:
    try:
        size = len(key_of(str(value)))
    except (ValueError, binascii.Error):
        size = 0
    low, high = _SECRET_BYTES
    if not low <= size <= high:
        why = f"it is not {SECRET_PREFIX} and {low} to {high} bytes in base64"
        raise AlertInvalid(thing(name), "secret", why, "Leave it out, and one is made.")
    return str(value)


def key_of(secret: str) -> bytes:
    """The bytes of a secret; raises ValueError."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError("no secret of ours")
    return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    if not text or len(text) > _LONGEST_URL or not text.isprintable() or " " in text:
        raise ValueError("it is empty, too long, or has a blank in it")
    return text


Check = Callable[[str, Any, Allowed], Any]

_SETTINGS: dict[ChannelKind, dict[str, Check]] = {
    ChannelKind.MAIL: {"to": _recipients},
    ChannelKind.WEBHOOK: {"url": _webhook_url, "secret": _secret},
    ChannelKind.APPRISE: {"url": _service_url},
}

_FIXES = {
    "to": f'Give 1 to {_MOST_RECIPIENTS} addresses, like ["ops@example.com"].',
    "url": "Give the address that messages are sent to.",
}
