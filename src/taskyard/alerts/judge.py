"""Judge: what rules make of what was read, and what is to become of their incidents.

Owns the judgement, which is pure: a rule and what was read give findings; findings and the
incidents there are give steps (open, count, resolve, tell). The clock and all readings come in as
arguments; `readings.py` and `runs/failures.py` read, `check.py` writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from taskyard.alerts.incident import Incident, State
from taskyard.alerts.kinds import RuleKind
from taskyard.alerts.rule import Rule
from taskyard.core.durations import format_duration
from taskyard.core.lifecycle import RunStatus
from taskyard.runs.failures import Failure

MOST_ACTIVE = 200
"""Incidents that a rule may have at once; what comes beyond goes into one for all others."""

OTHERS = "others"

_TOUCH = 30.0
"""Seconds after which it is written again that something still holds."""
_BUCKETS = 60
_MOST_SUBJECTS = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rule watches for.

    `at` is when it was so the last time, `count` how many things it is about: for a rule that is
    told what happened, how many more than before.
    """

    subject: str
    summary: str
    at: datetime
    count: int = 1
    run_id: int | None = None
    details: dict[str, Any] = field(default_factory=dict)


# --- findings: what has happened ------------------------------------------------------------------


def ended_badly(rule: Rule, facts: Iterable[Failure]) -> list[Finding]:
    """Of `run_failed` and `run_timeout`: a finding for each subject of these Runs."""
    by_subject: dict[str, list[Failure]] = {}
    for fact in facts:
        if _is_meant(rule, fact) and rule.fits(fact.values()):
            by_subject.setdefault(subject_of(fact), []).append(fact)
    return [_of_facts(rule, subject, found) for subject, found in by_subject.items()]


def _is_meant(rule: Rule, fact: Failure) -> bool:
    if fact.ended_at < rule.created_at.timestamp():
        return False
    if rule.kind is RuleKind.RUN_TIMEOUT:
        return fact.status == RunStatus.TIMEOUT
    return fact.final or rule.settings.get("attempts") == "each"


def _of_facts(rule: Rule, subject: str, facts: Sequence[Failure]) -> Finding:
    newest = max(facts, key=lambda fact: (fact.ended_at, fact.run_id))
    what = {
        RunStatus.TIMEOUT.value: "exceeded its time limit",
        RunStatus.LOST.value: "was lost",
    }.get(newest.status, "failed")
    return Finding(
        subject,
        f"{_name(newest)} {what}",
        _moment(newest.ended_at),
        len(facts),
        newest.run_id,
        {"task_type": newest.task_type, "queue": newest.queue, "schedule_id": newest.schedule_id},
    )


def subject_of(fact: Failure) -> str:
    """What is one incident: a schedule, or a task type; whoever's tasks they are."""
    if fact.schedule_id is not None:
        return f"schedule:{fact.schedule_id}"
    return f"task_type:{fact.task_type}"


def _name(fact: Failure) -> str:
    return f"{fact.task_type} (schedule {fact.schedule_id})" if fact.schedule_id else fact.task_type


# --- findings: so many within a time --------------------------------------------------------------

Counts = dict[str, dict[str, Any]]
"""By subject: `buckets` (start of each as text -> how many), and the newest Run's words."""


def many_failures(
    rule: Rule, counts: Counts, facts: Iterable[Failure], now: datetime
) -> tuple[list[Finding], Counts]:
    """Of `failures`: the subjects with so many within the window; and what to remember."""
    width = max(1.0, rule.settings["window"] / _BUCKETS)
    kept = {
        subject: {**entry, "buckets": dict(entry["buckets"])} for subject, entry in counts.items()
    }
    for fact in facts:
        if fact.ended_at >= rule.created_at.timestamp() and rule.fits(fact.values()):
            _put(kept, fact, width)
    horizon = now.timestamp() - rule.settings["window"]
    for entry in kept.values():
        entry["buckets"] = {
            start: n for start, n in entry["buckets"].items() if float(start) + width > horizon
        }
    kept = {subject: entry for subject, entry in kept.items() if entry["buckets"]}
    return _enough(rule, kept), kept


def _put(counts: Counts, fact: Failure, width: float) -> None:
    subject = subject_of(fact)
    if subject not in counts and len(counts) >= _MOST_SUBJECTS:
        subject = OTHERS
    entry = counts.setdefault(subject, {"buckets": {}, "at": 0.0})
    start = repr(fact.ended_at // width * width)
    entry["buckets"][start] = entry["buckets"].get(start, 0) + 1
    if fact.ended_at >= entry["at"]:
        entry |= {"at": fact.ended_at, "run_id": fact.run_id, "name": _name(fact)}


def _enough(rule: Rule, counts: Counts) -> list[Finding]:
    window = format_duration(rule.settings["window"])
    found = []
    for subject, entry in counts.items():
        count = sum(entry["buckets"].values())
        if count >= rule.settings["count"]:
            summary = f"{entry['name']}: {count:,} runs failed within {window}"
            details = {"count": count, "window": rule.settings["window"]}
            at = _moment(entry["at"])
            found.append(Finding(subject, summary, at, count, entry["run_id"], details))
    return found


# --- findings: what holds now ---------------------------------------------------------------------


def high_rates(rule: Rule, counts: Mapping[str, tuple[int, int]], now: datetime) -> list[Finding]:
    """Of `failure_rate`: `counts` is by task type how many failed, and how many there were."""
    window = format_duration(rule.settings["window"])
    found = []
    for task_type, (failed, total) in counts.items():
        if total >= rule.settings["min_runs"] and failed / total >= rule.settings["rate"]:
            share = f"{failed / total:.0%} of {total:,} runs failed within {window}"
            details = {"failed": failed, "runs": total, "task_type": task_type}
            subject = f"task_type:{task_type}"
            found.append(Finding(subject, f"{task_type}: {share}", now, failed, None, details))
    return found


def no_successes(rule: Rule, last: Mapping[str, float | None], now: datetime) -> list[Finding]:
    """Of `no_success` and `prune_behind`: `last` is by task type when its last success started.

    A type that is not known to have ever completed is given the window's time since the rule came.
    """
    window = rule.settings["window"]
    found = []
    for task_type, started in last.items():
        since = rule.created_at.timestamp() if started is None else started
        if now.timestamp() - since > window:
            name = "the clean-up" if rule.kind is RuleKind.PRUNE_BEHIND else task_type
            summary = f"{name} has not completed for {_about(now.timestamp() - since)}"
            details = {"task_type": task_type, "window": window, "last_success_at": started}
            found.append(Finding(f"task_type:{task_type}", summary, now, 1, None, details))
    return found


def long_runs(rule: Rule, runs: Sequence[Mapping[str, Any]], now: datetime) -> list[Finding]:
    """Of `run_long`: `runs` run now, for longer than they should; the longest first."""
    by_subject: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        schedule = run["schedule_id"]
        subject = f"task_type:{run['task_type']}" if schedule is None else f"schedule:{schedule}"
        by_subject.setdefault(subject, []).append(run)
    found = []
    for subject, mine in by_subject.items():
        longest = mine[0]
        others = f", and {len(mine) - 1} more" if len(mine) > 1 else ""
        took = _about(longest["execution_time"])
        summary = f"{longest['task_type']} has been running for {took}{others}"
        details = {name: longest[name] for name in ("task_type", "queue", "schedule_id")}
        details |= {"execution_time": longest["execution_time"], "limit": longest.get("limit")}
        found.append(Finding(subject, summary, now, len(mine), longest["id"], details))
    return found


def long_waits(rule: Rule, waits: Mapping[str, float], now: datetime) -> list[Finding]:
    """Of `queue_wait`: `waits` is by queue for how long its oldest due Task has waited."""
    return [
        Finding(
            f"queue:{queue}",
            f"a task of queue {queue} has waited for {_about(waited)}",
            now,
            details={"queue": queue, "wait_time": waited},
        )
        for queue, waited in waits.items()
        if waited > rule.settings["longer_than"] and rule.fits({"queue": queue})
    ]


def lost_servers(rule: Rule, lost: Mapping[str, float], now: datetime) -> list[Finding]:
    """Of `server_lost`: `lost` is by server_id since when it is not heard of any more."""
    return [
        Finding(
            f"server:{server_id}",
            f"server {server_id} is lost",
            now,
            details={"server_id": server_id, "last_seen_at": since},
        )
        for server_id, since in lost.items()
        if now.timestamp() - since >= rule.settings["longer_than"]
        and rule.fits({"server_id": server_id})
    ]


def late_schedules(rule: Rule, late: Sequence[Mapping[str, Any]], now: datetime) -> list[Finding]:
    """Of `schedule_late`: `late` are schedules that are due and have not fired."""
    return [
        Finding(
            f"schedule:{one['schedule_id']}",
            f"schedule {one['name']} is {_about(one['late'])} late",
            now,
            details={"schedule_id": one["schedule_id"], "name": one["name"], "late": one["late"]},
        )
        for one in late
        if rule.fits(one)
    ]


def missed_fires(
    rule: Rule,
    before: Mapping[str, int] | None,
    schedules: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[Finding]:
    """Of `schedule_missed`: the schedules that count more missed fires than `before` (by id).

    Without a `before` the rule looks for the first time, and nothing is new.
    """
    found = []
    for one in schedules:
        more = one["missed"] - (before or {}).get(str(one["schedule_id"]), 0)
        if before is not None and more > 0 and rule.fits(one):
            times = "a fire" if more == 1 else f"{more:,} fires"
            details = {"schedule_id": one["schedule_id"], "name": one["name"], "missed": more}
            subject = f"schedule:{one['schedule_id']}"
            summary = f"schedule {one['name']} missed {times}"
            found.append(Finding(subject, summary, now, more, None, details))
    return found


# --- steps ----------------------------------------------------------------------------------------


class Event(StrEnum):
    """Of what people are told."""

    OPENED = "opened"
    REMINDED = "reminded"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Step:
    """One change of an incident (None: it is opened), and of what people are told with it."""

    incident: Incident | None
    finding: Finding | None = None
    tell: Event | None = None
    over: bool = False


def steps(
    rule: Rule,
    active: Sequence[Incident],
    findings: Iterable[Finding],
    over: Collection[str],
    now: datetime,
) -> list[Step]:
    """What is to become of a rule's incidents.

    `active` are those that are not over (also the ones that somebody has resolved although what
    they are about still holds), `over` the subjects for which a rule that is told what happened has
    heard of a success since.
    """
    by_subject = {incident.subject: incident for incident in active}
    found = _folded(findings, by_subject)
    opened = [_open(rule, finding, now) for s, finding in found.items() if s not in by_subject]
    others = [_go_on(rule, one, found.get(one.subject), over, now) for one in active]
    return opened + [step for step in others if step is not None]


def _folded(findings: Iterable[Finding], active: Mapping[str, Incident]) -> dict[str, Finding]:
    """The findings by subject; where there are too many subjects, the rest together."""
    found: dict[str, Finding] = {}
    room = MOST_ACTIVE - len(active)
    for finding in findings:
        known = finding.subject in active or finding.subject in found
        if known or room > 1:
            room -= not known
            found[finding.subject] = finding
        else:
            before = found.get(OTHERS)
            count = finding.count + (before.count if before else 0)
            words = f"{OTHERS}: more than {MOST_ACTIVE} things at once"
            found[OTHERS] = Finding(OTHERS, words, finding.at, count, finding.run_id)
    return found


def _open(rule: Rule, finding: Finding, now: datetime) -> Step:
    return Step(None, finding, None if rule.is_silent(now) else Event.OPENED)


def _go_on(
    rule: Rule, one: Incident, finding: Finding | None, over: Collection[str], now: datetime
) -> Step | None:
    """The step of an incident that is there; None where nothing is to be written."""
    silent = rule.is_silent(now) or one.is_silent(now)
    if finding is None and _is_over(rule, one, over, now):
        told = one.messages > 0 and one.state is not State.RESOLVED and not silent
        return Step(one, None, Event.RESOLVED if told else None, over=True)
    tell = None if silent else _due(rule, one, now)
    worth = finding is not None and _is_news(rule, one, finding, now)
    return Step(one, finding if worth else None, tell) if worth or tell else None


def _is_over(rule: Rule, one: Incident, over: Collection[str], now: datetime) -> bool:
    quiet = (now - one.last_at).total_seconds() >= rule.resolve_after
    return quiet and (rule.what.states or one.subject in over)


def _due(rule: Rule, one: Incident, now: datetime) -> Event | None:
    """Of what people are to be told now, of an incident that goes on."""
    if one.state is not State.OPEN:
        return None
    if one.notified_at is None:
        return Event.OPENED  # a silence has ended
    passed = (now - one.notified_at).total_seconds()
    return Event.REMINDED if rule.remind_every and passed >= rule.remind_every else None


def _is_news(rule: Rule, one: Incident, finding: Finding, now: datetime) -> bool:
    if not rule.what.states:
        return True
    more = finding.count > one.count or finding.run_id != one.run_id
    return more or (now - one.last_at).total_seconds() >= _TOUCH


# --- words ----------------------------------------------------------------------------------------


def _about(seconds: float) -> str:
    """A length of time that nobody wants to know to the second."""
    for size in (86_400, 3_600, 60):
        if seconds >= 2 * size:
            return format_duration(seconds // size * size)
    return format_duration(round(seconds))


def _moment(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
