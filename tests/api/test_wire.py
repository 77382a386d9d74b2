"""The wire: what JSON looks like here, which error is which status, and what is not sent twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest

from api.house import V1, Client, House
from taskyard.api import wire
from taskyard.api.frame import answer_to
from taskyard.core import errors
from taskyard.core.errors import TaskyardError, all_errors
from taskyard.core.lifecycle import RunStatus


def test_values_are_plain_json() -> None:
    east = timezone(timedelta(hours=8))
    value = {
        "at": datetime(2026, 1, 31, 8, tzinfo=UTC),
        "there": datetime(2026, 1, 31, 8, 0, 0, 5, tzinfo=east),
        "status": RunStatus.LOST,
        "set": frozenset({"b", "a"}),
        "nan": float("nan"),
        "safe": wire.MAX_SAFE,
    }
    assert orjson.loads(wire.dump(value)) == {
        "at": "2026-01-31T08:00:00+00:00",
        "there": "2026-01-31T08:00:00.000005+08:00",
        "status": "lost",
        "set": ["a", "b"],
        "nan": None,
        "safe": 2**53 - 1,
    }


def test_integers_that_readers_would_round_go_out_as_text() -> None:
    value = {"rows": [{"id": 2**53, "small": 7, "flag": True}, {"id": -(2**63)}], "n": 2**64}
    assert orjson.loads(wire.dump(value)) == {
        "rows": [{"id": "9007199254740992", "small": 7, "flag": True}, {"id": str(-(2**63))}],
        "n": str(2**64),
    }


def test_stored_json_is_shown_as_it_is() -> None:
    row = {"good": '{"n": 12345678901234567890, "x": 1.0}', "bad": "{n: 1}", "none": None, "id": 1}
    shown = wire.dump(wire.fields(row, "good", "bad", "none", "missing"))
    assert b'"n": 12345678901234567890, "x": 1.0' in shown
    assert orjson.loads(shown)["bad"] == "{n: 1}"


UNFORESEEN = {
    # Nobody meets these over HTTP.
    errors.NoConfig,
    errors.BadSetting,
    errors.HandlerImportFailed,
    errors.HandlerTwice,
    errors.ServerIdTwice,
    errors.TaskLost,
    errors.WaitTimedOut,
    errors.TaskFailed,
    errors.PortInUse,
    errors.ViewTaken,
    errors.ConsoleNotBuilt,
    errors.UnsafeAddress,
    errors.Unexpected,
}


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_an_error_has_a_status_of_its_own(kind: type[TaskyardError]) -> None:
    assert (wire.status_of(kind) == 500) is (kind in UNFORESEEN)


def test_a_problem_says_it_all() -> None:
    answer = wire.problem(errors.QueueUnknown("emial", ["email"]), "r-1")
    assert answer.media_type == "application/problem+json"
    assert orjson.loads(answer.body) == {
        "type": "urn:taskyard:error:TY310",
        "title": "Queue unknown",
        "status": 404,
        "code": "TY310",
        "detail": 'No queue "emial". Did you mean "email"? `taskyard queue list` shows them;'
        " `taskyard queue create emial` makes it.",
        "params": {"queue": "emial", "known": ["email"]},
        "request_id": "r-1",
    }


def test_what_is_wrong_inside_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    away = errors.DatabaseUnreachable("postgresql://app:canary@db.internal/jobs", "refused canary")
    for error in (away, errors.DatabaseLocked("/canary/x.db", "canary"), KeyError("canary")):
        answer = answer_to(error, {"request_id": "r-2"})
        assert answer.status_code in (500, 503)
        assert b"canary" not in answer.body
    assert "request r-2 failed" in caplog.text
    assert "KeyError: 'canary'" in caplog.text


def test_a_request_keeps_a_sane_id(house: House) -> None:
    mine = house.anon.ask("GET", "/healthz", headers={"X-Request-Id": "job-7.a:b_c"})
    assert mine.headers["x-request-id"] == "job-7.a:b_c"
    for insane in ("a b", "x" * 65, "ä", "", "<script>"):
        headers = {"X-Request-Id": insane.encode()}
        answer = house.anon.ask("GET", f"{V1}/me", headers=headers)
        assert answer.headers["x-request-id"] != insane
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_what_has_not_changed_is_not_sent_again(root: Client) -> None:
    root.post("/queues", {"queue_name": "mail"}, 201)
    first = root.ask("GET", f"{V1}/queues")
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = root.ask("GET", f"{V1}/queues", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    root.patch("/queues/mail", {"max_workers": 7})
    changed = root.ask("GET", f"{V1}/queues", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.headers["cache-control"] == "private, no-cache"


def test_paths_and_methods_that_are_not_there(root: Client) -> None:
    assert root.get("/nowhere", 404)["params"] == {"path": "/api/v1/nowhere"}
    assert root.get("/queues/", 404)["code"] == "TY510"
    refused = root.ask("PUT", f"{V1}/queues")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
    assert refused.json()["params"] == {"method": "PUT", "allowed": ["GET", "POST"]}
