"""Tokens: what one may is never more than its user, its maker and its own limits allow."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.people import People, names
from taskyard.access import tokens, users
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import OF_TENANTS, ROLES, Permission, Role
from taskyard.core.errors import (
    AccessInvalid,
    NotAllowed,
    NotSignedIn,
    TenantUnknown,
    TokenEnded,
    TokenUnknown,
    UserUnknown,
)
from taskyard.db.listing import Query


@pytest.fixture
def acme(people: People) -> People:
    """Two tenants; an admin, an operator and a viewer of the first, an admin of the platform."""
    people.tenant("acme", "beta")
    for name, role, *seen in (
        ("root", "superuser"),
        ("mona", "monitor"),
        ("chief", "tenant_admin", "acme"),
        ("anna", "operator", "acme"),
        ("vera", "viewer", "acme"),
        ("both", "viewer", "acme", "beta"),
        ("bert", "tenant_admin", "beta"),
        ("paul", "tenant_admin"),
        ("petra", "viewer"),
    ):
        people.add(name, role, *seen, password=None)
    return people


def token_id(text: str) -> str:
    return text.split("_")[1]


def test_a_token_is_its_user(acme: People) -> None:
    made = tokens.create_token(acme.db, LOCAL, "nightly sync", username="Anna")
    assert made.text.startswith(f"ty_{made.token.public_id}_") and len(made.text) == 55
    assert made.text not in repr(made)
    caller = acme.bearer(made.text)
    assert (caller.name, caller.role, caller.tenants) == ("anna", "operator", frozenset({"acme"}))
    assert caller.permissions == ROLES[Role.OPERATOR] and caller.token_id == made.token.id
    lasts = made.token.expires_at - made.token.created_at
    assert abs(lasts.total_seconds() - 90 * 86_400) < 1
    [row] = acme.audited("token.create")
    assert row["object"] == f"token/{made.token.public_id}" and row["after"]["user"] == "anna"


def test_what_is_no_token_leads_nowhere(acme: People) -> None:
    text = acme.token("anna")
    other = acme.token("anna")
    wrong = text[:12] + ("A" if text[12] != "A" else "B") + text[13:]
    swapped = text[:12] + other[12:]
    odd = ["", "ty_", text[:-1], text + "x", text.upper(), " " + text, text + "\n", "ty_a_b"]
    odd += [f"ty_{'a' * 8}_{'b' * 43}", "Bearer " + text, "ty_" + "é" * 8 + "_" + "b" * 43]
    for shown in (wrong, swapped, *odd):
        with pytest.raises(NotSignedIn):
            acme.bearer(shown)


def test_a_token_that_has_ended_is_dead_at_once(acme: People) -> None:
    expired, revoked = acme.token("anna"), acme.token("anna", expires_in=60)
    acme.age("ty_tokens", "expires_at", 0.001, f"public_id = '{token_id(expired)}'")
    acme.bearer(revoked)
    done = tokens.revoke_token(acme.db, LOCAL, token_id(revoked))
    assert done.revoked_at is not None
    assert tokens.revoke_token(acme.db, LOCAL, token_id(revoked)) == done
    assert len(acme.audited("token.revoke")) == 1
    for text, why in ((expired, "expired"), (revoked, "revoked")):
        with pytest.raises(TokenEnded) as caught:
            acme.bearer(text)
        assert caught.value.why == why
        with pytest.raises(NotSignedIn):  # only who has the secret is told
            acme.bearer(text[:-1] + ("A" if text[-1] != "A" else "B"))


def test_scopes_and_tenants_narrow_a_token(acme: People) -> None:
    text = acme.token("both", scopes=["runs.read"], tenants=["beta"])
    caller = acme.bearer(text)
    assert caller.permissions == {Permission.RUNS_READ} and caller.tenants == frozenset({"beta"})
    users.update_user(acme.db, LOCAL, "both", tenants=["acme"])
    assert acme.bearer(text).tenants == frozenset()
    root = acme.bearer(acme.token("root", tenants=["acme"]))
    assert root.permissions == OF_TENANTS and root.tenants == frozenset({"acme"})
    whole = acme.bearer(acme.token("root"))
    assert whole.permissions == frozenset(Permission) and whole.tenants is None


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("scopes", {"scopes": ["tasks.write"]}),
    ("scopes", {"scopes": ["tasks.wirte"]}),
    ("scopes", {"scopes": []}),
    ("tenants", {"tenants": ["beta"]}),
    ("tenants", {"tenants": [""]}),
    ("tenants", {"tenants": []}),
    ("expires_in", {"expires_in": 1}),
    ("expires_in", {"expires_in": 400 * 86_400}),
    ("expires_in", {"expires_in": float("nan")}),
]


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_limits_that_cannot_be_are_refused_by_the_field(acme: People) -> None:
    for field, limits in REFUSED:
        with pytest.raises(AccessInvalid) as caught:
            acme.token("vera", **limits)
        assert caught.value.field == field, limits
    with pytest.raises(AccessInvalid, match=r"queues\.write"):
        acme.token("root", scopes=["queues.write"], tenants=["acme"])
    with pytest.raises(TenantUnknown):
        acme.token("root", tenants=["acmee"])
    for name in ("", " ", "x" * 101, "a\nb"):
        with pytest.raises(AccessInvalid) as caught:
            tokens.create_token(acme.db, LOCAL, name, username="anna")
        assert caught.value.field == "name"
    with pytest.raises(AccessInvalid) as caught:
        tokens.create_token(acme.db, LOCAL, "x")
    assert caught.value.field == "username"


def test_people_make_tokens_for_themselves_and_programs_do_not(acme: People) -> None:
    anna = acme.caller("anna")
    text = tokens.create_token(acme.db, anna, "mine").text
    assert acme.bearer(text).permissions == anna.permissions
    with pytest.raises(NotAllowed, match=r"tokens\.write"):
        tokens.create_token(acme.db, acme.bearer(text), "next")
    with pytest.raises(NotAllowed):
        tokens.create_token(acme.db, anna, "hers", username="vera")
    users.update_user(acme.db, LOCAL, "anna", role="tenant_admin")
    assert acme.bearer(text).may(Permission.SCHEDULES_WRITE)  # hers grows with her


def test_an_admin_makes_tokens_for_the_users_of_their_tenants_alone(acme: People) -> None:
    chief, paul = acme.caller("chief"), acme.caller("paul")

    def may_make(maker: Caller) -> list[str]:
        made = []
        for name in names(users.list_users(acme.db, LOCAL, Query()).rows):
            try:
                acme.token(name, maker)
            except UserUnknown:
                continue
            made.append(name)
        return made

    assert may_make(chief) == ["anna", "chief", "vera"]
    assert may_make(paul) == ["paul", "petra"]
    with pytest.raises(UserUnknown, match="nobody"):
        acme.token("nobody", chief)
    listed = names(tokens.list_tokens(acme.db, chief, Query(sort="created_at")).rows)
    assert listed == ["anna", "chief", "vera"]
    assert names(tokens.list_tokens(acme.db, acme.caller("vera"), Query()).rows) == ["vera"]
    assert tokens.list_tokens(acme.db, acme.caller("bert"), Query()).rows == []
    everything = tokens.list_tokens(acme.db, LOCAL, Query(count=True))
    assert everything.total == 5 and "secret_hash" not in everything.rows[0]
    assert names(tokens.list_tokens(acme.db, LOCAL, Query(filters={"username": "vera"})).rows)
    foreign = token_id(acme.token("bert"))
    for public_id in (foreign, "aaaaaaaa", "a\0"):
        with pytest.raises(TokenUnknown) as caught:
            tokens.revoke_token(acme.db, chief, public_id)
        assert str(caught.value).endswith(f"No token {public_id}.")
    tokens.revoke_token(acme.db, chief, str(everything.rows[-1]["public_id"]))


def test_a_token_made_for_another_does_not_grow_beyond_its_maker(acme: People) -> None:
    chief = acme.caller("chief")
    text = acme.token("anna", chief)
    users.update_user(acme.db, LOCAL, "anna", role="superuser")
    caller = acme.bearer(text)
    assert caller.tenants == frozenset({"acme"}) and caller.permissions == ROLES[Role.OPERATOR]
    users.update_user(
        acme.db, LOCAL, "vera", role="tenant_admin", tenants=["acme"], grants=["payload.raw"]
    )
    assert not acme.bearer(acme.token("vera", chief)).may(Permission.PAYLOAD_RAW)
    with pytest.raises(AccessInvalid, match=r"payload\.raw"):
        acme.token("vera", chief, scopes=["payload.raw"])
    # Neither does a token that another token made.
    scopes = ["tokens.write", "runs.read"]
    maker = acme.bearer(tokens.create_token(acme.db, chief, "x", scopes=scopes).text)
    made = acme.bearer(tokens.create_token(acme.db, maker, "y").text)
    assert {permission.value for permission in made.permissions} == set(scopes)


def test_monitoring_follows_the_setting(acme: People) -> None:
    users.update_user(acme.db, LOCAL, "vera", grants=["monitoring"])
    may = {
        (name, advanced): acme.bearer(acme.token(name), advanced=advanced).may(
            Permission.MONITORING
        )
        for name in ("root", "mona", "vera", "anna")
        for advanced in (False, True)
    }
    assert may == {
        ("root", False): True,
        ("root", True): True,
        ("mona", False): False,
        ("mona", True): True,
        ("vera", False): False,
        ("vera", True): True,
        ("anna", False): False,
        ("anna", True): False,
    }
    assert acme.caller("mona").permissions == frozenset()
    assert acme.caller("vera").permissions == ROLES[Role.VIEWER]


def test_raw_payloads_are_for_tenant_admins_with_the_grant(acme: People) -> None:
    users.update_user(acme.db, LOCAL, "chief", grants=["payload.raw"])
    assert acme.caller("chief").may(Permission.PAYLOAD_RAW)
    assert not acme.caller("paul").may(Permission.PAYLOAD_RAW)
    assert acme.caller("root").may(Permission.PAYLOAD_RAW)
