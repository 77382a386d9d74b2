"""Services: chats and on-call services, through apprise (extra `[notify]`).

Owns which of apprise's services may be used, and sending by them. Those whose address stands in
apprise itself (DingTalk, Feishu, WeCom, Slack, …) may always; one whose host the channel names is
used only where the setting `alert_hosts` lists that host; what would show a window on the server,
write its log or read a file of it never is.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote

from taskyard.alerts.addresses import Allowed
from taskyard.alerts.messages import Message, Mood
from taskyard.core.errors import MissingExtra, NotSent, Undeliverable
from taskyard.core.payload import MASK

FIX = "See https://appriseit.com for how each service's address is written."

_SHORTEST_SECRET = 5

_NEVER = frozenset({"syslog", "vapid", "fcm", "nostr", "blink1"})
"""They write this machine's log, read files of it, or talk to hosts that are named elsewhere."""


def check(url: str, allowed: Allowed) -> None:
    """Raise ValueError for an address that cannot be used, or MissingExtra."""
    _service(url, allowed)


def send(url: str, message: Message, allowed: Allowed) -> dict[str, Any]:
    """Send a message by the service that an address names; returns which.

    Raises NotSent, Undeliverable or MissingExtra.
    """
    try:
        service = _service(url, allowed)
    except ValueError as error:
        raise Undeliverable(str(error)) from None
    moods = {Mood.BAD: "failure", Mood.GOOD: "success", Mood.PLAIN: "info"}
    with _heard() as said:
        sent = service.notify(
            title=message.subject, body=message.text, notify_type=moods[message.mood]
        )
    if not sent:
        why = _without_secrets(said[-1], url) if said else "it did not take the message"
        raise NotSent(f"{service.service_name}: {why}")
    return {"service": str(service.service_name)}


def _service(url: str, allowed: Allowed) -> Any:
    """The plug-in of an address; raises ValueError, which never shows the address."""
    apprise = _apprise()
    scheme = url.partition("://")[0].lower()
    with _heard():
        service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if service is None:
        raise ValueError(f'apprise cannot read it as an address of "{scheme}"')
    templates = [str(template) for template in getattr(service, "templates", ())]
    if scheme in _NEVER or all(template == "{schema}://" for template in templates):
        raise ValueError(f'"{scheme}" is not for servers')
    chosen = any("{host}" in template for template in templates)
    if chosen and not allowed.names_host(str(service.host or "")):
        raise ValueError(
            f'"{scheme}" goes to a host of your choice, which the setting alert_hosts does not list'
        )
    return service


def _apprise() -> Any:
    try:
        import apprise
    except ModuleNotFoundError as error:
        if error.name != "apprise":
            raise
        raise MissingExtra("A channel of kind apprise", "notify") from None
    return apprise


# --- what apprise says ----------------------------------------------------------------------------

_saying: ContextVar[list[str] | None] = ContextVar("_saying", default=None)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What apprise says in the block is kept from every log: it would show addresses, which are
    secret. Its complaints are given instead."""
    logging.getLogger("apprise").addFilter(_keep)  # once, however often
    said: list[str] = []
    before = _saying.set(said)
    try:
        yield said
    finally:
        _saying.reset(before)


def _keep(record: logging.LogRecord) -> bool:
    said = _saying.get()
    if said is None:
        return True  # an application's own use of apprise
    if record.levelno >= logging.WARNING:
        said.append(record.getMessage())
    return False


def _without_secrets(text: str, url: str) -> str:
    """A complaint without the parts of the address."""
    for part in re.split(r"[/:@?&=,]+", unquote(url.partition("://")[2])):
        if len(part) >= _SHORTEST_SECRET:
            text = text.replace(part, MASK)
    return text[:300]
