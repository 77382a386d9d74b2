"""Alerts by real servers: what fails fifty times is told once, and so is its end; what does not get
out is tried again and says why."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from harness.catcher import Hook, Mailbox
from harness.history import runs_of
from harness.lanes import one_lane
from harness.servers import Fleet, command, environment, run_command
from harness.sql import Database, insert_tasks
from harness.waiting import wait_until
from taskyard.access.caller import LOCAL
from taskyard.db.database import Database as OurDatabase
from taskyard.schedules.manage import trigger_schedule

pytestmark = pytest.mark.crash

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "alerts.md"
LINKS = "https://jobs.example.com"
FULL, PART = json.dumps({"full": True}), json.dumps({"full": False})


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with closing(Mailbox()) as mailbox:
        yield mailbox


@pytest.fixture
def hook() -> Iterator[Hook]:
    with closing(Hook()) as hook:
        yield hook


class Watched:
    """A fleet that tells of failures, and where they are told."""

    def __init__(self, fleet: Fleet, db: Database, mailbox: Mailbox, hook: Hook) -> None:
        self.fleet, self.db, self.mailbox, self.hook = fleet, db, mailbox, hook
        self.settings: dict[str, Any] = {
            "public_url": LINKS,
            "smtp_host": "127.0.0.1",
            "smtp_port": mailbox.port,
            "smtp_tls": "none",
            "smtp_from": "Taskyard <jobs@example.com>",
            "alert_hosts": "127.0.0.1",
            "default_time_zone": "Asia/Shanghai",
        }

    def start(self) -> None:
        """Servers, with the rules of a new installation."""
        for name in ("server-001", "server-002"):
            self.fleet.start(name, **self.settings)
        count = "SELECT COUNT(*) FROM ty_alert_rules"
        self.wait(lambda: self.db.value(count), "the first rules")

    def run(self, *words: str) -> str:
        return run_command(
            self.fleet.url, *words, folder=self.fleet.folder, timeout=90, **self.settings
        )

    def add_webhook(self, path: str = "/in") -> str:
        """A webhook, made as people make it; returns its secret."""
        done = subprocess.run(
            command("--db", self.fleet.url, "channel", "add", "hook", "webhook", "--stdin"),
            input=f"http://127.0.0.1:{self.hook.port}{path}\n",
            cwd=self.fleet.folder,
            env=environment(**self.settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        found = re.search(r"whsec_\S+", done.stdout + done.stderr)
        assert found, done
        return found[0]

    def rows(self) -> list[dict[str, Any]]:
        """The incidents, by SQL."""
        return self.db.run("SELECT * FROM ty_incidents ORDER BY id")

    def channel(self) -> dict[str, Any]:
        """The only channel, by SQL."""
        [row] = self.db.run("SELECT * FROM ty_channels")
        return row

    def wait(self, fact: Callable[[], Any], what: str, within: float = 60) -> Any:
        return wait_until(fact, within, what, detail=self.fleet.logs)

    def looked(self) -> None:
        """Wait until the rules have been checked once more, from the beginning to the end."""
        sql = "SELECT value FROM ty_counters WHERE name = 'alerts'"
        seen: set[int] = set()
        self.wait(lambda: seen.add(self.db.value(sql)) or len(seen) > 4, "two passes")  # type: ignore[func-returns-value]


@pytest.fixture
def watched(fleet: Fleet, db: Database, mailbox: Mailbox, hook: Hook) -> Watched:
    return Watched(fleet, db, mailbox, hook)


def parts(mail: EmailMessage) -> tuple[str, str]:
    """The text and the HTML of a mail."""
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    return text.get_content().replace("\r", ""), html.get_content()


@pytest.mark.timeout(300)
def test_fifty_failures_are_one_incident_one_mail_and_one_webhook_and_so_is_their_end(
    watched: Watched, jobs: Callable[..., None]
) -> None:
    jobs()
    watched.start()
    watched.run("channel", "add", "ops", "mail", "--to", "ops@example.com")
    secret = watched.add_webhook()
    insert_tasks(watched.db, "jobs", "backup", [FULL] * 50)
    watched.wait(lambda: [row["count"] for row in watched.rows()] == [50], "fifty in one")
    watched.wait(lambda: watched.mailbox.mails and watched.hook.posted, "one message each")

    [row] = watched.rows()
    assert (row["subject"], row["state"]) == ("task_type:backup", "open")
    [mail] = watched.mailbox.mails
    assert mail["Subject"] == "[Taskyard] backup failed"
    runs = watched.db.run("SELECT id FROM ty_runs WHERE task_type = 'backup'")
    [shown] = [r["id"] for r in runs if f"{LINKS}/runs/{r['id']}" in parts(mail)[0].split()]
    for form in parts(mail):
        assert f"{LINKS}/runs/{shown}" in form
        assert "OSError: no room" in form and "c4n4ry" not in form
    for name in ("Started", "Ended", "First", "Last"):
        [time] = re.findall(rf"^{name}: +(\S+ \S+\+08:00)$", parts(mail)[0], re.M)
        assert datetime.fromisoformat(time) and time in parts(mail)[1]

    [posted] = watched.hook.posted
    assert documented_verify()(secret, posted.headers, posted.body)
    data = json.loads(posted.body)["data"]
    assert (data["event"], data["incidents"][0]["run"]["id"]) == ("opened", shown)

    # A later run completes: its end is told once, however often the rules are looked at.
    watched.run("alert-rule", "set", "Failed tasks", "--resolve-after", "0s")
    insert_tasks(watched.db, "jobs", "backup", [PART])
    watched.wait(lambda: len(watched.mailbox.mails) == 2, "the mail that it is over")
    watched.wait(lambda: len(watched.hook.posted) == 2, "the webhook that it is over")
    watched.looked()
    assert [m["Subject"] for m in watched.mailbox.mails][1:] == [
        "[Taskyard] Resolved: backup failed"
    ]
    assert json.loads(watched.hook.posted[1].body)["type"] == "incident.resolved"
    [row] = watched.rows()
    assert (row["state"], row["messages"]) == ("resolved", 4)
    sent = watched.db.run("SELECT status, attempt FROM ty_runs WHERE task_type = 'taskyard.notify'")
    assert [(one["status"], one["attempt"]) for one in sent] == [("completed", 1)] * 4


@one_lane
@pytest.mark.timeout(300)
def test_a_schedule_that_fails_at_each_fire_is_one_incident(
    watched: Watched, jobs: Callable[..., None]
) -> None:
    jobs()
    watched.start()
    watched.run("channel", "add", "ops", "mail", "--to", "ops@example.com")
    nightly = ("schedule", "add", "nightly", "backup", "--cron", "0 2 * * *")
    watched.run(*nightly, "--queue", "jobs", "--retry-count", "0", "--overlap", "allow")
    trigger_often(watched.fleet.url, "nightly", 50)
    watched.wait(lambda: [row["count"] for row in watched.rows()] == [50], "fifty in one")
    watched.wait(lambda: watched.mailbox.mails, "a mail")
    watched.looked()
    [row] = watched.rows()
    assert row["subject"].startswith("schedule:")
    assert [row["messages"], len(watched.mailbox.mails)] == [1, 1]


@one_lane
@pytest.mark.timeout(300)
def test_a_message_that_does_not_get_out_is_tried_again_and_its_run_says_why(
    watched: Watched, jobs: Callable[..., None]
) -> None:
    jobs()
    watched.hook.answers = [503]
    watched.start()
    secret = watched.add_webhook("/c4n4ry?token=c4n4ry")
    insert_tasks(watched.db, "jobs", "backup", [FULL])
    watched.wait(lambda: watched.channel()["last_error"], "the error of the channel")
    assert "503" in watched.channel()["last_error"]
    watched.wait(lambda: len(watched.hook.posted) == 2, "another try")
    first, second = watched.hook.posted
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert all(documented_verify()(secret, one.headers, one.body) for one in (first, second))
    [task] = watched.db.run("SELECT id FROM alerts_tasks")
    both = ["failed", "completed"]
    watched.wait(lambda: runs_of(watched.db, "alerts_tasks", task["id"]) == both, "two runs")
    assert watched.channel()["last_error"] is None and watched.channel()["last_sent_at"]

    run = watched.db.run("SELECT * FROM ty_runs WHERE task_type = 'taskyard.notify' ORDER BY id")[0]
    assert f"TY354 The message was not sent: 127.0.0.1:{watched.hook.port} answered 503" in str(
        run["error"]
    )
    told = watched.run("run", "show", str(run["id"])) + watched.run("channel", "list", "--json")
    for text in (
        str(run),
        told,
        watched.fleet.logs(),
        str(watched.db.run("SELECT * FROM ty_audit")),
    ):
        assert secret not in text and "/c4n4ry" not in text and "token=" not in text


@one_lane
@pytest.mark.timeout(300)
def test_the_end_of_a_batch_is_one_mail_and_one_webhook(watched: Watched) -> None:
    watched.start()
    secret = watched.add_webhook()
    watched.run("alert-rule", "add", "Batches", "batch_finished", "outcome=failed")
    watched.run(
        *("batch", "create", "verify", "--ids", "1,2,3,4,5", "--name", "March"),
        *("--notify", "hook", "--notify", "ada@example.com"),
    )
    watched.wait(lambda: watched.mailbox.mails and watched.hook.posted, "a message each")
    watched.looked()
    [mail], [posted] = watched.mailbox.mails, watched.hook.posted
    assert mail["Subject"] == "[Taskyard] batch March has completed with 1 failed"
    assert watched.mailbox.recipients == [["ada@example.com"]]
    for form in parts(mail):
        assert f"{LINKS}/batches/1" in form
    assert documented_verify()(secret, posted.headers, posted.body)
    told = json.loads(posted.body)
    batch = told["data"]["batch"]
    assert told["type"] == "batch.finished"
    assert [batch["total_count"], batch["success_count"], batch["failed_count"]] == [5, 4, 1]
    assert watched.rows() == []


@one_lane
@pytest.mark.timeout(300)
def test_what_can_never_arrive_is_tried_once_and_a_test_says_so(watched: Watched) -> None:
    watched.hook.answers = [404]
    watched.start()
    watched.add_webhook()
    done = subprocess.run(
        command("--db", watched.fleet.url, "channel", "test", "hook"),
        cwd=watched.fleet.folder,
        env=environment(**watched.settings),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert f"127.0.0.1:{watched.hook.port} answered 404" in done.stdout + done.stderr
    # That it failed is told as every failure is, so there may be a second message.
    task = watched.db.run("SELECT id, status, retry_count FROM alerts_tasks ORDER BY id")[0]
    assert (task["status"], task["retry_count"]) == (3, 0)
    assert "sent" in watched.run("channel", "test", "hook").lower()
    types = [json.loads(one.body)["type"] for one in watched.hook.posted]
    assert types.count("channel.test") == 2


@one_lane
@pytest.mark.timeout(300)
def test_a_channel_that_was_allowed_once_is_not_for_ever(watched: Watched) -> None:
    watched.start()
    watched.add_webhook()
    for server in watched.fleet.servers.values():
        server.terminate()
        server.wait(30)
    watched.settings.pop("alert_hosts")
    watched.fleet.start("server-003", **watched.settings)
    done = subprocess.run(
        command("--db", watched.fleet.url, "channel", "test", "hook"),
        cwd=watched.fleet.folder,
        env=environment(**watched.settings),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode != 0
    assert "TY356" in done.stdout + done.stderr
    assert watched.hook.posted == []


def documented_verify() -> Callable[..., bool]:
    """The function that the guide gives to receivers of webhooks."""
    [source] = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    known: dict[str, Any] = {}
    exec(source, known)
    verify: Callable[..., bool] = known["verify"]
    return verify


def trigger_often(url: str, name: str, times: int) -> None:
    """What somebody does who presses the button again and again."""
    with closing(OurDatabase(url)) as db:
        for _ in range(times):
            trigger_schedule(db, LOCAL, name)
