"""Sign-in: sessions begin and end when they should, and guessing gets nowhere."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from argon2 import PasswordHasher

from conformance.people import HERE, PASSWORD, People
from conformance.spine import together
from taskyard.access import logins, passwords, throttle, users
from taskyard.access.caller import LOCAL, Visitor
from taskyard.access.token import hash_of
from taskyard.core.errors import (
    AccessInvalid,
    NotAllowed,
    NotSignedIn,
    SignInFailed,
    TooManyAttempts,
    UserUnknown,
)
from taskyard.db import schema


def test_a_session_is_its_users(people: People) -> None:
    user = people.add("anna", "operator")
    signed_in = logins.sign_in(people.db, " Anna ", PASSWORD, HERE)
    caller = people.session(signed_in.key)
    assert (caller.name, caller.role, caller.user_id) == ("anna", "operator", user.id)
    assert (caller.address, caller.request_id, caller.token_id) == ("192.0.2.7", "r-1", None)
    later = users.show_user(people.db, LOCAL, "anna")
    assert user.last_login_at is None and later.last_login_at is not None
    lasts = signed_in.expires_at - later.last_login_at
    assert abs(lasts.total_seconds() - logins.LONGEST) < 5
    [row] = people.audited("user.sign_in")
    assert (row["actor"], row["object"], row["address"]) == ("anna", "user/anna", "192.0.2.7")


def test_who_is_wrong_is_not_told_what_was_wrong(people: People) -> None:
    people.add("anna")
    people.add("off")
    people.add("tokens-only", password=None)
    users.update_user(people.db, LOCAL, "off", status=0)
    cases = [("anna", "wrong"), ("nobody", PASSWORD), ("off", PASSWORD), ("tokens-only", "")]
    cases += [("", ""), ("x" * 5000, "y" * 5000), ("anna\0", "\ud800"), ("anna", PASSWORD[:-1])]
    told = set()
    for name, password in cases:
        with pytest.raises(SignInFailed) as caught:
            people.sign_in(name, password)
        told.add((str(caught.value), caught.value.fix))
    assert len(told) == 1
    rows = people.audited("user.sign_in_failed")
    assert [row["object"] for row in rows] == [
        *("user/anna", "user/?", "user/off", "user/tokens-only"),
        *("user/?", "user/?", "user/?", "user/anna"),
    ]
    assert {row["actor"] for row in rows} == {"anonymous"}
    with pytest.raises(NotSignedIn):
        people.session("guess")


def test_no_secret_is_kept_in_the_clear(people: People) -> None:
    people.add("anna", "superuser")
    secrets = [PASSWORD, "typed into the wrong field"]
    with pytest.raises(SignInFailed):
        people.sign_in(secrets[1], "x")
    secrets.append(people.sign_in("anna"))
    secrets.append(people.token("anna").split("_", 2)[2])
    secrets.append(logins.make_link(people.db, LOCAL, "anna"))
    people.session(secrets[2])
    rows = [
        str(row)
        for table in schema.metadata.tables
        for row in people.rows(f"SELECT * FROM {people.db.dialect.quote(table)}")
    ]
    assert any("sign_in_failed" in row for row in rows)
    assert [secret for secret in secrets for row in rows if secret in row] == []


def test_a_password_that_changes_meanwhile_leads_nowhere(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A superuser sets another while the old one is being hashed."""
    people.add("anna")
    matches = passwords.matches

    def and_change(password: str, stored: str | None) -> bool:
        right = matches(password, stored)
        users.set_password(people.db, LOCAL, "anna", "another long secret")
        return right

    monkeypatch.setattr(passwords, "matches", and_change)
    with pytest.raises(SignInFailed):
        people.sign_in("anna")
    assert people.value("SELECT COUNT(*) FROM ty_logins") == 0


# --- throttle ------------------------------------------------------------------------------------


def test_ten_failures_lock_an_account_and_nothing_else(people: People) -> None:
    people.add("anna")
    people.add("bob")
    token, key = people.token("anna"), people.sign_in("anna")
    for _ in range(throttle.PER_ACCOUNT):
        with pytest.raises(SignInFailed):
            people.sign_in("ANNA", "wrong")
    for password in ("wrong", PASSWORD):
        with pytest.raises(TooManyAttempts) as caught:
            people.sign_in("anna", password)
        assert 800 < caught.value.retry_after <= 900
    assert len(people.audited("user.sign_in_failed")) == throttle.PER_ACCOUNT
    assert people.bearer(token).name == people.session(key).name == "anna"
    people.sign_in("bob")
    users.set_password(people.db, LOCAL, "anna", "another long secret")
    people.sign_in("anna", "another long secret")  # a superuser's help does not have to wait


def test_a_name_that_nobody_has_is_throttled_alike(people: People) -> None:
    for _ in range(throttle.PER_ACCOUNT):
        with pytest.raises(SignInFailed):
            people.sign_in("nobody", "wrong")
    with pytest.raises(TooManyAttempts):
        people.sign_in("nobody", "wrong")


def test_failures_are_forgotten_after_a_while_or_a_success(people: People) -> None:
    people.add("anna")
    for _ in range(2):
        for _ in range(throttle.PER_ACCOUNT - 1):
            with pytest.raises(SignInFailed):
                people.sign_in("anna", "wrong")
        people.sign_in("anna")
    for _ in range(throttle.PER_ACCOUNT):
        with pytest.raises(SignInFailed):
            people.sign_in("anna", "wrong")
    people.age("ty_login_attempts", "since", throttle.WINDOW - 30)
    with pytest.raises(TooManyAttempts) as caught:
        people.sign_in("anna")
    assert 20 < caught.value.retry_after <= 31
    people.age("ty_login_attempts", "since", throttle.WINDOW + 1)
    people.sign_in("anna")


def test_guesses_at_the_same_moment_count_each(people: People) -> None:
    people.add("anna")

    def guess() -> str:
        try:
            people.sign_in("anna", "wrong")
        except TooManyAttempts:
            return "throttled"
        except SignInFailed:
            return "looked at"
        return "in"

    told = together(*[guess] * 25)
    assert told.count("looked at") == throttle.PER_ACCOUNT
    assert told.count("throttled") == 25 - throttle.PER_ACCOUNT


def test_an_address_has_a_limit_over_all_names(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "PER_ADDRESS", 12)
    people.add("anna")

    def tries(address: str, count: int) -> None:
        for n in range(count):
            with pytest.raises(SignInFailed):
                people.sign_in(f"{address}-{n}", "wrong", address=address)

    tries("192.0.2.1", 12)
    for name in ("somebody", "anna"):
        with pytest.raises(TooManyAttempts):
            people.sign_in(name, PASSWORD, address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        people.sign_in("anna", PASSWORD, address="::ffff:192.0.2.1")
    tries("2001:db8::1", 6)
    tries("2001:db8::2:0:0:9", 6)  # the same /64, so the same household
    with pytest.raises(TooManyAttempts):
        people.sign_in("anna", PASSWORD, address="2001:db8::ffff")
    for _ in range(20):  # who is right uses nothing up
        people.sign_in("anna", PASSWORD, address="2001:db8:0:1::1")


def test_what_has_run_out_is_removed(people: People) -> None:
    people.add("anna")
    live = people.sign_in("anna")
    with pytest.raises(SignInFailed):
        people.sign_in("anna", "wrong")
    assert logins.forget_expired(people.db) == 0
    people.age("ty_login_attempts", "since", throttle.WINDOW + 1)
    for column, seconds in (("expires_at", 1.0), ("seen_at", logins.IDLE + 1)):
        people.age("ty_logins", column, seconds, f"key_hash = '{hash_of(people.sign_in('anna'))}'")
    people.age("ty_login_attempts", "since", throttle.WINDOW + 1, "failures >= 0")
    assert logins.forget_expired(people.db) >= 3
    assert people.value("SELECT COUNT(*) FROM ty_logins") == 1
    assert people.session(live).name == "anna"


# --- the life of a session -----------------------------------------------------------------------


def test_a_session_ends_when_idle_and_in_any_case(people: People) -> None:
    people.add("anna")
    for column, seconds in (("seen_at", logins.IDLE + 1), ("expires_at", 0.001)):
        key = people.sign_in("anna")
        people.age("ty_logins", "seen_at", logins.IDLE - 60)
        assert people.session(key).name == "anna"
        people.age("ty_logins", column, seconds)
        with pytest.raises(NotSignedIn):
            people.session(key)


def test_that_a_session_was_used_is_written_once_a_minute(people: People) -> None:
    people.add("anna")
    key = people.sign_in("anna")

    def seen() -> Any:
        return people.value("SELECT seen_at FROM ty_logins")

    first = seen()
    people.session(key)
    assert seen() == first
    people.age("ty_logins", "seen_at", 61)
    moved = seen()
    people.session(key)
    assert seen() > moved
    token = people.token("anna")
    people.bearer(token)
    used = people.value("SELECT last_used_at FROM ty_tokens")
    people.bearer(token)
    assert used is not None and people.value("SELECT last_used_at FROM ty_tokens") == used


def test_signing_in_again_replaces_the_key(people: People) -> None:
    people.add("anna")
    old = people.sign_in("anna")
    new = logins.sign_in(people.db, "anna", PASSWORD, HERE, replaces=old).key
    other = people.sign_in("anna")
    with pytest.raises(NotSignedIn):
        people.session(old)
    logins.sign_out(people.db, new, HERE)
    logins.sign_out(people.db, new, HERE)
    with pytest.raises(NotSignedIn):
        people.session(new)
    assert people.session(other).name == "anna"
    assert len(people.audited("user.sign_out")) == 1


def test_a_link_leads_in_once(people: People) -> None:
    people.add("anna")
    link = logins.make_link(people.db, LOCAL, "anna")
    with pytest.raises(NotSignedIn):
        people.session(link)  # it is no session's key

    def follow() -> str | None:
        try:
            return logins.sign_in_by_link(people.db, link, HERE).key
        except SignInFailed:
            return None

    [key] = [found for found in together(*[follow] * 4) if found]
    assert people.session(key).name == "anna"
    old = logins.make_link(people.db, LOCAL, "anna")
    people.age("ty_logins", "expires_at", 0.001, "kind = 'link'")
    with pytest.raises(SignInFailed, match="too old"):
        logins.sign_in_by_link(people.db, old)
    stale = logins.make_link(people.db, LOCAL, "anna")
    users.update_user(people.db, LOCAL, "anna", status=0)
    for used in (stale, key, "nothing"):
        with pytest.raises(SignInFailed):
            logins.sign_in_by_link(people.db, used)


def test_links_are_for_those_who_manage_users(people: People) -> None:
    people.add("anna", "tenant_admin")
    with pytest.raises(NotAllowed):
        logins.make_link(people.db, people.caller("anna"), "anna")
    with pytest.raises(UserUnknown):
        logins.make_link(people.db, LOCAL, "ana")


def test_people_change_their_own_password(people: People) -> None:
    people.add("anna")
    key, other = people.sign_in("anna"), people.sign_in("anna")
    anna, change = people.session(key), partial(logins.change_password, people.db)
    with pytest.raises(AccessInvalid):
        change(anna, PASSWORD, "weak", key=key)
    with pytest.raises(SignInFailed):
        change(anna, "wrong", "another long secret", key=key)
    change(anna, PASSWORD, "another long secret", key=key)
    assert people.session(key).name == "anna"
    with pytest.raises(NotSignedIn):
        people.session(other)
    for _ in range(throttle.PER_ACCOUNT):
        with pytest.raises(SignInFailed):
            change(anna, "wrong", "a third long secret")
    with pytest.raises(TooManyAttempts):
        change(anna, "another long secret", "a third long secret")
    with pytest.raises(NotSignedIn):
        change(LOCAL, "", "another long secret")


def test_a_hash_of_old_strength_is_renewed_at_sign_in(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.add("anna")
    before = people.value("SELECT password_hash FROM ty_users")
    people.sign_in("anna")
    assert people.value("SELECT password_hash FROM ty_users") == before
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(2, 16, 1))
    people.sign_in("anna")
    after = people.value("SELECT password_hash FROM ty_users")
    assert after != before and "m=16,t=2" in after
    people.sign_in("anna")
    assert people.value("SELECT password_hash FROM ty_users") == after


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_no_more_than_two_passwords_are_hashed_at_once(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.add("anna")
    monkeypatch.setattr(passwords, "_MOST_WAIT", 0.01)
    with passwords._slot(), passwords._slot(), pytest.raises(TooManyAttempts):
        people.sign_in("anna")
    people.sign_in("anna")


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_accents_are_the_same_on_every_keyboard(people: People) -> None:
    people.add("anna", password="caf\u00e9 au lait noir")
    people.sign_in("anna", "cafe\u0301 au lait noir")


def test_a_visitor_says_anything(people: People) -> None:
    people.add("anna")
    odd = Visitor(address="a" * 500, user_agent="🚀\0" * 500, request_id="r\0" * 100)
    key = logins.sign_in(people.db, "anna", PASSWORD, odd).key
    assert people.session(key).name == "anna"
