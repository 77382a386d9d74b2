"""Signing in over HTTP: guessing is slowed, sessions end when they should, a link is good once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from argon2 import PasswordHasher
from httpx2 import Response
from starlette.testclient import TestClient

from api.house import ORIGIN, V1, Client, House
from taskyard.access import passwords, throttle
from taskyard.api.gate import COOKIE
from taskyard.api.serve import config

PASSWORD = "correct horse battery"
RIGHT = {"username": "ada", "password": PASSWORD}
WRONG = {"username": "ada", "password": "wrong"}
HERE = {"Origin": ORIGIN}


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing here hangs on how long a hash takes."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", quick)
    passwords._nobodys.cache_clear()
    yield
    passwords._nobodys.cache_clear()


@pytest.fixture
def ada(house: House) -> Client:
    """A client with a token of Ada's, who has a password."""
    return house.user("ada", "superuser", password=PASSWORD)


def sign_in(client: Client, body: dict[str, str] = RIGHT, **headers: str) -> Response:
    return client.ask("POST", f"{V1}/login", json=body, headers=HERE | headers)


def browser(house: House, body: dict[str, str] = RIGHT) -> Client:
    """Somebody with a session."""
    client = house.client()
    assert sign_in(client, body).status_code == 200
    return client


def with_key(house: House, key: str) -> int:
    """What a session's key gets from a client that has nothing else."""
    return house.anon.ask("GET", f"{V1}/me", headers={"Cookie": f"{COOKIE}={key}"}).status_code


# --- guessing -------------------------------------------------------------------------------------


def test_ten_wrong_passwords_are_enough(house: House, ada: Client) -> None:
    house.user("bob", password=PASSWORD)
    signed_in, stranger = browser(house), house.client()
    assert [sign_in(stranger, WRONG).status_code for _ in range(10)] == [401] * 10
    for body in (WRONG, RIGHT):
        refused = sign_in(stranger, body)
        assert (refused.status_code, refused.json()["code"]) == (429, "TY405")
        assert 0 < int(refused.headers["retry-after"]) <= throttle.WINDOW
        assert "set-cookie" not in refused.headers
    # Whoever has shown who they are is not locked out by others' guesses; nor are other people.
    assert ada.get("/me")["username"] == "ada"
    assert signed_in.get("/me")["username"] == "ada"
    assert sign_in(stranger, {**RIGHT, "username": "bob"}).status_code == 200


def test_guesses_tell_nothing_of_who_there_is(house: House, ada: Client) -> None:
    stranger = house.client()
    found = {}
    for name in ("ada", "nobody-at-all"):
        answers = [sign_in(stranger, {"username": name, "password": "wrong"}) for _ in range(11)]
        found[name] = [
            (a.status_code, a.json()["code"], a.json()["detail"].partition(" in ")[0])
            for a in answers
        ]
    assert found["ada"] == found["nobody-at-all"]
    house.db.run(lambda tx: tx.execute("UPDATE ty_users SET status = 0"))
    house.db.run(lambda tx: tx.execute("DELETE FROM ty_login_attempts"))
    disabled = sign_in(stranger)
    assert (disabled.status_code, disabled.json()["code"]) == found["ada"][0][:2]


def test_guesses_at_one_moment_count_each(house: House, ada: Client) -> None:
    gate = Barrier(16)

    def guess(_: int) -> int:
        client = house.client()
        gate.wait()
        return sign_in(client, WRONG).status_code

    with ThreadPoolExecutor(16) as pool:
        assert Counter(pool.map(guess, range(16))) == {401: 10, 429: 6}


def test_no_header_makes_another_address(
    house: House, ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle, "PER_ADDRESS", 5)
    served = config(house.site)
    served.load()
    app: Any = served.loaded_app
    client = TestClient(app, base_url=ORIGIN, client=("203.0.113.9", 5000))
    forged = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP")
    found = []
    for number in range(7):
        headers = dict.fromkeys(forged, f"198.51.100.{number}")
        body = {"username": f"user{number}", "password": "wrong"}
        found.append(client.post(f"{V1}/login", json=body, headers=headers).status_code)
    assert found == [401] * 5 + [429] * 2
    sql = "SELECT COUNT(*) FROM ty_audit WHERE address = '203.0.113.9'"
    assert house.value(sql) == 5


# --- sessions -------------------------------------------------------------------------------------


def test_a_session_gets_a_key_of_its_own(house: House, ada: Client) -> None:
    """A key that somebody planted before is no session afterwards, and an old one ends."""
    planted = "planted" * 6
    client = house.client()
    first = sign_in(client, Cookie=f"{COOKIE}={planted}").cookies[COOKIE]
    second = sign_in(client, Cookie=f"{COOKIE}={first}").cookies[COOKIE]
    assert len({planted, first, second}) == 3
    assert len(second) >= 43
    assert [with_key(house, key) for key in (planted, first, second)] == [401, 401, 200]


def test_signing_out_ends_the_session_itself(house: House, ada: Client) -> None:
    leaving, staying = browser(house), browser(house)
    key = leaving.inner.cookies[COOKIE]
    answer = leaving.ask("POST", f"{V1}/logout", headers=HERE)
    assert answer.status_code == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert with_key(house, key) == 401
    assert staying.get("/me")["username"] == "ada"


ENDS: dict[str, tuple[str, str, Any]] = {
    "another password": ("POST", "/users/eve/password", {"password": "another horse 77"}),
    "another role": ("PATCH", "/users/eve", {"role": "operator"}),
    "disabled": ("PATCH", "/users/eve", {"status": 0}),
    "deleted": ("DELETE", "/users/eve", None),
}


@pytest.mark.parametrize("change", ENDS)
def test_what_changes_a_user_signs_him_out(house: House, ada: Client, change: str) -> None:
    house.user("eve", "viewer", password=PASSWORD, tenants=["acme"])
    eve = browser(house, {"username": "eve", "password": PASSWORD})
    link = ada.post("/users/eve/sign-in-link")["path"]
    method, path, body = ENDS[change]
    assert ada.ask(method, V1 + path, json=body).status_code in (200, 204)
    assert eve.ask("GET", f"{V1}/me").status_code == 401
    assert house.client().ask("GET", link).status_code == 401


@pytest.mark.parametrize("change", ["expires_at = created_at", "seen_at = '2020-01-01 00:00:00'"])
def test_a_session_runs_out(house: House, ada: Client, change: str) -> None:
    client = browser(house)
    house.db.run(lambda tx: tx.execute(f"UPDATE ty_logins SET {change}"))
    assert client.ask("GET", f"{V1}/me").status_code == 401


@pytest.mark.parametrize("key", ["", "x", "../x", "a" * 43, "é", "'", "a" * 30_000])
def test_a_key_that_is_none_is_none(house: House, ada: Client, key: str) -> None:
    headers = {"Cookie": f"{COOKIE}={key}".encode()}
    assert house.anon.ask("GET", f"{V1}/me", headers=headers).status_code == 401


# --- links ----------------------------------------------------------------------------------------


def test_of_many_with_one_link_one_gets_in(lane_house: House) -> None:
    root = lane_house.user("root")
    path = root.post("/users/root/sign-in-link")["path"]
    gate = Barrier(8)

    def follow(_: int) -> int:
        client = lane_house.client()
        gate.wait()
        return client.ask("GET", path, follow_redirects=False).status_code

    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(follow, range(8))) == {303: 1, 401: 7}


def test_a_link_runs_out_and_is_no_session(house: House, root: Client) -> None:
    link = root.post("/users/root/sign-in-link")["path"].rpartition("/")[2]
    assert with_key(house, link) == 401
    house.db.run(lambda tx: tx.execute("UPDATE ty_logins SET expires_at = created_at"))
    assert house.client().ask("GET", f"{V1}/login/{link}").status_code == 401
    session = browser_of(house, root).inner.cookies[COOKIE]
    assert house.client().ask("GET", f"{V1}/login/{session}").status_code == 401


def browser_of(house: House, root: Client) -> Client:
    """Root, signed in by a link."""
    client = house.client()
    path = root.post("/users/root/sign-in-link")["path"]
    assert client.ask("GET", path, follow_redirects=False).status_code == 303
    return client


# --- tokens ---------------------------------------------------------------------------------------

DEAD = {
    "revoked": lambda root, token: root.delete(f"/tokens/{token['public_id']}"),
    "user disabled": lambda root, token: root.patch("/users/bob", {"status": 0}),
}


@pytest.mark.parametrize("why", DEAD)
def test_a_token_is_dead_at_once(lane_house: House, why: str) -> None:
    root = lane_house.user("root")
    lane_house.user("bob")
    made = root.post("/tokens", {"name": "x", "username": "bob"}, 201)
    bob = lane_house.client(made["text"])
    assert bob.get("/me")["username"] == "bob"
    DEAD[why](root, made)
    problem = bob.get("/me", 401)
    assert (problem["code"], problem["params"]["why"]) == ("TY406", why)


def test_a_token_runs_out(lane_house: House) -> None:
    root = lane_house.user("root")
    lane_house.db.run(lambda tx: tx.execute("UPDATE ty_tokens SET expires_at = created_at"))
    assert root.get("/me", 401)["params"]["why"] == "expired"
