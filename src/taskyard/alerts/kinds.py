"""Kinds: what an alert rule can watch, as data.

Owns the table of kinds: which settings each takes and within which limits, by what its rules can be
narrowed, and when an incident of it is over. The command line, the API and the reference read the
same table. How a kind is judged is `judge.py`'s, what it is judged by is read by `readings.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from taskyard.core.durations import format_duration, parse_duration

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


class RuleKind(StrEnum):
    """What a rule watches."""

    RUN_FAILED = "run_failed"
    RUN_TIMEOUT = "run_timeout"
    RUN_LONG = "run_long"
    FAILURES = "failures"
    FAILURE_RATE = "failure_rate"
    NO_SUCCESS = "no_success"
    QUEUE_WAIT = "queue_wait"
    SERVER_LOST = "server_lost"
    SCHEDULE_LATE = "schedule_late"
    SCHEDULE_MISSED = "schedule_missed"
    PRUNE_BEHIND = "prune_behind"
    BATCH_FINISHED = "batch_finished"


Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """One number or word that a rule of a kind takes.

    `read` makes of what was given what is kept, and raises ValueError saying what it should be. A
    setting without a `default` must be given, unless it may be left `open`.
    """

    help: str
    read: Read
    default: Any = None
    open: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What there is to know of a kind.

    Rules that watch `states` find what holds now; the others are told what has happened. `filters`
    are the words that narrow it, of which those in `needs` must be given. `platform` rules are
    about what belongs to no tenant. `resolve_after` is the seconds for which it must have been over
    before an incident is resolved, `over` says in words when it is. `seldom`: looking at each third
    pass is enough.
    """

    help: str
    over: str
    settings: Mapping[str, Setting] = field(default_factory=dict)
    filters: tuple[str, ...] = ("task_type", "queue", "schedule_id", "tenant_id")
    needs: tuple[str, ...] = ()
    resolve_after: float = 0.0
    states: bool = True
    platform: bool = False
    seldom: bool = False


# --- how settings are read ------------------------------------------------------------------------


def seconds(low: float, high: float) -> Read:
    """A length of time between two others, in seconds or as text."""

    def read(value: Any) -> float:
        wanted = f"give {format_duration(low)} to {format_duration(high)}"
        try:
            found = parse_duration(value)
        except ValueError:
            raise ValueError(wanted) from None
        if not low <= found <= high:
            raise ValueError(wanted)
        return found

    return read


def number(low: float, high: float, *, whole: bool = False) -> Read:
    """A number between two others."""

    def read(value: Any) -> float:
        wanted = f"give a {'whole ' if whole else ''}number from {low:g} to {high:g}"
        try:
            found = float(value)
        except (TypeError, ValueError):
            raise ValueError(wanted) from None
        fits = math.isfinite(found) and low <= found <= high and not isinstance(value, bool)
        if not fits or (whole and found != int(found)):
            raise ValueError(wanted)
        return int(found) if whole else found

    return read


def word(*words: str) -> Read:
    """One of a few words."""

    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(f"give one of {', '.join(words)}")
        return str(value)

    return read


# --- the table ------------------------------------------------------------------------------------

_RUNS: tuple[str, ...] = ("task_type", "queue", "schedule_id", "tenant_id")
_COUNTED: tuple[str, ...] = ("task_type", "queue", "tenant_id")
_WINDOW = Setting("Over how long is counted.", seconds(MINUTE, 7 * DAY))
_UNTIL_SUCCESS = "a later run has completed, and none has failed for `resolve_after`"

KINDS: dict[RuleKind, Kind] = {
    RuleKind.RUN_FAILED: Kind(
        "A task failed, timed out or was lost, and no attempt is left.",
        _UNTIL_SUCCESS,
        {
            "attempts": Setting(
                "`last`: when no attempt is left; `each`: at every attempt.",
                word("last", "each"),
                "last",
            )
        },
        filters=_RUNS,
        resolve_after=10 * MINUTE,
        states=False,
    ),
    RuleKind.RUN_TIMEOUT: Kind(
        "A run exceeded its time limit and was ended.",
        _UNTIL_SUCCESS,
        filters=_RUNS,
        resolve_after=10 * MINUTE,
        states=False,
    ),
    RuleKind.RUN_LONG: Kind(
        "A run takes longer than it should; it goes on.",
        "no such run is running any more",
        {
            "longer_than": Setting(
                "Seconds that a run may take; left out: the `monitor_timeout` of its schedule.",
                seconds(1, 366 * DAY),
                open=True,
            )
        },
        filters=_RUNS,
    ),
    RuleKind.FAILURES: Kind(
        "So many runs of a type failed within a time.",
        "there have been fewer for `resolve_after`",
        {
            "count": Setting(
                "How many runs that failed, timed out or were lost.", number(1, 1e6, whole=True)
            ),
            "window": _WINDOW,
        },
        filters=_RUNS,
        resolve_after=5 * MINUTE,
    ),
    RuleKind.FAILURE_RATE: Kind(
        "Of the runs of a type that started within a time and have ended, so large a share failed.",
        "the share has been smaller for `resolve_after`",
        {
            "rate": Setting("The share that failed, 0 to 1.", number(0.001, 1)),
            "window": _WINDOW,
            "min_runs": Setting(
                "Fewer runs than this say nothing.", number(1, 1e9, whole=True), 10
            ),
        },
        filters=_COUNTED,
        resolve_after=5 * MINUTE,
        seldom=True,
    ),
    RuleKind.NO_SUCCESS: Kind(
        "No run of a type that started within a time has completed.",
        "one has completed",
        {"window": Setting("For how long.", seconds(MINUTE, 60 * DAY))},
        filters=_COUNTED,
        needs=("task_type",),
        seldom=True,
    ),
    RuleKind.QUEUE_WAIT: Kind(
        "A task that is due waits in a queue for too long.",
        "no task has waited so long for `resolve_after`",
        {"longer_than": Setting("Seconds that a due task may wait.", seconds(1, 366 * DAY))},
        filters=("queue",),
        resolve_after=MINUTE,
        platform=True,
        seldom=True,
    ),
    RuleKind.SERVER_LOST: Kind(
        "A server went silent, or died, without having been stopped.",
        "a server of this server_id works again (or nobody remembers it, after a week)",
        {"longer_than": Setting("Seconds for which it must be gone.", seconds(0, 7 * DAY), 0.0)},
        filters=("server_id",),
        platform=True,
    ),
    RuleKind.SCHEDULE_LATE: Kind(
        "A schedule is due and does not fire.",
        "it has fired, or was stopped",
        {"longer_than": Setting("Seconds that it may be late.", seconds(1, 366 * DAY), MINUTE)},
        filters=("schedule_id", "tenant_id"),
    ),
    RuleKind.SCHEDULE_MISSED: Kind(
        "A schedule skipped an instant at which it was due.",
        "it has skipped none for `resolve_after`",
        filters=("schedule_id", "tenant_id"),
        resolve_after=HOUR,
        seldom=True,
    ),
    RuleKind.PRUNE_BEHIND: Kind(
        "The clean-up of history has not completed for too long.",
        "it has completed",
        {"window": Setting("For how long.", seconds(HOUR, 60 * DAY), 36 * HOUR)},
        filters=(),
        platform=True,
        seldom=True,
    ),
    RuleKind.BATCH_FINISHED: Kind(
        "A batch has ended. People are told at once, and no incident is opened.",
        "it was told",
        {
            "outcome": Setting(
                "`any`: whatever it came to; `failed`: it failed, or some of its items did.",
                word("any", "failed"),
                "any",
            )
        },
        filters=("task_type", "tenant_id"),
        states=False,
    ),
}
"""All there is to watch."""


def settings_of(kind: RuleKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a rule of this kind as they are kept.

    Raises SettingRefused, which says which setting, why, and what to do.
    """
    known = KINDS[kind].settings
    for name in given:
        if name not in known:
            raise SettingRefused(name, f'a {kind} rule has no setting "{name}"', _listed(known))
    found = {}
    for name, setting in known.items():
        value = given.get(name)
        if value is None:
            if setting.default is None and not setting.open:
                raise SettingRefused(name, f"a {kind} rule needs it", setting.help)
            found[name] = setting.default
            continue
        try:
            found[name] = setting.read(value)
        except ValueError as error:
            fix = f"{str(error)[:1].upper()}{str(error)[1:]}."
            raise SettingRefused(name, f"it cannot be {value!r}", fix) from None
    return {name: value for name, value in found.items() if value is not None}


class SettingRefused(ValueError):
    """A setting cannot be so."""

    def __init__(self, name: str, why: str, fix: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why, self.fix = name, why, fix


def _listed(known: Sequence[str] | Mapping[str, Any]) -> str:
    return f"There are: {', '.join(known)}." if known else "It takes none."
