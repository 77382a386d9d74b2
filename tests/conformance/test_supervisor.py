"""Supervisor: its chores over all tables, driven without processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.spine import WORK, Spine
from taskyard import queues, servers
from taskyard.access.caller import LOCAL
from taskyard.db.tables import task_tables
from taskyard.engine import server as engine
from taskyard.engine.server import Life, Server
from taskyard.handlers import HandlerSpec
from taskyard.settings import Settings
from taskyard.tasks import holds


@pytest.fixture
def life(spine: Spine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """A Session of a Server that has not begun: nothing of it runs by itself."""
    monkeypatch.setattr(Life, "_assign", lambda self, mine: None)
    monkeypatch.setattr(engine, "Pool", lambda *_, **__: SimpleNamespace(specs={}, problems=[]))
    server = Server(Settings.load(None, database_url=spine.url, server_id="here"))
    life = Life(server)
    yield life
    server.db.close()


def orphan(spine: Spine, table: str, queue: str) -> int:
    """A Task that a dead Session holds."""
    task = spine.put(queue=queue)
    if servers.find_session(spine.db, "gone") is None:
        spine.session("gone")
    spine.take(task, table=table, queue=queue, session="gone")
    return task


def test_a_table_that_was_dropped_does_not_keep_others_from_being_rescued(
    spine: Spine, life: Life
) -> None:
    """An administrator deletes a queue and drops its table: nobody works it, nobody notices."""
    for name in ("a", "z"):
        spine.queue(name, f"{name}_tasks")
    task = orphan(spine, "z_tasks", "z")
    spine.kill("gone")
    queues.delete_queue(spine.db, LOCAL, "a")
    spine.execute("DROP TABLE a_tasks")
    life._rescue()
    assert spine.row(task, "z_tasks")["status"] == 0
    assert spine.db.read(task_tables) == ["default_tasks", "z_tasks"]


def test_a_broken_table_does_not_keep_holds_of_others(spine: Spine, life: Life) -> None:
    for name in ("a", "z"):
        spine.queue(name, f"{name}_tasks")
    task = spine.put("later", queue="z")
    assert holds.hold_blocked(spine.db, "z_tasks", WORK) == 1
    spine.session("knows", specs=[{"name": "later"}])
    spine.execute("DROP TABLE a_tasks")
    life._sync()
    assert spine.row(task, "z_tasks")["hold"] == 0


def test_only_the_certified_and_expired_are_declared_dead(spine: Spine, life: Life) -> None:
    spine.session("expired", lease=-5.0)
    spine.session("fine")
    life._rescue()  # It has not been well for a whole lease: it judges nobody.
    found = {row.session: row.state for row in servers.sessions(spine.db, dead=True)}
    assert found == {"me": "live", "expired": "live", "fine": "live"}
    life.heart._healthy_since -= 1_000
    life._rescue()
    found = {row.session: row.state for row in servers.sessions(spine.db, dead=True)}
    assert found == {"me": "live", "expired": "dead", "fine": "live"}


def test_a_bad_row_is_quarantined_with_its_reason_and_mended_when_it_is(
    spine: Spine, life: Life
) -> None:
    insert = "INSERT INTO queue_configs (queue_name, table_name{}) VALUES (:name, :table{})"
    for name, table, more, value in (
        ("unsafe", "jobs; DROP TABLE ty_runs", "", ""),
        ("negative", "n_tasks", ", max_workers", ", -1"),
        ("clash", "clash_tasks", "", ""),
        ("good", "good_tasks", "", ""),
    ):
        values = {"name": name, "table": table}
        spine.execute(insert.format(more, value), **values)
    spine.execute("CREATE TABLE clash_tasks (id int, priority int)")
    life._sync()
    found: dict[str, Any] = {
        queue.queue_name: queue for queue in queues.list_queues(spine.db, LOCAL)
    }
    assert "identifier" in found["unsafe"].problem
    assert "max_workers" in found["negative"].problem
    assert "task_type" in found["clash"].problem and "ALTER TABLE" in found["clash"].problem
    assert found["good"].enabled and "good_tasks" in spine.db.read(task_tables)
    stored = {
        row["queue_name"]: row["problem"]
        for row in spine.rows("SELECT queue_name, problem FROM queue_configs")
    }
    assert stored["good"] is None and all(stored[name] for name in ("unsafe", "negative", "clash"))
    spine.execute("UPDATE queue_configs SET max_workers = 1 WHERE queue_name = 'negative'")
    spine.execute("DROP TABLE clash_tasks")
    life._sync()
    found = {queue.queue_name: queue for queue in queues.list_queues(spine.db, LOCAL)}
    assert found["negative"].enabled and found["clash"].enabled


def test_a_queue_is_there_before_its_handler_is_told_of(
    spine: Spine, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads that there is a handler may enqueue for it at once."""
    publish = servers.publish
    there: list[str] = []

    def told(*arguments: Any) -> None:
        there.extend(queue.queue_name for queue in queues.list_queues(spine.db, LOCAL))
        publish(*arguments)

    monkeypatch.setattr(servers, "publish", told)
    greet = HandlerSpec("greet", queue="greetings")
    introduced = threading.Event()
    introduced.set()
    pool = SimpleNamespace(specs={"greet": greet}, problems=[], introduced=introduced)
    monkeypatch.setattr(life, "pool", pool)
    life._publish()
    assert "greetings" in there


def test_a_queue_is_worked_where_it_is_pinned(spine: Spine, life: Life) -> None:
    queue = queues.get_queue(spine.db, "default")
    assert life._is_mine(queue)
    pinned = queues.update_queue(spine.db, LOCAL, "default", server_id="there")
    assert not life._is_mine(pinned)
    assert life._is_mine(queues.update_queue(spine.db, LOCAL, "default", server_id="here"))
