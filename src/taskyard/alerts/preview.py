"""Preview: how often a rule would have opened an incident in the last seven days.

Owns the look back, from what is remembered of the past: history's failures and long Runs, and the
roll-ups, which tell times apart by ten minutes. So it is near the truth, not the truth itself. Each
kind gives the spans in which it would have held, by subject; spans that are nearer to each other
than `resolve_after` are one incident.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

from taskyard.access.caller import PLATFORM, Caller
from taskyard.access.permissions import Permission
from taskyard.alerts import readings, rules, telling
from taskyard.alerts.check import PRUNE
from taskyard.alerts.judge import subject_of
from taskyard.alerts.kinds import DAY, RuleKind
from taskyard.alerts.rule import Rule
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Query
from taskyard.runs import browse, failures
from taskyard.runs.errors import FAILURES
from taskyard.runs.failures import Failure

BACK = 7 * DAY
"""Seconds that a preview looks back."""

_MOST_RUNS = 20_000
_MOST_TIMES = 20
_MOST_SCHEDULES = 50
_STEP = 600

Spans = dict[str, list[tuple[float, float]]]
"""By subject when it held: from, to; seconds since 1970."""

_FAILED = """
SELECT id FROM ty_runs
 WHERE status = :status AND status <> 'completed' AND claimed_at >= :since
 ORDER BY claimed_at DESC, id DESC LIMIT :most
"""

_SESSIONS = """
SELECT server_id, {started}, {beat}, state, {until}
  FROM ty_servers WHERE kind = 'server' ORDER BY server_id, started_at, session
"""

_BATCHES = """
SELECT id, task_type, tenant_id, status, failed_count, {ended} AS ended_at FROM ty_batches
 WHERE completed_at >= {since} ORDER BY id DESC LIMIT :most
"""

_MONITORED = """
SELECT id, monitor_timeout FROM ty_schedules WHERE monitor_timeout IS NOT NULL ORDER BY id
 LIMIT :most
"""


@dataclass(frozen=True, slots=True)
class Preview:
    """How often a rule would have fired. `fired` is None where the past does not tell; `times` are
    the newest of them, `note` says what the number leaves out."""

    fired: int | None
    times: list[datetime]
    since: datetime
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def preview_rule(
    db: Database, caller: Caller, kind: str, *, tenant_id: str = PLATFORM, **fields: Any
) -> Preview:
    """How often a rule of these fields (see `rules.create_rule`) would have opened an incident.

    Raises AlertInvalid or NotAllowed.
    """
    caller.require_tenant(tenant_id, Permission.ALERTS_READ)
    values = rules.values_of("preview", kind, tenant_id, fields)
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    rule = Rule(
        id=0,
        silenced_until=None,
        problem=None,
        created_at=long_ago,
        updated_at=long_ago,
        **{**values, "kind": RuleKind(kind)},
    )
    return _look_back(db, rule)


def preview_saved(db: Database, caller: Caller, rule_id: int) -> Preview:
    """How often a rule that there is would have opened an incident.

    Raises RuleUnknown or NotAllowed.
    """
    return _look_back(db, rules.show_rule(db, caller, rule_id))


def _look_back(db: Database, rule: Rule) -> Preview:
    now = readings.clock(db)
    since = datetime.fromtimestamp(now.timestamp() - BACK, UTC)
    spans, note = _spans(db, rule, now)
    if spans is None:
        return Preview(None, [], since, note)
    times = sorted(openings(spans, rule.resolve_after))
    newest = [datetime.fromtimestamp(time, UTC) for time in times[-_MOST_TIMES:]]
    return Preview(len(times), newest[::-1], since, note)


def openings(spans: Spans, quiet: float) -> list[float]:
    """When incidents would have been opened: one for spans of a subject with less than `quiet`
    seconds between them."""
    opened = []
    for held in spans.values():
        end = float("-inf")
        for first, last in sorted(held):
            if first > end + quiet:
                opened.append(first)
            end = max(end, last)
    return opened


# --- spans of each kind ---------------------------------------------------------------------------


def _spans(db: Database, rule: Rule, now: datetime) -> tuple[Spans | None, str | None]:
    """When a rule would have held; None where nobody remembers. And what is left out."""
    match rule.kind:
        case RuleKind.RUN_FAILED | RuleKind.RUN_TIMEOUT:
            found, note = _failed(db, rule, now)
            return until_success(found, _successes(db, rule, now)), note
        case RuleKind.FAILURES:
            found, note = _failed(db, rule, now)
            count, window = rule.settings["count"], rule.settings["window"]
            return crowds(found, count, window), note
        case RuleKind.FAILURE_RATE:
            return _high_rates(db, rule, now), None
        case RuleKind.NO_SUCCESS | RuleKind.PRUNE_BEHIND:
            return _gaps(db, rule, now), None
        case RuleKind.RUN_LONG:
            return _long_runs(db, rule, now)
        case RuleKind.QUEUE_WAIT:
            return _waits(db, rule, now), "Tasks that still wait are left out."
        case RuleKind.SERVER_LOST:
            return _lost(db, rule, now), None
        case RuleKind.SCHEDULE_LATE | RuleKind.SCHEDULE_MISSED:
            return None, "The past does not tell when schedules were late or missed a fire."
        case RuleKind.BATCH_FINISHED:
            return _ended_batches(db, rule), None


def _failed(db: Database, rule: Rule, now: datetime) -> tuple[dict[str, list[Failure]], str | None]:
    """By subject the failures that a rule is about, in the order in which they ended."""
    since = int((now.timestamp() - BACK) * 1_000_000)
    ids: list[int] = []
    capped = False
    for status in FAILURES:
        asked = {"status": status.value, "since": since, "most": _MOST_RUNS}
        rows = db.read(lambda tx, asked=asked: tx.all(_FAILED, **asked))  # type: ignore[misc]
        ids += [row[0] for row in rows]
        capped = capped or len(rows) == _MOST_RUNS
    found = failures.with_finality(db, db.read(partial(failures.read, ids=ids)))
    by_subject: dict[str, list[Failure]] = {}
    for one in sorted(found, key=lambda one: (one.ended_at, one.run_id)):
        if _is_meant(rule, one) and rule.fits(one.values()):
            by_subject.setdefault(subject_of(one), []).append(one)
    note = f"Only the newest {_MOST_RUNS:,} failures were looked at." if capped else None
    return by_subject, note


def _is_meant(rule: Rule, one: Failure) -> bool:
    if rule.kind is RuleKind.RUN_TIMEOUT:
        return one.status == RunStatus.TIMEOUT
    return rule.kind is RuleKind.FAILURES or one.final or rule.settings["attempts"] == "each"


def until_success(
    found: Mapping[str, Sequence[Failure]], successes: Mapping[str, Sequence[float]]
) -> Spans:
    """From each failure until a Run of its type that started later has completed."""
    spans: Spans = {}
    for subject, mine in found.items():
        known = successes.get(mine[0].task_type, ())
        for one in mine:
            place = bisect_left(known, one.ended_at)
            end = known[place] if place < len(known) else float("inf")
            spans.setdefault(subject, []).append((one.ended_at, end))
    return spans


def crowds(found: Mapping[str, Sequence[Failure]], count: int, window: float) -> Spans:
    """As long as so many failures lie within a window."""
    spans: Spans = {}
    for subject, mine in found.items():
        times = [one.ended_at for one in mine]
        for first, last in zip(times, times[count - 1 :], strict=False):
            if last - first <= window:
                spans.setdefault(subject, []).append((last, first + window))
    return spans


def _successes(db: Database, rule: Rule, now: datetime) -> dict[str, list[float]]:
    """By task type when Runs that completed started, to ten minutes."""
    found: dict[str, list[float]] = {}
    for task_type, _, start, _, _ in readings.over_time(db, rule, now, BACK, [RunStatus.COMPLETED]):
        found.setdefault(task_type, []).append(start)
    return {name: sorted(times) for name, times in found.items()}


def _high_rates(db: Database, rule: Rule, now: datetime) -> Spans:
    window = max(rule.settings["window"], _STEP)
    counts: dict[str, dict[float, tuple[int, int]]] = {}
    for task_type, status, start, count, _ in readings.over_time(db, rule, now, BACK + window):
        steps = counts.setdefault(task_type, {})
        failed, total = steps.get(start, (0, 0))
        steps[start] = failed + (count if status in FAILURES else 0), total + count
    spans: Spans = {}
    for task_type, steps in counts.items():
        for end in sorted(steps):
            within = [n for start, n in steps.items() if end - window < start <= end]
            failed, total = sum(n[0] for n in within), sum(n[1] for n in within)
            high = total >= rule.settings["min_runs"] and failed / total >= rule.settings["rate"]
            if high and end >= now.timestamp() - BACK:
                spans.setdefault(task_type, []).append((end, end + window))
    return spans


def _gaps(db: Database, rule: Rule, now: datetime) -> Spans:
    """From a window's length after each success until the next; before the first nobody waited."""
    window = rule.settings["window"]
    types = rule.filters.get("task_type") or [PRUNE]
    known: dict[str, list[float]] = {name: [] for name in types}
    asked = [RunStatus.COMPLETED]
    for name, _, start, _, _ in readings.over_time(db, rule, now, BACK + window, asked, types):
        known[name].append(start)
    end = now.timestamp()
    spans: Spans = {}
    for name, times in known.items():
        for before, after in pairwise([*sorted(times), end]):
            if after - before > window:
                spans.setdefault(name, []).append((before + window, after))
    return spans


def _long_runs(db: Database, rule: Rule, now: datetime) -> tuple[Spans, str | None]:
    limit = rule.settings.get("longer_than")
    if limit is not None:
        return _longer(db, rule, now, limit, rule.filters), None
    limits = db.read(lambda tx: tx.all(_MONITORED, most=_MOST_SCHEDULES))
    only = rule.filters.get("schedule_id")
    spans: Spans = {}
    for schedule_id, seconds in limits:
        if only is None or schedule_id in only:
            asked = {**rule.filters, "schedule_id": [schedule_id]}
            spans |= _longer(db, rule, now, float(seconds), asked)
    full = len(limits) == _MOST_SCHEDULES
    return spans, f"Only {_MOST_SCHEDULES} schedules were looked at." if full else None


def _longer(
    db: Database, rule: Rule, now: datetime, seconds: float, filters: Mapping[str, Any]
) -> Spans:
    """From when a Run had been running for so long until its end."""
    own = {"tenant_id": [rule.tenant_id]} if rule.tenant_id else {}
    since = datetime.fromtimestamp(now.timestamp() - BACK, UTC)
    asked = {**filters, **own, "min_duration": seconds, "from": since}
    spans: Spans = {}
    cursor: str | None = None
    for _ in range(_MOST_RUNS // 500):
        page = browse.read_runs(db, Query(asked, limit=500, cursor=cursor))
        for run in page.rows:
            first = run["claimed_at"] / 1_000_000 + seconds
            subject = f"{run['schedule_id']}/{run['task_type']}"
            last = first - seconds + (run["execution_time"] or 0.0)
            spans.setdefault(subject, []).append((first, last))
        cursor = page.next_cursor
        if cursor is None:
            break
    return spans


def _waits(db: Database, rule: Rule, now: datetime) -> Spans:
    spans: Spans = {}
    for queue, start, peak in readings.longest_waits(db, rule, now, BACK):
        if peak > rule.settings["longer_than"]:
            spans.setdefault(queue, []).append((start, start + _STEP))
    return spans


def _ended_batches(db: Database, rule: Rule) -> Spans:
    """The moment at which each batch ended."""
    sql = _BATCHES.format(
        ended=db.dialect.epoch("completed_at"), since=db.dialect.utc_after("-(:back)")
    )
    rows = db.read(lambda tx: tx.rows(sql, back=BACK, most=_MOST_RUNS))
    return {
        str(row["id"]): [(float(row["ended_at"]), float(row["ended_at"]))]
        for row in rows
        if telling.is_meant(rule, row)
    }


def _lost(db: Database, rule: Rule, now: datetime) -> Spans:
    """From a server's last beat until it was started anew."""
    rows = db.read(partial(_sessions))
    spans: Spans = {}
    for row, later in zip(rows, [*rows[1:], None], strict=True):
        server_id, _, beat, state, until = row
        stopped = state == "dead" and until <= beat
        alive = state != "dead" and until >= now.timestamp()
        back = later[1] if later is not None and later[0] == server_id else now.timestamp()
        first = beat + rule.settings["longer_than"]
        if not stopped and not alive and back > first and rule.fits({"server_id": server_id}):
            spans.setdefault(server_id, []).append((first, back))
    return {
        name: [s for s in held if s[0] >= now.timestamp() - BACK] for name, held in spans.items()
    }


def _sessions(tx: Tx) -> list[tuple[str, float, float, str, float]]:
    epoch = tx.dialect.epoch
    sql = _SESSIONS.format(
        started=epoch("started_at"), beat=epoch("beat_at"), until=epoch("lease_until")
    )
    return [(r[0], float(r[1]), float(r[2]), r[3], float(r[4])) for r in tx.all(sql)]
