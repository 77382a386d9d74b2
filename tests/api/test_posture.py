"""Posture: where the API may listen, and what a proxy may say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from api.house import House
from taskyard.api import posture
from taskyard.api.serve import config
from taskyard.core.errors import BadSetting, PortInUse, TaskyardError, UnsafeAddress
from taskyard.settings import Settings

PROXY: dict[str, Any] = {"behind_proxy": ["10.0.0.0/8"]}

ALLOWED = [
    ({}, False),
    ({}, True),
    ({"host": "127.9.9.9"}, True),
    ({"host": "::1"}, True),
    ({"host": "localhost"}, True),
    ({"host": "0.0.0.0", **PROXY}, False),
    ({"host": "192.0.2.1", **PROXY}, False),
]

REFUSED = [
    ({"host": "0.0.0.0"}, False, "--tls-cert FILE --tls-key FILE"),
    ({"host": "::"}, False, "--behind-proxy CIDR"),
    ({"host": "jobs.example"}, False, "--behind-proxy CIDR"),
    ({"host": "0.0.0.0"}, True, "Leave out --no-auth, or listen on 127.0.0.1."),
    ({"host": "0.0.0.0", **PROXY}, True, "Leave out --no-auth"),
    ({"host": ""}, True, "Leave out --no-auth"),
]


@pytest.mark.parametrize(("given", "no_auth"), ALLOWED)
def test_safe_addresses(given: dict[str, Any], no_auth: bool) -> None:
    posture.require_safe(Settings(**given), no_auth=no_auth)


@pytest.mark.parametrize(("given", "no_auth", "remedy"), REFUSED)
def test_unsafe_addresses_are_refused_with_the_remedy(
    given: dict[str, Any], no_auth: bool, remedy: str
) -> None:
    with pytest.raises(UnsafeAddress) as refused:
        posture.require_safe(Settings(**given), no_auth=no_auth)
    assert remedy in refused.value.fix


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    for name in ("bad.pem", "missing.pem"):
        with pytest.raises(BadSetting, match="cannot be used"):
            posture.require_safe(Settings(tls_cert=tmp_path / name), no_auth=False)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("nowhere.invalid", "is no address"), ("192.0.2.1", "cannot listen on 192.0.2.1")],
)
def test_an_address_that_is_not_ours_is_told(host: str, expected: str) -> None:
    with pytest.raises(TaskyardError, match=expected):
        posture.bind(host, 0)


def test_a_port_is_bound_once() -> None:
    first = posture.bind("127.0.0.1", 0)
    with first, pytest.raises(PortInUse) as refused:
        posture.bind("127.0.0.1", first.getsockname()[1])
    assert refused.value.pid is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_address_is_one_that_a_browser_can_open(host: str) -> None:
    with posture.bind(host, 0) as listener:
        port = listener.getsockname()[1]
        assert posture.url_of(Settings(), listener) == f"http://127.0.0.1:{port}"
        secure = Settings(tls_cert=Path("x.pem"))
        assert posture.url_of(secure, listener) == f"https://127.0.0.1:{port}"


# --- what a proxy may say -------------------------------------------------------------------------


@pytest.fixture
def asked_by(fresh: str) -> Iterator[Any]:
    """Signs in wrongly from an address with a header; gives the address that the audit has."""
    house = House(fresh, **PROXY)
    application = config(house.site)
    application.load()

    def ask(peer: str, forwarded: str) -> str:
        app: Any = application.loaded_app
        client = TestClient(app, base_url="http://127.0.0.1", client=(peer, 5000))
        headers = {"X-Forwarded-For": forwarded}
        body = {"username": "nobody", "password": "wrong"}
        assert client.post("/api/v1/login", json=body, headers=headers).status_code == 401
        found = house.value("SELECT address FROM ty_audit ORDER BY id DESC LIMIT 1")
        return str(found)

    yield ask
    house.close()


def test_only_a_trusted_proxy_is_believed(asked_by: Any) -> None:
    assert asked_by("203.0.113.9", "198.51.100.7") == "203.0.113.9"
    assert asked_by("10.0.0.5", "198.51.100.7") == "198.51.100.7"
    # What the client itself claims stands further left, and is not believed.
    assert asked_by("10.0.0.5", "127.0.0.1, 198.51.100.7, 10.0.0.9") == "198.51.100.7"


def test_without_a_proxy_nobody_is_believed(fresh: str) -> None:
    house = House(fresh)
    settled: uvicorn.Config = config(house.site)
    assert settled.proxy_headers is False
    house.close()


def test_the_cookie_is_secure_where_the_proxy_ends_tls(fresh: str) -> None:
    house = House(fresh, **PROXY)
    house.user("ada", password="correct horse battery")
    settled = config(house.site)
    settled.load()
    app: Any = settled.loaded_app
    body = {"username": "ada", "password": "correct horse battery"}
    for peer, secure in (("10.0.0.5", True), ("203.0.113.9", False)):
        client = TestClient(app, base_url="http://127.0.0.1", client=(peer, 5000))
        answer = client.post("/api/v1/login", json=body, headers={"X-Forwarded-Proto": "https"})
        assert answer.status_code == 200
        assert ("Secure" in answer.headers["set-cookie"]) is secure
    house.close()
