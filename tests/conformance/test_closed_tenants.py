"""Disabled tenants: their Tasks wait, and nobody else's do."""

from __future__ import annotations

from typing import Any

from conformance.spine import TABLE, WORK, Spine
from taskyard.access import tenants
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import Hold
from taskyard.tasks import holds
from taskyard.tasks.explain import explain

ACME = frozenset({"acme"})


def closed(spine: Spine, status: int = 0) -> frozenset[str]:
    """Disable the tenant acme (or enable it again), as a Server sees it."""
    tenants.update_tenant(spine.db, LOCAL, "acme", status=status)
    return spine.db.read(tenants.disabled)


def hold(spine: Spine, found: frozenset[str]) -> int:
    return holds.hold_blocked(spine.db, TABLE, WORK, found)


def ids(rows: list[Any]) -> list[int]:
    return [row.id for row in rows]


def test_the_tasks_of_a_disabled_tenant_wait_until_it_is_enabled(spine: Spine) -> None:
    tenants.create_tenant(spine.db, LOCAL, "acme")
    first = spine.put(tenant_id="acme", priority=5)
    keyed = spine.put(tenant_id="acme", excl_key="k")
    unregistered = spine.put(tenant_id="somebody")
    platform = spine.put()
    found = closed(spine)
    assert found == ACME
    # Also before they are held: a Task that was just put in must not slip through.
    taken = spine.claim(closed=found)
    assert ids(taken) == [unregistered, platform]
    assert hold(spine, found) == 2 and hold(spine, found) == 0
    for task in (first, keyed):
        row = spine.row(task)
        assert (row["status"], row["hold"]) == (0, Hold.TENANT_DISABLED)
        assert row["error_msg"] == 'TY309 Tenant "acme" is disabled'
    assert spine.claim(closed=found) == []
    assert holds.release_holds(spine.db, TABLE, WORK, found) == 0
    found = closed(spine, 1)
    assert holds.release_holds(spine.db, TABLE, WORK, found) == 2
    assert sorted(ids(spine.claim(closed=found))) == [first, keyed]
    assert spine.row(first)["error_msg"] is None


def test_a_key_whose_first_task_is_of_a_disabled_tenant_goes_on_after_the_hold(
    spine: Spine,
) -> None:
    blocked = spine.put(excl_key="k", tenant_id="acme")
    behind = spine.put(excl_key="k")
    assert spine.claim(closed=ACME) == []
    assert hold(spine, ACME) == 1
    spine.take(behind, closed=ACME)
    assert spine.row(blocked)["status"] == 0


def test_a_crowd_of_a_disabled_tenant_hides_nobody(spine: Spine) -> None:
    spine.put_many(1_100, tenant_id="acme")
    behind = spine.put()
    assert ids(spine.claim(closed=ACME)) == [behind]
    passes: list[int] = []
    while passes[-1:] != [0]:
        passes.append(hold(spine, ACME))
    assert sum(passes) == 1_100 and max(passes) >= 500


def test_both_reasons_of_a_hold_end_one_by_one(spine: Spine) -> None:
    task = spine.put("wrok", tenant_id="acme")
    assert hold(spine, ACME) == 1
    assert spine.row(task)["hold"] == Hold.TENANT_DISABLED
    assert holds.release_holds(spine.db, TABLE, WORK) == 1
    assert hold(spine, frozenset()) == 1
    assert spine.row(task)["hold"] == Hold.HANDLER_UNKNOWN


def test_explain_names_the_tenant(spine: Spine) -> None:
    tenants.create_tenant(spine.db, LOCAL, "acme")
    ref = spine.ref(tenant_id="acme")
    assert "tenant" not in [reason.check for reason in explain(spine.db, LOCAL, ref)]
    closed(spine)
    first = next(reason for reason in explain(spine.db, LOCAL, ref) if reason.holds)
    assert (first.check, first.code) == ("tenant", "TY309")
    assert first.fix == "`taskyard tenant enable acme`"
