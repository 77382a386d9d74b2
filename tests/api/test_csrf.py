"""CSRF, rebinding, clickjacking: what another site's page makes a browser do changes nothing.

The browser has the session of a superuser, or nobody has to sign in at all: every address that
changes anything is asked as a foreign page would, and the whole database is compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from httpx2 import Response

from api.house import ORIGIN, V1, Client, House
from api.matrix import Row, rows
from api.town import Things, Town
from taskyard.access import logins
from taskyard.access.caller import LOCAL
from taskyard.api.route import DeclaredRoute

CHANGES = [row for row in rows() if row.changes and row.whose in ("-", "own")]
SIGN_IN = ("POST /api/v1/login", "POST /api/v1/logout")

OPEN = ("/healthz", "/readyz")
HERE = {"Origin": ORIGIN}
EVIL = "http://evil.example"

PAGES: tuple[Mapping[str, str], ...] = (
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "none"},
    {"Origin": "https://127.0.0.1:9999"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://localhost:9999"},
    {"Origin": f"{ORIGIN}.evil.example"},
    {"Origin": f"http://evil.example/{ORIGIN}"},
    {"Origin": f"{ORIGIN}@evil.example"},
    {"Origin": EVIL, "Referer": f"{ORIGIN}/runs"},
    {"Referer": f"{EVIL}/?{ORIGIN}"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", **HERE},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", **HERE},
    {"Sec-Fetch-Site": "same-origin", "Origin": EVIL},
    {"Origin": EVIL, "Authorization": ""},
    {"Origin": EVIL, "Authorization": " "},
    {"Origin": EVIL, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"},
    {"Origin": EVIL, "X-HTTP-Method-Override": "GET"},
    {"Origin": EVIL, "Access-Control-Request-Method": "POST"},
)
"""What the browser says where a foreign page asks."""

FORMS = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain;application/json",
    "application/jsonp",
    "",
)
"""What a page's form may send without being asked whether it may."""


@pytest.fixture(scope="module")
def town(town_url: str) -> Iterator[Town]:
    town = Town(town_url)
    yield town
    town.close()


@pytest.fixture(scope="module")
def things(town: Town) -> Things:
    return Things(town)


@pytest.fixture(scope="module")
def browser(town: Town) -> Client:
    """A superuser's."""
    return signed_in(town)


@pytest.fixture(scope="module")
def unguarded(town: Town) -> Iterator[House]:
    """The same database where nobody has to sign in."""
    house = House(str(town.db.url), no_auth=True)
    yield house
    house.close()


def signed_in(town: Town) -> Client:
    client = town.house.client()
    path = f"{V1}/login/{logins.make_link(town.db, LOCAL, 'root')}"
    assert client.ask("GET", path, follow_redirects=False).status_code == 303
    return client


@pytest.mark.parametrize("row", CHANGES, ids=str)
def test_a_foreign_page_changes_nothing(
    town: Town, things: Things, browser: Client, unguarded: House, row: Row
) -> None:
    path, body = prepared(town, things, row)
    before = everything(town)
    for page in PAGES:
        for client in (browser, unguarded.anon):
            answer = client.ask(row.method, path, json=body, headers=page)
            assert (answer.status_code, told(answer)) == (403, "509"), page
            assert "access-control-allow-origin" not in answer.headers
    assert browser.ask(row.method, path, json=body).status_code == 403, "a cookie alone"
    assert everything(town) == before
    # Asked by a page of ours it is done, or nothing was proved; signing out would end the browser.
    ours = signed_in(town) if str(row).startswith(SIGN_IN) else browser
    assert ours.ask(row.method, path, json=body, headers=HERE).status_code < 300
    assert (everything(town) == before) is row.path.endswith("/preview")


@pytest.mark.parametrize("row", [r for r in CHANGES if not str(r).startswith(SIGN_IN)], ids=str)
def test_what_a_form_can_send_is_not_read(
    town: Town, things: Things, browser: Client, unguarded: House, row: Row
) -> None:
    path, body = prepared(town, things, row)
    before = everything(town)
    for kind in FORMS:
        for client in (browser, unguarded.anon):
            answer = client.ask(
                row.method,
                path,
                content=json.dumps(body or {}).encode(),
                headers={"Content-Type": kind, **HERE},
            )
            assert (answer.status_code, told(answer)) == (415, "506"), kind
    assert everything(town) == before


@pytest.mark.parametrize("row", CHANGES, ids=str)
def test_under_a_foreign_name_nothing_is_answered(
    town: Town, things: Things, browser: Client, unguarded: House, row: Row
) -> None:
    path, body = prepared(town, things, row)
    before = everything(town)
    for host in ("evil.example:9999", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        for client in (browser, unguarded.anon, town.callers["root"]):
            answer = client.ask(row.method, path, json=body, headers=headers)
            assert (answer.status_code, told(answer)) == (400, "508"), host
    assert everything(town) == before


def test_a_foreign_page_reads_nothing(unguarded: House, browser: Client) -> None:
    """It may ask, as an image does; the browser is told that the answer is none of its business.

    Where nobody signs in it may not even ask: how long an answer takes would tell it something.
    """
    for path in reads(unguarded):
        for client in (browser, unguarded.anon):
            asked = client.ask("GET", path, headers=PAGES[0], follow_redirects=False)
            assert (asked.status_code == 403) is (client is not browser and path not in OPEN), path
            preflight = {"Origin": EVIL, "Access-Control-Request-Method": "GET"}
            for answer in (asked, client.ask("OPTIONS", path, headers=preflight)):
                assert not [name for name in answer.headers if name.startswith("access-control")]
                careful(answer)


def test_a_link_leads_to_us_from_everywhere(unguarded: House) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Referer": EVIL}
    assert unguarded.anon.ask("GET", "/docs", headers=link).status_code == 200
    assert unguarded.anon.ask("POST", f"{V1}/tenants", json={}, headers=link).status_code == 403
    for page in ({}, HERE, {"Sec-Fetch-Site": "same-origin"}, {"Referer": f"{ORIGIN}/runs"}):
        assert unguarded.anon.ask("GET", f"{V1}/queues", headers=page).status_code == 200


def test_every_answer_tells_the_browser_to_be_careful(town: Town, browser: Client) -> None:
    deep = {"Content-Type": "application/json", **HERE}
    answers = {
        200: browser.ask("GET", f"{V1}/me"),
        304: browser.ask("GET", f"{V1}/roles", headers={"If-None-Match": "*"}),
        400: browser.ask("POST", f"{V1}/tasks", content=b"[" * 2000, headers=deep),
        401: town.house.anon.ask("GET", f"{V1}/me"),
        403: town.callers["viewer"].ask("GET", f"{V1}/audit"),
        404: browser.ask("GET", "/nowhere"),
        405: browser.ask("PUT", f"{V1}/me"),
        422: browser.ask("GET", f"{V1}/runs/x"),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        careful(answer)


def test_a_cookie_is_told_to_stay(town: Town) -> None:
    """It goes nowhere else, no script reads it, and with TLS it goes by TLS only."""
    for scheme, secure in (("http", False), ("https", True)):
        client = town.house.client()
        link = f"{V1}/login/{logins.make_link(town.db, LOCAL, 'root')}"
        url = f"{scheme}://127.0.0.1:9999{link}"
        answer = client.ask("GET", url, follow_redirects=False)
        cookie = answer.headers["set-cookie"].split("; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie)
        assert ("Secure" in cookie) is secure
        assert "domain" not in answer.headers["set-cookie"].lower()


# --- how it is asked ------------------------------------------------------------------------------


def prepared(town: Town, things: Things, row: Row) -> tuple[str, Any]:
    return things.fill(row.path, row.whose, "root"), row.body(town, "root")


def told(answer: Response) -> str:
    """The number of the error."""
    return str(answer.json()["code"]).removeprefix("TY")


def reads(house: House) -> list[str]:
    """The addresses that need no name of a thing."""
    routes = [r.declared for r in house.app.routes if isinstance(r, DeclaredRoute)]
    return [e.path for e in routes if e.method == "GET" and "{" not in e.path]


def careful(answer: Response) -> None:
    policy = answer.headers["content-security-policy"]
    for rule in ("default-src 'self'", "script-src 'self'", "object-src 'none'"):
        assert rule in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def everything(town: Town) -> str:
    """A fingerprint of the whole database, but for when a session was last seen."""
    digest = hashlib.sha256()
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    for table in town.db.read(lambda tx: [row[0] for row in tx.all(tables)]):
        found = town.spine.rows(f'SELECT * FROM "{table}"')
        digest.update(repr([(table, {**row, "seen_at": None}) for row in found]).encode())
    return digest.hexdigest()
