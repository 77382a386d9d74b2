"""Cron: when a rule fires, in a time zone, whatever its clocks do.

Owns the rules (`Cron`, `Every`) and the policy for changed clocks: a wall time that does not exist
fires once, at the gap's end; one that occurs twice fires once, at its first; rules that fire in
every hour go by elapsed time and never skip or repeat an hour. How a text is read is
`cronfields.py`'s, how it is said `cronwords.py`'s. cronsim walks the calendar; it gets wall times
without a zone. Pure: the time comes in as an argument.
"""

from __future__ import annotations

import calendar
import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim

from taskyard.core.cronfields import DAY, DIALECTS, MACROS, Dialect, Fields, read
from taskyard.core.durations import format_duration, parse_duration
from taskyard.core.errors import CronInvalid, did_you_mean

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORTEST = 0.1
"""Seconds that an interval has at least."""
LONGEST = 366 * 86_400.0
"""Seconds that an interval has at most."""
EVERY = "@every"

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_MILLISECOND = timedelta(milliseconds=1)


class Rule(Protocol):
    """When something fires."""

    def next(self, after: datetime) -> datetime | None:
        """The first instant later than `after` (aware), in the rule's zone; None if there is none.

        Whole milliseconds; nothing is looked for beyond fifty years.
        """

    def describe(self, language: str = "en") -> str:
        """The rule in words; "en" or "zh"."""


def parse(
    text: str, *, dialect: str = "unix", time_zone: str = "UTC", anchor: datetime = EPOCH
) -> Rule:
    """Read a rule: a cron expression, `@daily` and its like, or `@every 90s`.

    `@every` counts from `anchor`. Raises CronInvalid, which names the field and its range.
    """
    words = text.split()
    if words and words[0].lower() == EVERY:
        return Every(_interval(text, "".join(words[1:])), anchor)
    return _cron(" ".join(words), dialect, time_zone)


def every(seconds: float, anchor: datetime = EPOCH) -> Every:
    """The rule of an interval. Raises CronInvalid."""
    if not SHORTEST <= seconds <= LONGEST:
        raise CronInvalid(
            f"{EVERY} {seconds:g}s",
            "interval",
            f"{seconds:g} s is outside {SHORTEST:g} s–{LONGEST / 86_400:g} days",
            "Give a length of time in this range, like 90s.",
        )
    return Every(round(seconds * 1000) / 1000, anchor)


def read_zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises CronInvalid with the nearest name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = did_you_mean(name, available_timezones()).rstrip(".")
        why = f'"{name[:64]}" is not an IANA time zone.{hint}'.removesuffix(".")
        fix = "Give a name like Asia/Shanghai, or UTC."
        raise CronInvalid("", "time_zone", why, fix) from None


def next_fires(rule: Rule, after: datetime, count: int) -> list[datetime]:
    """The next instants of a rule, at most `count`."""
    found: list[datetime] = []
    while len(found) < count and (instant := rule.next(found[-1] if found else after)):
        found.append(instant)
    return found


@dataclass(frozen=True)
class Every:
    """A rule that fires each so many seconds, counted from `anchor`: clock changes don't touch it.

    Where it is anchored it fires as well, if that is later than what is asked for.
    """

    seconds: float
    anchor: datetime

    def next(self, after: datetime) -> datetime | None:
        """See `Rule.next`."""
        step = timedelta(milliseconds=round(self.seconds * 1000))
        anchor = self.anchor - timedelta(microseconds=self.anchor.microsecond % 1000)
        # Exact: timedelta counts whole microseconds.
        return max(anchor, anchor + ((after - anchor) // step + 1) * step)

    def describe(self, language: str = "en") -> str:
        """See `Rule.describe`."""
        from taskyard.core.cronwords import interval_words

        return interval_words(self.seconds, language)


@dataclass(frozen=True)
class Cron:
    """A rule that fires by the wall clock of a zone."""

    text: str
    fields: Fields
    zone: ZoneInfo

    def next(self, after: datetime) -> datetime | None:
        """See `Rule.next`."""
        utc = after.astimezone(UTC).replace(microsecond=0, tzinfo=None)
        try:
            found = self._by_elapsed_time(utc) if self.fields.hourly else self._by_wall_clock(utc)
        except OverflowError:  # the calendar ends
            return None
        return None if found is None else found.replace(tzinfo=UTC).astimezone(self.zone)

    def describe(self, language: str = "en") -> str:
        """See `Rule.describe`."""
        from taskyard.core.cronwords import rule_words

        return rule_words(self.fields, language)

    # --- instants, as UTC without a zone --------------------------------------------------------

    def _by_wall_clock(self, after: datetime) -> datetime | None:
        """Each wall time once: its first instant, or the end of the gap that it falls into."""
        wall = self._walk_on(after + self._offset(after))
        while wall is not None:
            instant = self._instant(wall)
            if instant > after:
                return instant
            wall = self._walk_on(wall)
        return None

    def _by_elapsed_time(self, after: datetime) -> datetime | None:
        """Every instant whose wall time fits: an hour that comes twice counts twice."""
        since, offset = after, self._offset(after)
        wall = since + offset
        while (fits := self._walk_on(wall)) is not None:
            instant = fits - offset
            # A change of clocks makes other wall times, so no more than a day is believed at once.
            horizon = min(instant, since + _DAY)
            if self._offset(horizon) != offset:
                since = self._change(since, horizon)
                offset = self._offset(since)
                wall = since + offset - _SECOND
            elif horizon == instant:
                return instant
            else:
                # Nothing fits until then: clocks are never changed by more than a day.
                since = max(horizon, instant - _DAY)
                offset = self._offset(since)
                wall = since + offset
        return None

    def _instant(self, wall: datetime) -> datetime:
        there = wall.replace(tzinfo=self.zone)
        first = there.astimezone(UTC).replace(tzinfo=None)
        if first + self._offset(first) == wall:
            return first
        # In a gap the same wall time means an instant before it by the clock that comes after.
        before = there.replace(fold=1).astimezone(UTC).replace(tzinfo=None)
        return self._change(before, first)

    def _offset(self, instant: datetime) -> timedelta:
        offset = instant.replace(tzinfo=UTC).astimezone(self.zone).utcoffset()
        assert offset is not None
        return offset

    def _change(self, before: datetime, after: datetime) -> datetime:
        """The first instant later than `before` at which the clock is as it is `after`."""
        offset = self._offset(after)
        while after - before > _SECOND:
            middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
            if self._offset(middle) == offset:
                after = middle
            else:
                before = middle
        return after

    # --- wall times -----------------------------------------------------------------------------

    def _walk_on(self, wall: datetime) -> datetime | None:
        """The next wall time that fits."""
        walk = copy.copy(self._walk)
        walk.dt = wall
        return next(walk, None)

    @cached_property
    def _walk(self) -> _Walk:
        return _Walk(self.fields)


class _Walk(CronSim):
    """cronsim's walk over the calendar, with the days and years that only we know."""

    def __init__(self, fields: Fields) -> None:
        super().__init__(_expression(fields), datetime(1970, 1, 1))
        self._named = fields.days
        self._years = sorted(fields.years)
        self.day_and = fields.both

    def match_dom(self, d: date) -> bool:
        """Is it one of the days of the month?"""
        named = self._named
        if named.any or d.day in named.plain:
            return True
        last = calendar.monthrange(d.year, d.month)[1]
        return (
            last - d.day in named.before_last
            or (named.last_weekday and d.day == _nearest_weekday(d, last))
            or any(d.day == _nearest_weekday(d, n) for n in named.nearest if n <= last)
        )

    def advance(self) -> None:
        """Go on to the next time that fits, in a year that fits."""
        super().advance()
        while self.dt.year not in self._years:
            later = [year for year in self._years if year > self.dt.year]
            if not later:
                raise StopIteration
            self.dt = datetime(later[0], 1, 1)
            super().advance()


def _nearest_weekday(d: date, number: int) -> int:
    """The weekday of d's month that is nearest to its day `number`, never in another month."""
    last = calendar.monthrange(d.year, d.month)[1]
    match d.replace(day=number).weekday():
        case calendar.SATURDAY:
            return number - 1 if number > 1 else number + 2
        case calendar.SUNDAY:
            return number + 1 if number < last else number - 2
        case _:
            return number


def _expression(fields: Fields) -> str:
    """The rule in cronsim's words; what it has no words for is added by `_Walk`."""
    weekdays = [
        *map(str, sorted(fields.weekdays.plain)),
        *(f"{day}L" for day in sorted(fields.weekdays.last)),
        *(f"{day}#{n}" for day, n in sorted(fields.weekdays.nth)),
    ]
    return " ".join(
        [
            _listed(fields.seconds),
            _listed(fields.minutes),
            _listed(fields.hours),
            _listed(fields.days.plain or DAY.all),
            _listed(fields.months),
            ",".join(weekdays),
        ]
    )


def _listed(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))


@lru_cache(maxsize=4096)
def _cron(text: str, dialect: str, time_zone: str) -> Cron:
    if dialect not in DIALECTS:
        why = f'"{dialect}" is none of {", ".join(DIALECTS)}'
        raise CronInvalid(text, "dialect", why, "Choose one of them.")
    zone = read_zone(time_zone)
    rule = Cron(text, read(*_meaning(text, dialect)), zone)
    if not _fires_ever(rule):
        raise CronInvalid(
            text, "cron_expression", f'"{text}" never fires', "Is there such a day in these months?"
        )
    return rule


def _meaning(text: str, dialect: Any) -> tuple[str, Dialect]:
    if not text.startswith("@"):
        return text, dialect
    if text.lower() in MACROS:
        return MACROS[text.lower()], "unix"
    hint = did_you_mean(text.lower(), MACROS).rstrip(".")
    raise CronInvalid(
        text,
        "cron_expression",
        f"{text} is not understood.{hint}".removesuffix("."),
        f"There are: {', '.join(MACROS)}, and {EVERY} 90s.",
    )


def _fires_ever(rule: Cron) -> bool:
    first = min(rule.fields.years)
    try:
        return rule._walk_on(datetime(first, 1, 1) - _SECOND) is not None
    except (StopIteration, OverflowError):
        return False


def _interval(text: str, words: str) -> float:
    try:
        seconds = parse_duration(words)
    except ValueError as error:
        fix = f'Write it like "{EVERY} {format_duration(90)}".'
        raise CronInvalid(text, "interval", str(error), fix) from None
    return every(seconds).seconds
