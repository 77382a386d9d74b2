"""Error groups: failures are counted by what they have in common, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from conformance.past import START, Past
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Role
from taskyard.core.errors import NotAllowed, QueryInvalid
from taskyard.runs import errors
from taskyard.runs.errors import ErrorGroup, error_groups, pattern_of

TRACEBACK = 'Traceback (most recent call last):\n  File "handlers.py", line 3, in fail\n'


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    yield past
    past.db.close()


def fail(past: Past, run_id: int, line: str, **columns: Any) -> None:
    error = f"{TRACEBACK}    raise it\n{line}\n"
    past.run(run_id, **{"second": run_id, "status": "failed", "error": error, **columns})


def groups(past: Past, **filters: Any) -> list[ErrorGroup]:
    return error_groups(past.db, LOCAL, filters).groups


def test_failures_that_differ_in_numbers_and_names_are_one_group(past: Past) -> None:
    for n in range(1, 13):
        fail(past, n, f"ValueError: boom-{n}")
    fail(past, 20, "ValueError: boom-3", task_type="other")
    past.run(21, second=21)
    [group, other] = groups(past)
    assert group == ErrorGroup(
        task_type="mail",
        pattern="ValueError: boom-#",
        error="ValueError: boom-12",
        count=12,
        statuses={"failed": 12},
        first_at=START + timedelta(seconds=1),
        last_at=START + timedelta(seconds=12),
        run_id=12,
    )
    assert (other.task_type, other.count, other.run_id) == ("other", 1, 20)


def test_timeouts_and_losses_are_failures_and_cancelled_runs_are_not(past: Past) -> None:
    for n, status in enumerate(["failed", "timeout", "lost", "cancelled", "interrupted"]):
        fail(past, n, "gone", status=status)
    [group] = groups(past)
    assert group.statuses == {"failed": 1, "timeout": 1, "lost": 1}
    assert [group.count for group in groups(past, status="timeout,cancelled")] == [1]
    assert groups(past, status="completed") == []


def test_filters_narrow_what_is_grouped(past: Past) -> None:
    fail(past, 1, "a", queue="x")
    fail(past, 2, "b", queue="y")
    fail(past, 3, "b", queue="y", server_id="z")
    assert [(g.pattern, g.count) for g in groups(past)] == [("b", 2), ("a", 1)]
    assert [(g.pattern, g.count) for g in groups(past, queue="y", server_id="z")] == [("b", 1)]
    since = START + timedelta(seconds=2)
    assert [(g.pattern, g.count) for g in groups(past, **{"from": since, "to": None})] == [("b", 2)]
    with pytest.raises(QueryInvalid):
        groups(past, quue="y")


def test_an_error_without_text_and_one_of_many_lines_have_a_group_too(past: Past) -> None:
    fail(past, 1, "x" * 2_000)
    past.run(2, second=2, status="lost")
    assert [(g.pattern, g.run_id) for g in groups(past)] == [("", 2), ("x" * 300, 1)]


def test_only_so_many_of_the_newest_are_grouped_and_that_is_said(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1, 8):
        fail(past, n, "boom")
    monkeypatch.setattr(errors, "MAX_LIMIT", 2)
    monkeypatch.setattr(errors, "_PAGES", 2)
    found = error_groups(past.db, LOCAL, {})
    assert (found.looked_at, found.is_capped) == (4, True)
    assert found.since == START + timedelta(seconds=4)
    assert [(g.count, g.run_id) for g in found.groups] == [(4, 7)]
    whole = error_groups(past.db, LOCAL, {"from": START + timedelta(seconds=5)})
    assert (whole.looked_at, whole.is_capped) == (3, False)


def test_a_tenant_sees_its_own_failures(past: Past) -> None:
    fail(past, 1, "mine", tenant_id="acme")
    fail(past, 2, "theirs", tenant_id="beta")
    fail(past, 3, "the platform's")
    viewer = Caller("v", Role.VIEWER.value, ROLES[Role.VIEWER], frozenset({"acme"}))
    assert [g.error for g in error_groups(past.db, viewer, {}).groups] == ["mine"]
    assert error_groups(past.db, viewer, {"tenant_id": "beta"}).groups == []
    nobody = Caller("n", Role.VIEWER.value, frozenset(), None)
    with pytest.raises(NotAllowed):
        error_groups(past.db, nobody, {})


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("KeyError: 'user_42'", "KeyError: '…'"),
        ('no "Ada" in "Byron"', "no '…' in '…'"),
        ("it isn't John's", "it isn't John's"),
        ("took 3.5 s, 1,204 rows", "took # s, # rows"),
        ("at 0x7f3a9c: 550e8400-e29b-41d4-a716-446655440000", "at #: #"),
        ("commit deadbeef12 is bad, decade is a word", "commit # is bad, decade is a word"),
        ("HTTPStatusError: 503", "HTTPStatusError: #"),
    ],
)
def test_what_varies_is_taken_out_of_a_line(line: str, pattern: str) -> None:
    assert pattern_of(line) == pattern
