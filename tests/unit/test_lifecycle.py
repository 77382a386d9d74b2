"""Lifecycle: what an Outcome means, judged without a database, by a table of cases."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.lifecycle import (
    Attempt,
    Hold,
    Kind,
    Outcome,
    RetryPolicy,
    RunStatus,
    TaskStatus,
    Verdict,
    decide,
)

FIXED = RetryPolicy(kind="fixed", base=7.0, jitter=False)

PENDING, COMPLETED, FAILED, CANCELLED = (
    TaskStatus.PENDING,
    TaskStatus.COMPLETED,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
)


def judged(kind: Kind, outcome: dict[str, Any], attempt: dict[str, Any]) -> Verdict:
    given: dict[str, Any] = {
        "retry_count": 0,
        "max_retries": 3,
        "crashes": 0,
        "retry_interval": None,
        "at_most_once": False,
        "retry": FIXED,
        **attempt,
    }
    return decide(Outcome(1, kind, **outcome), Attempt(**given), max_crashes=5, random=lambda: 0.0)


# what it came to, the Outcome, the Attempt -> the Verdict
CASES: list[tuple[Kind, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # It ended well, or for good.
    (Kind.COMPLETED, {}, {"retry_count": 2, "crashes": 1}, {"task_status": COMPLETED}),
    (Kind.COMPLETED, {}, {"at_most_once": True}, {"task_status": COMPLETED}),
    (Kind.CANCELLED, {"error": "no"}, {}, {"task_status": CANCELLED, "error": "no"}),
    (Kind.REJECTED, {"error": "bad"}, {"max_retries": 9}, {"task_status": FAILED}),
    # It failed: a retry while one is left, by the most particular wait that was said.
    (Kind.FAILED, {"error": "x"}, {}, {"retry_count": 1, "delay": 7.0, "error": "x"}),
    (Kind.FAILED, {}, {"retry_count": 2}, {"task_status": PENDING, "retry_count": 3}),
    (Kind.FAILED, {}, {"retry_count": 3}, {"task_status": FAILED, "retry_count": 3, "delay": None}),
    (Kind.FAILED, {}, {"retry_count": 9}, {"task_status": FAILED, "retry_count": 9}),
    (Kind.FAILED, {}, {"max_retries": 0}, {"task_status": FAILED, "retry_count": 0}),
    (Kind.FAILED, {}, {"at_most_once": True}, {"task_status": FAILED, "retry_count": 0}),
    (Kind.FAILED, {"delay": 2.0}, {}, {"delay": 2.0}),
    (Kind.FAILED, {"delay": 2.0}, {"retry_interval": 4.0}, {"delay": 4.0}),
    (Kind.FAILED, {}, {"retry_interval": 0.0}, {"delay": 0.0}),
    # Anybody may write a retry_interval; no calendar goes further than a hundred years from here.
    (Kind.FAILED, {}, {"retry_interval": -9.0}, {"delay": 0.0}),
    (Kind.FAILED, {}, {"retry_interval": math.nan}, {"delay": 0.0}),
    (Kind.FAILED, {}, {"retry_interval": math.inf}, {"delay": 36_525 * 86_400}),
    (Kind.SNOOZE, {"delay": 1e300}, {}, {"delay": 36_525 * 86_400}),
    (Kind.RETRY, {"delay": 2.0}, {"retry_interval": 4.0}, {"retry_count": 1, "delay": 2.0}),
    (Kind.RETRY, {"delay": 0.0}, {"retry_interval": 4.0}, {"delay": 0.0}),
    (Kind.RETRY, {}, {"retry_interval": 4.0}, {"delay": 4.0}),
    (Kind.RETRY, {}, {}, {"delay": 7.0}),
    (Kind.RETRY, {"delay": 2.0}, {"retry_count": 3}, {"task_status": FAILED, "delay": None}),
    (Kind.TIMEOUT, {"delay": 1.0}, {}, {"task_status": PENDING, "retry_count": 1, "delay": 1.0}),
    (Kind.TIMEOUT, {}, {"retry_count": 3}, {"task_status": FAILED}),
    (Kind.CRASHED, {}, {}, {"task_status": PENDING, "retry_count": 1, "crashes": 0}),
    (Kind.CRASHED, {}, {"max_retries": 0}, {"task_status": FAILED, "crashes": 0}),
    (Kind.CRASHED, {}, {"suspect": True}, {"suspect": False}),
    # It was lost: counted apart, never as a retry; poison is parked.
    (Kind.LOST, {"error": "gone"}, {"max_retries": 0}, {"task_status": PENDING, "crashes": 1}),
    (Kind.LOST, {}, {"retry_count": 2}, {"retry_count": 2, "crashes": 1, "delay": None}),
    (Kind.LOST, {}, {"crashes": 3}, {"task_status": PENDING, "crashes": 4}),
    (
        Kind.LOST,
        {"error": "gone"},
        {"crashes": 4},
        {
            "task_status": FAILED,
            "crashes": 5,
            "error": "parked after 5 lost attempts: gone",
        },
    ),
    (Kind.LOST, {}, {"crashes": 8}, {"task_status": FAILED, "crashes": 9}),
    (Kind.LOST, {}, {"at_most_once": True}, {"task_status": FAILED, "crashes": 1}),
    (Kind.LOST, {}, {"suspect": True}, {"suspect": True}),
    (Kind.LOST, {}, {}, {"suspect": False}),
    (Kind.SUSPECTED, {}, {}, {"task_status": PENDING, "crashes": 1, "suspect": True}),
    (Kind.SUSPECTED, {}, {"crashes": 4}, {"task_status": FAILED, "crashes": 5, "suspect": False}),
    (Kind.SUSPECTED, {}, {"at_most_once": True}, {"task_status": FAILED}),
    # It was handed back: no retry, no crash.
    (Kind.INTERRUPTED, {"started": 1.0}, {"retry_count": 3}, {"task_status": PENDING}),
    (Kind.INTERRUPTED, {}, {"retry_count": 3, "crashes": 4}, {"retry_count": 3, "crashes": 4}),
    (Kind.INTERRUPTED, {}, {"suspect": True}, {"suspect": True}),
    (Kind.INTERRUPTED, {}, {"at_most_once": True}, {"task_status": PENDING}),
    (Kind.INTERRUPTED, {"started": 1.0}, {"at_most_once": True}, {"task_status": FAILED}),
    (Kind.SNOOZE, {"delay": 60.0, "started": 1.0}, {}, {"task_status": PENDING, "delay": 60.0}),
    (Kind.SNOOZE, {"delay": 60.0}, {"retry_count": 3}, {"task_status": PENDING, "retry_count": 3}),
    (Kind.SNOOZE, {"started": 1.0}, {"at_most_once": True}, {"task_status": PENDING}),
]


@pytest.mark.parametrize(("kind", "outcome", "attempt", "wanted"), CASES)
def test_an_outcome_is_judged(
    kind: Kind, outcome: dict[str, Any], attempt: dict[str, Any], wanted: dict[str, Any]
) -> None:
    verdict = judged(kind, outcome, attempt)
    assert {name: getattr(verdict, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.COMPLETED, RunStatus.COMPLETED),
        (Kind.FAILED, RunStatus.FAILED),
        (Kind.REJECTED, RunStatus.FAILED),
        (Kind.RETRY, RunStatus.FAILED),
        (Kind.CRASHED, RunStatus.FAILED),
        (Kind.TIMEOUT, RunStatus.TIMEOUT),
        (Kind.CANCELLED, RunStatus.CANCELLED),
        (Kind.LOST, RunStatus.LOST),
        (Kind.SUSPECTED, RunStatus.LOST),
        (Kind.INTERRUPTED, RunStatus.INTERRUPTED),
        (Kind.SNOOZE, RunStatus.INTERRUPTED),
    ],
)
def test_a_run_is_called_by_what_happened_whatever_becomes_of_the_task(
    kind: Kind, status: RunStatus
) -> None:
    for attempt in ({}, {"retry_count": 3}, {"at_most_once": True}, {"crashes": 4}):
        assert judged(kind, {"started": 1.0}, attempt).run_status is status


def test_what_a_transaction_has_settled_is_not_judged_again() -> None:
    with pytest.raises(ValueError, match="judged already"):
        judged(Kind.SETTLED, {}, {})


ATTEMPTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "retry_count": st.integers(0, 10),
        "max_retries": st.integers(0, 10),
        "crashes": st.integers(0, 10),
        "retry_interval": st.none() | st.floats(0, 1000),
        "at_most_once": st.booleans(),
        "suspect": st.booleans(),
    }
)
OUTCOMES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "delay": st.none() | st.floats(0, 1000),
        "started": st.none() | st.floats(0, 1000),
        "error": st.none() | st.text(),
    }
)


@given(st.sampled_from([kind for kind in Kind if kind is not Kind.SETTLED]), OUTCOMES, ATTEMPTS)
def test_no_judgement_breaks_the_invariants(
    kind: Kind, outcome: dict[str, Any], attempt: dict[str, Any]
) -> None:
    verdict = judged(kind, outcome, attempt)
    failures = verdict.retry_count - attempt["retry_count"]
    losses = verdict.crashes - attempt["crashes"]
    assert failures in (0, 1) and losses in (0, 1) and failures + losses <= 1
    assert failures == 0 or verdict.task_status is PENDING
    assert verdict.retry_count <= max(attempt["max_retries"], attempt["retry_count"])
    assert verdict.delay is None or (verdict.task_status is PENDING and verdict.delay >= 0)
    assert verdict.task_status is not TaskStatus.RUNNING
    assert (verdict.task_status is COMPLETED) == (kind is Kind.COMPLETED)
    # At most once: what was started goes back only where its handler asked for it.
    if attempt["at_most_once"] and kind not in (Kind.SNOOZE, Kind.INTERRUPTED):
        assert verdict.task_status is not PENDING


# --- waiting -------------------------------------------------------------------------------------


def test_an_exponential_wait_doubles_up_to_its_cap() -> None:
    policy = RetryPolicy(base=2.0, cap=60.0, jitter=False)
    waits = [policy.delay(n, lambda: 0.0) for n in (1, 2, 3, 4, 5, 6, 7, 100, 5_000, 10**9)]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]


def test_a_fixed_wait_stays_and_knows_its_cap() -> None:
    policy = RetryPolicy(kind="fixed", base=5.0, jitter=False)
    assert [policy.delay(n, lambda: 0.0) for n in (1, 2, 50)] == [5, 5, 5]
    assert RetryPolicy(kind="fixed", base=99.0, cap=10.0, jitter=False).delay(1, lambda: 0) == 10


@given(
    st.sampled_from(["exponential", "fixed"]),
    st.floats(0.01, 100),
    st.floats(0.01, 1000),
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
)
def test_jitter_leaves_between_half_and_all_of_the_wait(
    kind: Any, base: float, cap: float, attempt: int, dice: float
) -> None:
    plain = RetryPolicy(kind, base, cap, jitter=False).delay(attempt, lambda: dice)
    drawn = RetryPolicy(kind, base, cap).delay(attempt, lambda: dice)
    assert plain / 2 <= drawn <= plain <= cap
    assert math.isfinite(drawn)


def test_the_default_wait_is_two_seconds_doubled_up_to_ten_minutes() -> None:
    policy = RetryPolicy()
    assert [policy.delay(n, lambda: 0.999_999) for n in (1, 2, 3)] == pytest.approx(
        [2, 4, 8], rel=1e-5
    )
    assert policy.delay(1_000, lambda: 0.0) == 300.0
    assert len({policy.delay(5, dice) for dice in (lambda: 0.1, lambda: 0.2)}) == 2


def test_a_policy_comes_back_from_its_data() -> None:
    policy = RetryPolicy(kind="fixed", base=1.5, cap=9.0, jitter=False)
    assert RetryPolicy.from_dict(policy.to_dict()) == policy


def test_the_numbers_of_requirement_5_stand() -> None:
    names = ["PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]
    assert [status.name for status in TaskStatus] == names
    assert [int(status) for status in TaskStatus] == [0, 1, 2, 3, 4]
    assert int(Hold.NONE) == 0
