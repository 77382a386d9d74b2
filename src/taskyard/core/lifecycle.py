"""Lifecycle: the states of Tasks and Runs, and the one judge of what an attempt's Outcome means.

Owns the numbers and words of states, the retry policy and `decide`. Pure: no clock, no file, no
database; what is written is `tasks/settle.py`'s business, what ran is `engine/attempt.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Literal, NamedTuple


class TaskStatus(IntEnum):
    """State of a Task; the numbers are those of requirement 5 and stand in every task table."""

    PENDING = 0
    """Waits for its time, a free worker, or the end of a hold."""
    RUNNING = 1
    """Claimed by a Session; its row is the record of the live Run."""
    COMPLETED = 2
    """Ended well. Final."""
    FAILED = 3
    """Ended badly, no attempt left. Only a retry asked for by somebody leaves it."""
    CANCELLED = 4
    """Ended because somebody said so. Final."""


class RunStatus(StrEnum):
    """What became of one attempt."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    """Its Server or Runner died; nobody knows how far it got."""
    INTERRUPTED = "interrupted"
    """Handed back before its end; costs no retry."""


class Origin(StrEnum):
    """Why a Run happened."""

    ENQUEUED = "enqueued"
    SCHEDULED = "scheduled"
    BATCH = "batch"
    MANUAL = "manual"
    TRACKED = "tracked"


class Hold(IntEnum):
    """Why a pending Task is kept out of the claim although it may be due."""

    NONE = 0
    HANDLER_UNKNOWN = 1
    """No live Server has a Handler of this task_type (TY201)."""
    TENANT_DISABLED = 2
    """Its tenant is disabled (TY309)."""
    TIME_UNREADABLE = 3
    """SQLite only: its schedule_time is text that no date can be read from."""


class Kind(StrEnum):
    """What an attempt came to, as the Runner or the supervisor saw it."""

    COMPLETED = "completed"
    FAILED = "failed"
    """It raised; the retry policy allows another attempt."""
    REJECTED = "rejected"
    """It failed in a way that no retry mends (bad parameters, a policy that says never)."""
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    RETRY = "retry"
    """The handler raised `Retry`."""
    SNOOZE = "snooze"
    """The handler raised `Snooze`: later, and no retry is used."""
    SETTLED = "settled"
    """`ctx.transaction()` has written the end already."""
    CRASHED = "crashed"
    """Its Runner died and it was alone in it: a failed attempt."""
    LOST = "lost"
    """Its Server died: counted as a crash, not as a retry."""
    SUSPECTED = "suspected"
    """Its Runner died with others in it: as LOST, and it runs alone next time."""
    INTERRUPTED = "interrupted"
    """Handed back: a graceful stop, a pause, the victim of a neighbour's crash."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait before the next attempt.

    `exponential`: `base * 2**(attempt - 1)` seconds up to `cap`; `fixed`: `base` seconds. With
    `jitter` the delay is drawn evenly from half of it to all of it, so that a thousand Tasks that
    failed together do not come back together (protocol G14).
    """

    kind: Literal["exponential", "fixed"] = "exponential"
    base: float = 2.0
    cap: float = 600.0
    jitter: bool = True

    def delay(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds to wait after failed attempt `attempt` (the first is 1); `random()` in [0, 1)."""
        # Past 2**40 the power alone is beyond any cap; without the bound attempt 2000 overflows.
        raw = self.base if self.kind == "fixed" else self.base * 2.0 ** min(attempt - 1, 40)
        seconds = min(self.cap, raw)
        return seconds * (0.5 + random() / 2) if self.jitter else seconds

    def to_dict(self) -> dict[str, Any]:
        """The policy as JSON-ready data."""
        return {"kind": self.kind, "base": self.base, "cap": self.cap, "jitter": self.jitter}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RetryPolicy:
        """The policy that `to_dict` wrote."""
        return cls(**data)


@dataclass(slots=True)
class Outcome:
    """What one attempt came to, before it is judged and written.

    `started` and `finished` are seconds of the machine's monotonic clock (None: never started);
    `cpu_time` is in seconds, `memory` in bytes, `delay` in seconds; `output` is JSON text.
    """

    run_id: int
    kind: Kind
    output: str | None = None
    error: str | None = None
    delay: float | None = None
    started: float | None = None
    finished: float | None = None
    cpu_time: float | None = None
    memory: int | None = None
    pid: int | None = None


class Attempt(NamedTuple):
    """What the judge must know of the Task: its counters, and what its Handler promises."""

    retry_count: int
    max_retries: int
    crashes: int
    retry_interval: float | None
    at_most_once: bool
    retry: RetryPolicy
    suspect: bool = False


class Verdict(NamedTuple):
    """What becomes of the Task, and what its Run is called.

    `delay` is in seconds from now; None leaves `schedule_time` as it is.
    """

    task_status: TaskStatus
    run_status: RunStatus
    retry_count: int
    crashes: int
    delay: float | None = None
    error: str | None = None
    suspect: bool = False
    """Does it run alone next time, because it may be what killed a Runner?"""


_LONGEST_WAIT = 100 * 365.25 * 86_400
"""Seconds: a hundred years; no database counts further than the year 9999."""

_RUN_STATUS = {
    Kind.COMPLETED: RunStatus.COMPLETED,
    Kind.FAILED: RunStatus.FAILED,
    Kind.REJECTED: RunStatus.FAILED,
    Kind.TIMEOUT: RunStatus.TIMEOUT,
    Kind.CANCELLED: RunStatus.CANCELLED,
    Kind.RETRY: RunStatus.FAILED,
    Kind.SNOOZE: RunStatus.INTERRUPTED,
    Kind.CRASHED: RunStatus.FAILED,
    Kind.LOST: RunStatus.LOST,
    Kind.SUSPECTED: RunStatus.LOST,
    Kind.INTERRUPTED: RunStatus.INTERRUPTED,
}


def decide(
    outcome: Outcome, attempt: Attempt, *, max_crashes: int, random: Callable[[], float]
) -> Verdict:
    """Judge an Outcome: what becomes of the Task.

    `max_crashes` is the number of lost attempts at which a Task is parked as failed. `random` feeds
    the jitter. `SETTLED` has been judged by its own transaction and is refused with ValueError.
    """
    match outcome.kind:
        case Kind.COMPLETED:
            return completed(outcome, attempt.retry_count, attempt.crashes)
        case Kind.CANCELLED:
            return _verdict(outcome, attempt, TaskStatus.CANCELLED)
        case Kind.REJECTED:
            return _verdict(outcome, attempt, TaskStatus.FAILED)
        case Kind.FAILED | Kind.TIMEOUT | Kind.CRASHED | Kind.RETRY:
            return _after_failure(outcome, attempt, random)
        case Kind.LOST | Kind.SUSPECTED:
            return _after_loss(outcome, attempt, max_crashes)
        case Kind.SNOOZE | Kind.INTERRUPTED:
            return _handed_back(outcome, attempt)
        case Kind.SETTLED:
            raise ValueError("a settled outcome has been judged already")


def completed(outcome: Outcome, retry_count: int, crashes: int) -> Verdict:
    """The judgement of a handler that returned: nothing else of its Task matters to it."""
    status = TaskStatus.COMPLETED
    return Verdict(status, RunStatus.COMPLETED, retry_count, crashes, error=outcome.error)


def _after_failure(outcome: Outcome, attempt: Attempt, random: Callable[[], float]) -> Verdict:
    if attempt.at_most_once or attempt.retry_count >= attempt.max_retries:
        return _verdict(outcome, attempt, TaskStatus.FAILED)
    delay = _retry_delay(outcome, attempt, random)
    return _verdict(
        outcome, attempt, TaskStatus.PENDING, retry_count=attempt.retry_count + 1, delay=delay
    )


def _retry_delay(outcome: Outcome, attempt: Attempt, random: Callable[[], float]) -> float:
    """`Retry(after=)` beats the Task's retry_interval, which beats the Handler's policy."""
    if outcome.kind is Kind.RETRY and outcome.delay is not None:
        return outcome.delay
    if attempt.retry_interval is not None:
        return attempt.retry_interval
    if outcome.delay is not None:
        return outcome.delay
    return attempt.retry.delay(attempt.retry_count + 1, random)


def _after_loss(outcome: Outcome, attempt: Attempt, max_crashes: int) -> Verdict:
    crashes = attempt.crashes + 1
    if attempt.at_most_once:
        return _verdict(outcome, attempt, TaskStatus.FAILED, crashes=crashes)
    if crashes >= max_crashes:
        reason = f"parked after {crashes} lost attempts: {outcome.error or 'its server died'}"
        return _verdict(outcome, attempt, TaskStatus.FAILED, crashes=crashes, error=reason)
    suspect = attempt.suspect or outcome.kind is Kind.SUSPECTED
    return _verdict(outcome, attempt, TaskStatus.PENDING, crashes=crashes, suspect=suspect)


def _handed_back(outcome: Outcome, attempt: Attempt) -> Verdict:
    if attempt.at_most_once and outcome.started is not None and outcome.kind is Kind.INTERRUPTED:
        return _verdict(outcome, attempt, TaskStatus.FAILED)
    return _verdict(
        outcome, attempt, TaskStatus.PENDING, delay=outcome.delay, suspect=attempt.suspect
    )


def _verdict(
    outcome: Outcome,
    attempt: Attempt,
    status: TaskStatus,
    *,
    retry_count: int | None = None,
    crashes: int | None = None,
    delay: float | None = None,
    error: str | None = None,
    suspect: bool = False,
) -> Verdict:
    return Verdict(
        task_status=status,
        run_status=_RUN_STATUS[outcome.kind],
        retry_count=attempt.retry_count if retry_count is None else retry_count,
        crashes=attempt.crashes if crashes is None else crashes,
        # Handlers and strangers say how long, and calendars end: max() also takes NaN for 0.
        delay=None if delay is None else min(max(0.0, delay), _LONGEST_WAIT),
        error=error or outcome.error,
        suspect=suspect,
    )
