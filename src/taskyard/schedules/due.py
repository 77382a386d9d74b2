"""Due: which of the instants that are due by now shall fire.

Owns the misfire policies: `skip` fires what is on time and nothing else, `one` the latest instant
for all that were missed, `all` every one of them; and how far back they look. Pure: the time comes
in as an argument. Who fires is `fire.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

Next = Callable[[datetime], datetime | None]
"""The first instant later than a moment."""

ALL_LOOKS_BACK = timedelta(days=1)
"""How far back `all` looks unless `misfire_window` says otherwise; `one` looks back for ever."""

_MOST_COUNTED = 10_000
_TENTH = 10
_LEAST_LATE, _MOST_LATE = timedelta(seconds=1), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Due:
    """What becomes of the instants that are due: those that fire, in order; how many are missed
    (counted up to ten thousand); and the next one after them, which may be due as well."""

    fires: list[datetime]
    missed: int
    next: datetime | None


def decide(
    first: datetime,
    now: datetime,
    following: Next,
    *,
    misfire: str,
    window: float | None,
    most: int,
) -> Due:
    """Judge the instants from `first`, which is due, to `now`.

    `window` is in seconds; at most `most` of them fire at once, the rest the next time.
    """
    if misfire == "all":
        return _all(first, now, following, _back(window, ALL_LOOKS_BACK), most)
    latest, passed = _latest(first, now, following)
    after = following(latest)
    patience = _back(window, _punctual(latest, after) if misfire == "skip" else None)
    if patience is not None and now - latest > patience:
        return Due([], passed + 1, after)
    return Due([latest], passed, after)


def _all(first: datetime, now: datetime, following: Next, back: timedelta | None, most: int) -> Due:
    instant: datetime | None = first
    missed = 0
    if back is not None and now - first > back:
        instant, missed = _skip_to(first, now - back, following)
    fires: list[datetime] = []
    while instant is not None and instant <= now and len(fires) < most:
        fires.append(instant)
        instant = following(instant)
    return Due(fires, missed, instant)


def _skip_to(first: datetime, start: datetime, following: Next) -> tuple[datetime | None, int]:
    """The first instant from `start` on, and how many there are from `first` to it."""
    instant: datetime | None = first
    for count in range(_MOST_COUNTED):
        if instant is None or instant >= start:
            return instant, count
        instant = following(instant)
    return following(start - timedelta(milliseconds=1)), _MOST_COUNTED


def _latest(first: datetime, now: datetime, following: Next) -> tuple[datetime, int]:
    """The last instant up to `now`, and how many there are from `first` to it."""
    latest = first
    for count in range(_MOST_COUNTED):
        instant = following(latest)
        if instant is None or instant > now:
            return latest, count
        latest = instant
    return _last_before(latest, now, following), _MOST_COUNTED


def _last_before(known: datetime, now: datetime, following: Next) -> datetime:
    """The last instant up to `now` of many: looked for in ever longer spans that end there."""
    span = timedelta(minutes=1)
    while (start := now - span) > known:
        instant = following(start)
        if instant is not None and instant <= now:
            known = instant
            break
        span *= 10
    while (instant := following(known)) is not None and instant <= now:
        known = instant
    return known


def _back(window: float | None, otherwise: timedelta | None) -> timedelta | None:
    return otherwise if window is None else timedelta(seconds=window)


def _punctual(instant: datetime, after: datetime | None) -> timedelta:
    """How late an instant may be and still count as on time: a tenth of the way to the next."""
    if after is None:
        return _MOST_LATE
    return min(_MOST_LATE, max(_LEAST_LATE, (after - instant) / _TENTH))
