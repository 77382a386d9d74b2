"""queue_configs: written by anybody, read by Servers; a bad row says what is wrong with it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from conformance.spine import TABLE, Spine, together
from taskyard import queues
from taskyard.access.caller import LOCAL
from taskyard.core.errors import QueueInvalid, QueueUnknown, TableInvalid
from taskyard.queues import Queue


def raw(spine: Spine, name: str, table: str = "x_tasks", **columns: Any) -> None:
    """A row by SQL; what the column refuses is the database's own protection."""
    names = ["queue_name", "table_name", *columns]
    sql = f"INSERT INTO queue_configs ({', '.join(names)}) VALUES (:{', :'.join(names)})"
    values = {"queue_name": name, "table_name": table, **columns}
    spine.db.run(lambda tx: tx.execute(sql, **values))


def found(spine: Spine, name: str) -> Queue:
    return queues.get_queue(spine.db, name)


def test_a_row_with_a_name_and_a_table_is_a_whole_queue(spine: Spine) -> None:
    raw(spine, "emails", "email_tasks")
    queue = found(spine, "emails")
    assert queue == Queue(
        id=queue.id,
        queue_name="emails",
        table_name="email_tasks",
        server_id="",
        max_workers=5,
        scan_interval=5.0,
        status=1,
        rate_limit=None,
        timeout=None,
        problem=None,
    )
    assert queue.enabled
    [row] = spine.rows("SELECT * FROM queue_configs WHERE queue_name = 'emails'")
    assert row["created_at"] is not None and row["updated_at"] is not None


def test_every_setting_is_read_as_it_was_written(spine: Spine) -> None:
    given = {
        "server_id": "server-001",
        "max_workers": 20,
        "scan_interval": 0.5,
        "status": 0,
        "rate_limit": 2.5,
        "timeout": 30.0,
    }
    raw(spine, "emails", "email_tasks", **given)
    queue = found(spine, "emails")
    assert {name: getattr(queue, name) for name in given} == given
    assert not queue.enabled


def test_the_scenarios_of_requirement_5_work_word_for_word(spine: Spine) -> None:
    spine.execute("""INSERT INTO queue_configs
(queue_name, table_name, server_id, max_workers, scan_interval)
VALUES ('email_queue', 'email_tasks', 'server-001', 10, 2)""")
    spine.execute(
        "UPDATE queue_configs SET server_id = 'server-002' WHERE queue_name = 'email_queue'"
    )
    assert found(spine, "email_queue").server_id == "server-002"
    spine.execute("UPDATE queue_configs SET server_id = '' WHERE queue_name = 'email_queue'")
    spine.execute("UPDATE queue_configs SET max_workers = 20 WHERE queue_name = 'email_queue'")
    queue = found(spine, "email_queue")
    assert (queue.server_id, queue.max_workers, queue.scan_interval) == ("", 20, 2.0)


def test_queues_are_listed_by_name_and_names_are_told_apart_by_case(spine: Spine) -> None:
    for name in ("b", "B", "a", "ä"):
        raw(spine, name)
    listed = [queue.queue_name for queue in queues.list_queues(spine.db, LOCAL)]
    assert sorted(listed) == sorted(["b", "B", "a", "ä", "default"])
    with pytest.raises(Exception) as caught:
        raw(spine, "b")
    assert spine.db.dialect.is_duplicate(caught.value)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("max_workers", {"max_workers": -1}),
    ("max_workers", {"max_workers": 10_001}),
    ("scan_interval", {"scan_interval": 0}),
    ("scan_interval", {"scan_interval": -2.0}),
    ("status", {"status": 7}),
    ("rate_limit", {"rate_limit": 0}),
    ("rate_limit", {"rate_limit": -1.0}),
    ("timeout", {"timeout": 0}),
    ("identifier", {"table": "jobs; DROP TABLE ty_runs"}),
    ("identifier", {"table": "jo bs"}),
    ("identifier", {"table": 'a"b'}),
    ("identifier", {"table": "a`b"}),
    ("identifier", {"table": "1jobs"}),
    ("identifier", {"table": "a.b.c"}),
    ("identifier", {"table": ""}),
    ("identifier", {"table": "ünicode"}),
    ("identifier", {"table": "x" * 64}),
    ("platform", {"table": "ty_runs"}),
    ("platform", {"table": "TY_RUNS"}),
    ("platform", {"table": "queue_configs"}),
    ("platform", {"table": "pg_class"}),
    ("platform", {"table": "main.sqlite_master"}),
]
LOOSE: list[tuple[str, dict[str, Any]]] = [
    ("max_workers", {"max_workers": "many"}),
    ("max_workers", {"max_workers": 2.5}),
    ("scan_interval", {"scan_interval": "soon"}),
    ("rate_limit", {"rate_limit": b"\xff"}),
    ("server_id", {"server_id": b"\xff"}),
    ("identifier", {"table": 7}),
    ("server_id", {"server_id": "s" * 51}),
]
"""What only SQLite takes, whose columns have no types."""


def test_a_bad_row_is_quarantined_with_its_reason_and_the_others_go_on(spine: Spine) -> None:
    cases = BAD + (LOOSE if spine.db.dialect.name == "sqlite" else [])
    for n, (_, columns) in enumerate(cases):
        raw(spine, f"bad-{n:02}", **columns)
    raw(spine, "good")
    listed = {queue.queue_name: queue for queue in queues.list_queues(spine.db, LOCAL)}
    for n, (word, columns) in enumerate(cases):
        queue = listed[f"bad-{n:02}"]
        assert not queue.enabled, columns
        assert queue.problem is not None and word in queue.problem, (columns, queue.problem)
    assert listed["good"].enabled and listed["default"].enabled


def test_a_null_setting_is_its_default(spine: Spine) -> None:
    """An adopted queue_configs may have columns without NOT NULL."""
    spine.execute("DROP TABLE queue_configs")
    spine.execute(
        "CREATE TABLE queue_configs (id int, queue_name varchar(100), table_name varchar(100),"
        " server_id varchar(50), max_workers int, scan_interval int, status smallint,"
        " rate_limit float, timeout float, problem varchar(500))"
    )
    raw(spine, "emails", id=1)
    assert found(spine, "emails") == Queue(1, "emails", "x_tasks")


def test_a_problem_is_kept_and_taken_back(spine: Spine) -> None:
    raw(spine, "emails")
    queues.set_problem(spine.db, "emails", "no rights on its table")
    queue = found(spine, "emails")
    assert queue.problem == "no rights on its table" and not queue.enabled
    queues.set_problem(spine.db, "emails", None)
    assert found(spine, "emails").enabled


# --- the verbs -----------------------------------------------------------------------------------


def test_creating_a_queue_makes_its_table(spine: Spine) -> None:
    queue = queues.create_queue(spine.db, LOCAL, "e-mails", max_workers=2, rate_limit="1.5")
    assert (queue.table_name, queue.max_workers, queue.rate_limit) == ("e_mails_tasks", 2, 1.5)
    task = spine.put(queue="e-mails")
    spine.take(task, table="e_mails_tasks", queue="e-mails")


def test_a_queue_that_cannot_be_is_refused_by_its_field(spine: Spine) -> None:
    for name in ("", " x", "a/b", "x" * 101, "a\nb"):
        with pytest.raises(QueueInvalid) as caught:
            queues.create_queue(spine.db, LOCAL, name)
        assert caught.value.field == "queue_name"
    for field, columns in BAD[:8]:
        with pytest.raises(QueueInvalid, match=field):
            queues.create_queue(spine.db, LOCAL, "q", **columns)
    for _, columns in BAD[8:]:
        with pytest.raises(TableInvalid):
            queues.create_queue(spine.db, LOCAL, "q", table_name=columns["table"])
    with pytest.raises(QueueInvalid, match="workers"):
        queues.create_queue(spine.db, LOCAL, "q", workers=3)
    with pytest.raises(QueueInvalid, match="there already"):
        queues.create_queue(spine.db, LOCAL, "default")
    assert [queue.queue_name for queue in queues.list_queues(spine.db, LOCAL)] == ["default"]


def test_settings_are_changed_one_by_one(spine: Spine) -> None:
    queues.create_queue(spine.db, LOCAL, "emails", max_workers=3)
    queues.set_problem(spine.db, "emails", "old")
    queue = queues.update_queue(spine.db, LOCAL, "emails", scan_interval=0.25, timeout=None)
    assert (queue.max_workers, queue.scan_interval, queue.problem) == (3, 0.25, None)
    with pytest.raises(QueueInvalid, match="max_workers"):
        queues.update_queue(spine.db, LOCAL, "emails", max_workers="x")
    with pytest.raises(QueueUnknown, match="emails"):
        queues.update_queue(spine.db, LOCAL, "emials", max_workers=1)
    assert queues.update_queue(spine.db, LOCAL, "emails") == queue


def test_pause_and_resume_turn_the_switch(spine: Spine) -> None:
    assert not queues.pause_queue(spine.db, LOCAL, "default").enabled
    assert found(spine, "default").status == 0
    assert queues.resume_queue(spine.db, LOCAL, "default").enabled


def test_deleting_a_queue_keeps_its_tasks(spine: Spine) -> None:
    task = spine.put()
    queues.delete_queue(spine.db, LOCAL, "default")
    with pytest.raises(QueueUnknown):
        queues.delete_queue(spine.db, LOCAL, "default")
    assert spine.column("id") == [task]


def test_a_queue_that_is_there_is_never_altered_by_ensuring_it(spine: Spine) -> None:
    spine.execute(f"UPDATE queue_configs SET max_workers = 1, table_name = '{TABLE}'")
    queues.ensure_queue(spine.db, "default")
    assert found(spine, "default").max_workers == 1
    queues.ensure_queue(spine.db, "fresh")
    assert found(spine, "fresh").table_name == "fresh_tasks"


def test_many_servers_ensure_a_queue_at_once(spine: Spine) -> None:
    together(*[partial(queues.ensure_queue, spine.db, "fresh")] * 4)
    assert found(spine, "fresh").enabled
    spine.take(spine.put(queue="fresh"), table="fresh_tasks", queue="fresh")
