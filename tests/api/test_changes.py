"""Changes: what is seen of what others do, whose it is, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from conformance.spine import Spine
from taskyard import queues, servers
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import Permission, Role, held
from taskyard.api.changes import Change, Changes
from taskyard.tasks import manage

ACME, GLOBEX = "acme", "globex"


class Seen:
    """A spine, and what is seen of it."""

    def __init__(self, url: str) -> None:
        self.spine = Spine(url)
        self.spine.queue("mail", "mail_tasks")
        self.changes = Changes(self.spine.db)
        assert self.look() == set()
        assert self.look() == set()

    def look(self, *tenants: str, everything: bool = True) -> set[Change]:
        return self.changes.look(tenants or (ACME, GLOBEX), everything=everything)

    def kinds(self, *tenants: str, **options: Any) -> set[tuple[str, str | None]]:
        return {(change.kind, change.tenant) for change in self.look(*tenants, **options)}


@pytest.fixture
def seen(lane: str) -> Iterator[Seen]:
    seen = Seen(lane)
    yield seen
    seen.spine.db.close()


def test_a_task_by_sql_is_seen_then_its_claim_then_its_end(seen: Seen) -> None:
    task = seen.spine.insert(task_type="work", tenant_id=ACME)
    assert seen.kinds() == {("task", ACME)}
    row = seen.spine.take(task)
    assert seen.kinds() == {("task", ACME), ("run", ACME)}
    seen.spine.finish(row)
    assert seen.kinds() == {("task", ACME), ("run", ACME), ("task", None), ("run", None)}
    assert seen.kinds() == set()


def test_a_run_that_came_and_went_between_two_looks_is_seen(seen: Seen) -> None:
    for tenant in (ACME, GLOBEX):
        seen.spine.insert(task_type="work", tenant_id=tenant)
    seen.look()
    for row in seen.spine.claim():
        seen.spine.finish(row)
    expected = {(kind, tenant) for kind in ("run", "task") for tenant in (ACME, GLOBEX)}
    assert seen.kinds(everything=False) == expected


def test_a_long_run_that_ends_after_newer_ones_is_seen(seen: Seen) -> None:
    long = seen.spine.take(seen.spine.insert(task_type="work", tenant_id=ACME))
    seen.spine.finish(seen.spine.take(seen.spine.insert(task_type="work", tenant_id=ACME)))
    seen.look()
    seen.spine.finish(long)
    assert ("run", ACME) in seen.kinds()


def test_what_people_do_is_seen_with_its_name(seen: Seen) -> None:
    task = seen.spine.put(queue="mail", tenant_id=ACME)
    seen.look()
    manage.cancel(seen.spine.db, LOCAL, manage.parse_ref(seen.spine.db, f"mail/{task}"))
    assert seen.look() == {Change("task", ACME, f"mail/{task}")}


def test_a_queue_changed_by_a_person_or_by_sql_is_seen(seen: Seen) -> None:
    queues.update_queue(seen.spine.db, LOCAL, "mail", max_workers=7)
    assert Change("queue", id="mail") in seen.look()
    seen.look()
    seen.spine.execute("UPDATE queue_configs SET status = 0 WHERE queue_name = 'mail'")
    assert {(c.kind, c.id) for c in seen.look()} == {("queue", "mail")}


def test_a_server_that_comes_and_one_that_dies_are_seen_but_no_beat(seen: Seen) -> None:
    seen.spine.session("other")
    assert seen.look() == {Change("server", id="server-other")}
    assert seen.spine.db.run(lambda tx: servers.beat(tx, "other", 60.0))
    assert seen.look() == set()
    seen.spine.kill("other")
    assert seen.look() == {Change("server", id="server-other")}


def test_a_table_that_was_dropped_stops_nothing(seen: Seen) -> None:
    seen.spine.execute("DROP TABLE mail_tasks")
    seen.spine.insert(task_type="work", tenant_id=ACME)
    assert seen.kinds() == {("task", ACME)}


def test_who_comes_later_is_not_told_of_what_was_before(seen: Seen) -> None:
    seen.spine.finish(seen.spine.take(seen.spine.insert(task_type="work", tenant_id=ACME)))
    seen.look(GLOBEX, everything=False)
    assert seen.look(GLOBEX, ACME) == set()


def test_what_is_scheduled_or_of_a_batch_changes_that_as_well(seen: Seen) -> None:
    seen.spine.insert(task_type="work", tenant_id=ACME, origin="scheduled")
    seen.spine.insert(task_type="work", tenant_id=GLOBEX, origin="batch")
    assert seen.kinds() == {
        ("task", ACME),
        ("schedule", ACME),
        ("task", GLOBEX),
        ("batch", GLOBEX),
    }


def caller(role: Role, *tenants: str, grants: tuple[str, ...] = ()) -> Caller:
    sees = frozenset(tenants) if tenants else None
    return Caller("ada", role.value, held(role, grants, advanced=True), sees)


@pytest.mark.parametrize(
    ("change", "who", "hears"),
    [
        (Change("run", ACME), caller(Role.VIEWER, ACME), True),
        (Change("run", GLOBEX), caller(Role.VIEWER, ACME), False),
        (Change("run", None), caller(Role.VIEWER, ACME), False),
        (Change("run", None), caller(Role.SUPERUSER), True),
        (Change("task", ACME), caller(Role.MONITOR), False),
        (Change("run", ACME), caller(Role.MONITOR), True),
        (Change("queue", id="mail"), caller(Role.VIEWER, ACME), False),
        (Change("queue", id="mail"), caller(Role.VIEWER, ACME, grants=("monitoring",)), True),
        (Change("server"), Caller("ada", "x", frozenset({Permission.RUNS_READ}), None), False),
    ],
)
def test_who_hears_of_what(change: Change, who: Caller, hears: bool) -> None:
    assert change.concerns(who) is hears
