"""Cronwords: a rule in words, English and Chinese.

Owns the sentences ("Every Monday at 09:00", "每周一 09:00"). What a rule is, is `cronfields.py`'s.
Each language is a class that says the same parts in its own order. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from taskyard.core.cronfields import HOUR, MINUTE, MONTH, SECOND, YEAR, Fields, Unit

LANGUAGES = ("en", "zh")

_MOST_TIMES = 6
"""Times of a day that are listed one by one."""

_EN_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_EN_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_ZH_WEEKDAYS = ("周日", "周一", "周二", "周三", "周四", "周五", "周六")


def rule_words(fields: Fields, language: str = "en") -> str:
    """A cron rule as a sentence without its full stop."""
    return (_Chinese if language.startswith("zh") else _English)(fields).rule()


def interval_words(seconds: float, language: str = "en") -> str:
    """An interval as a sentence without its full stop."""
    chinese = language.startswith("zh")
    for length, unit, zh_unit in (
        (86_400, "day", "天"),
        (3_600, "hour", "小时"),
        (60, "minute", "分钟"),
    ):
        if seconds % length == 0:
            number = seconds / length
            return _zh_every(number, zh_unit) if chinese else f"Every {_count(number, unit)}"
    return _zh_every(seconds, "秒") if chinese else f"Every {_count(seconds, 'second')}"


class _English:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        months = [
            _EN_MONTHS[start - 1] + _to(start, end, _EN_MONTHS[end - 1])
            for start, end in _runs(fields.months)
        ]
        self._months = "" if fields.months == MONTH.all else _and(months)
        self._of = f"of {self._months or 'the month'}"

    def rule(self) -> str:
        times, days = _times(self._fields), self._days()
        if times is not None:
            text = f"{days or 'every day'} at {_and(times)}"
        else:
            text = self._often() + (f", {days}" if days else "")
        if self._months and self._of not in text:
            text += f" in {self._months}"
        if self._fields.years != YEAR.all:
            text += f", {_and(_spans(self._fields.years))}"
        return text[:1].upper() + text[1:]

    # --- how often on its days ------------------------------------------------------------------

    def _often(self) -> str:
        pace, hours = self._pace(), self._fields.hours
        if hours == HOUR.all:
            return pace
        step = _step(HOUR, hours)
        if step and pace.startswith("every hour"):
            return pace.replace("every hour", f"every {step} hours", 1)
        return f"{pace}, {_and(_windows(hours))}"

    def _pace(self) -> str:
        minutes = self._fields.minutes
        if self._fields.seconds != {0}:
            return self._seconds()
        if step := _step(MINUTE, minutes):
            return f"every {_count(step, 'minute')}"
        return "every hour " + ("on the hour" if minutes == {0} else f"at minute {_list(minutes)}")

    def _seconds(self) -> str:
        seconds, minutes = self._fields.seconds, self._fields.minutes
        step, every = _step(SECOND, seconds), _step(MINUTE, minutes)
        pace = f"every {_count(step, 'second')}" if step else f"at second {_list(seconds)}"
        if step and every == 1:
            return pace
        listed = (
            f"every {_count(every, 'minute')}"
            if every
            else f"minute {_list(minutes)} of every hour"
        )
        return f"{pace} of {listed}"

    # --- on which days --------------------------------------------------------------------------

    def _days(self) -> str:
        parts = [part for part in (self._monthdays(), self._weekdays()) if part]
        if len(parts) == 2 and self._fields.both:
            only = parts[1].removeprefix("every ").removeprefix("on ")
            return f"{parts[0]}, but only on {only}"
        return " or ".join(parts)

    def _monthdays(self) -> str:
        days = self._fields.days
        if days.any:
            return ""
        if step := _stride(days.plain):
            return f"every {step} days from day 1 {self._of}"
        words = [f"day {span}" for span in _spans(days.plain)]
        words += [f"the weekday nearest to day {day}" for day in sorted(days.nearest)]
        words += ["the last weekday"] if days.last_weekday else []
        words += [
            f"the {_ordinal(n + 1)} last day" if n else "the last day"
            for n in sorted(days.before_last)
        ]
        return f"on {_and(words)} {self._of}"

    def _weekdays(self) -> str:
        days = self._fields.weekdays
        if days.any:
            return ""
        words = [
            _EN_WEEKDAYS[start] + _to(start, end, _EN_WEEKDAYS[end])
            for start, end in _week(days.plain)
        ]
        some = [f"the {_ordinal(n)} {_EN_WEEKDAYS[day]}" for day, n in sorted(days.nth)]
        some += [f"the last {_EN_WEEKDAYS[day]}" for day in sorted(days.last)]
        single = words and " to " not in "".join(words)
        plain = ("every " if single else "") + _and(words) if words else ""
        of_month = f"on {_and(some)} {self._of}" if some else ""
        return " and ".join(part for part in (plain, of_month) if part)


class _Chinese:
    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._each_month = "每月" if fields.months == MONTH.all else ""

    def rule(self) -> str:
        times = _times(self._fields)
        each = self._days() or ("每天" if times else "")
        days = _glued(self._years(), self._months(), each)
        if times is not None:
            return f"{days} {'、'.join(times)}"
        return f"{days}，{self._often()}" if days else self._often()

    # --- how often on its days ------------------------------------------------------------------

    def _often(self) -> str:
        pace, hours = self._pace(), self._fields.hours
        if hours == HOUR.all:
            return pace
        step = _step(HOUR, hours)
        if step and pace.startswith("每小时"):
            return pace.replace("每小时", f"每 {step} 小时", 1)
        return f"{'、'.join(_windows(hours))} {pace}"

    def _pace(self) -> str:
        minutes = self._fields.minutes
        if self._fields.seconds != {0}:
            return self._seconds()
        if step := _step(MINUTE, minutes):
            return _zh_every(step, "分钟")
        return "每小时" + ("整点" if minutes == {0} else f"第 {_zh_list(minutes)} 分")

    def _seconds(self) -> str:
        seconds, minutes = self._fields.seconds, self._fields.minutes
        step, every = _step(SECOND, seconds), _step(MINUTE, minutes)
        pace = _zh_every(step, "秒") if step else f"第 {_zh_list(seconds)} 秒"
        if step and every == 1:
            return pace
        listed = _zh_every(every, "分钟") if every else f"每小时第 {_zh_list(minutes)} 分"
        return listed + ("内" if step else "") + pace

    # --- on which days --------------------------------------------------------------------------

    def _days(self) -> str:
        parts = [part for part in (self._monthdays(), self._weekdays()) if part]
        return ("且须为" if self._fields.both else "或").join(parts)

    def _monthdays(self) -> str:
        days = self._fields.days
        if days.any:
            return ""
        if step := _stride(days.plain):
            return f"{self._each_month}从 1 日起每 {step} 天"
        words = [f"{span} 日" for span in _spans(days.plain)]
        words += [f"最接近 {day} 日的工作日" for day in sorted(days.nearest)]
        words += ["最后一个工作日"] if days.last_weekday else []
        words += [f"倒数第 {n + 1} 天" if n else "最后一天" for n in sorted(days.before_last)]
        return _glued(self._each_month, "、".join(words))

    def _weekdays(self) -> str:
        days = self._fields.weekdays
        if days.any:
            return ""
        words = [
            _ZH_WEEKDAYS[start] + _to(start, end, _ZH_WEEKDAYS[end], "至", "、")
            for start, end in _week(days.plain)
        ]
        some = [f"第 {n} 个{_ZH_WEEKDAYS[day]}" for day, n in sorted(days.nth)]
        some += [f"最后一个{_ZH_WEEKDAYS[day]}" for day in sorted(days.last)]
        plain = "每" + "、".join(words) if words else ""
        of_month = self._each_month + "、".join(some) if some else ""
        return "和".join(part for part in (plain, of_month) if part)

    def _months(self) -> str:
        return "" if self._each_month else f"{_zh_list(self._fields.months)} 月"

    def _years(self) -> str:
        years = self._fields.years
        return "" if years == YEAR.all else f"{_zh_list(years)} 年"


# --- what a rule has -----------------------------------------------------------------------------


def _times(fields: Fields) -> list[str] | None:
    """The times of a day, if they are few: "02:00"."""
    count = len(fields.hours) * len(fields.minutes) * len(fields.seconds)
    if count > _MOST_TIMES:
        return None
    every = product(sorted(fields.hours), sorted(fields.minutes), sorted(fields.seconds))
    whole = fields.seconds == {0}
    return [f"{h:02}:{m:02}" + ("" if whole else f":{s:02}") for h, m, s in every]


def _step(unit: Unit, numbers: frozenset[int]) -> int:
    """The n of `*/n` where these numbers are that, evenly over the end; 1 is every one, 0 none."""
    step = len(unit.all) // len(numbers)
    return (
        step if numbers == set(range(unit.low, unit.high + 1, step)) and step < len(unit.all) else 0
    )


def _stride(days: frozenset[int]) -> int:
    """The n of `*/n` in days of the month, more than one; 0 where they are something else."""
    first, second = [*sorted(days), 0, 0][:2]
    step = second - first
    return step if len(days) > 2 and step > 1 and days == set(range(1, 32, step)) else 0


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Numbers as runs of neighbours: 1, 2, 3, 7 are (1, 3) and (7, 7)."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _week(days: frozenset[int]) -> list[tuple[int, int]]:
    """Days of the week as runs, the week beginning on Monday."""
    return [(start % 7, end % 7) for start, end in _runs((day - 1) % 7 + 1 for day in days)]


def _windows(hours: frozenset[int]) -> list[str]:
    """Hours as runs, from the first minute to the last."""
    return [f"{start:02}:00–{end:02}:59" for start, end in _runs(hours)]


# --- small words ---------------------------------------------------------------------------------


def _spans(numbers: Iterable[int]) -> list[str]:
    return [f"{start}" if start == end else f"{start}–{end}" for start, end in _runs(numbers)]


def _list(numbers: Iterable[int]) -> str:
    return _and(_spans(numbers))


def _zh_list(numbers: Iterable[int]) -> str:
    return "、".join(_spans(numbers))


def _and(words: Sequence[str]) -> str:
    return " and ".join([part for part in (", ".join(words[:-1]), words[-1]) if part])


def _to(start: int, end: int, last: str, to: str = " to ", and_: str = " and ") -> str:
    """What follows a run's first word."""
    if start == end:
        return ""
    return (and_ if end in (start + 1, start - 6) else to) + last


def _count(number: float, unit: str) -> str:
    return unit if number == 1 else f"{number:g} {unit}s"


def _zh_every(number: float, unit: str) -> str:
    return f"每{unit}" if number == 1 else f"每 {number:g} {unit}"


def _glued(*parts: str) -> str:
    """Chinese words in a row, with a blank before digits."""
    text = ""
    for part in parts:
        text += f" {part}" if text and part[:1].isdigit() else part
    return text


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number // 10 != 1 else 0, "th")
    return f"{number}{ending}"
