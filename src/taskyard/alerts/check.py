"""Check: one pass over all rules: read, judge, write, and have people told.

Owns the pass, which is a Server's chore every few seconds. One Server at a time has the turn; what
a pass made of its readings is written in one transaction with the messages (Tasks of the built-in
handler `taskyard.notify`) and with the failures it took, and only if the turn is still its own. So
nothing is missed or told twice, whoever dies when. Reading is `readings.py`'s and
`runs/failures.py`'s, the judgement `judge.py`'s, sending `telling.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import Any

import orjson

from taskyard.access.caller import ENGINE
from taskyard.alerts import incident as incidents
from taskyard.alerts import judge, readings, rules, telling
from taskyard.alerts.incident import Incident
from taskyard.alerts.judge import Event, Finding, Step
from taskyard.alerts.kinds import RuleKind
from taskyard.alerts.rule import Rule
from taskyard.core.payload import storable
from taskyard.db.database import Database, Tx
from taskyard.runs import failures, rollups
from taskyard.runs.failures import Handed

logger = logging.getLogger("taskyard.alerts")

PRUNE = "taskyard.prune"

RULES_AT_START: tuple[tuple[str, RuleKind], ...] = (
    ("Failed tasks", RuleKind.RUN_FAILED),
    ("Runs over their monitor timeout", RuleKind.RUN_LONG),
    ("Late schedules", RuleKind.SCHEDULE_LATE),
    ("Lost servers", RuleKind.SERVER_LOST),
    ("Clean-up behind", RuleKind.PRUNE_BEHIND),
)
"""The rules of a new installation; they tell every channel of the platform, once there are any."""

_PAUSE = 3_500_000  # microseconds from one pass to the next; the chore comes a little less often
_TURN = 30_000_000  # microseconds after which a pass that was never ended is another Server's to do
_SELDOM = 15  # seconds in which rules that may wait are judged once
_LOOPS = 10
_NAME = "alerts"

_INSERT = """
INSERT INTO ty_incidents (rule_id, rule_name, kind, subject, active_key, summary, state, {count},
                          first_at, last_at, run_id, details, tenant_id, messages, created_at,
                          updated_at)
VALUES (:rule_id, :rule_name, :kind, :subject, :active_key, :summary, 'open', :n,
        {at}, {at}, :run_id, :details, :tenant_id, 0, {now}, {now})
"""

_SEEN = """
UPDATE ty_incidents
   SET {count} = :n, last_at = {at}, run_id = :run_id, summary = :summary, details = :details,
       updated_at = {now}
 WHERE id = :id AND active_key IS NOT NULL
"""

_OVER = """
UPDATE ty_incidents
   SET state = 'resolved', active_key = NULL, resolved_at = COALESCE(resolved_at, {now}),
       updated_at = {now}
 WHERE id = :id
"""

_TOLD = """
UPDATE ty_incidents SET notified_at = {now}, messages = messages + :channels WHERE id = :id
"""


@dataclass(slots=True)
class Judged:
    """What a pass made of one rule."""

    rule: Rule
    steps: list[Step] = field(default_factory=list)
    state: str | None = None
    problem: str | None = None


class Overtaken(Exception):
    """Another Server has the turn: nothing of this pass may be written."""


def check(db: Database, *, every: bool = False) -> bool:
    """Judge all rules once, if it is our turn; returns whether it was.

    `every` also judges those that are otherwise judged only every few passes.
    """
    turn = _take_turn(db)
    if turn is None:
        return False
    rollups.count_ended(db)  # else what has just failed would wait for that chore, and for us again
    try:
        for _ in range(_LOOPS):
            if not _pass(db, turn, every=every):
                break
        db.run(partial(_end_turn, turn=turn))
    except Overtaken:
        logger.debug("another server checks the alert rules now")
    return True


# --- the turn -------------------------------------------------------------------------------------


def _take_turn(db: Database) -> int | None:
    """What marks the turn as ours; None while another Server has it, or nobody is to have it."""
    now = int(readings.clock(db).timestamp() * 1_000_000)
    due = db.read(lambda tx: tx.value("SELECT value FROM ty_counters WHERE name = :n", n=_NAME))
    if due is None:
        return _begin(db, now + _TURN)
    sql = "UPDATE ty_counters SET value = :turn WHERE name = :n AND value = :due"
    mine = due <= now and db.run(lambda tx: tx.execute(sql, turn=now + _TURN, n=_NAME, due=due))
    return now + _TURN if mine else None


def _begin(db: Database, turn: int) -> int | None:
    """The first pass of an installation makes the first rules."""

    def work(tx: Tx) -> None:
        tx.execute("INSERT INTO ty_counters (name, value) VALUES (:n, :turn)", n=_NAME, turn=turn)
        for name, kind in RULES_AT_START:
            rules.insert(tx, ENGINE, rules.values_of(name, kind, "", {}))

    try:
        db.run(work)
    except Exception as error:
        if not db.dialect.is_duplicate(error):
            raise
        return None
    return turn


def _hold_turn(tx: Tx, turn: int) -> None:
    """Raise Overtaken unless the turn is ours; nobody can take it before this transaction ends."""
    sql = "UPDATE ty_counters SET value = :turn WHERE name = :n AND value = :turn"
    if not tx.execute(sql, n=_NAME, turn=turn):
        raise Overtaken


def _end_turn(tx: Tx, turn: int) -> None:
    sql = "UPDATE ty_counters SET value = :next WHERE name = :n AND value = :turn"
    tx.execute(sql, n=_NAME, turn=turn, next=turn - _TURN + _PAUSE)


# --- one pass -------------------------------------------------------------------------------------


@dataclass
class Look:
    """What a pass has read; what several rules need is read once."""

    db: Database
    now: datetime
    handed: Handed
    every: bool

    @cached_property
    def waits(self) -> dict[str, float]:
        """See `readings.waits`."""
        return readings.waits(self.db)

    @cached_property
    def lost(self) -> dict[str, float]:
        """See `readings.lost_servers`."""
        return readings.lost_servers(self.db, self.now)


def _pass(db: Database, turn: int, *, every: bool) -> bool:
    """One reading and what becomes of it; returns whether there may be more to read at once."""
    now = readings.clock(db)
    every = every or int(now.timestamp()) % _SELDOM < _SELDOM / 3
    look = Look(db, now, failures.handed(db), every)
    active = _by_rule(db.read(lambda tx: incidents.select(tx, "active_key IS NOT NULL")))
    judged = [
        _judge(look, rule, state, active.get(rule.id, []))
        for rule, state in db.read(rules.enabled)
        if look.every or not rule.what.seldom
    ]
    changed = [one for one in judged if one is not None]
    if changed or look.handed.notes:
        # Not within the transaction, because a queue that is not there yet is made.
        table = telling.ready(db) if any(s.tell for one in changed for s in one.steps) else None
        db.run(partial(_write, db=db, turn=turn, look=look, judged=changed))
        if table is not None:
            db.bell.ring(table)
    return look.handed.more


def _by_rule(active: Sequence[Incident]) -> dict[int, list[Incident]]:
    found: dict[int, list[Incident]] = {}
    for one in active:
        found.setdefault(one.rule_id, []).append(one)
    return found


def _judge(look: Look, rule: Rule, state: str | None, active: Sequence[Incident]) -> Judged | None:
    """What becomes of a rule; None where nothing does. One that cannot be judged says why."""
    judged = Judged(rule, state=state)
    try:
        findings, judged.state = _findings(look, rule, state)
        over = _over(look, rule, active)
        judged.steps = judge.steps(rule, active, findings, over, look.now)
    except Exception as error:
        if look.db.is_away(error):
            raise
        logger.exception("alert rule %s cannot be judged", rule.name)
        judged.problem = storable(f"{type(error).__name__}: {error}")[:500]
    same = judged.state == state and judged.problem == rule.problem
    return None if same and not judged.steps else judged


def _findings(look: Look, rule: Rule, state: str | None) -> tuple[list[Finding], str | None]:
    """What a rule finds, and what it wants to remember."""
    db, now = look.db, look.now
    match rule.kind:
        case RuleKind.RUN_FAILED | RuleKind.RUN_TIMEOUT:
            return judge.ended_badly(rule, look.handed.failures), None
        case RuleKind.FAILURES:
            before = orjson.loads(state) if state else {}
            found, counts = judge.many_failures(rule, before, look.handed.failures, now)
            return found, orjson.dumps(counts).decode() if counts else None
        case RuleKind.FAILURE_RATE:
            return judge.high_rates(rule, readings.ended_within(db, rule, now), now), None
        case RuleKind.NO_SUCCESS:
            last = readings.last_successes(db, rule, rule.filters["task_type"], now)
            return judge.no_successes(rule, last, now), None
        case RuleKind.PRUNE_BEHIND:
            last = readings.last_successes(db, rule, [PRUNE], now)
            return judge.no_successes(rule, last, now), None
        case RuleKind.RUN_LONG:
            return judge.long_runs(rule, readings.too_long(db, rule, now), now), None
        case RuleKind.QUEUE_WAIT:
            return judge.long_waits(rule, look.waits, now), None
        case RuleKind.SERVER_LOST:
            return judge.lost_servers(rule, look.lost, now), None
        case RuleKind.SCHEDULE_LATE:
            late = readings.late_schedules(db, rule.settings["longer_than"])
            return judge.late_schedules(rule, late, now), None
        case RuleKind.SCHEDULE_MISSED:
            before = orjson.loads(state) if state else None
            missed = readings.missed_fires(db)
            counts = {str(one["schedule_id"]): one["missed"] for one in missed}
            return judge.missed_fires(rule, before, missed, now), orjson.dumps(counts).decode()
        case RuleKind.BATCH_FINISHED:
            return [], None  # whoever ends a batch tells it (`telling.tell_batch`)


def _over(look: Look, rule: Rule, active: Sequence[Incident]) -> set[str]:
    """The subjects of a rule that hears of failures for which it has been well since."""
    if rule.what.states:
        return set()
    quiet = [i for i in active if (look.now - i.last_at).total_seconds() >= rule.resolve_after]
    return {i.subject for i in quiet if readings.has_succeeded(look.db, rule, i.subject, i.last_at)}


# --- writing --------------------------------------------------------------------------------------


def _write(tx: Tx, db: Database, turn: int, look: Look, judged: Sequence[Judged]) -> None:
    _hold_turn(tx, turn)
    failures.take(tx, look.handed.notes)
    for one in judged:
        _remember(tx, one)
        told: dict[Event, list[int]] = {}
        for step in one.steps:
            incident_id = _apply(tx, one.rule, step, look.now)
            if step.tell is not None:
                told.setdefault(step.tell, []).append(incident_id)
        for event, ids in told.items():
            _tell(tx, db, one.rule, event, ids)


def _remember(tx: Tx, judged: Judged) -> None:
    tx.execute(
        "UPDATE ty_alert_rules SET state = :state, problem = :problem WHERE id = :id",
        id=judged.rule.id,
        state=judged.state,
        problem=judged.problem,
    )


def _apply(tx: Tx, rule: Rule, step: Step, now: datetime) -> int:
    """Write what becomes of an incident; returns its id."""
    words = {"now": tx.dialect.utc_now, "count": tx.dialect.quote("count")}
    if step.incident is None:
        assert step.finding is not None
        return _insert(tx, rule, step.finding, now, words)
    if step.over:
        tx.execute(_OVER.format(**words), id=step.incident.id)
    elif step.finding is not None:
        values = _values(step.finding, now)
        if not rule.what.states:
            values["n"] += step.incident.count
        elif step.incident.count > values["n"]:
            values["n"] = step.incident.count  # the most that it was
        at = tx.dialect.utc_after("-(:age)")
        tx.execute(_SEEN.format(at=at, **words), id=step.incident.id, **values)
    return step.incident.id


def _insert(tx: Tx, rule: Rule, finding: Finding, now: datetime, words: dict[str, str]) -> int:
    key = f"{rule.id}/{finding.subject}"
    tx.execute(
        _INSERT.format(at=tx.dialect.utc_after("-(:age)"), **words),
        rule_id=rule.id,
        rule_name=rule.name,
        kind=rule.kind.value,
        subject=finding.subject,
        active_key=key,
        tenant_id=rule.tenant_id,
        **_values(finding, now),
    )
    found = tx.value("SELECT id FROM ty_incidents WHERE active_key = :key", key=key)
    return int(found)


def _values(finding: Finding, now: datetime) -> dict[str, Any]:
    return {
        "n": finding.count,
        "age": max(0.0, (now - finding.at).total_seconds()),
        "run_id": finding.run_id,
        "summary": storable(finding.summary),
        "details": orjson.dumps(finding.details).decode(),
    }


def _tell(tx: Tx, db: Database, rule: Rule, event: Event, incident_ids: Sequence[int]) -> None:
    """Have the channels of a rule told, in this very transaction."""
    channels = telling.channels_of(tx, rule)
    for channel_id in channels:
        telling.enqueue_message(
            db, channel_id, event.value, incident_ids, rule.tenant_id, connection=tx.connection
        )
    sql = _TOLD.format(now=tx.dialect.utc_now)
    for incident_id in incident_ids:
        tx.execute(sql, id=incident_id, channels=len(channels))
