"""Users and tenants: who there may be, what they may become, and that one superuser stays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from conformance.people import PASSWORD, People, names
from conformance.spine import together
from taskyard.access import logins, tenants, users
from taskyard.access.caller import LOCAL
from taskyard.access.permissions import Permission
from taskyard.core.errors import (
    AccessInvalid,
    LastSuperuser,
    NameTaken,
    NotAllowed,
    NotSignedIn,
    TaskyardError,
    TenantUnknown,
    TokenEnded,
    UserUnknown,
)
from taskyard.db.listing import Query


def test_of_many_first_starts_one_makes_the_superuser(people: People) -> None:
    made = together(*[partial(logins.first_user, people.db)] * 4)
    [first] = [found for found in made if found is not None]
    assert len(first.password) >= 20
    assert logins.first_user(people.db) is None
    caller = people.session(people.sign_in(first.username, first.password))
    assert caller.permissions == frozenset(Permission) and caller.tenants is None
    linked = logins.sign_in_by_link(people.db, first.link)
    assert people.session(linked.key).name == "admin"


def test_a_user_is_what_was_said(people: People) -> None:
    people.tenant("acme", "beta")
    people.add("Anna@Example.com ", "tenant_admin", "acme", "beta", grants=["payload.raw"])
    user = users.show_user(people.db, LOCAL, "ANNA@example.com")
    assert (user.username, user.role, user.status) == ("anna@example.com", "tenant_admin", 1)
    assert (user.tenants, user.grants) == (("acme", "beta"), ("payload.raw",))
    assert people.caller("anna@example.com").tenants == frozenset({"acme", "beta"})
    people.add("bob")
    assert people.caller("bob").tenants == frozenset({""})


BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("", "username", {}),
    ("-x", "username", {}),
    ("a b", "username", {}),
    ("a:b", "username", {}),
    ("ä", "username", {}),
    ("x" * 101, "username", {}),
    ("sql", "username", {}),
    ("Taskyard", "username", {}),
    ("x", "role", {"role": "admin"}),
    ("x", "grants", {"grants": ["queues.write"]}),
    ("x", "grants", {"grants": ["payload.raw"]}),
    ("x", "tenants", {"role": "superuser", "tenants": ["acme"]}),
    ("x", "tenants", {"role": "monitor", "tenants": ["acme"]}),
    ("x", "password", {"password": "short"}),
    ("x", "password", {"password": "a" * 40}),
    ("x", "password", {"password": "password1234"}),
    ("x", "password", {"password": "x" * 257}),
    ("marianne", "password", {"password": "marianne2026"}),
]


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_user_who_cannot_be_is_refused_by_the_field(people: People) -> None:
    people.tenant("acme")
    for name, field, fields in BAD:
        with pytest.raises(AccessInvalid) as caught:
            users.add_user(people.db, LOCAL, name, **fields)
        assert (caught.value.field, bool(caught.value.fix)) == (field, True), (name, fields)
    with pytest.raises(TenantUnknown, match="acme"):
        users.add_user(people.db, LOCAL, "x", tenants=["acmee"])
    assert people.value("SELECT COUNT(*) FROM ty_users") == 0


def test_a_name_is_taken_once(people: People) -> None:
    people.add("anna")
    with pytest.raises(NameTaken):
        people.add("ANNA")
    people.tenant("acme")
    with pytest.raises(NameTaken):
        people.tenant("acme")
    people.tenant("Acme")  # ids are other programs' words: told apart by case


def test_the_last_superuser_stays(people: People) -> None:
    people.add("root", "superuser")
    people.add("disabled", "superuser")
    users.update_user(people.db, LOCAL, "disabled", status=0)
    attempts: list[Callable[[], object]] = [
        partial(users.update_user, people.db, LOCAL, "root", role="viewer"),
        partial(users.update_user, people.db, LOCAL, "root", status=0),
        partial(users.delete_user, people.db, LOCAL, "root"),
    ]
    for attempt in attempts:
        with pytest.raises(LastSuperuser):
            attempt()
    assert users.show_user(people.db, LOCAL, "root").role == "superuser"
    users.delete_user(people.db, LOCAL, "disabled")
    people.add("second", "superuser")
    assert users.update_user(people.db, LOCAL, "root", role="viewer").role == "viewer"


def test_superusers_who_demote_each_other_at_once_leave_one(people: People) -> None:
    for name in ("a", "b", "c"):
        people.add(name, "superuser")

    def demote(name: str) -> str:
        try:
            users.update_user(people.db, LOCAL, name, role="viewer")
        except LastSuperuser:
            return "stays"
        return "gone"

    assert sorted(together(*[partial(demote, n) for n in "abc"])) == ["gone", "gone", "stays"]
    sql = "SELECT COUNT(*) FROM ty_users WHERE role = 'superuser' AND status = 1"
    assert people.value(sql) == 1


def test_a_change_is_in_force_at_the_next_request(people: People) -> None:
    people.tenant("acme")
    people.add("anna", "operator", "acme")
    text, key = people.token("anna"), people.sign_in("anna")
    users.update_user(people.db, LOCAL, "anna", tenants=[])
    assert people.session(key).tenants == people.bearer(text).tenants == frozenset({""})
    users.update_user(people.db, LOCAL, "anna", role="viewer")
    assert not people.bearer(text).may(Permission.TASKS_WRITE)
    with pytest.raises(NotSignedIn):
        people.session(key)  # another role is another session
    key = people.sign_in("anna")
    users.update_user(people.db, LOCAL, "anna", status=0)
    with pytest.raises(NotSignedIn):
        people.session(key)
    with pytest.raises(TokenEnded, match="user disabled"):
        people.bearer(text)
    users.update_user(people.db, LOCAL, "anna", status=1)
    assert people.bearer(text).name == "anna"
    users.delete_user(people.db, LOCAL, "anna")
    with pytest.raises(NotSignedIn):
        people.bearer(text)


def test_what_another_role_cannot_have_goes_with_the_role(people: People) -> None:
    people.tenant("acme")
    people.add("anna", "tenant_admin", "acme", grants=["payload.raw", "monitoring"])
    user = users.update_user(people.db, LOCAL, "anna", role="superuser")
    assert (user.tenants, user.grants) == ((), ("monitoring",))
    [*_, change] = people.audited("user.update")
    assert change["before"]["tenants"] == ["acme"] and change["after"]["tenants"] == []
    assert "status" not in change["after"]


def test_another_password_ends_all_sessions(people: People) -> None:
    people.add("anna")
    key = people.sign_in("anna")
    users.set_password(people.db, LOCAL, "anna", "another long secret")
    with pytest.raises(NotSignedIn):
        people.session(key)
    with pytest.raises(TaskyardError, match="Wrong"):
        people.sign_in("anna", PASSWORD)
    assert people.session(people.sign_in("anna", "another long secret")).name == "anna"


def test_users_are_listed_in_pages_for_those_who_may(people: People) -> None:
    for n in range(5):
        people.add(f"user{n}", "viewer" if n % 2 else "operator", password=None)
    first = users.list_users(people.db, LOCAL, Query(limit=3, count=True))
    rest = users.list_users(people.db, LOCAL, Query(limit=3, cursor=first.next_cursor))
    assert names(first.rows + rest.rows) == [f"user{n}" for n in range(5)]
    assert first.total == 5 and "password_hash" not in first.rows[0]
    found = users.list_users(people.db, LOCAL, Query(filters={"role": "viewer", "q": "SER"}))
    assert names(found.rows) == ["user1", "user3"]
    caller = people.caller("user1")
    assert users.show_user(people.db, caller, "user1").username == "user1"
    for name in ("user2", "nobody"):
        with pytest.raises(NotAllowed):
            users.show_user(people.db, caller, name)
    with pytest.raises(NotAllowed):
        users.list_users(people.db, caller, Query())
    with pytest.raises(UserUnknown, match="user2"):
        users.show_user(people.db, LOCAL, "uesr2")
    with pytest.raises(UserUnknown):
        users.show_user(people.db, LOCAL, "user2\0")


# --- tenants -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_tenant_that_cannot_be_is_refused_by_the_field(people: People) -> None:
    for tenant_id in ("", " a", "a ", "a,b", "a/b", "a\nb", "x" * 65):
        with pytest.raises(AccessInvalid) as caught:
            tenants.create_tenant(people.db, LOCAL, tenant_id)
        assert caught.value.field == "tenant_id", tenant_id
    for name in ("x" * 201, "a\nb", "  "):
        with pytest.raises(AccessInvalid) as caught:
            tenants.create_tenant(people.db, LOCAL, "acme", name=name)
        assert caught.value.field == "name"
    people.tenant("7", "über uns", "a.b-c:d")
    with pytest.raises(AccessInvalid) as caught:
        tenants.update_tenant(people.db, LOCAL, "7", status=2)
    assert caught.value.field == "status"


def test_everybody_sees_the_tenants_that_are_theirs(people: People) -> None:
    people.tenant("acme", "beta", "gamma")
    people.add("anna", "viewer", "acme", "gamma")
    people.add("mona", "monitor")

    def seen(caller: Any) -> list[str]:
        return names(tenants.list_tenants(people.db, caller, Query()).rows, "tenant_id")

    assert seen(LOCAL) == ["acme", "beta", "gamma"]
    anna = people.caller("anna")
    assert seen(anna) == ["acme", "gamma"]
    assert seen(people.caller("mona")) == []
    assert seen(people.caller("mona", advanced=True)) == ["acme", "beta", "gamma"]
    assert tenants.show_tenant(people.db, anna, "acme").name == "acme"
    errors = []
    for tenant_id in ("beta", "bet\0"):
        with pytest.raises(TenantUnknown) as caught:
            tenants.show_tenant(people.db, anna, tenant_id)
        errors.append(caught.value)
    assert [error.known for error in errors] == [["acme", "gamma"]] * 2
    with pytest.raises(NotAllowed):
        tenants.create_tenant(people.db, anna, "mine")
    with pytest.raises(NotAllowed):
        tenants.update_tenant(people.db, anna, "acme", name="x")


def test_a_disabled_tenant_is_out_of_its_users_sight(people: People) -> None:
    people.tenant("acme", "beta")
    people.add("anna", "operator", "acme", "beta")
    text = people.token("anna")
    tenants.update_tenant(people.db, LOCAL, "acme", status=0)
    assert people.bearer(text).tenants == frozenset({"beta"})
    tenants.update_tenant(people.db, LOCAL, "beta", status=0)
    assert people.bearer(text).tenants == frozenset()
    tenants.update_tenant(people.db, LOCAL, "acme", status=1, name="ACME Ltd")
    assert people.bearer(text).tenants == frozenset({"acme"})
    assert tenants.show_tenant(people.db, LOCAL, "acme").name == "ACME Ltd"
    changes = [row["after"] for row in people.audited("tenant.update")]
    assert changes == [{"status": 0}, {"status": 0}, {"name": "ACME Ltd", "status": 1}]
