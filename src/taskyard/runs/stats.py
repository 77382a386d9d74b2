"""Stats: how much ran, how well it went and how long it took.

Owns the figures: `summary` of a range, `series` over time, `top` of what there is under a heading.
All of them are read from the roll-ups (`rollups.py`), never from history, so they cost the same
whatever lies in it. Runs count when they ended, in the minute in which they started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.durations import format_duration, parse_duration
from taskyard.core.errors import QueryInvalid, did_you_mean
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Query, read_filter
from taskyard.runs import browse
from taskyard.runs.grains import DAY, GRAINS, HOUR, MINUTE, Piece, cover, grain_of, is_kept, widen
from taskyard.runs.rollups import count_few, now_of
from taskyard.runs.sums import JUDGED, Narrowing, Span, Sums, read

Moment = datetime | str | None
"""A time with its offset: a datetime, or ISO 8601; None is now, or a day before."""

HEADINGS = ("task_type", "queue", "tenant_id", "status")
"""What the figures may be told apart by, and narrowed to."""

ORDERS = ("runs", "failed", "execution_time", "total_time")
"""By what `top` sorts: how many ran, how many went wrong, how long one takes, how long all took."""

MOST_POINTS = 2_000

_DEFAULT_RANGE = DAY
_NICE_POINTS = 150
_DAILY = 15 * DAY
"""Ranges from this on have a point a day: that is read from a tenth of the rows."""
_NICE_STEPS = tuple(m * MINUTE for m in (1, 2, 5, 10, 30, 60, 120, 360, 720, 1_440, 10_080))
_LONGEST = 3_660 * DAY
_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_MEASURED = {"execution_time": "run", "wait_time": "wait", "memory_usage": "memory"}
_ENDS = tuple(status for status in RunStatus if status is not RunStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure that a series may be of: what it is made of, and its unit."""

    measure: str
    figure: str
    unit: str

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses whose Runs it is about; () is all."""
        if self.figure in _ENDS:
            return (self.figure,)
        return JUDGED if self.figure == "success_rate" else ()

    @property
    def heading(self) -> str | None:
        """What its numbers must be told apart by, besides time."""
        if self.figure in _SHARES:
            return "bin"
        return "status" if self.figure == "success_rate" else None

    def of(self, sums: Sums | None, seconds: float) -> float | int | None:
        """Its value; `seconds` is for how long was counted."""
        if self.unit == "runs":
            return sums.count if sums else 0
        if self.figure == "throughput":
            return sums.count / seconds if sums and seconds > 0 else 0.0
        if sums is None:
            return None
        return sums.success_rate() if self.figure == "success_rate" else self._measured(sums)

    def _measured(self, sums: Sums) -> float | None:
        if self.figure in _SHARES:
            return sums.share(_SHARES[self.figure], self.measure)
        return sums.average() if self.figure == "avg" else sums.largest()


METRICS = {
    "runs": Metric("run", "runs", "runs"),
    "throughput": Metric("run", "throughput", "runs/s"),
    "success_rate": Metric("run", "success_rate", "ratio"),
    **{status.value: Metric("run", status.value, "runs") for status in _ENDS},
    **{
        f"{name}_{figure}": Metric(measure, figure, "bytes" if measure == "memory" else "seconds")
        for name, measure in _MEASURED.items()
        for figure in ("avg", *_SHARES, "max")
    },
}
"""What a series may be of, by name."""


# --- the verbs -----------------------------------------------------------------------------------


def summary(
    db: Database,
    caller: Caller,
    from_: Moment = None,
    to: Moment = None,
    filters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The figures of a range (default: the last 24 hours), and of the range before it.

    `filters` narrow it to a task_type, queue, tenant_id or status, or several. `from` and `to` in
    the answer are the whole minutes that were counted; further back whole tens of minutes, hours,
    days (docs/reference/statistics.md). `running` counts what runs now, up to 10 000.
    Raises QueryInvalid or NotAllowed.
    """
    narrowing = _narrowing(caller, filters)

    def work(tx: Tx) -> dict[str, Any]:
        start, end = _range(from_, to, now := now_of(tx))
        before, between = widen(start - (end - start), start, now)
        spans = [_span(0, start, end), _span(1, before, between)]
        rows = read(tx, spans, ("run", "wait"), ("measure", "status", "bin"), narrowing)
        present, past = (
            _figures([row[1:] for row in rows if row[0] == span.number], span, now)
            for span in spans
        )
        return {**present, "previous": past}

    count_few(db)
    return {**db.read(work), "running": _running(db, caller, filters)}


def series(
    db: Database,
    caller: Caller,
    metric: str,
    by: str | None = None,
    from_: Moment = None,
    to: Moment = None,
    step: float | str | timedelta | None = None,
    filters: Mapping[str, Any] | None = None,
    *,
    most: int = 8,
) -> dict[str, Any]:
    """A figure (one of METRICS) over time, one line for each of `by` (one of HEADINGS).

    `step` is in whole minutes, hours or days; None finds one that suits the range. Steps of hours
    and days are those of the offset that `from_` is given in. Of the lines only the `most` with
    the most Runs are given, the rest is added up in one whose `other` is true. Where nothing ran
    a count is 0 and all else is None. Raises QueryInvalid or NotAllowed.
    """
    asked = _known("metric", metric, METRICS)
    narrowing = _narrowing(caller, filters)
    if by is not None:
        _known("by", by, HEADINGS)

    def work(tx: Tx) -> dict[str, Any]:
        steps = _steps(from_, to, step, now := now_of(tx))
        names = _ranked(tx, by, "runs", steps.span(), narrowing)[:most] if by else []
        lines = _lines(tx, METRICS[asked], steps, by, names, narrowing)
        ends = [min(time + steps.length, now) - time for time in steps.times]
        return {
            "metric": asked,
            "by": by,
            "unit": METRICS[asked].unit,
            "from": _datetime(steps.start),
            "to": _datetime(steps.end),
            "step": steps.length,
            "times": [_datetime(time) for time in steps.times],
            "series": [
                {
                    "name": name,
                    "other": by is not None and name is None,
                    "values": [
                        METRICS[asked].of(line.get(time), seconds)
                        for time, seconds in zip(steps.times, ends, strict=True)
                    ],
                }
                for name, line in lines.items()
            ],
        }

    count_few(db)
    return db.read(work)


def top(
    db: Database,
    caller: Caller,
    by: str = "task_type",
    order: str = "runs",
    from_: Moment = None,
    to: Moment = None,
    filters: Mapping[str, Any] | None = None,
    limit: int = 10,
) -> list[dict[str, Any]]:
    """The figures of a range for each task type (or another of HEADINGS), the largest first.

    `order` is one of ORDERS; `failed` leaves out what never went wrong. The range is as for
    `summary`. Raises QueryInvalid or NotAllowed.
    """
    _known("by", by, HEADINGS)
    _known("order", order, ORDERS)
    if not 1 <= limit <= 500:
        raise QueryInvalid("limit", f"There cannot be {limit} of them.", "Give 1 to 500.")
    narrowing = _narrowing(caller, filters)

    def work(tx: Tx) -> list[dict[str, Any]]:
        span = _span(0, *_range(from_, to, now := now_of(tx)))
        names = _ranked(tx, by, order, span, narrowing)[:limit]
        if not names:
            return []
        chosen = narrowing.also(by, names)
        found = read(tx, [span], ("run", "wait"), (by, "measure", "status", "bin"), chosen)
        return [
            {by: name, **_figures([row[2:] for row in found if row[1] == name], span, now)}
            for name in names
        ]

    count_few(db)
    return db.read(work)


# --- what is asked -------------------------------------------------------------------------------


def _known(what: str, word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    if word not in known:
        raise QueryInvalid(
            what,
            f'There is no {what} "{word}".{did_you_mean(word, known)}',
            f"There are: {', '.join(known)}.",
        )
    return word


def _narrowing(caller: Caller, filters: Mapping[str, Any] | None) -> Narrowing:
    """The Runs that are asked for and the caller may see."""
    caller.require(Permission.RUNS_READ)
    narrowing = Narrowing()
    for name, value in caller.narrow(filters or {}).items():
        _known("filter", name, HEADINGS)
        if value is not None:
            narrowing = narrowing.also(name, read_filter(browse.RUNS, name, value))
    return narrowing


def _range(from_: Moment, to: Moment, now: int) -> tuple[int, int]:
    """The range that is asked for, in steps that are kept."""
    last = _seconds("to", to)
    end = now if last is None else last
    first = _seconds("from", from_)
    start = end - _DEFAULT_RANGE if first is None else first
    if start >= end:
        raise QueryInvalid("from", "The range ends before it starts.", "Give a from before to.")
    if end - start > _LONGEST or start < _LONGEST or end > now + _LONGEST:
        raise QueryInvalid(
            "from", "The range is too long, or too far away.", "Give 10 years at most."
        )
    return widen(int(start), -int(-end // 1), now)


def _seconds(name: str, moment: Moment) -> float | None:
    return None if moment is None else read_filter(browse.RUNS, name, moment)[0] / 1_000_000


def _span(number: int, start: int, end: int) -> Span:
    return Span(number, start, end, cover(start, end))


def _datetime(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# --- figures -------------------------------------------------------------------------------------


def _figures(rows: Sequence[tuple[Any, ...]], span: Span, now: int) -> dict[str, Any]:
    """The figures of rows of measure, status, bin and four sums."""
    sums = {measure: Sums() for measure in ("run", "wait")}
    for measure, status, number, *values in rows:
        sums[measure].add(status, number, values)
    run = sums["run"]
    seconds = min(span.end, max(now, span.start + MINUTE)) - span.start
    return {
        "runs": run.count,
        **{status.value: run.by_status.get(status, 0) for status in _ENDS},
        "success_rate": run.success_rate(),
        "throughput": run.count / seconds,
        "execution_time": _times(run, "run"),
        "wait_time": _times(sums["wait"], "wait"),
        "from": _datetime(span.start),
        "to": _datetime(span.end),
    }


def _times(sums: Sums, measure: str) -> dict[str, float | None]:
    return {
        "avg": sums.average(),
        **{name: sums.share(share, measure) for name, share in _SHARES.items()},
        "max": sums.largest(),
    }


def _running(db: Database, caller: Caller, filters: Mapping[str, Any] | None) -> int:
    asked = {**(filters or {}), "status": RunStatus.RUNNING.value}
    total = browse.list_runs(db, caller, Query(asked, limit=1, count=True)).total
    assert total is not None
    return total


# --- names ---------------------------------------------------------------------------------------


def _ranked(tx: Tx, by: str, order: str, span: Span, narrowing: Narrowing) -> list[str]:
    """The names under a heading, the largest first."""
    found: dict[str, Sums] = {}
    for _, name, status, *values in read(tx, [span], ("run",), (by, "status"), narrowing):
        found.setdefault(name, Sums()).add(status, None, values)

    def size(name: str) -> float:
        sums = found[name]
        match order:
            case "runs":
                return sums.count
            case "failed":
                return sum(sums.by_status.get(status, 0) for status in JUDGED[1:])
            case "execution_time":
                return sums.average() or 0.0
            case _:
                return sums.total

    names = sorted(found, key=lambda name: (-size(name), name))
    return [name for name in names if size(name)] if order == "failed" else names


# --- steps ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of a series, and the grain that they are read from."""

    start: int
    length: int
    count: int
    grain: int

    @property
    def end(self) -> int:
        return self.start + self.count * self.length

    @property
    def times(self) -> range:
        return range(self.start, self.end, self.length)

    def span(self) -> Span:
        """All of them, by one grain."""
        return Span(0, self.start, self.end, [Piece(self.grain, self.start, self.end)])


def _steps(from_: Moment, to: Moment, step: float | str | timedelta | None, now: int) -> _Steps:
    start, end = _range(from_, to, now)
    length = _nice_step(start, end, now) if step is None else _step(step)
    if (end - start) / length > MOST_POINTS:
        least = format_duration(-(-(end - start) // MOST_POINTS // MINUTE) * MINUTE)
        raise QueryInvalid(
            "step",
            f"That makes {(end - start) // length:,} points.",
            f"Give a step of {least} or longer, or a shorter range; {MOST_POINTS:,} are the most.",
        )
    for offset in _offsets(from_, length):
        first = (start + offset) // min(length, DAY) * min(length, DAY) - offset
        grain = grain_of(length, first, now)
        if grain is not None:
            return _Steps(first, length, -(-(end - first) // length), grain)
    raise QueryInvalid(
        "step",
        f"Steps of {format_duration(length)} do not reach back that far.",
        "Give a longer step (whole hours reach back 60 days, whole days a year) or a later from.",
    )


def _step(step: float | str | timedelta) -> int:
    try:
        length = parse_duration(step)
    except ValueError as error:
        raise QueryInvalid("step", f"step: {error}.", "Correct the value.") from None
    unit = next((unit for unit in (DAY, HOUR) if length > unit), MINUTE)
    if length < MINUTE or length % unit or length > _LONGEST:
        raise QueryInvalid(
            "step",
            f"A step cannot be {format_duration(length)} long.",
            "Give whole minutes; above an hour whole hours, above a day whole days.",
        )
    return int(length)


def _nice_step(start: int, end: int, now: int) -> int:
    """The shortest step that is kept for so long and does not make too many points."""
    least = DAY if end - start >= _DAILY else MINUTE
    fit = [s for s in _NICE_STEPS if s >= least and (end - start) / s <= _NICE_POINTS]
    kept = [s for s in fit if any(s % g == 0 and is_kept(g, start, now) for g in GRAINS)]
    return (kept or [_NICE_STEPS[-1]])[0]


def _offsets(from_: Moment, length: int) -> list[int]:
    """By how many seconds the steps may be off UTC: as `from_` is, else whole hours, else not."""
    moment = datetime.fromisoformat(from_.strip()) if isinstance(from_, str) else from_
    shift = moment.utcoffset() if moment is not None else None
    seconds = int(shift.total_seconds()) if shift else 0
    return list(dict.fromkeys((seconds, seconds // HOUR * HOUR, 0)))


# --- lines ---------------------------------------------------------------------------------------


def _lines(
    tx: Tx,
    metric: Metric,
    steps: _Steps,
    by: str | None,
    names: Sequence[str],
    narrowing: Narrowing,
) -> dict[str | None, dict[int, Sums]]:
    """By name, what was counted in each step; under None the rest, which is all without `by`."""
    name = "NULL"
    if metric.statuses:
        narrowing = narrowing.also("status", metric.statuses)
    if by is not None and names:
        name, narrowing = narrowing.named(by, names)
    time = f"(start - {steps.start}) - (start - {steps.start}) % {steps.length}"
    headings = (time, name, metric.heading or "NULL")
    lines: dict[str | None, dict[int, Sums]] = {name: {} for name in (names if by else (None,))}
    for row in read(tx, [steps.span()], (metric.measure,), headings, narrowing):
        sums = lines.setdefault(row[2], {}).setdefault(int(row[1]) + steps.start, Sums())
        by_status = metric.heading == "status"
        sums.add(row[3] if by_status else None, None if by_status else row[3], row[4:])
    return lines
