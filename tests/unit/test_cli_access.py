"""The commands over users, tenants, tokens and the audit, as a user types them on each database."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from harness.shell import Shell
from taskyard.access import identify, logins, passwords
from taskyard.access.caller import NOWHERE, Caller
from taskyard.core.errors import SignInFailed, TokenEnded
from taskyard.db.database import Database

PASSWORD = "correct horse battery"


class Place(Shell):
    """A shell, with a keyboard's other end, and what a door would make of what it printed."""

    def __init__(
        self, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        super().__init__(url, capsys)
        self._monkeypatch = monkeypatch
        self.db = Database(url)

    def typing(self, text: str, *words: str) -> int:
        """Run a command with this on its stdin."""
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return self(*words)

    def add(self, name: str, *options: str) -> None:
        assert self.typing(f"{PASSWORD}\n", "user", "add", name, *options, "--password-stdin") == 0

    def bearer(self, text: str) -> Caller:
        return identify.caller_of_token(self.db, text, NOWHERE, advanced=True)


@pytest.fixture
def place(
    lane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    """A shell on a database with a schema, in an empty folder; passwords are hashed quickly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 8, 1))
    passwords._nobodys.cache_clear()
    place = Place(lane, capsys, monkeypatch)
    place.ok("db", "upgrade")
    yield place
    place.db.close()
    place.close()
    passwords._nobodys.cache_clear()


def test_a_user_comes_changes_and_goes(place: Place) -> None:
    place.ok("tenant", "add", "acme", "--name", "ACME Ltd")
    place.add("Anna", "--role", "tenant_admin", "--tenant", "acme", "--grant", "payload.raw")
    assert "tenant_admin" in place.out and PASSWORD not in place.out + place.err
    (row,) = place.json("user", "list")
    assert (row["username"], row["role"], row["tenants"]) == ("anna", "tenant_admin", ["acme"])
    assert (row["grants"], row["state"], row["last_login_at"]) == (["payload.raw"], "enabled", None)
    assert logins.sign_in(place.db, "anna", PASSWORD).username == "anna"
    place.ok("user", "set", "anna", "--role", "operator", "--tenant", "", "--disable")
    (row,) = place.json("user", "list", "--role", "operator")
    assert (row["tenants"], row["grants"], row["status"]) == ([""], [], 0)
    place.ok("user", "set", "anna", "--enable", "--grant", "monitoring")
    place.ok("user", "set", "anna", "--grant", "none")
    assert place.json("user", "list")[0]["grants"] == []
    assert place.typing("another long secret\n", "user", "passwd", "anna", "--password-stdin") == 0
    with pytest.raises(SignInFailed):
        logins.sign_in(place.db, "anna", PASSWORD)
    logins.sign_in(place.db, "anna", "another long secret")
    place.add("root", "--role", "superuser")
    header, *lines = place.ok("user", "list").splitlines()
    told = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    assert [(row["username"], row["tenants"]) for row in told] == [
        ("anna", "the platform's"),
        ("root", "all"),
    ]
    place.ok("user", "remove", "anna")
    assert [row["username"] for row in place.json("user", "list")] == ["root"]


def test_a_password_is_never_an_argument_and_never_nothing(place: Place) -> None:
    assert place("user", "add", "anna", "--password", PASSWORD) == 2
    assert place("user", "add", "anna") == 2
    assert "--password-stdin" in place.err
    for typed in ("", "\n", "short\n"):
        assert place.typing(typed, "user", "add", "anna", "--password-stdin") == 2
        assert "TY333" in place.err
    assert place.json("user", "list") == []


def test_wrong_words_have_their_exit_codes(place: Place) -> None:
    place.add("root", "--role", "superuser")
    typed = f"{PASSWORD}\n"
    for code, said, words in (
        (5, "TY334", ["user", "add", "ROOT", "--password-stdin"]),
        (2, "TY333", ["user", "add", "x", "--role", "boss", "--password-stdin"]),
        (3, "TY331", ["user", "add", "x", "--tenant", "nope", "--password-stdin"]),
        (3, "TY330", ["user", "set", "rot", "--role", "viewer"]),
        (3, "TY330", ["user", "passwd", "rot", "--password-stdin"]),
        (3, "TY330", ["user", "remove", "rot"]),
        (5, "TY335", ["user", "remove", "root"]),
        (5, "TY335", ["user", "set", "root", "--disable"]),
        (2, "at least one thing", ["user", "set", "root"]),
        (3, "TY331", ["tenant", "disable", "acme"]),
        (2, "TY333", ["tenant", "add", "a,b"]),
        (3, "TY330", ["token", "create", "--user", "rot", "--name", "x"]),
        (2, "TY333", ["token", "create", "--user", "root", "--name", "x", "--expires", "2000d"]),
        (2, "--expires", ["token", "create", "--user", "root", "--name", "x", "--expires", "soon"]),
        (2, "TY333", ["token", "create", "--user", "root", "--name", "x", "--scope", "all"]),
        (3, "TY332", ["token", "revoke", "aaaaaaaa"]),
    ):
        assert place.typing(typed, *words) == code, words
        assert said in place.err, (words, place.err)


def test_a_token_is_printed_once_and_works_until_it_is_revoked(place: Place) -> None:
    place.ok("tenant", "add", "acme")
    place.add("ci", "--role", "operator", "--tenant", "acme")
    text = place.ok("token", "create", "--user", "ci", "--name", "deploy").strip()
    assert place.bearer(text).name == "ci" and text not in place.err
    limits = ["--scope", "tasks.write", "--scope", "tasks.read", "--tenant", "acme"]
    words = ["--user", "ci", "--name", "narrow", "--expires", "30d", *limits]
    made = place.json("token", "create", *words)
    caller = place.bearer(made["token"])
    assert {p.value for p in caller.permissions} == {"tasks.read", "tasks.write"}
    assert made["scopes"] == ["tasks.read", "tasks.write"] and made["tenants"] == ["acme"]
    rows = place.json("token", "list", "--user", "ci")
    assert [(row["name"], row["state"]) for row in rows] == [("narrow", "good"), ("deploy", "good")]
    assert made["token"].split("_", 2)[2] not in place.out
    place.ok("token", "revoke", made["public_id"])
    with pytest.raises(TokenEnded):
        place.bearer(made["token"])
    assert [row["state"] for row in place.json("token", "list")] == ["revoked", "good"]
    assert "revoked" in place.ok("token", "list")


def test_tenants_are_listed_disabled_and_enabled(place: Place) -> None:
    place.ok("tenant", "add", "acme", "--name", "ACME Ltd")
    place.ok("tenant", "add", "beta")
    place.ok("tenant", "disable", "acme")
    rows = place.json("tenant", "list")
    assert [(r["tenant_id"], r["name"], r["state"]) for r in rows] == [
        ("acme", "ACME Ltd", "disabled"),
        ("beta", "beta", "enabled"),
    ]
    place.ok("tenant", "enable", "acme")
    assert {row["state"] for row in place.json("tenant", "list")} == {"enabled"}


def test_the_audit_is_listed_and_verified(place: Place) -> None:
    place.ok("tenant", "add", "acme")
    place.ok("tenant", "disable", "acme")
    place.ok("queue", "create", "mail")
    rows = place.json("audit", "list")
    assert [row["action"] for row in rows] == ["queue.create", "tenant.update", "tenant.create"]
    assert rows[0]["actor"].startswith("local:")
    assert (rows[1]["before"], rows[1]["after"]) == ({"status": 1}, {"status": 0})
    assert "status: 1 → 0" in place.ok("audit", "list", "--object", "tenant/acme")
    assert len(place.json("audit", "list", "--action", "queue.create", "--since", "1h")) == 1
    assert place.json("audit", "list", "--to", "2020-01-01") == []
    assert place.json("audit", "verify") == {
        "sealed": 0,
        "waiting": 3,
        "head": None,
        "problems": [],
    }
    sql = "UPDATE ty_audit SET seal = 'x', actor = 'nobody' WHERE id = 2"
    place.db.run(lambda tx: tx.execute(sql))
    assert place("audit", "verify") == 1
    assert "row 2" in place.out
    assert place("audit", "verify", "--json") == 1
    assert len(json.loads(place.out)["problems"]) == 2
