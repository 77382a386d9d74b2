"""The gate: what says nothing is not served; who is let in, from where, and under which name."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from starlette.routing import Route

from api.house import ORIGIN, Client, House
from taskyard.access.permissions import Permission
from taskyard.api.app import NOUNS, Undeclared, build, require_declared
from taskyard.api.noun import Noun

QUEUES = "/api/v1/queues"


# --- deny by default ------------------------------------------------------------------------------


def test_a_route_that_says_nothing_is_not_built(house: House) -> None:
    house.app.add_api_route("/secret", lambda: "all")
    with pytest.raises(Undeclared, match="/secret does not say who may ask"):
        require_declared(house.app.routes)


def test_a_change_without_a_name_for_the_audit_is_not_built(house: House) -> None:
    noun = Noun("things")

    @noun.post("/things", needs=Permission.PURGE, audit="", answers=None)
    def remove_things(ask: object) -> None: ...

    with pytest.raises(Undeclared, match="POST /api/v1/things does not say what it changes"):
        build(house.site, [noun])


def test_nobody_gets_in_without_a_sign_in_but_where_it_is_said(house: House) -> None:
    refused: set[tuple[str, str]] = set()
    let_in: set[tuple[str, str]] = set()
    for endpoint in (e for noun in NOUNS for e in noun.endpoints):
        path = re.sub(r"{\w+}", "1", endpoint.path)
        status = house.anon.ask(endpoint.method, path, json={}).status_code
        (refused if status == 401 else let_in).add((endpoint.method, endpoint.path))
    assert let_in == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("POST", "/api/v1/login"),  # which finds no name in {}
        ("POST", "/api/v1/logout"),
    }
    assert len(refused) > 40
    for path in ("/docs", "/openapi.json"):
        assert house.anon.ask("GET", path).status_code == 401


def test_the_documentation_can_be_opened(fresh: str) -> None:
    house = House(fresh, open_docs=True)
    assert "/api/v1/runs" in house.anon.ask("GET", "/docs").text
    assert house.anon.ask("GET", "/openapi.json").json()["openapi"].startswith("3.")
    house.close()


# --- who ------------------------------------------------------------------------------------------


def test_a_permission_is_asked_for_before_anything_is_read(house: House) -> None:
    viewer = house.user("vera", "viewer", tenants=["acme"])
    problem = viewer.post("/queues", {"nonsense": True}, 403)
    assert (problem["code"], problem["params"]["permission"]) == ("TY401", "queues.write")
    assert house.anon.post("/queues", {"nonsense": True}, 401)["code"] == "TY403"


@pytest.mark.parametrize("header", ["Basic eDp5", "Bearer", "Bearer ty_aaaaaaaa_x", "ty_x", "\x00"])
def test_a_wrong_token_is_no_token(house: House, header: str) -> None:
    answer = house.anon.ask("GET", QUEUES, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_session_begins_with_a_password_and_ends_with_a_word(house: House) -> None:
    house.user("ada", "superuser", password="correct horse battery")
    browser = house.client()
    wrong = {"username": "ada", "password": "wrong"}
    assert browser.post("/login", wrong, 401)["code"] == "TY404"
    answer = browser.ask(
        "POST", "/api/v1/login", json={"username": "ada", "password": "correct horse battery"}
    )
    assert answer.json()["username"] == "ada"
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert browser.get("/me")["role"] == "superuser"
    browser.post("/logout", status=204, headers={"Origin": ORIGIN})
    browser.get("/me", 401)


def test_a_link_signs_in_once(house: House, root: Client) -> None:
    path = root.post("/users/root/sign-in-link")["path"]
    browser = house.client()
    answer = browser.ask("GET", path, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browser.get("/me")["username"] == "root"
    assert house.client().ask("GET", path).status_code == 401


# --- from where -----------------------------------------------------------------------------------

HERE = {"Origin": ORIGIN}
THERE = {"Origin": "http://evil.example"}

ORIGINS: list[tuple[Mapping[str, str], int, int]] = [
    # headers, with our cookie, where nobody signs in
    ({}, 403, 201),
    (HERE, 201, 201),
    ({"Sec-Fetch-Site": "same-origin"}, 201, 201),
    ({"Sec-Fetch-Site": "same-origin", **HERE}, 201, 201),
    (THERE, 403, 403),
    ({"Origin": "null"}, 403, 403),
    ({"Origin": "http://127.0.0.1:8080"}, 403, 403),
    ({"Origin": "https://127.0.0.1:9999"}, 403, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403, 403),
    ({"Sec-Fetch-Site": "none"}, 403, 403),
    ({"Sec-Fetch-Site": "same-origin", **THERE}, 403, 403),
    ({"Referer": "http://evil.example/page"}, 403, 403),
    ({"Referer": f"{ORIGIN}/runs"}, 201, 201),
    ({**THERE, "X-HTTP-Method-Override": "GET"}, 403, 403),
]


def test_a_change_is_asked_for_by_our_own_pages_only(house: House) -> None:
    house.user("ada", password="correct horse battery")
    browser = house.client()
    browser.post("/login", {"username": "ada", "password": "correct horse battery"})
    unguarded = House(str(house.db.url), no_auth=True)
    for number, (headers, with_cookie, without) in enumerate(ORIGINS):
        for client, expected in ((browser, with_cookie), (unguarded.anon, without)):
            name = f"{client is browser}-{number}"
            answer = client.ask("POST", QUEUES, json={"queue_name": name}, headers=headers)
            assert answer.status_code == expected, headers
            made = house.value("SELECT 1 FROM queue_configs WHERE queue_name = :n", n=name)
            assert (made == 1) is (expected == 201), headers
    unguarded.close()


def test_a_token_needs_no_origin(root: Client) -> None:
    answer = root.ask("POST", QUEUES, json={"queue_name": "one"}, headers=THERE)
    assert answer.status_code == 201


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "x", ""])
def test_what_a_foreign_form_could_send_is_not_read(open_house: House, kind: str) -> None:
    answer = open_house.anon.ask(
        "POST", QUEUES, content=b'{"queue_name": "one"}', headers={"Content-Type": kind}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "TY506")


HOSTS = {
    "127.0.0.1:9999": 200,
    "localhost": 200,
    "LocalHost:1": 200,
    "[::1]:9999": 200,
    "jobs.example:443": 200,
    "public.example": 200,
    "evil.example": 400,
    "127.0.0.1.evil.example": 400,
    "localhost.evil.example:9999": 400,
    "": 400,
    "0": 400,
}


def test_only_our_own_names_are_answered(fresh: str) -> None:
    house = House(
        fresh, no_auth=True, allowed_hosts=["jobs.example"], public_url="https://public.example/x"
    )
    found = {
        host: house.anon.ask("GET", QUEUES, headers={"Host": host}).status_code for host in HOSTS
    }
    assert found == HOSTS
    # An orchestrator asks by whatever address it has.
    assert house.anon.ask("GET", "/healthz", headers={"Host": "10.0.0.7:9999"}).status_code == 200
    house.close()


def test_answers_tell_browsers_to_be_careful(house: House) -> None:
    for path in ("/healthz", "/nowhere", QUEUES):
        headers = house.anon.ask("GET", path, headers=THERE).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    preflight = house.anon.ask("OPTIONS", QUEUES, headers=THERE)
    assert preflight.status_code == 405
    assert "access-control-allow-origin" not in preflight.headers


def test_a_plain_route_is_refused_as_well() -> None:
    with pytest.raises(Undeclared):
        require_declared([Route("/x", lambda request: None)])
