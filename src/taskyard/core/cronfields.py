"""Cronfields: the fields of a cron text, read in an explicit dialect.

Owns what may stand in a field, in `unix` (5 fields, or 6 with leading seconds) and in `quartz` (6
fields, or 7 with a year; `?`, `L`, `LW`, `W`, `#`), and the errors, which name the field and its
range. Leaves to `cron.py` when a rule fires, and to `cronwords.py` how it is said. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from taskyard.core.errors import CronInvalid

Dialect: TypeAlias = Literal["unix", "quartz"]
DIALECTS: tuple[Dialect, ...] = ("unix", "quartz")

YEARS = (1970, 2099)

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Short words for common rules, the same in both dialects; what they stand for is `unix`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One field: its name, its range, and the words that stand for its numbers from `low` on."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    wraps: bool = True
    """May a range of `quartz` go over the end, as 22-2 in hours?"""

    @property
    def all(self) -> frozenset[int]:
        """Every number that it can have."""
        return frozenset(range(self.low, self.high + 1))


SECOND = Unit("second", 0, 59)
MINUTE = Unit("minute", 0, 59)
HOUR = Unit("hour", 0, 23)
DAY = Unit("day of month", 1, 31, wraps=False)
MONTH = Unit("month", 1, 12, MONTHS)
YEAR = Unit("year", *YEARS, wraps=False)
WEEKDAY = Unit("day of week", 0, 7, WEEKDAYS)
QUARTZ_WEEKDAY = Unit("day of week", 1, 7, WEEKDAYS)


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a month that a rule names.

    `before_last` counts from the month's end (0 is its last day), `nearest` are days whose nearest
    weekday is meant, `last_weekday` is the last Monday to Friday.
    """

    plain: frozenset[int] = frozenset()
    before_last: frozenset[int] = frozenset()
    nearest: frozenset[int] = frozenset()
    last_weekday: bool = False
    any: bool = False
    """Does the field say nothing (`*` or `?`)?"""


@dataclass(frozen=True, slots=True)
class Weekdays:
    """The days of a week that a rule names, Sunday is 0.

    `last` are a month's last ones, `nth` are pairs: (5, 2) is a month's second Friday.
    """

    plain: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    nth: frozenset[tuple[int, int]] = frozenset()
    any: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """A cron text, read."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: Days
    months: frozenset[int]
    weekdays: Weekdays
    years: frozenset[int] = field(default=YEAR.all)
    both: bool = False
    """Must a day fit days *and* weekdays? Where both are named, cron fires on either, unless one
    of the two starts with a star."""

    @property
    def hourly(self) -> bool:
        """Does it fire in every hour of its days?"""
        return self.hours == HOUR.all


def read(text: str, dialect: Dialect) -> Fields:
    """Read a cron text. Raises CronInvalid, which names the field and what may stand in it."""
    return _Reader(text, dialect).fields()


class _Reader:
    def __init__(self, text: str, dialect: Dialect) -> None:
        self._text = text
        self._quartz = dialect == "quartz"
        self._parts = text.upper().split()

    def fields(self) -> Fields:
        second, minute, hour, day, month, weekday, year = self._seven()
        fields = Fields(
            seconds=self._numbers(SECOND, second),
            minutes=self._numbers(MINUTE, minute),
            hours=self._numbers(HOUR, hour),
            days=self._days(day),
            months=self._numbers(MONTH, month),
            weekdays=self._weekdays(weekday),
            years=self._numbers(YEAR, year),
            both=day.startswith(("*", "?")) or weekday.startswith(("*", "?")),
        )
        if self._quartz:
            self._check_days(fields, day, weekday)
        return fields

    def _seven(self) -> list[str]:
        """The fields from seconds to years."""
        count = len(self._parts)
        if self._quartz:
            if count in (6, 7):
                return self._parts if count == 7 else [*self._parts, "*"]
            wanted = "6 fields (second minute hour day month weekday), or 7 with a year"
        else:
            if count in (5, 6):
                return [*(["0"] if count == 5 else []), *self._parts, "*"]
            wanted = "5 fields (minute hour day month weekday), or 6 with seconds before them"
        name = "quartz" if self._quartz else "unix"
        raise self._fault(
            "cron_expression",
            f"it has {count} field{'' if count == 1 else 's'}, the dialect {name} has {wanted}",
            'Write it like "0 0 2 * * ?".' if self._quartz else 'Write it like "0 2 * * *".',
        )

    # --- one field ------------------------------------------------------------------------------

    def _numbers(self, unit: Unit, part: str) -> frozenset[int]:
        return frozenset(n for term in part.split(",") for n in self._term(unit, term))

    def _term(self, unit: Unit, term: str) -> Iterator[int]:
        """The numbers of `*`, `a`, `a-b`, each with or without `/step`."""
        span, slash, step = term.partition("/")
        if span == "*":
            numbers = sorted(unit.all)
        elif "-" in span:
            numbers = self._range(unit, *span.split("-", 1))
        else:
            first = self._number(unit, span)
            numbers = list(range(first, unit.high + 1)) if slash else [first]
        yield from numbers[:: self._step(unit, step) if slash else 1]

    def _range(self, unit: Unit, start: str, end: str) -> list[int]:
        first, last = self._number(unit, start), self._number(unit, end)
        if first <= last:
            return list(range(first, last + 1))
        if self._quartz and unit.wraps:
            return [*range(first, unit.high + 1), *range(unit.low, last + 1)]
        raise self._fault(
            unit.name,
            f"the range {start}-{end} goes backwards",
            f"Write two ranges, {start}-{unit.high},{unit.low}-{end}.",
        )

    def _number(self, unit: Unit, word: str) -> int:
        if word in unit.words:
            return unit.low + unit.words.index(word)
        if not re.fullmatch(r"[0-9]{1,4}", word):
            raise self._not_understood(unit, word)
        number = int(word)
        if not unit.low <= number <= unit.high:
            raise self._fault(
                unit.name, f"{number} is outside {_span(unit)}", f"Give {_span(unit)}."
            )
        return number

    def _step(self, unit: Unit, word: str) -> int:
        count = unit.high - unit.low + 1
        if not re.fullmatch(r"[0-9]{1,4}", word) or not 1 <= int(word) <= count:
            raise self._fault(
                unit.name, f'the step "{word}" is outside 1–{count}', "Write a step like */5."
            )
        return int(word)

    # --- days -----------------------------------------------------------------------------------

    def _days(self, part: str) -> Days:
        if self._is_any(DAY, part):
            return Days(plain=DAY.all, any=True)
        plain: set[int] = set()
        before_last: set[int] = set()
        nearest: set[int] = set()
        last_weekday = False
        for term in part.split(","):
            if self._quartz and term == "LW":
                last_weekday = True
            elif self._quartz and (match := re.fullmatch(r"L(?:-([0-9]{1,2}))?", term)):
                before_last.add(self._before_last(match[1]))
            elif self._quartz and (match := re.fullmatch(r"([0-9]{1,2})W", term)):
                nearest.add(self._number(DAY, match[1]))
            else:
                plain.update(self._term(DAY, term))
        return Days(frozenset(plain), frozenset(before_last), frozenset(nearest), last_weekday)

    def _before_last(self, word: str | None) -> int:
        days = int(word or 0)
        if days > 30:
            raise self._fault(DAY.name, f"L-{days} is outside L-0–L-30", "Write L, or L-3.")
        return days

    def _weekdays(self, part: str) -> Weekdays:
        unit = QUARTZ_WEEKDAY if self._quartz else WEEKDAY
        if self._is_any(unit, part):
            return Weekdays(plain=frozenset(range(7)), any=True)
        plain: set[int] = set()
        last: set[int] = set()
        nth: set[tuple[int, int]] = set()
        for term in part.split(","):
            if self._quartz and term == "L":
                plain.add(6)
            elif self._quartz and (match := re.fullmatch(r"([0-9]|[A-Z]{3})L", term)):
                last.add(self._weekday(unit, self._number(unit, match[1])))
            elif self._quartz and "#" in term:
                nth.add(self._nth(unit, *term.split("#", 1)))
            else:
                plain.update(self._weekday(unit, n) for n in self._term(unit, term))
        return Weekdays(frozenset(plain), frozenset(last), frozenset(nth))

    def _nth(self, unit: Unit, day: str, number: str) -> tuple[int, int]:
        if number not in ("1", "2", "3", "4", "5"):
            raise self._fault(
                unit.name, f"#{number} is outside #1–#5", "Write FRI#2 for the 2nd Friday."
            )
        return self._weekday(unit, self._number(unit, day)), int(number)

    def _weekday(self, unit: Unit, number: int) -> int:
        """The day as 0 (Sunday) to 6: in `quartz` Sunday is 1, in `unix` it is 0 and 7."""
        return (number - unit.low) % 7

    def _is_any(self, unit: Unit, part: str) -> bool:
        if part == "?" and not self._quartz:
            raise self._fault(
                unit.name, "? is understood in the dialect quartz only", "Write *, or set dialect."
            )
        return part in ("*", "?")

    def _check_days(self, fields: Fields, day: str, weekday: str) -> None:
        if day == weekday == "?":
            raise self._fault(
                "day of week", "? can stand for one of the two day fields only", "Write *."
            )
        if not fields.days.any and not fields.weekdays.any:
            raise self._fault(
                "day of week",
                "the dialect quartz takes a day of month or a day of week, not both",
                "Write ? for one of them; the dialect unix fires on either.",
            )

    # --- what cannot be -------------------------------------------------------------------------

    def _not_understood(self, unit: Unit, word: str) -> CronInvalid:
        is_quartz = not self._quartz and re.fullmatch(r"L|LW|[0-9]+W|.*[L#].*", word)
        if is_quartz and unit in (DAY, WEEKDAY):
            why = f'"{word}" is understood in the dialect quartz only'
            return self._fault(
                unit.name, why, "Set dialect to quartz; its first field is the second."
            )
        words = f", or {unit.words[0]}–{unit.words[-1]}" if unit.words else ""
        if not word:
            return self._fault(unit.name, "there is an empty place", f"Give {_span(unit)}{words}.")
        return self._fault(unit.name, f'"{word}" is not understood', f"Give {_span(unit)}{words}.")

    def _fault(self, field: str, why: str, fix: str) -> CronInvalid:
        return CronInvalid(self._text, field, why, fix)


def _span(unit: Unit) -> str:
    return f"{unit.low}–{unit.high}"
