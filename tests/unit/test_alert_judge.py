"""Judge: what rules find, and what becomes of their incidents. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskyard.alerts import judge
from taskyard.alerts.incident import Incident, State
from taskyard.alerts.judge import Event, Finding, Step
from taskyard.alerts.kinds import KINDS, RuleKind, SettingRefused, settings_of
from taskyard.alerts.preview import crowds, openings, until_success
from taskyard.alerts.rule import Rule, valid_fields
from taskyard.core.errors import AlertInvalid
from taskyard.runs.failures import Failure

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def rule(kind: RuleKind, settings: dict[str, Any] | None = None, **fields: Any) -> Rule:
    given: dict[str, Any] = {
        "filters": {},
        "channels": None,
        "remind_every": 3_600.0,
        "resolve_after": KINDS[kind].resolve_after,
        "silenced_until": None,
        "tenant_id": "",
        "status": 1,
        "problem": None,
        "created_at": NOW - timedelta(days=30),
        "updated_at": NOW,
    }
    return Rule(
        1, "rule", kind, **{**given, **fields, "settings": settings_of(kind, settings or {})}
    )


def failure(run_id: int = 1, ago: float = 10.0, **values: Any) -> Failure:
    given: dict[str, Any] = {
        "task_type": "backup",
        "queue": "default",
        "tenant_id": "",
        "schedule_id": None,
        "status": "failed",
        "attempt": 1,
        "task_table": "default_tasks",
        "task_id": run_id,
    }
    return Failure(run_id, ended_at=NOW.timestamp() - ago, **{**given, **values})


def incident(subject: str = "task_type:backup", ago: float = 60.0, **fields: Any) -> Incident:
    then = NOW - timedelta(seconds=ago)
    given: dict[str, Any] = {
        "rule_id": 1,
        "rule_name": "rule",
        "kind": "run_failed",
        "summary": "backup failed",
        "state": State.OPEN,
        "count": 1,
        "first_at": then,
        "last_at": then,
        "run_id": 1,
        "details": {},
        "tenant_id": "",
        "acknowledged_by": None,
        "acknowledged_at": None,
        "silenced_until": None,
        "resolved_by": None,
        "resolved_at": None,
        "notified_at": then,
        "messages": 1,
    }
    return Incident(7, subject=subject, **{**given, **fields})


FAILED = rule(RuleKind.RUN_FAILED)
LONG = rule(RuleKind.RUN_LONG, {"longer_than": 60})


# --- what is found -------------------------------------------------------------------------------


def test_fifty_failures_of_a_type_are_one_finding() -> None:
    [found] = judge.ended_badly(FAILED, [failure(n, ago=100 - n) for n in range(50)])
    assert (found.subject, found.count, found.run_id) == ("task_type:backup", 50, 49)
    assert found.summary == "backup failed"
    assert found.at == NOW - timedelta(seconds=51)


def test_a_schedule_is_a_subject_of_its_own_and_so_is_each_type() -> None:
    found = judge.ended_badly(
        FAILED, [failure(1, schedule_id=3), failure(2), failure(3, task_type="mail")]
    )
    subjects = {"schedule:3", "task_type:backup", "task_type:mail"}
    assert {one.subject for one in found} == subjects


@pytest.mark.parametrize(
    ("made", "facts", "count"),
    [
        (FAILED, [failure(final=False)], 0),
        (rule(RuleKind.RUN_FAILED, {"attempts": "each"}), [failure(final=False)], 1),
        (rule(RuleKind.RUN_TIMEOUT), [failure()], 0),
        (rule(RuleKind.RUN_TIMEOUT), [failure(status="timeout", final=False)], 1),
        (replace(FAILED, created_at=NOW), [failure()], 0),
        (replace(FAILED, filters={"task_type": ["mail"]}), [failure()], 0),
        (replace(FAILED, filters={"queue": ["default"], "tenant_id": [""]}), [failure()], 1),
        (replace(FAILED, filters={"schedule_id": [3]}), [failure(), failure(schedule_id=3)], 1),
        (replace(FAILED, tenant_id="acme"), [failure()], 0),
        (replace(FAILED, tenant_id="acme"), [failure(tenant_id="acme")], 1),
    ],
)
def test_a_rule_is_about_what_it_says(made: Rule, facts: list[Failure], count: int) -> None:
    assert sum(one.count for one in judge.ended_badly(made, facts)) == count


def test_failures_are_counted_within_a_window() -> None:
    made = rule(RuleKind.FAILURES, {"count": 3, "window": 600})
    found, counts = judge.many_failures(made, {}, [failure(1, 590), failure(2, 100)], NOW)
    assert found == [] and counts
    found, counts = judge.many_failures(made, counts, [failure(3, 10)], NOW)
    assert [(one.subject, one.count, one.run_id) for one in found] == [("task_type:backup", 3, 3)]
    assert found[0].summary == "backup: 3 runs failed within 10m"
    later = NOW + timedelta(seconds=300)
    assert judge.many_failures(made, counts, [], later)[0] == []
    assert judge.many_failures(made, counts, [], NOW + timedelta(seconds=700)) == ([], {})


def test_what_is_remembered_of_failures_does_not_grow_with_them() -> None:
    made = rule(RuleKind.FAILURES, {"count": 3, "window": 600})
    facts = [failure(n, ago=n % 600, task_type=f"t{n % 2000}") for n in range(20_000)]
    _, counts = judge.many_failures(made, {}, facts, NOW)
    assert len(counts) <= 501
    assert sum(sum(entry["buckets"].values()) for entry in counts.values()) == 20_000


def test_a_rate_needs_enough_runs() -> None:
    made = rule(RuleKind.FAILURE_RATE, {"rate": 0.5, "window": 600, "min_runs": 10})
    counts = {"few": (9, 9), "bad": (5, 10), "good": (4, 10)}
    [found] = judge.high_rates(made, counts, NOW)
    assert (found.subject, found.count) == ("task_type:bad", 5)
    assert found.summary == "bad: 50% of 10 runs failed within 10m"


def test_no_success_counts_from_the_last_one_or_from_the_rule() -> None:
    made = rule(RuleKind.NO_SUCCESS, {"window": "1d"}, filters={"task_type": ["a", "b", "c"]})
    day = 86_400.0
    last = {"a": NOW.timestamp() - 2 * day, "b": NOW.timestamp() - 60, "c": None}
    found = judge.no_successes(made, last, NOW)
    assert [one.subject for one in found] == ["task_type:a", "task_type:c"]
    assert found[0].summary == "a has not completed for 2d"
    young = replace(made, created_at=NOW - timedelta(hours=1))
    assert [one.subject for one in judge.no_successes(young, last, NOW)] == ["task_type:a"]


def test_missed_fires_are_those_since_the_last_look() -> None:
    made = rule(RuleKind.SCHEDULE_MISSED)
    seen = [
        {"schedule_id": 1, "name": "nightly", "tenant_id": "", "missed": 5},
        {"schedule_id": 2, "name": "hourly", "tenant_id": "", "missed": 1},
    ]
    assert judge.missed_fires(made, None, seen, NOW) == []
    found = judge.missed_fires(made, {"1": 3, "2": 1}, seen, NOW)
    assert [(one.subject, one.count) for one in found] == [("schedule:1", 2)]
    assert found[0].summary == "schedule nightly missed 2 fires"


# --- what becomes of incidents --------------------------------------------------------------------


def went(
    made: Rule,
    active: list[Incident],
    findings: list[Finding],
    over: set[str] | None = None,
    now: datetime = NOW,
) -> list[Step]:
    return judge.steps(made, active, findings, over or set(), now)


SEEN = Finding("task_type:backup", "backup failed", NOW, 2, 9)


def test_what_is_new_is_opened_and_told_and_what_goes_on_is_only_counted() -> None:
    [step] = went(FAILED, [], [SEEN])
    assert (step.incident, step.finding, step.tell) == (None, SEEN, Event.OPENED)
    [step] = went(FAILED, [incident()], [SEEN])
    assert (step.incident, step.finding, step.tell) == (incident(), SEEN, None)
    assert went(FAILED, [incident()], []) == []


def test_people_are_reminded_until_somebody_looks_after_it() -> None:
    old = incident(ago=4_000.0)
    [step] = went(FAILED, [old], [])
    assert (step.tell, step.over) == (Event.REMINDED, False)
    told_again = replace(old, notified_at=NOW - timedelta(minutes=5))
    for quiet in (
        told_again,
        replace(old, state=State.ACKNOWLEDGED),
        replace(old, silenced_until=NOW + timedelta(hours=1)),
    ):
        assert went(FAILED, [quiet], []) == []
    assert went(replace(FAILED, remind_every=0.0), [old], []) == []
    assert went(replace(FAILED, silenced_until=NOW + timedelta(hours=1)), [old], []) == []


def test_who_was_silent_at_the_opening_is_told_afterwards() -> None:
    silent = replace(FAILED, silenced_until=NOW + timedelta(seconds=1))
    [step] = went(silent, [], [SEEN])
    assert step.tell is None
    untold = incident(notified_at=None, messages=0)
    assert went(silent, [untold], []) == []
    [step] = went(FAILED, [untold], [])
    assert step.tell is Event.OPENED


def test_a_failure_is_over_by_a_success_after_a_quiet_time() -> None:
    subject = {"task_type:backup"}
    assert went(FAILED, [incident(ago=599)], [], subject) == []
    [step] = went(FAILED, [incident(ago=601)], [], subject)
    assert (step.over, step.tell) == (True, Event.RESOLVED)
    assert went(FAILED, [incident(ago=601)], [], set()) == []
    [step] = went(FAILED, [incident(ago=601)], [SEEN], subject)
    assert step.over is False


def test_a_state_is_over_when_it_does_not_hold_any_more() -> None:
    [step] = went(LONG, [incident()], [])
    assert (step.over, step.tell) == (True, Event.RESOLVED)
    held = Finding("task_type:backup", "still", NOW, 1, 1)
    [step] = went(LONG, [incident()], [held])
    assert step.over is False and step.finding == held
    assert went(LONG, [incident(ago=5.0)], [held]) == []
    patient = replace(LONG, resolve_after=120.0)
    assert went(patient, [incident(ago=60)], []) == []


def test_nobody_is_told_of_an_end_who_was_not_told_of_the_beginning() -> None:
    for quiet in (
        incident(notified_at=None, messages=0),
        incident(messages=0),
        incident(state=State.RESOLVED),
        incident(silenced_until=NOW + timedelta(hours=1)),
    ):
        [step] = went(LONG, [quiet], [])
        assert (step.over, step.tell) == (True, None)
    [step] = went(LONG, [incident(state=State.ACKNOWLEDGED)], [])
    assert step.tell is Event.RESOLVED


def test_a_storm_of_subjects_ends_in_one_for_all_others() -> None:
    findings = [Finding(f"task_type:t{n}", "failed", NOW, 2) for n in range(1_000)]
    steps = went(FAILED, [], findings)
    assert len(steps) == judge.MOST_ACTIVE
    last = steps[-1].finding
    assert last is not None and last.subject == judge.OTHERS
    assert sum(step.finding.count for step in steps if step.finding) == 2_000
    known = [incident(f"task_type:t{n}") for n in range(judge.MOST_ACTIVE)]
    again = went(FAILED, known, findings)
    assert sum(step.incident is None for step in again) == 1


# --- what rules may be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "given", "name"),
    [
        (RuleKind.FAILURES, {"window": 60}, "count"),
        (RuleKind.FAILURES, {"count": 0, "window": 60}, "count"),
        (RuleKind.FAILURES, {"count": 1.5, "window": 60}, "count"),
        (RuleKind.FAILURES, {"count": 1, "window": "soon"}, "window"),
        (RuleKind.FAILURE_RATE, {"rate": 2, "window": 60}, "rate"),
        (RuleKind.RUN_FAILED, {"attempts": "some"}, "attempts"),
        (RuleKind.RUN_TIMEOUT, {"longer_than": 1}, "longer_than"),
        (RuleKind.QUEUE_WAIT, {}, "longer_than"),
        (RuleKind.FAILURES, {"count": True, "window": 60}, "count"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    kind: RuleKind, given: dict[str, Any], name: str
) -> None:
    with pytest.raises(SettingRefused) as refused:
        settings_of(kind, given)
    assert refused.value.name == name and refused.value.fix


def test_settings_have_defaults_and_durations_are_read() -> None:
    assert settings_of(RuleKind.RUN_FAILED, {}) == {"attempts": "last"}
    assert settings_of(RuleKind.RUN_LONG, {}) == {}
    assert settings_of(RuleKind.PRUNE_BEHIND, {"window": "2d"}) == {"window": 172_800.0}
    given = {"rate": "0.5", "window": "15m"}
    assert settings_of(RuleKind.FAILURE_RATE, given) == {"rate": 0.5, "window": 900, "min_runs": 10}


@pytest.mark.parametrize(
    ("kind", "tenant", "fields", "field"),
    [
        (RuleKind.RUN_FAILED, "", {"filters": {"server_id": ["a"]}}, "filters"),
        (RuleKind.RUN_FAILED, "acme", {"filters": {"tenant_id": ["globex"]}}, "filters"),
        (RuleKind.NO_SUCCESS, "", {"filters": {}, "settings": {"window": 60}}, "filters"),
        (RuleKind.RUN_FAILED, "", {"filters": {"task_type": [1]}}, "filters"),
        (RuleKind.RUN_FAILED, "", {"filters": {"schedule_id": ["x"]}}, "filters"),
        (RuleKind.SERVER_LOST, "acme", {}, "kind"),
        (RuleKind.RUN_FAILED, "", {"remind_every": 5}, "remind_every"),
        (RuleKind.RUN_FAILED, "", {"resolve_after": "soon"}, "resolve_after"),
        (RuleKind.RUN_FAILED, "", {"channels": "ops"}, "channels"),
        (RuleKind.RUN_FAILED, "", {"status": 2}, "status"),
        (RuleKind.RUN_FAILED, "", {"colour": "red"}, "colour"),
    ],
)
def test_a_field_that_cannot_be_is_named(
    kind: RuleKind, tenant: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(AlertInvalid) as refused:
        valid_fields("rule", kind, tenant, fields)
    assert refused.value.field == field and refused.value.fix


# --- the past -------------------------------------------------------------------------------------


def test_spans_near_each_other_are_one_opening() -> None:
    spans = {"a": [(0.0, 10.0), (15.0, 20.0), (100.0, 110.0)], "b": [(5.0, 6.0)]}
    assert sorted(openings(spans, 10.0)) == [0.0, 5.0, 100.0]
    assert sorted(openings(spans, 1.0)) == [0.0, 5.0, 15.0, 100.0]
    assert sorted(openings(spans, 90.0)) == [0.0, 5.0]


def test_a_failure_lasts_until_a_later_success() -> None:
    facts = [failure(n, ago) for n, ago in ((1, 1_000.0), (2, 900.0), (3, 100.0))]
    success = NOW.timestamp() - 500
    spans = until_success({"task_type:backup": facts}, {"backup": [success]})
    assert openings(spans, 60.0) == [facts[0].ended_at, facts[2].ended_at]
    assert openings(until_success({"task_type:backup": facts}, {}), 60.0) == [facts[0].ended_at]


def test_a_crowd_is_so_many_within_a_window() -> None:
    facts = [failure(n, ago) for n, ago in ((1, 1_000.0), (2, 990.0), (3, 980.0), (4, 100.0))]
    spans = crowds({"x": facts}, 3, 60.0)
    assert openings(spans, 0.0) == [facts[2].ended_at]
    assert crowds({"x": facts}, 4, 60.0) == {}
