"""Mail: a message as a mail, by the mail server that the settings name.

Owns the mail itself (text and HTML side by side) and the talk with the server. Recipients are the
channel's, the server and its password the operator's: the settings `smtp_*`.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any

from taskyard.alerts.messages import Message
from taskyard.core.errors import NotSent, Undeliverable
from taskyard.settings import Settings

_SECONDS = 15.0
_PREFIX = "[Taskyard] "


def send(
    settings: Settings, recipients: Sequence[str], message: Message, delivery: str
) -> dict[str, Any]:
    """Send a mail; returns who got it. Raises NotSent or Undeliverable."""
    if settings.smtp_host is None:
        raise Undeliverable("no mail server is set: give the settings smtp_host and smtp_from")
    mail = _mail(settings, recipients, message, delivery)
    try:
        with _server(settings) as server:
            refused = server.send_message(mail)
    except smtplib.SMTPNotSupportedError as error:
        why = f"{settings.smtp_host}: {error} The setting smtp_tls is {settings.smtp_tls}"
        raise Undeliverable(why) from error
    except smtplib.SMTPRecipientsRefused as error:
        raise _refused(settings.smtp_host, error) from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"{settings.smtp_host}:{settings.smtp_port}: {_said(error)}") from error
    return {"recipients": len(recipients) - len(refused), "refused": sorted(refused)}


def _mail(
    settings: Settings, recipients: Sequence[str], message: Message, delivery: str
) -> EmailMessage:
    mail = EmailMessage()
    mail["From"] = settings.smtp_from or f"Taskyard <taskyard@{socket.getfqdn()}>"
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = _PREFIX + message.subject
    mail["Date"] = formatdate()
    # The same at each attempt: a mail that was taken although its answer was lost comes twice, and
    # most programs show it once.
    mail["Message-ID"] = f"<{delivery}@{mail['From'].addresses[0].domain or 'taskyard'}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    return mail


def _server(settings: Settings) -> smtplib.SMTP:
    """A connection to the mail server, signed in."""
    assert settings.smtp_host is not None
    place = settings.smtp_host, settings.smtp_port
    if settings.smtp_tls == "ssl":
        context = ssl.create_default_context()
        server: smtplib.SMTP = smtplib.SMTP_SSL(*place, timeout=_SECONDS, context=context)
    else:
        server = smtplib.SMTP(*place, timeout=_SECONDS)
    try:
        if settings.smtp_tls == "starttls":
            server.starttls(context=ssl.create_default_context())
        if settings.smtp_user is not None:
            server.login(settings.smtp_user, settings.smtp_password or "")
    except BaseException:
        server.close()
        raise
    return server


def _refused(host: str, error: smtplib.SMTPRecipientsRefused) -> NotSent:
    """Nobody got it: for good where the server says so of each of them."""
    for_good = all(code >= 500 for code, _ in error.recipients.values())
    said = "; ".join(f"{who}: {_text(what)}" for who, (_, what) in error.recipients.items())
    kind = Undeliverable if for_good else NotSent
    return kind(f"{host} takes mail for none of its recipients: {said}")


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return str(error) or type(error).__name__


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said
