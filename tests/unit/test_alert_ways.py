"""The ways out: real servers get what is sent, and nobody inside does."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.catcher import Hook, Mailbox
from taskyard.alerts import addresses, mail, webhook
from taskyard.alerts.addresses import Allowed
from taskyard.alerts.channel import new_secret
from taskyard.alerts.messages import Message, Mood
from taskyard.core.errors import AddressRefused, NotSent, Undeliverable
from taskyard.settings import Settings

MESSAGE = Message(
    "incident.opened",
    "backup failed — Zürich",
    "Run: 7\n.a line with a dot\n",
    '<a href="https://jobs.example/runs/7">7</a>',
    {"event": "opened", "text": "x"},
    Mood.BAD,
)
SECRET = new_secret()
HERE = Allowed.of(["127.0.0.1"])
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "alerts.md"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with closing(Hook()) as hook:
        yield hook


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with closing(Mailbox()) as mailbox:
        yield mailbox


def documented_verify() -> Callable[..., bool]:
    """The function that the guide gives to receivers."""
    [source] = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    known: dict[str, Any] = {}
    exec(source, known)
    verify: Callable[..., bool] = known["verify"]
    return verify


# --- webhook --------------------------------------------------------------------------------------


def test_a_webhook_is_verified_as_the_guide_says(hook: Hook) -> None:
    url = f"http://127.0.0.1:{hook.port}/in?token=t#part"
    assert webhook.send(url, SECRET, MESSAGE, "msg_1", HERE) == {"status": 204}
    [got] = hook.posted
    assert got.path == "/in?token=t"
    assert got.headers["host"] == f"127.0.0.1:{hook.port}"
    assert orjson.loads(got.body)["type"] == "incident.opened"
    verify = documented_verify()
    assert verify(SECRET, got.headers, got.body)
    assert not verify(new_secret(), got.headers, got.body)
    assert not verify(SECRET, got.headers, got.body + b" ")
    assert not verify(SECRET, {**got.headers, "webhook-id": "msg_2"}, got.body)
    old = str(int(got.headers["webhook-timestamp"]) - 301)
    assert not verify(SECRET, {**got.headers, "webhook-timestamp": old}, got.body)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "10.0.0.7",
        "192.168.1.1",
        "169.254.169.254",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ],
)
def test_nobody_inside_is_asked(hook: Hook, host: str) -> None:
    with pytest.raises(AddressRefused):
        webhook.send(f"http://{host}:{hook.port}/", SECRET, MESSAGE, "msg_1", Allowed())
    assert hook.posted == []


@pytest.mark.parametrize("inside", ["127.0.0.1", "169.254.169.254", "::1"])
def test_a_name_that_leads_inside_is_refused_whatever_else_it_leads_to(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34", inside]

    monkeypatch.setattr(addresses, "resolve", resolve)
    with pytest.raises(AddressRefused):
        webhook.send(f"http://rebind.example:{hook.port}/", SECRET, MESSAGE, "msg_1", Allowed())
    assert asked == ["rebind.example"] and hook.posted == []


def test_the_connection_goes_to_the_address_that_was_checked(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere a moment later gains nothing: it is asked for once."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    monkeypatch.setattr(addresses, "resolve", lambda host, port: next(answers))
    url = f"http://hooks.example:{hook.port}/"
    allowed = Allowed.of(["hooks.example"])
    assert webhook.send(url, SECRET, MESSAGE, "msg_1", allowed) == {"status": 204}
    assert hook.posted[0].headers["host"] == f"hooks.example:{hook.port}"
    assert next(answers) == ["169.254.169.254"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_nowhere(hook: Hook, status: int) -> None:
    with closing(Hook([status], location=f"http://127.0.0.1:{hook.port}/")) as first:
        with pytest.raises(Undeliverable, match="redirects are not followed"):
            webhook.send(f"http://127.0.0.1:{first.port}/", SECRET, MESSAGE, "msg_1", HERE)
        assert len(first.posted) == 1
    assert hook.posted == []


def test_a_listed_network_has_no_metadata_address_in_it() -> None:
    allowed = Allowed.of(["169.254.0.0/16", "hooks.example"])
    with pytest.raises(AddressRefused):
        webhook.send("http://169.254.169.254/latest", SECRET, MESSAGE, "msg_1", allowed)


@pytest.mark.parametrize(
    ("status", "error"), [(500, NotSent), (503, NotSent), (429, NotSent), (404, Undeliverable)]
)
def test_what_a_receiver_does_not_take_says_so_without_secrets(
    hook: Hook, status: int, error: type[Exception]
) -> None:
    hook.answers = [status]
    url = f"http://127.0.0.1:{hook.port}/c4n4ry?token=c4n4ry"
    with pytest.raises(NotSent) as refused:
        webhook.send(url, SECRET, MESSAGE, "msg_1", HERE)
    assert type(refused.value) is error
    assert str(status) in str(refused.value)
    assert "c4n4ry" not in str(refused.value) and SECRET not in str(refused.value)


def test_nobody_there_and_nobody_answering_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(webhook, "SECONDS", 0.3)
        with pytest.raises(NotSent, match="did not answer within"):
            webhook.send(f"http://127.0.0.1:{port}/", SECRET, MESSAGE, "msg_1", HERE)
    with pytest.raises(NotSent) as refused:
        webhook.send(f"http://127.0.0.1:{port}/", SECRET, MESSAGE, "msg_1", HERE)
    assert not isinstance(refused.value, Undeliverable)


# --- mail -----------------------------------------------------------------------------------------


def by(mailbox: Mailbox, **settings: Any) -> Settings:
    """Settings that send by a catcher."""
    given = {"smtp_tls": "none", "smtp_from": "Jobs <jobs@example.com>", **settings}
    return Settings(smtp_host="127.0.0.1", smtp_port=mailbox.port, **given)


def test_a_mail_has_text_and_html_and_the_same_id_at_each_attempt(mailbox: Mailbox) -> None:
    to = ["ada@example.com", "bob@example.com"]
    for _ in range(2):
        told = mail.send(by(mailbox), to, MESSAGE, "msg_1")
    assert told == {"recipients": 2, "refused": []}
    assert mailbox.recipients == [to, to]
    got = mailbox.mails[0]
    assert got["Subject"] == "[Taskyard] backup failed — Zürich"
    assert (got["From"], got["To"]) == ("Jobs <jobs@example.com>", ", ".join(to))
    assert {m["Message-ID"] for m in mailbox.mails} == {"<msg_1@example.com>"}
    assert got.get_content_type() == "multipart/alternative"
    text, html = got.iter_parts()
    assert text.get_content().splitlines() == MESSAGE.text.splitlines()
    assert html.get_content_type() == "text/html"
    assert html.get_content().strip() == MESSAGE.html


def test_a_mail_server_signs_in_only_where_it_is_told_to(mailbox: Mailbox) -> None:
    mailbox.refuse["AUTH"] = "535 no"
    mail.send(by(mailbox), ["ada@example.com"], MESSAGE, "msg_1")
    settings = by(mailbox, smtp_user="jobs", smtp_password="c4n4ry")
    with pytest.raises(NotSent, match="535") as refused:
        mail.send(settings, ["ada@example.com"], MESSAGE, "msg_1")
    assert "c4n4ry" not in str(refused.value)
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize(
    ("command", "answer", "error"),
    [
        ("RCPT", "550 nobody of that name", Undeliverable),
        ("RCPT", "450 mailbox busy", NotSent),
        ("DATA", "451 later", NotSent),
        ("MAIL", "421 closing", NotSent),
    ],
)
def test_a_refusal_for_good_is_not_tried_again(
    mailbox: Mailbox, command: str, answer: str, error: type[Exception]
) -> None:
    mailbox.refuse[command] = answer
    with pytest.raises(NotSent) as refused:
        mail.send(by(mailbox), ["ada@example.com"], MESSAGE, "msg_1")
    assert type(refused.value) is error
    assert answer[4:] in str(refused.value)


def test_a_server_without_tls_is_not_talked_to_unless_told_so(mailbox: Mailbox) -> None:
    with pytest.raises(Undeliverable, match="smtp_tls is starttls"):
        mail.send(by(mailbox, smtp_tls="starttls"), ["ada@example.com"], MESSAGE, "msg_1")
    assert mailbox.mails == []


def test_without_a_mail_server_it_is_said_what_to_set() -> None:
    with pytest.raises(Undeliverable, match="smtp_host"):
        mail.send(Settings(), ["ada@example.com"], MESSAGE, "msg_1")
