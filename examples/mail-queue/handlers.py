"""Sends mails that anybody has put into the table email_tasks."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from taskyard import Context, Never, On, Yard

OUTBOX = Path(__file__).with_name("outbox")

yard = Yard()


@yard.handler(
    "email",
    queue="email_queue",
    timeout="30s",
    # An address that is none will not become one; a server that is busy will be free.
    retry=[Never(ValueError, smtplib.SMTPRecipientsRefused), On(OSError, base=5, cap=300)],
)
def send_email(
    ctx: Context,
    to: list[str],
    subject: str,
    content: str,
    type: Literal["plain", "html"] = "plain",  # noqa: A002 (the name that the SQL uses)
) -> dict[str, int]:
    """Send one mail to all recipients."""
    if bad := [address for address in to if "@" not in address]:
        raise ValueError(f"no address: {', '.join(bad)}")
    message = EmailMessage()
    message["From"] = yard.settings.smtp_from or "nobody@example.com"
    message["To"] = ", ".join(to)
    message["Subject"] = subject
    # A second attempt after a crash may send the mail twice; who sees the same id can drop one.
    message["Message-ID"] = f"<{ctx.idempotency_key}@example.com>"
    message.set_content(content, subtype=type)
    _deliver(ctx, message)
    return {"recipients": len(to)}


def _deliver(ctx: Context, message: EmailMessage) -> None:
    settings = yard.settings
    if settings.smtp_host is None:
        OUTBOX.mkdir(exist_ok=True)
        file = OUTBOX / f"{ctx.task_id}.eml"
        file.write_bytes(bytes(message))
        ctx.log.info("no smtp_host is set: written to %s", file)
        return
    with smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=20) as server:
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password or "")
        server.send_message(message)
    ctx.log.info("sent to %s", message["To"])
