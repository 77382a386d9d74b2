"""Definition: what a Schedule may be: its fields, what they mean, and the errors that name them.

Owns the check of every field, whoever wrote it: a person, an application's code, or SQL. Where the
fields are kept is `rows.py`'s. Pure, and cheap to import: an application's decorators use it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from taskyard.core import cron
from taskyard.core.cronfields import DIALECTS
from taskyard.core.durations import parse_duration
from taskyard.core.errors import ScheduleInvalid, did_you_mean
from taskyard.core.payload import dump_params, load_params

MISFIRES = ("skip", "one", "all")
OVERLAPS = ("allow", "skip", "queue", "replace")
SOURCES = ("api", "code", "sql", "system")

_DAY = 86_400.0
_LONGEST = 366 * _DAY

# Names stand in addresses and on command lines, where digits alone are ids.
_NAME = re.compile(r"(?!\d+$)(?!.*\s$)[^\s/\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,99}")


@dataclass(frozen=True, slots=True)
class Definition:
    """What a Schedule is to do.

    `task_params` is JSON text, lengths of time are seconds, moments are UTC. `retry_count`,
    `retry_interval`, `timeout` and `queue` are the Handler's where they are None.
    `misfire_window` None is what `due.py` says.
    """

    name: str
    task_type: str
    task_params: str | None = None
    queue: str | None = None
    cron_expression: str | None = None
    interval: float | None = None
    dialect: str = "unix"
    time_zone: str = "UTC"
    retry_count: int | None = None
    retry_interval: float | None = None
    monitor_timeout: float | None = None
    timeout: float | None = None
    misfire: str = "one"
    misfire_window: float | None = None
    overlap: str = "allow"
    jitter: float = 0.0
    start_at: datetime | None = None
    end_at: datetime | None = None
    tenant_id: str = ""
    status: int = 1

    def rule(self, created: datetime) -> cron.Rule:
        """When it fires; an interval counts from `start_at`, or from when it was created."""
        anchor = self.start_at or created
        if self.interval is not None:
            return cron.every(self.interval, anchor)
        text = self.cron_expression or ""
        return cron.parse(text, dialect=self.dialect, time_zone=self.time_zone, anchor=anchor)

    def next(self, after: datetime, created: datetime) -> datetime | None:
        """The first instant later than `after`, within `start_at` and `end_at`, as UTC."""
        if self.start_at is not None:
            after = max(after, self.start_at - timedelta(milliseconds=1))
        found = self.rule(created).next(after)
        if found is None or (self.end_at is not None and found > self.end_at):
            return None
        return found.astimezone(UTC)

    def words(self, language: str = "en") -> str:
        """When it fires, in words."""
        return self.rule(cron.EPOCH).describe(language)


FIELDS = tuple(Definition.__dataclass_fields__)
"""The names of all that can be set."""

TIMING = ("cron_expression", "interval", "dialect", "time_zone", "start_at", "end_at", "status")
"""What decides when it fires next."""


def read(fields: Mapping[str, Any], time_zone: str = "UTC") -> Definition:
    """A Definition of fields as people give them; None is "not given".

    Lengths of time may be texts ("5m"), moments texts of ISO 8601; a moment without an offset is in
    the schedule's zone, which is `time_zone` unless it is given. Raises ScheduleInvalid or
    CronInvalid, which name the field; ParamsNotJson or PayloadTooLarge.
    """
    for name in fields:
        if name not in FIELDS:
            hint = did_you_mean(name, FIELDS).strip()
            raise ScheduleInvalid(
                name, f"there is no such field. {hint}".strip(" ."), f"Fields: {', '.join(FIELDS)}."
            )
    given = {name: value for name, value in fields.items() if value is not None}
    given.setdefault("time_zone", time_zone)
    for name in ("name", "task_type"):
        if name not in given:
            raise ScheduleInvalid(name, "it is missing", "Every schedule needs one.")
    zone = cron.read_zone(_text(64)("time_zone", given["time_zone"]))
    checked = {name: check(name, given[name]) for name, check in _CHECKS.items() if name in given}
    for name in ("start_at", "end_at"):
        if name in given:
            checked[name] = _moment(name, given[name], zone)
    definition = Definition(**checked, time_zone=zone.key)
    _check_rule(definition)
    return definition


def _check_rule(definition: Definition) -> None:
    one, other = definition.cron_expression, definition.interval
    if (one is None) == (other is None):
        why = "there is neither it nor an interval" if one is None else "an interval is there too"
        raise ScheduleInvalid("cron_expression", why, "Give one of cron_expression and interval.")
    definition.rule(cron.EPOCH)
    start, end = definition.start_at, definition.end_at
    if start is not None and end is not None and end <= start:
        raise ScheduleInvalid("end_at", "it is not later than start_at", "Correct one of the two.")


# --- one field ------------------------------------------------------------------------------------

Check = Callable[[str, Any], Any]


def _cannot(field: str, value: Any, wanted: str) -> ScheduleInvalid:
    shown = repr(value)
    return ScheduleInvalid(
        field, f"it cannot be {shown if len(shown) <= 60 else shown[:57] + '…'}", f"Give {wanted}."
    )


def _name(field: str, value: Any) -> str:
    wanted = "1–100 characters, not digits alone, without slashes and without blanks at the ends"
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise _cannot(field, value, wanted)
    return value


def _text(longest: int, *, empty: bool = False) -> Check:
    def check(field: str, value: Any) -> str:
        good = isinstance(value, str) and len(value) <= longest and (empty or value.strip())
        if not good or not value.isprintable():
            raise _cannot(field, value, f"{'' if empty else '1–'}{longest} characters on one line")
        return str(value)

    return check


def _word(*words: str) -> Check:
    def check(field: str, value: Any) -> str:
        if value not in words:
            raise _cannot(field, value, f"one of {', '.join(words)}")
        return str(value)

    return check


def _whole(low: int, high: int) -> Check:
    def check(field: str, value: Any) -> int:
        number = _number(value)
        if number is None or number != int(number) or not low <= number <= high:
            raise _cannot(field, value, f"a whole number from {low} to {high}")
        return int(number)

    return check


def _seconds(low: float, high: float) -> Check:
    def check(field: str, value: Any) -> float:
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            raise ScheduleInvalid(field, str(error), "Give a length of time, like 5m.") from None
        if not low <= seconds <= high:
            raise _cannot(field, value, f"a length of time from {low:g} s to {high:g} s")
        return seconds

    return check


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def _params(field: str, value: Any) -> str | None:
    """Parameters as text: those of SQL come as text, which has to be an object in JSON."""
    loaded = load_params(value, field) if isinstance(value, str | bytes) else value
    if loaded is not None and not isinstance(loaded, Mapping):
        raise _cannot(field, value, "an object, like {}")
    return value if isinstance(value, str) and value.strip() else dump_params(loaded, field)


def _moment(field: str, value: Any, zone: Any) -> datetime:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise _cannot(field, value, "a time like 2026-01-31T08:00:00+08:00") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


_CHECKS: dict[str, Check] = {
    "name": _name,
    "task_type": _text(255),
    "task_params": _params,
    "queue": _text(100),
    "cron_expression": _text(255),
    "interval": _seconds(cron.SHORTEST, cron.LONGEST),
    "dialect": _word(*DIALECTS),
    "retry_count": _whole(0, 1_000_000),
    "retry_interval": _seconds(0, 30 * _DAY),
    "monitor_timeout": _seconds(0.001, 30 * _DAY),
    "timeout": _seconds(0.001, 30 * _DAY),
    "misfire": _word(*MISFIRES),
    "misfire_window": _seconds(0, _LONGEST),
    "overlap": _word(*OVERLAPS),
    "jitter": _seconds(0, _DAY),
    "tenant_id": _text(64, empty=True),
    "status": _whole(0, 1),
}


def shown_params(text: str | None) -> Any:
    """Parameters as a value, for people; what is no JSON stays the text that it is."""
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
