"""Fuzz: requests made from our own OpenAPI, valid and not, have the answers that it tells of.

Schemathesis makes them: each rule of each parameter kept and broken (coverage), by chance,
and one upon the other (stateful). No server error, no status, media type, header or form of an
answer that is not described, no method unheard of, nothing that can be had without a sign-in.

Two of its checks are for the long run alone, because they ask more of a schema than ours says:
that all it allows is taken (two fields may exclude each other, a range must not end before it
starts) and that all else is refused (a number written as text is read as the number).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import anyio.to_thread
import pytest
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.openapi import from_dict
from starlette.types import Receive, Scope, Send

from api.house import House
from taskyard.api.app import NOUNS
from taskyard.api.docs import openapi
from taskyard.db.database import Tx
from taskyard.handlers import HandlerSpec

LONG = [pytest.mark.long, pytest.mark.timeout(3_600)]
SEED = 20_260_731
TAGS = sorted({noun.tag for noun in NOUNS})
PHASES = ("examples", "coverage", "fuzzing", "stateful")
BY_SCHEMA = ("positive_data_acceptance", "negative_data_rejection")
"""The checks of what the schema allows, and of nothing else."""


@pytest.mark.parametrize("tag", TAGS)
def test_each_rule_kept_and_broken(house: House, tag: str) -> None:
    assert faults(house, "superuser", {"examples", "coverage"}, tag=tag) == []


@pytest.mark.parametrize("tag", [pytest.param(tag, marks=LONG) for tag in TAGS])
def test_the_schema_says_all(house: House, tag: str) -> None:
    """It does not yet: this tells where."""
    assert faults(house, "superuser", {"examples", "coverage"}, tag=tag, checks=BY_SCHEMA) == []


@pytest.mark.parametrize("role", [pytest.param(r, marks=LONG) for r in ("superuser", "viewer")])
def test_by_chance(lane_house: House, role: str) -> None:
    assert faults(lane_house, role, {"fuzzing"}, examples=3) == []


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_one_upon_the_other(house: House) -> None:
    assert faults(house, "superuser", {"stateful"}, examples=15) == []


@pytest.mark.parametrize("role", ["superuser", "tenant_admin", "viewer"])
@pytest.mark.parametrize("seed", [pytest.param(seed, marks=LONG) for seed in range(3)])
def test_at_length(lane_house: House, role: str, seed: int) -> None:
    assert faults(lane_house, role, set(PHASES), examples=200, seed=seed) == []


# --- how it is asked ------------------------------------------------------------------------------


def faults(
    house: House,
    role: str,
    phases: set[str],
    *,
    examples: int = 1,
    seed: int = SEED,
    tag: str | None = None,
    checks: Collection[str] = (),
) -> list[str]:
    """What is wrong with the answers, each with the request that shows it."""
    caller = Caller(house, role)
    schema = from_dict(openapi(house.app), config=_config(caller, phases, examples, seed, checks))
    schema.app = caller
    chosen = schema if tag is None else schema.include(tag=tag)
    found: dict[str, str] = {}
    for event in from_schema(chosen).execute():
        if isinstance(event, events.ScenarioFinished):
            found |= _failures(event)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found[f"error {event}"] = ""
    return [f"{what}\n{sample}" for what, sample in sorted(found.items())]


def _config(
    caller: Caller, phases: set[str], examples: int, seed: int, checks: Collection[str]
) -> SchemathesisConfig:
    """`checks` are those that are made; none are all but BY_SCHEMA."""
    load_all_checks()
    known = CHECKS.get_all_names()
    made = checks or set(known) - set(BY_SCHEMA)
    return SchemathesisConfig.from_dict(
        {
            "base-url": "http://127.0.0.1",
            "headers": {"Authorization": f"Bearer {caller.token}"},
            "seed": seed,
            "continue-on-failure": True,
            # No database stores a NUL; that it is refused is tested by itself.
            "generation": {"max-examples": examples, "deterministic": True, "allow-x00": False},
            "checks": {name: {"enabled": name in made} for name in known},
            "phases": {phase: {"enabled": phase in phases} for phase in PHASES},
        }
    )


def _failures(event: events.ScenarioFinished) -> Iterator[tuple[str, str]]:
    recorder = event.recorder
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                asked = recorder.interactions[case_id]
                told = asked.response.content[:500] if asked.response else b""
                failure = check.failure_info.failure
                yield (
                    f"{check.name} {recorder.label}: {failure.title}",
                    f"{asked.request.method} {asked.request.uri}\n{told!r}\n{failure.message}",
                )


class Caller:
    """The application, asked by somebody who outlives whatever he does to himself."""

    def __init__(self, house: House, role: str) -> None:
        self._app = house.app
        self._db = house.db
        house.server("one", HandlerSpec("report"), lease=3_600.0)
        if role != "superuser":
            house.user("root")
        house.user("caller", role, tenants=[] if role == "superuser" else ["acme"])
        self.token = house.token("caller")
        self._rows = self._db.read(self._read)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            await anyio.to_thread.run_sync(self._db.run, self._restore)

    def _read(self, tx: Tx) -> list[tuple[str, dict[str, Any]]]:
        user = tx.rows("SELECT * FROM ty_users WHERE username = 'caller'")[0]
        tokens = tx.rows("SELECT * FROM ty_tokens WHERE user_id = :id", id=user["id"])
        return [("ty_users", user), *(("ty_tokens", token) for token in tokens)]

    def _restore(self, tx: Tx) -> None:
        for table, row in self._rows:
            found = tx.rows(f"SELECT * FROM {table} WHERE id = :id", id=row["id"])
            if found != [row]:
                names = ", ".join(tx.dialect.quote(name) for name in row)
                marks = ", ".join(f":{name}" for name in row)
                tx.execute(f"DELETE FROM {table} WHERE id = :id", id=row["id"])
                tx.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", **row)
