"""The audit: it says who did what, shows when it was changed, and knows what was done by SQL."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from conformance.people import HERE, People
from conformance.spine import together
from taskyard import queues
from taskyard.access import audit, edits, seals, users
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Permission, Role
from taskyard.core.errors import NotAllowed, QueryInvalid
from taskyard.db.database import Tx
from taskyard.db.listing import Query

ADMIN = Caller("anna", "superuser", frozenset(Permission), None, 7, 9, HERE.address, "r-9")


def write(people: People, count: int, caller: Caller = ADMIN, **row: Any) -> None:
    """So many rows of the audit, in one transaction."""
    given = {"action": "thing.do", "thing": "thing/1", **row}

    def work(tx: Tx) -> None:
        for _ in range(count):
            audit.write(tx, caller, **given)

    people.db.run(work)


def sealed(people: People) -> int:
    """Seal all there is, as if it had been written before."""
    people.age("ty_audit", "at", 120, "seal IS NULL")
    return seals.seal(people.db)


def problems(people: People) -> list[str]:
    return seals.verify(people.db, LOCAL).problems


# --- the list ------------------------------------------------------------------------------------


def test_a_row_says_who_what_and_from_where(people: People) -> None:
    change: dict[str, Any] = {
        "before": {"password": "x", "n": 1},
        "after": {"api_key": "y", "n": 2},
    }
    write(people, 1, tenant_id="acme", **change)
    [row] = audit.list_audit(people.db, LOCAL, Query()).rows
    assert abs(datetime.now(UTC) - row.pop("at")) < timedelta(minutes=1)
    assert row == {
        "id": 1,
        "actor": "anna",
        "user_id": 7,
        "token_id": 9,
        "address": "192.0.2.7",
        "request_id": "r-9",
        "action": "thing.do",
        "object": "thing/1",
        "tenant_id": "acme",
        "seal": None,
        "before": {"password": "***", "n": 1},
        "after": {"api_key": "***", "n": 2},
    }


def test_the_audit_is_narrowed_by_every_filter(people: People) -> None:
    bob = Caller("bob", "viewer", ROLES[Role.VIEWER], frozenset({"acme"}), 8)
    write(people, 1)
    write(people, 1, bob, tenant_id="acme")
    write(people, 1, action="thing.undo", thing="thing/2")
    people.age("ty_audit", "at", 3600, "id = 1")

    def found(**filters: Any) -> list[int]:
        page = audit.list_audit(people.db, LOCAL, Query(filters=filters, sort="at"))
        return [row["id"] for row in page.rows]

    now = datetime.now(UTC)
    assert found() == [1, 2, 3]
    assert found(actor="bob") == found(user_id="8") == found(tenant_id="acme") == [2]
    assert found(action="thing.undo,other") == found(object="thing/2") == [3]
    assert found(token_id=9) == [1, 3]
    assert found(**{"from": now - timedelta(minutes=10)}) == [2, 3]
    assert found(to=(now - timedelta(minutes=10)).isoformat()) == [1]
    assert found(**{"from": now - timedelta(hours=2), "actor": "anna", "object": "thing/1"}) == [1]
    first = audit.list_audit(people.db, LOCAL, Query(limit=2))
    rest = audit.list_audit(people.db, LOCAL, Query(limit=2, cursor=first.next_cursor))
    assert [row["id"] for row in first.rows + rest.rows] == [3, 2, 1]
    with pytest.raises(QueryInvalid):
        found(actro="bob")
    for verb in (partial(audit.list_audit, query=Query()), seals.verify):
        with pytest.raises(NotAllowed):
            verb(people.db, bob)
    with pytest.raises(NotAllowed):
        seals.prune(people.db, bob, 1.0)


# --- the chain -----------------------------------------------------------------------------------


def test_rows_are_sealed_a_minute_after_they_were_written(people: People) -> None:
    write(people, 3)
    assert seals.seal(people.db) == 0
    people.age("ty_audit", "at", 61, "id < 3")
    assert seals.seal(people.db) == 2
    found = seals.verify(people.db, LOCAL)
    assert (found.sealed, found.waiting, found.problems) == (2, 1, [])
    assert found.head is not None and found.head[0] == 2
    assert sealed(people) == 1 and seals.seal(people.db) == 0
    assert (seals.verify(people.db, LOCAL).sealed, problems(people)) == (3, [])


def test_a_transaction_under_way_holds_the_seals_behind_it_up(people: People) -> None:
    """Its id is smaller than those that are committed before it."""
    if people.db.turnstile is not None:
        return  # one writer at a time: the ids are in the order of the commits
    with people.db.transaction() as slow:
        audit.write(slow, ADMIN, "thing.do", "thing/slow")
        write(people, 2)
        assert seals.seal(people.db) == 0
    assert sealed(people) == 3
    assert problems(people) == []


def test_many_sealers_make_one_chain(people: People) -> None:
    write(people, 2_700)
    people.age("ty_audit", "at", 120)
    assert sum(together(*[partial(seals.seal, people.db)] * 4)) == 2_700
    found = seals.verify(people.db, LOCAL)
    assert (found.sealed, found.waiting, found.problems) == (2_700, 0, [])


def test_one_pass_seals_a_bounded_number(people: People) -> None:
    write(people, 1_200)
    people.age("ty_audit", "at", 120)
    assert [seals.seal(people.db, 600) for _ in range(3)] == [1_000, 200, 0]


TAMPERING: dict[str, Callable[[People], object]] = {
    "an actor": lambda p: p.execute("UPDATE ty_audit SET actor = 'bob' WHERE id = 5"),
    "a time": lambda p: p.age("ty_audit", "at", 60, "id = 5"),
    "nothing to something": lambda p: p.execute("UPDATE ty_audit SET user_id = 1 WHERE id = 5"),
    "a tenant": lambda p: p.execute("UPDATE ty_audit SET tenant_id = 'x' WHERE id = 5"),
    "the first": lambda p: p.execute("DELETE FROM ty_audit WHERE id = 1"),
    "one in the middle": lambda p: p.execute("DELETE FROM ty_audit WHERE id = 5"),
    "a seal": lambda p: p.execute("UPDATE ty_audit SET seal = NULL WHERE id = 5"),
    "another's seal": lambda p: p.execute(
        "UPDATE ty_audit SET seal = :s WHERE id = 5",
        s=p.value("SELECT seal FROM ty_audit WHERE id = 4"),
    ),
}


def test_whatever_is_changed_afterwards_shows(people: People) -> None:
    write(people, 9, LOCAL, after={"n": 1})
    sealed(people)
    backup = people.rows("SELECT * FROM ty_audit ORDER BY id")
    columns = ", ".join(people.db.dialect.quote(name) for name in backup[0])
    marks = ", ".join(f":{name}" for name in backup[0])
    for what, tamper in TAMPERING.items():
        assert problems(people) == [], what
        tamper(people)
        assert problems(people) != [], what
        people.execute("DELETE FROM ty_audit")
        insert = f"INSERT INTO ty_audit ({columns}) VALUES ({marks})"
        people.db.run(partial(Tx.many, sql=insert, rows=backup))


def test_a_row_that_is_put_in_between_shows(people: People) -> None:
    write(people, 4)
    people.execute("DELETE FROM ty_audit WHERE id = 3")
    sealed(people)
    people.execute(
        "INSERT INTO ty_audit (id, at, actor, action, object)"
        f" VALUES (3, {people.db.dialect.utc_after('-100.0')}, 'bob', 'thing.do', 'thing/1')"
    )
    assert seals.seal(people.db) == 0
    assert problems(people) == ["row 3 was put in, or lost its seal"]


def test_the_newest_row_is_missed_by_the_seal_that_was_noted(people: People) -> None:
    write(people, 3)
    sealed(people)
    noted = seals.verify(people.db, LOCAL).head
    people.execute("DELETE FROM ty_audit WHERE id = 3")
    write(people, 1)
    sealed(people)
    found = seals.verify(people.db, LOCAL)
    assert found.problems == [] and found.head != noted
    assert found.head is not None and found.head[0] == 4  # no id comes back


def test_what_is_old_goes_and_the_chain_holds(people: People) -> None:
    write(people, 700)
    sealed(people)
    people.age("ty_audit", "at", 7200, "id <= 650 AND seal IS NOT NULL")  # breaks 650 seals
    people.execute("UPDATE ty_audit SET seal = NULL")
    seals.seal(people.db)
    assert problems(people) == []
    assert seals.prune(people.db, LOCAL, 3600) == 650
    assert seals.prune(people.db, LOCAL, 3600) == 0
    assert people.value("SELECT MIN(id) FROM ty_audit") == 651
    assert problems(people) == []
    [announced] = people.audited("audit.prune")
    assert announced["after"]["id"] == 650 and announced["actor"] == LOCAL.name
    sealed(people)
    assert problems(people) == []
    people.execute("DELETE FROM ty_audit WHERE id = 651")
    assert len(problems(people)) == 1


def test_a_prune_that_removes_all_leaves_where_to_go_on(people: People) -> None:
    write(people, 3)
    sealed(people)
    assert seals.prune(people.db, LOCAL, 60) == 3
    write(people, 2)
    assert sealed(people) == 3
    assert problems(people) == []
    assert seals.prune(people.db, LOCAL, 60) == 3
    assert sealed(people) == 1
    assert problems(people) == []


# --- queue_configs by SQL ------------------------------------------------------------------------


def queue_rows(people: People) -> list[tuple[Any, ...]]:
    """What the audit says of queues: actor, action, object, before, after."""
    rows = people.audited("queue.create", "queue.update", "queue.delete")
    return [(r["actor"], r["action"], r["object"], r["before"], r["after"]) for r in rows]


def test_edits_by_sql_are_noticed_once(people: People) -> None:
    notice = partial(edits.notice_queue_edits, people.db)
    assert notice() == 0
    people.execute("INSERT INTO queue_configs (queue_name, table_name) VALUES ('mail', 'mails')")
    assert sum(together(*[notice] * 4)) == 1
    people.execute("UPDATE queue_configs SET max_workers = -3, server_id = 'b'")
    assert [notice(), notice()] == [1, 0]
    people.execute("UPDATE queue_configs SET problem = 'x', updated_at = created_at")
    assert notice() == 0
    people.execute("DELETE FROM queue_configs")
    assert [notice(), notice()] == [1, 0]
    whole = {
        "table_name": "mails",
        "server_id": "",
        "max_workers": 5,
        "scan_interval": 5,
        "status": 1,
        "rate_limit": None,
        "timeout": None,
    }
    edited = whole | {"max_workers": -3, "server_id": "b"}
    assert queue_rows(people) == [
        ("sql", "queue.create", "queue/mail", None, whole),
        (
            "sql",
            "queue.update",
            "queue/mail",
            {"server_id": "", "max_workers": 5},
            {"server_id": "b", "max_workers": -3},
        ),
        ("sql", "queue.delete", "queue/mail", edited, None),
    ]


def test_what_the_verbs_change_is_no_edit(people: People) -> None:
    notice = partial(edits.notice_queue_edits, people.db)
    queues.create_queue(people.db, ADMIN, "mail", rate_limit=2, scan_interval=1)
    assert notice() == 0
    queues.update_queue(people.db, ADMIN, "mail", max_workers=9, timeout="30")
    assert notice() == 0
    people.execute("UPDATE queue_configs SET max_workers = 8")
    queues.pause_queue(people.db, ADMIN, "mail")  # notices what was there before it
    assert notice() == 0
    queues.delete_queue(people.db, ADMIN, "mail")
    assert notice() == 0
    told = [(actor, action, after) for actor, action, _, _, after in queue_rows(people)]
    assert [(actor, action) for actor, action, _ in told] == [
        ("anna", "queue.create"),
        ("anna", "queue.update"),
        ("sql", "queue.update"),
        ("anna", "queue.update"),
        ("anna", "queue.delete"),
    ]
    assert (told[2][2], told[3][2]) == ({"max_workers": 8}, {"status": 0})


def test_a_change_and_its_record_are_one(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    people.add("anna")
    monkeypatch.setattr(audit, "_json", lambda value: 1 / 0 if value else None)
    with pytest.raises(ZeroDivisionError):
        users.update_user(people.db, LOCAL, "anna", role="operator")
    monkeypatch.undo()
    assert users.show_user(people.db, LOCAL, "anna").role == "viewer"
