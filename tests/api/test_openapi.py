"""The API keeps to its own description: complete, and true for requests that nobody thought of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from api.house import ORIGIN, House
from taskyard.api.docs import openapi
from taskyard.api.route import DeclaredRoute
from taskyard.api.runs import Run
from taskyard.api.tasks import Task
from taskyard.core.lifecycle import RunStatus
from taskyard.handlers import HandlerSpec
from taskyard.runs.browse import RUNS
from taskyard.tasks.browse import TASKS


@pytest.fixture
def described(house: House) -> dict[str, Any]:
    return openapi(house.app)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_address_is_described(house: House, described: dict[str, Any]) -> None:
    told = dict(operations(described))
    declared = [route.declared for route in house.app.routes if isinstance(route, DeclaredRoute)]
    assert set(told) == {f"{e.method} {e.path}" for e in declared if e.shown}
    names = [operation["operationId"] for operation in told.values()]
    assert len(set(names)) == len(names)
    for address, operation in told.items():
        assert operation["summary"], address
        assert "security" in operation, address
        assert {"400", "422", "503"} <= set(operation["responses"]), address
        if operation["security"]:
            assert {"401", "403"} <= set(operation["responses"]), address
        success = next(code for code in operation["responses"] if code[0] in "23")
        assert success == "204" or "content" in operation["responses"][success], address


def test_words_are_told_as_enums(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    assert schemas["RunStatus"]["enum"] == list(RunStatus)
    runs = {p["name"]: p for p in described["paths"]["/api/v1/runs"]["get"]["parameters"]}
    assert runs["status"]["schema"]["items"]["enum"] == list(RunStatus)
    assert {"limit", "cursor", "offset", "sort", "from", "to", "q", "task"} <= set(runs)
    assert described["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_rows_are_told_as_they_are() -> None:
    for model, declared in ((Run, RUNS), (Task, TASKS)):
        columns = {*declared.columns, *declared.large} - {"claimed_at"}
        assert set(model.model_fields) - {"ref"} == columns


def test_references_lead_somewhere(described: dict[str, Any]) -> None:
    known = described["components"]["schemas"]
    found = set(re.findall(r"'#/components/schemas/([^']+)'", str(described)))
    assert found <= set(known)


# --- requests that nobody thought of --------------------------------------------------------------

EXAMPLES = [
    pytest.param(3, id="reduced"),
    pytest.param(200, id="full", marks=[pytest.mark.long, pytest.mark.timeout(3600)]),
]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_request_has_a_described_answer(lane_house: House, examples: int) -> None:
    root = lane_house.user("root")
    lane_house.server("one", HandlerSpec("report"))
    root.post("/queues", {"queue_name": "mail"}, 201)
    root.post("/tasks", {"task_type": "report", "queue": "mail"}, 201)
    headers = {"Authorization": f"Bearer {lane_house.token('root')}"}
    schema = schemathesis.openapi.from_dict(openapi(lane_house.app))
    schema.app = lane_house.app
    schema.config.update(base_url=ORIGIN)
    load_all_checks()
    # What no schema can tell, a cursor of another list or a name that is taken, may be refused.
    left_out = [positive_data_acceptance]

    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        cases = operation.as_strategy() | operation.as_strategy(
            generation_mode=schemathesis.GenerationMode.NEGATIVE
        )

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=cases)
        def ask(case: Any) -> None:
            response = case.call(headers=headers)
            case.validate_response(response, headers=headers, excluded_checks=left_out)

        ask()
