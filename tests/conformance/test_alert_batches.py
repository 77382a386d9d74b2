"""The end of a batch on each database: told with it or not at all, to those whose it is."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson
import pytest

from conformance.spine import Spine
from taskyard.access import tenants
from taskyard.access.caller import LOCAL
from taskyard.alerts import channels, messages, rules, sending, telling
from taskyard.alerts.preview import preview_rule
from taskyard.core.errors import AlertInvalid
from taskyard.settings import Settings


class Ends:
    """A spine whose batches end when a test says so."""

    def __init__(self, spine: Spine) -> None:
        self.spine, self.db = spine, spine.db
        self.table = telling.ready(self.db)
        self.count = 0

    def channel(self, name: str = "ops", **fields: Any) -> int:
        settings = {"to": ["ops@example.com"]}
        return channels.create_channel(self.db, LOCAL, name, "mail", settings, **fields).channel.id

    def batch(self, notify: Any = None, failed: int = 0, **values: Any) -> int:
        """A batch that has just ended."""
        self.count += 1
        row = {
            "id": self.count,
            "name": "March",
            "task_type": "verify",
            "tenant_id": "",
            "status": "completed",
            "total_count": 9,
            "success_count": 9 - failed,
            "failed_count": failed,
            "skipped_count": 0,
            "created_by": "ada",
            "concurrency": 1,
            "max_retries": 0,
            "on_inflight": "retry",
            "notify": None if notify is None else orjson.dumps(notify).decode(),
            **values,
        }
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        now = self.db.dialect.utc_now
        sql = (
            f"INSERT INTO ty_batches ({names}, started_at, completed_at, created_at,"
            f" updated_at) VALUES ({marks}, {now}, {now}, {now}, {now})"
        )
        self.db.run(lambda tx: tx.execute(sql, **row))
        return self.count

    def tell(self, notify: Any = None, **values: Any) -> int:
        number = self.batch(notify, **values)
        return self.db.run(partial(telling.tell_batch, table=self.table, batch_id=number))

    def told(self) -> list[tuple[str, int | None]]:
        """The messages in the queue: whose, and which channel (None for plain addresses)."""
        rows = self.spine.rows("SELECT tenant_id, task_params FROM alerts_tasks ORDER BY id")
        found = [(row["tenant_id"], orjson.loads(row["task_params"])) for row in rows]
        assert all(params["event"] == "batch" for _, params in found)
        return [(tenant_id, params["channel_id"]) for tenant_id, params in found]


@pytest.fixture
def ends(spine: Spine) -> Ends:
    return Ends(spine)


def test_the_batch_names_whom_to_tell_each_once(ends: Ends) -> None:
    first, second = ends.channel("first"), ends.channel("second")
    off = ends.channel("off", status=0)
    rules.create_rule(ends.db, LOCAL, "all", "batch_finished", channels=[second])
    wish = {"channels": [first, second, off, 987], "to": ["ada@example.com", "bob@example.com"]}
    assert ends.tell(wish) == 3
    assert ends.told() == [("", first), ("", second), ("", None)]


def test_it_is_told_with_the_end_or_not_at_all(ends: Ends) -> None:
    number = ends.batch({"to": ["ada@example.com"]})

    def work(tx: Any) -> None:
        telling.tell_batch(tx, ends.table, number)
        raise KeyError("the end is rolled back")

    with pytest.raises(KeyError):
        ends.db.run(work)
    assert ends.told() == []


def test_rules_tell_of_the_batches_that_they_are_about(ends: Ends) -> None:
    for tenant_id in ("acme", "globex"):
        tenants.create_tenant(ends.db, LOCAL, tenant_id)
    ours, acme = ends.channel("ours"), ends.channel("acme", tenant_id="acme")
    make = partial(rules.create_rule, ends.db, LOCAL, kind="batch_finished")
    make("all failed", settings={"outcome": "failed"})
    make("of acme", tenant_id="acme", filters={"task_type": "verify"})
    silent = make("silent")
    rules.silence_rule(ends.db, LOCAL, silent.id, "1h")
    make("off", status=0)
    assert ends.tell() == 0
    assert ends.tell(tenant_id="globex") == 0
    assert ends.tell(tenant_id="acme", task_type="other") == 0
    assert ends.tell(tenant_id="acme", failed=1) == 2
    assert ends.tell(status="failed") == 1
    assert ends.told() == [("", ours), ("acme", acme), ("", ours)]
    preview = partial(preview_rule, ends.db, LOCAL, "batch_finished")
    assert preview().fired == 5
    assert preview(settings={"outcome": "failed"}).fired == 2
    assert preview(filters={"task_type": "other"}).fired == 1


def test_what_is_told_is_read_when_it_is_sent_and_only_to_those_whose_it_is(ends: Ends) -> None:
    tenants.create_tenant(ends.db, LOCAL, "acme")
    theirs = ends.channel("theirs", tenant_id="acme")
    send = partial(sending.send, ends.db, Settings(), event="batch", delivery="msg_1")
    number = ends.batch({"to": ["ada@example.com"]})
    other = {"sent": False, "why": "what it is about is gone, or goes on"}
    assert send(tenant_id="acme", channel_id=theirs, batch_id=number) == other
    gone = {"sent": False, "why": "the batch is gone, or goes on"}
    assert send(tenant_id="acme", batch_id=number) == gone
    assert send(tenant_id="", batch_id=987) == gone
    ends.spine.execute("UPDATE ty_batches SET status = 'running'")
    assert send(tenant_id="", batch_id=number) == gone


def test_a_message_has_the_counts_and_a_link(ends: Ends) -> None:
    ends.batch(failed=2, name="<b>March</b>", error="stopped after 2 failed items")
    [row] = ends.spine.rows("SELECT * FROM ty_batches")
    settings = Settings(public_url="https://jobs.example/")
    message = messages.of_batch(row, settings)
    assert message.subject == "batch <b>March</b> has completed with 2 failed"
    assert "https://jobs.example/batches/1" in message.text
    assert 'href="https://jobs.example/batches/1"' in message.html
    assert "<b>March" not in message.html and "&lt;b&gt;March" in message.html
    for fact in ("stopped after 2 failed items", "Items:     9", "Completed: 7", "Failed:    2"):
        assert fact in message.text


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"to": ["nobody"]}, "notify.to"),
        ({"channels": [7]}, "notify.channels"),
        ({"channels": "7"}, "notify.channels"),
        ({"pigeon": 1}, "notify.pigeon"),
    ],
)
@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_wish_that_cannot_be_is_named(ends: Ends, given: Any, field: str) -> None:
    with pytest.raises(AlertInvalid) as refused:
        ends.db.read(lambda tx: telling.valid_notify(tx, "Batch", "", given))
    assert refused.value.params["field"] == field


def test_a_wish_is_kept(ends: Ends) -> None:
    number = ends.channel()
    given = {"channels": [number, str(number)], "to": "ada@example.com"}
    kept = ends.db.read(lambda tx: telling.valid_notify(tx, "Batch", "", given))
    assert kept == {"channels": [number], "to": ["ada@example.com"]}
    assert ends.db.read(lambda tx: telling.valid_notify(tx, "Batch", "", {})) is None
