"""Secrets: passwords, tokens, keys and addresses with passwords are told nowhere and kept nowhere.

Each secret is a word that is found again: in every answer, in every line of the log, and in every
column of the database. The two that are shown once are looked for in all other answers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from api.house import ORIGIN, V1, Client, House
from conformance.spine import Spine, ended
from taskyard.api.gate import COOKIE
from taskyard.api.route import DeclaredRoute
from taskyard.core.lifecycle import Kind
from taskyard.handlers import HandlerSpec

DSN = "canarydsn"
SMTP = "canarysmtp"
RIGHT = "canary right 9fK2"
WRONG = "canary wrong 7hQ1"
NEXT = "canary next 3mZ8"
PARAM = "canaryparam"
OPENING = "canaryopening"

REPORT = HandlerSpec(
    "report",
    parameters={
        "type": "object",
        "properties": {"n": {"type": "integer"}, "opening": {"type": "string", "writeOnly": True}},
        "additionalProperties": True,
    },
)
"""A name that says nothing of a secret, but a handler that does (`opening: Secret[str]`)."""


class Teller:
    """Asks, and keeps all that was answered."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: list[str] = []

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.client.ask(
            method, path, json=body, headers={"Origin": ORIGIN, **headers}, follow_redirects=False
        )
        kept = {n: v for n, v in answer.headers.items() if n not in ("set-cookie", "location")}
        self.told.append(f"{answer.text} {kept}")
        return answer


@pytest.fixture
def spine(lane: str) -> Iterator[Spine]:
    spine = Spine(lane)
    yield spine
    spine.db.close()


@pytest.fixture
def guarded(lane: str, spine: Spine) -> Iterator[House]:
    """A house whose settings hold secrets; PostgreSQL takes any password here."""
    url = lane.replace("postgres@", f"postgres:{DSN}@")
    house = House(url, smtp_user="mailer", smtp_password=SMTP)
    house.server("one", REPORT)
    yield house
    house.close()


def test_what_is_secret_is_told_nowhere(
    guarded: House, spine: Spine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # The drivers' and the loop's own chatter is not ours, and we never turn it on.
    for name in ("asyncio", "httpx2", "httpcore2", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.WARNING)
    guarded.user("root")
    root = Teller(guarded.client(guarded.token("root")))
    shown_once = people(guarded, root)
    work(root)
    run(spine)
    look(guarded, root)
    secret = [DSN, SMTP, RIGHT, WRONG, NEXT, PARAM, OPENING, *shown_once]
    assert len(shown_once) == 3
    for place, text in (("answers", "\n".join(root.told)), ("log", caplog.text)):
        assert [word for word in secret if word in text] == [], place
    # What is a task's parameter is kept as it was put there.
    kept = [word for word in secret if word not in (PARAM, OPENING)]
    assert [(table, word) for table, text in dump(guarded) for word in kept if word in text] == []


def people(house: House, root: Teller) -> list[str]:
    """A user with passwords, a session, a link and a token; the secrets that were shown once."""
    body = {"username": "ada", "role": "superuser", "password": RIGHT}
    assert root.ask("POST", f"{V1}/users", body).status_code == 201
    browser = Teller(house.client())
    sign_in = f"{V1}/login"
    assert browser.ask("POST", sign_in, {"username": WRONG, "password": WRONG}).status_code == 401
    assert browser.ask("POST", sign_in, {"username": "ada", "password": WRONG}).status_code == 401
    assert browser.ask("POST", sign_in, {"username": "ada", "password": [WRONG]}).status_code == 422
    in_ = browser.ask("POST", sign_in, {"username": "ada", "password": RIGHT})
    assert in_.status_code == 200
    key = in_.cookies[COOKIE]
    assert browser.ask("GET", f"{V1}/me").status_code == 200
    body = {"password": NEXT}
    assert root.ask("POST", f"{V1}/users/ada/password", body).status_code == 204
    assert root.ask("POST", f"{V1}/users/ada/password", {"password": "x"}).status_code == 422
    link = root.ask("POST", f"{V1}/users/ada/sign-in-link").json()["path"].rpartition("/")[2]
    token = root.ask("POST", f"{V1}/tokens", {"name": "x"}).json()["text"]
    stranger = Teller(house.client())
    for wrong in (token + "x", token[:-1] + "!", f"{token}, {token}"):
        stranger.ask("GET", f"{V1}/me", Authorization=f"Bearer {wrong}")
    stranger.ask("GET", f"{V1}/login/{link}x")
    # The answers that showed them are those that are meant to.
    root.told = [text for text in root.told if link not in text and token not in text]
    root.told += browser.told + stranger.told
    return [key, link, token.split("_", 2)[2]]


def work(root: Teller) -> None:
    """Tasks with secrets among their parameters, taken and refused."""
    params = {"n": 1, "opening": OPENING, "password": PARAM, "deep": [{"api_token": PARAM}]}
    body = {"task_type": "report", "task_params": params}
    assert root.ask("POST", f"{V1}/tasks", body).status_code == 201
    for wrong in (
        {"n": OPENING, "opening": OPENING},
        {"n": 1, "opening": [OPENING]},
        {"opening": {"x": OPENING}},
    ):
        answer = root.ask("POST", f"{V1}/tasks", {"task_type": "report", "task_params": wrong})
        assert answer.status_code == 422, answer.text
    bad = {"task_type": "report", "task_params": {"password": PARAM}, "delay": "soon"}
    assert root.ask("POST", f"{V1}/tasks", bad).status_code == 422
    assert root.ask("POST", f"{V1}/tasks/bulk", {"tasks": [bad]}).status_code == 422


def run(spine: Spine) -> None:
    """The task is worked on; what a server writes of it is masked where its handler says so."""
    [row] = spine.claim(1, known=frozenset({"report"}))
    params = f'{{"n": 1, "opening": "***", "password": "{PARAM}"}}'
    ending = ended(row, Kind.FAILED, error="ValueError: no", payload=params)
    assert spine.settle(ending).written == 1


def look(house: House, root: Teller) -> None:
    """All that can be read is read, with all columns."""
    names = {"queue_name": "default", "task_id": "1", "task_type": "report", "username": "ada"}
    run_id = str(house.value("SELECT MAX(id) FROM ty_runs"))
    for route in house.app.routes:
        assert isinstance(route, DeclaredRoute)
        declared = route.declared
        if declared.method != "GET" or "{link}" in declared.path:
            continue
        known = {"run_id": run_id, "id": run_id, "tenant_id": "x", **names}
        path = re.sub(r"{(\w+)}", partial(_value, known), declared.path)
        query = {p.name: _first(p.schema) for p in declared.takes if p.required}
        query |= {p.name: _all(p.schema) for p in declared.takes if p.name == "include"}
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        answer = root.ask("GET", f"{path}?{asked}")
        assert answer.status_code in (200, 404), (path, answer.text)
    assert sum("***" in text for text in root.told) >= 4


def _value(known: Mapping[str, str], place: re.Match[str]) -> str:
    return known.get(place[1], "1")


def _first(schema: Any) -> str:
    return str(schema.get("enum", ["1"])[0])


def _all(schema: Any) -> str:
    return ",".join(schema["items"]["enum"])


def dump(house: House) -> Iterator[tuple[str, str]]:
    """Every column of every table of ours."""
    names = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    }[house.db.dialect.name]
    for (table,) in house.db.read(lambda tx: tx.all(names)):
        sql = f"SELECT * FROM {house.db.dialect.quote(table)}"
        yield table, repr(house.db.read(lambda tx, sql=sql: tx.rows(sql)))  # type: ignore[misc]
