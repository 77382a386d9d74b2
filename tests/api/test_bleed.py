"""Bleed: nothing that is read as a user of one tenant tells anything of another tenant.

Two tenants have the same things, each with a word of its own in every text. All that can be read is
read as people of one of them: the other's word is nowhere, and whatever the other does changes no
answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from api.town import CHECK, OTHER, OWN, Town, add_channel, add_incident, add_rule
from conformance.spine import ended
from taskyard.access import tenants, tokens, users
from taskyard.access.caller import LOCAL
from taskyard.api.noun import Endpoint
from taskyard.api.route import DeclaredRoute
from taskyard.batches.create import create_batch
from taskyard.batches.manage import cancel_batch
from taskyard.batches.templates import create_template
from taskyard.core.lifecycle import Kind
from taskyard.db.rows import ClaimedRow
from taskyard.runs import logs, progress, rollups
from taskyard.schedules.manage import create_schedule, trigger_schedule
from taskyard.tasks import manage

WORDS = {OWN: "ownword", OTHER: "canary"}
FOREIGN = re.compile(rf"canary|{OTHER}", re.IGNORECASE)

PEOPLE = ("viewer", "tenant_admin", "trusted", "limited")
"""All who have one tenant."""


class Past:
    """What happened to each tenant, and the names of what came of it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.spine = town.spine
        self.names: dict[str, dict[str, str]] = {OWN: {}, OTHER: {}}
        for tenant_id, word in WORDS.items():
            town.spine.queue(f"queue-{word}", f"table_{word}")
            self._people(tenant_id, word)
            self.work(tenant_id)

    def work(self, tenant_id: str) -> None:
        """One task of each state, and one run of each kind, in queues that are shared and not."""
        word = WORDS[tenant_id]
        for queue, table in (("mail", "mail_tasks"), (f"queue-{word}", f"table_{word}")):
            for task_type in ("report", f"type.{word}"):
                self._ends(tenant_id, queue, table, task_type)
            live = self._claimed(tenant_id, queue, table, "report")
            waiting = self._put(tenant_id, queue, "report", delay=3600.0)
            cancelled = self._put(tenant_id, queue, "report", delay=3600.0)
            ref = manage.parse_ref(self.town.db, f"{queue}/{cancelled}")
            manage.cancel(self.town.db, LOCAL, ref, f"because of {word}")
            if queue == "mail":
                self.names[tenant_id] |= {
                    "run_id": str(live.run_id),
                    "id": str(live.run_id),
                    "task_id": str(waiting),
                }
        self._schedule(tenant_id)
        self._alerts(tenant_id)
        self._batch(tenant_id)
        rollups.count_ended(self.town.db)

    def _alerts(self, tenant_id: str) -> None:
        word = WORDS[tenant_id]
        made = {"rule_id": add_rule, "channel_id": add_channel, "incident_id": add_incident}
        self.names[tenant_id] |= {
            name: str(add(self.town, tenant_id, word)) for name, add in made.items()
        }

    def _people(self, tenant_id: str, word: str) -> None:
        db, name = self.town.db, f"{word}.person"
        tenants.update_tenant(db, LOCAL, tenant_id, name=f"The {word}")
        users.add_user(db, LOCAL, name, tenants=[tenant_id], role="operator")
        made = tokens.create_token(db, LOCAL, f"for {word}", username=name)
        self.names[tenant_id] |= {
            "username": name,
            "tenant_id": tenant_id,
            "public_id": made.token.public_id,
            "queue_name": "mail",
            "task_type": "report",
            "link": "nothing",
        }

    def _schedule(self, tenant_id: str) -> None:
        word = WORDS[tenant_id]
        fields = {
            "name": f"nightly {word} {next(self.town.names)}",
            "task_type": f"type.{word}",
            "task_params": {"word": word, "password": f"secret of {word}"},
            "cron_expression": "0 2 * * *",
            "tenant_id": tenant_id,
        }
        made = create_schedule(self.town.db, LOCAL, fields)
        trigger_schedule(self.town.db, LOCAL, made["id"])
        self.names[tenant_id]["schedule_id"] = str(made["id"])

    def _batch(self, tenant_id: str) -> None:
        """A batch whose items have come to an end, another that waits, and a template."""
        db, word = self.town.db, WORDS[tenant_id]
        spec = replace(CHECK, name=f"check.{word}.{next(self.town.names)}")
        about = {"task_type": spec.name, "tenant_id": tenant_id, "params": {"word": word}}
        made = create_batch(
            db, LOCAL, {**about, "name": f"all of {word}"}, [(word, {"word": word})], spec=spec
        )
        result = "UPDATE ty_batch_items SET result = :r, error = :e WHERE batch_id = :b"
        values = {"r": f'{{"word": "{word}"}}', "e": f"{word} broke", "b": made["id"]}
        db.run(lambda tx: tx.execute(result, **values))
        cancel_batch(db, LOCAL, made["id"])
        again = create_batch(db, LOCAL, about, [f"waiting {word}"], spec=spec, start=False)
        name = f"template of {word} {next(self.town.names)}"
        template = create_template(
            db, LOCAL, name, spec.name, tenant_id=tenant_id, fields={"name": f"again {word}"}
        )
        self.names[tenant_id] |= {
            "batch_id": str(again["id"]),
            "template_id": str(template["id"]),
        }

    def _put(self, tenant_id: str, queue: str, task_type: str, **task: Any) -> int:
        word, number = WORDS[tenant_id], next(self.town.names)
        return self.spine.put(
            task_type,
            queue=queue,
            tenant_id=tenant_id,
            task_params=f'{{"word": "{word}", "password": "secret of {word}"}}',
            unique_key=f"{word}-{number}",
            excl_key=f"{word}-{number}",
            **task,
        )

    def _claimed(self, tenant_id: str, queue: str, table: str, task_type: str) -> ClaimedRow:
        """A task that runs, and has told something of itself."""
        number = self._put(tenant_id, queue, task_type)
        known = frozenset({"report", task_type})
        [row] = self.spine.claim(1, known=known, queue=queue, table=table)
        assert row.id == number
        word = WORDS[tenant_id]
        logs.append(self.town.db, self.spine.me, [(row.run_id, 0, f"{word} was here\n")])
        told = {(table, row.id, row.run_id): (1.0, 2.0, f"half of {word}")}
        progress.save_progress(self.town.db, self.spine.me, told)
        return row

    def _ends(self, tenant_id: str, queue: str, table: str, task_type: str) -> None:
        word = WORDS[tenant_id]
        for kind in (Kind.COMPLETED, Kind.FAILED, Kind.TIMEOUT):
            row = self._claimed(tenant_id, queue, table, task_type)
            row = row._replace(retry_count=row.max_retries)
            error = None if kind is Kind.COMPLETED else f"Traceback\nValueError: {word} broke"
            output = f'{{"word": "{word}"}}' if kind is Kind.COMPLETED else None
            ending = ended(row, kind, output=output, error=error)
            assert self.spine.settle(ending, queue=queue, table=table).written == 1


@pytest.fixture(scope="module")
def town(town_url: str) -> Iterator[Town]:
    town = Town(town_url)
    yield town
    town.close()


@pytest.fixture(scope="module")
def past(town: Town) -> Past:
    return Past(town)


def reads(town: Town) -> list[Endpoint]:
    """All that can be read."""
    routes = [r.declared for r in town.house.app.routes if isinstance(r, DeclaredRoute)]
    return [e for e in routes if e.method == "GET"]


def address(endpoint: Endpoint, names: dict[str, str], query: dict[str, str] | None = None) -> str:
    """The address of something, asked for in some way."""
    known = {"server_id": "server-one", **names}
    path = re.sub(r"{(\w+)}", lambda place: quote(known[place[1]], safe=""), endpoint.path)
    required = {p.name: _value(p.schema, "report") for p in endpoint.takes if p.required}
    asked = required | (query or {})
    return f"{path}?{urlencode(asked)}" if asked else path


def _value(schema: object, text: str) -> str:
    assert isinstance(schema, dict)
    return str(schema.get("enum", [text])[0])


_NO_FILTER = frozenset(
    ["limit", "count", "offset", "cursor", "sort", "include", "format", "from", "to", "days"]
)


def ways(endpoint: Endpoint) -> Iterator[dict[str, str]]:
    """The ways to ask without a word of the other tenant: each order, and all columns."""
    yield {}
    for parameter in endpoint.takes:
        schema = parameter.schema.get("items", parameter.schema)
        words = schema.get("enum", [])
        if parameter.name == "include":
            yield {"include": ",".join(words)}
        elif schema.get("type") == "boolean":
            yield {parameter.name: "true"}
        else:
            yield from ({parameter.name: word} for word in words)


def probes(endpoint: Endpoint, past: Past) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Questions about what the other tenant has, each with the same about what nobody has."""
    other = past.names[OTHER]
    numbers = {"task_id": other["task_id"]}
    for parameter in endpoint.takes:
        schema = parameter.schema.get("items", parameter.schema)
        name = parameter.name
        # A queue is the platform's: who may enqueue may find out whether it is there.
        if name in _NO_FILTER or (endpoint.path, name) == ("/api/v1/tasks", "queue"):
            continue
        if name == "task":
            yield {name: f"mail/{other['task_id']}"}, {name: "mail/987654321"}
        elif name == "tenant_id":
            yield {name: OTHER}, {name: "nowhere"}
        elif schema.get("type") == "integer" and not name.startswith("min_"):
            yield {name: numbers.get(name, other["run_id"])}, {name: "987654321"}
        elif schema.get("type") == "string" and "enum" not in schema:
            for word in ("canary", f"type.{WORDS[OTHER]}", f"queue-{WORDS[OTHER]}"):
                yield {name: word}, {name: "x" * len(word)}


def test_no_word_of_the_other_tenant_is_read(town: Town, past: Past) -> None:
    own = 0
    for endpoint in reads(town):
        for who in PEOPLE:
            for query in ways(endpoint):
                path = address(endpoint, past.names[OWN], query)
                answer = town.ask(who, "GET", path)
                assert answer.status_code in (200, 401, 403, 404), (path, answer.text)
                found = FOREIGN.search(answer.text + str(answer.headers))
                assert found is None, (who, path, answer.text)
                own += WORDS[OWN] in answer.text
    # What is of one's own was there each time, or nothing would be proved.
    assert own > 150


OWN_IS_SHOWN = (
    "/alert-rules",
    "/alert-rules/{rule_id}",
    "/channels",
    "/channels/{channel_id}",
    "/incidents",
    "/incidents/{incident_id}",
    "/queues/mail/tasks/{task_id}",
    "/runs/{run_id}",
    "/runs/{run_id}/logs",
    "/runs/errors",
    "/runs/task-types",
    "/runs/export?include=payload,output,error",
    "/runs?include=error&status=failed",
    "/runs?include=payload,output&status=completed",
    "/schedules",
    "/schedules?q=nightly&sort=-next_fire_at",
    "/schedules/{schedule_id}",
    "/stats/top?by=queue",
    "/stats/top?by=task_type",
    "/stats/series?metric=runs&by=queue",
    "/suggest?field=task_type&prefix=type",
    "/tasks?include=task_params,error_msg",
    "/tenants",
    "/tokens",
)


@pytest.mark.parametrize("path", OWN_IS_SHOWN)
def test_the_word_would_be_found_where_it_is(town: Town, past: Past, path: str) -> None:
    """The same crawl by somebody of whom nothing is hidden, so that the test above can fail."""
    path = f"/api/v1{path.format(**past.names[OTHER])}"
    assert FOREIGN.search(town.ask("root", "GET", path).text)
    assert FOREIGN.search(town.ask("trusted", "GET", path).text) is None


def test_to_ask_for_what_is_the_others_is_to_ask_for_nothing(town: Town, past: Past) -> None:
    asked = 0
    for endpoint in reads(town):
        for foreign, nonsense in probes(endpoint, past):
            found, nothing = (
                told(town, "trusted", address(endpoint, past.names[OWN], query), query)
                for query in (foreign, nonsense)
            )
            assert found == nothing, (endpoint.path, foreign)
            asked += 1
    assert asked > 60


def test_whatever_the_other_does_changes_no_answer(town: Town, past: Past) -> None:
    def all_answers() -> dict[str, str]:
        found = {}
        for endpoint in reads(town):
            for query in ({}, {"limit": "3"}, {"sort": "task_type"}):
                if query.keys() <= {p.name for p in endpoint.takes}:
                    path = address(endpoint, past.names[OWN], query)
                    found[path] = told(town, "trusted", path, {})
        return found

    before = all_answers()
    past.work(OTHER)
    users.add_user(town.db, LOCAL, "canary.another", tenants=[OTHER])
    after = all_answers()
    assert {path: after[path] for path in after if after[path] != before[path]} == {}


def test_keys_of_the_other_are_free(town: Town, past: Past) -> None:
    body = {"task_type": "report", "queue": "mail", "unique_key": "one of canary"}
    for who, tenant_id in (("root", OTHER), ("trusted", OWN)):
        answer = town.ask(who, "POST", "/api/v1/tasks", {**body, "tenant_id": tenant_id})
        assert answer.status_code == 201, answer.text
    problem = town.ask("trusted", "POST", "/api/v1/tasks", {**body, "tenant_id": OWN}).json()
    assert problem["code"] == "TY315"
    ref = problem["params"]["existing"]
    path = "/api/v1/queues/{}/tasks/{}".format(*ref.split("/"))
    assert town.ask("trusted", "GET", path).json()["tenant_id"] == OWN


def test_a_bulk_reaches_nothing_of_the_others(town: Town, past: Past) -> None:
    other = f"mail/{past.names[OTHER]['task_id']}"
    state = "SELECT status FROM mail_tasks WHERE id = :id"
    before = town.house.value(state, id=past.names[OTHER]["task_id"])
    for action in ("cancel", "retry", "run-now", "priority"):
        found = {}
        for ref in (other, "mail/987654321"):
            body = {"action": action, "ids": [ref], "priority": 9}
            answer = town.ask("trusted", "POST", "/api/v1/bulk", body)
            assert answer.status_code == 200, answer.text
            found[ref] = answer.text.replace(ref, "…")
        assert len(set(found.values())) == 1, found
        assert '"done":0' in found[other]
    everything = {"action": "cancel", "filter": {"tenant_id": OTHER}, "expected_count": 0}
    assert town.ask("trusted", "POST", "/api/v1/bulk", everything).json()["done"] == 0
    assert town.house.value(state, id=past.names[OTHER]["task_id"]) == before


_PASSING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00"), "TIME"),
    (re.compile(r'"(request_id|throughput|execution_time|next_cursor)":[^,}\]]+'), r'"\1":0'),
    (re.compile(r"(for|in) [\dhms.]+\."), "for a while."),
    (re.compile(r"[\d.]+,TIME,\r\n"), "0,TIME,"),
    # How long a line is, all who stand in it may know.
    (re.compile(r"\d+\+? tasks are before it"), "some are before it"),
)
"""What changes by itself."""


def told(town: Town, who: str, path: str, asked: dict[str, str]) -> str:
    """An answer without what was asked for, and without what changes by itself."""
    answer = town.ask(who, "GET", path)
    text = f"{answer.status_code} {answer.text}"
    for value in asked.values():
        text = text.replace(value, "…")
    for pattern, instead in _PASSING:
        text = pattern.sub(instead, text)
    return text
