"""Fuzz: requests made from our own OpenAPI, valid and not, have the answers that it tells of.

Schemathesis makes them: each rule of each parameter kept and broken (coverage), by chance,
and one upon the other (stateful). No server error, no status, media type, header or form of an
answer that is not described, no method unheard of, nothing that can be had without a sign-in; what
the schema allows is taken and what it does not is refused, but for what no schema can tell (RULES).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import pytest
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.recorder import Interaction
from schemathesis.openapi import from_dict
from starlette.types import Receive, Scope, Send

from api.house import House
from api.town import CHECK
from taskyard.access.caller import LOCAL
from taskyard.api.app import NOUNS
from taskyard.api.docs import openapi
from taskyard.batches.create import create_batch
from taskyard.batches.templates import create_template
from taskyard.db.database import Tx
from taskyard.handlers import HandlerSpec

LONG = [pytest.mark.long, pytest.mark.timeout(3_600)]
SEED = 20_260_731
TAGS = sorted({noun.tag for noun in NOUNS})
PHASES = ("examples", "coverage", "fuzzing", "stateful")
RULES = {
    "a range must not end before it starts": (
        400,
        ["GET /api/v1/stats/summary", "GET /api/v1/stats/series", "GET /api/v1/stats/top"],
    ),
    "a rule of time has a grammar, and its fields hang together": (
        422,
        [
            "POST /api/v1/schedules",
            "PATCH /api/v1/schedules/{schedule_id}",
            "POST /api/v1/schedules/preview",
        ],
    ),
    "what the settings are hangs on the kind": (
        422,
        [
            "POST /api/v1/alert-rules",
            "PATCH /api/v1/alert-rules/{rule_id}",
            "POST /api/v1/alert-rules/preview",
            "POST /api/v1/channels",
            "PATCH /api/v1/channels/{channel_id}",
        ],
    ),
    "an item may be there once": (422, ["POST /api/v1/batches/{batch_id}/items"]),
    "a token holds no more than its maker and its user": (422, ["POST /api/v1/tokens"]),
    "a password may be easily guessed, and tenants hang on the role": (
        422,
        [
            "POST /api/v1/users",
            "PATCH /api/v1/users/{username}",
            "POST /api/v1/users/{username}/password",
        ],
    ),
}
"""Rules that no schema can tell: the status of what breaks them, and where they hold."""


@pytest.mark.parametrize("tag", TAGS)
def test_each_rule_kept_and_broken(house: House, tag: str) -> None:
    assert faults(house, "superuser", {"examples", "coverage"}, tag=tag) == []


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
) -> list[str]:
    """What is wrong with the answers, each with the request that shows it."""
    caller = Caller(house, role)
    schema = from_dict(openapi(house.app), config=_config(caller, phases, examples, seed))
    schema.app = caller
    chosen = schema if tag is None else schema.include(tag=tag)
    found: dict[str, str] = {}
    for event in from_schema(chosen).execute():
        if isinstance(event, events.ScenarioFinished):
            found |= _failures(event)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found[f"error {event}"] = ""
    return [f"{what}\n{sample}" for what, sample in sorted(found.items())]


def _config(caller: Caller, phases: set[str], examples: int, seed: int) -> SchemathesisConfig:
    load_all_checks()
    return SchemathesisConfig.from_dict(
        {
            "base-url": "http://127.0.0.1",
            "headers": {"Authorization": f"Bearer {caller.token}"},
            "seed": seed,
            "continue-on-failure": True,
            # No database stores a NUL; that it is refused is tested by itself.
            "generation": {"max-examples": examples, "deterministic": True, "allow-x00": False},
            "checks": {name: {"enabled": True} for name in CHECKS.get_all_names()},
            "phases": {phase: {"enabled": phase in phases} for phase in PHASES},
        }
    )


def _failures(event: events.ScenarioFinished) -> Iterator[tuple[str, str]]:
    recorder = event.recorder
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.status is Status.FAILURE and check.failure_info is not None:
                asked = recorder.interactions[case_id]
                if check.name == "positive_data_acceptance" and _is_ruled(recorder.label, asked):
                    continue
                told = asked.response.content[:500] if asked.response else b""
                failure = check.failure_info.failure
                yield (
                    f"{check.name} {recorder.label}: {failure.title}",
                    f"{asked.request.method} {asked.request.uri}\n{told!r}\n{failure.message}",
                )


def _is_ruled(label: str, asked: Interaction) -> bool:
    """Did the request break a rule that no schema can tell?"""
    return asked.response is not None and any(
        label in names and asked.response.status_code == status for status, names in RULES.values()
    )


class Caller:
    """The application, asked by somebody who outlives whatever he does to himself.

    So does what he looks at: a batch with its items, and a template.
    """

    def __init__(self, house: House, role: str) -> None:
        self._app = house.app
        self._db = house.db
        house.server("one", HandlerSpec("report"), CHECK, lease=3_600.0)
        if role != "superuser":
            house.user("root")
        house.user("caller", role, tenants=[] if role == "superuser" else ["acme"])
        self.token = house.token("caller")
        self._make_batches("" if role == "superuser" else "acme")
        self._rows = self._db.read(self._read)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            await anyio.to_thread.run_sync(self._db.run, self._restore)

    def _make_batches(self, tenant_id: str) -> None:
        """A batch and a template with the ids that are tried first."""
        fields = {"task_type": CHECK.name, "tenant_id": tenant_id}
        create_batch(self._db, LOCAL, fields, ["a", "b"], spec=CHECK)
        create_template(self._db, LOCAL, "nightly", CHECK.name, tenant_id=tenant_id)

    def _read(self, tx: Tx) -> list[tuple[str, dict[str, Any]]]:
        user = tx.rows("SELECT * FROM ty_users WHERE username = 'caller'")[0]
        tokens = tx.rows("SELECT * FROM ty_tokens WHERE user_id = :id", id=user["id"])
        rows = [("ty_users", user), *(("ty_tokens", token) for token in tokens)]
        for table in ("ty_batches", "ty_batch_items", "ty_batch_templates"):
            rows += [(table, row) for row in tx.rows(f"SELECT * FROM {table}")]
        return rows

    def _restore(self, tx: Tx) -> None:
        tx.execute("DELETE FROM ty_idempotency")  # one key stands for many requests here
        for table, row in self._rows:
            found = tx.rows(f"SELECT * FROM {table} WHERE id = :id", id=row["id"])
            if found != [row]:
                names = ", ".join(tx.dialect.quote(name) for name in row)
                marks = ", ".join(f":{name}" for name in row)
                tx.execute(f"DELETE FROM {table} WHERE id = :id", id=row["id"])
                tx.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", **row)
