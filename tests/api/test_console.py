"""The console's files: which addresses are pages, how long what is kept, and what is not served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from api.house import House
from taskyard.api.console import PAGES, Console
from taskyard.settings import Settings

INDEX = '<meta name="taskyard-prefix" content="" /><script src="./assets/index-1.js"></script>'
HTML = {"Accept": "text/html,*/*"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(INDEX)
    (tmp_path / "assets" / "index-1.js").write_text("1")
    (tmp_path / "theme.js").write_text("2")
    (tmp_path.parent / "secret.js").write_text("3")
    return tmp_path


@pytest.fixture
def client(files: Path) -> Iterator[TestClient]:
    with TestClient(Console(Starlette(), Settings(database_url="sqlite://"), files)) as client:
        yield client


def test_every_page_is_the_one_file(client: TestClient) -> None:
    for path in [*(f"/{word}" for word in PAGES), "/runs/42", "/tasks/mail/7"]:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache"), path
        assert 'src="/assets/index-1.js"' in answer.text


def test_what_has_a_hash_is_kept_for_ever(client: TestClient) -> None:
    answer = client.get("/assets/index-1.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert client.get("/theme.js").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/assets/../secret.js", "/assets/%2e%2e/%2e%2e/secret.js", "/assets/no.js", "/x.js"]
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_mistyped_address_is_a_page_for_people_alone(client: TestClient) -> None:
    answer = client.get("/rnus", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html")
    assert "taskyard-prefix" not in client.get("/rnus").text
    assert "taskyard-prefix" not in client.get("/api/v1/rnus", headers=HTML).text


def test_below_a_prefix_all_leads_there(files: Path) -> None:
    settings = Settings(database_url="sqlite://", public_url="https://jobs.example/yard/")
    client = TestClient(Console(Starlette(), settings, files))
    for path in ("/runs", "/yard/runs"):  # A proxy may leave it in, or take it out.
        assert 'src="/yard/assets/index-1.js"' in client.get(path).text
        assert 'content="/yard"' in client.get(path).text
    assert client.get("/yard/assets/index-1.js").text == "1"


def test_without_a_console_the_page_says_so(house: House, tmp_path: Path) -> None:
    client = TestClient(Console(house.app, house.settings, tmp_path), base_url="http://127.0.0.1")
    answer = client.get("/")
    assert answer.status_code == 503
    assert "TY502" in answer.text
    assert "dev.py web" in answer.text
    assert client.get("/healthz").status_code == 200


def test_pages_carry_the_policy_of_all_answers(house: House) -> None:
    answer = house.anon.ask("GET", "/runs")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
