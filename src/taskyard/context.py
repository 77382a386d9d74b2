"""Context: what a running handler knows about its Run, and what it may say while it runs.

Owns `Call` (what a Run was started with), `Context` and `current`. Leaves to `engine/attempt.py`
how a handler is called, and to the Reporter, which the runner gives, how what is said gets out.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple, Protocol

import orjson

from taskyard.core.errors import Cancel, NotNow
from taskyard.core.payload import dump_result, load_result


class Call(NamedTuple):
    """What a Run was started with; the order is that of the wire's "start" message."""

    run_id: int
    task_table: str
    task_id: int
    fence: int
    task_type: str
    queue: str
    params: str | None = None
    attempt: int = 1
    retry_count: int = 0
    max_retries: int = 0
    retry_interval: float | None = None
    timeout: float | None = None
    tenant_id: str = ""
    origin: str = "enqueued"
    context: str | None = None
    checkpoint: str | None = None
    crashes: int = 0
    wait: float | None = None


class Reporter(Protocol):
    """Where a Context's words go; the runner has one for all its Runs."""

    def progress(
        self, context: Context, done: float, total: float | None, note: str | None
    ) -> None:
        """Keep the latest progress of a Run and tell it in a while."""

    def checkpoint(self, context: Context, text: str | None) -> None:
        """Store the checkpoint of a Run for its Task's next attempt."""

    def transaction(self, context: Context) -> AbstractContextManager[Transaction]:
        """Open the transaction in which the Run's effects and its end commit together."""


class Transaction(Protocol):
    """What `with ctx.transaction() as tx` gives."""

    result: Any
    """The output of the Run; set it before the block ends."""

    @property
    def connection(self) -> Any:
        """A SQLAlchemy connection inside the transaction."""


class Limit(NamedTuple):
    """The time limit of a part of a Run: `seconds` long, over at `until` by the monotonic clock."""

    until: float
    seconds: float


class Stop(NamedTuple):
    """Why a Run was told to stop: `kind` is "cancelled" or "timeout"."""

    kind: str
    why: str


class Context:
    """The Run that a handler works for: a parameter `ctx: Context` gets it."""

    __slots__ = (
        "_call",
        "_checkpoint",
        "_data",
        "_ended",
        "_noticed",
        "_reporter",
        "_settled",
        "_started",
        "_stop",
        "part",
    )

    def __init__(self, call: Call, reporter: Reporter) -> None:
        self._call = call
        self._reporter = reporter
        self._stop: Stop | None = None
        self._noticed = False
        self._settled = False
        self._ended = False
        self._started: float | None = None
        self._data: Mapping[str, Any] | None = None
        self._checkpoint: Checkpoint | None = None
        self.part: Limit | None = None
        """The limit of what it does now, beside its own: an item of a batch."""

    # --- What it works for -----------------------------------------------------------------------

    @property
    def run_id(self) -> int:
        """The id of this Run; 0 outside a runner."""
        return self._call.run_id

    @property
    def task_id(self) -> int:
        """The id of the Task in its table."""
        return self._call.task_id

    @property
    def task_table(self) -> str:
        """The table that holds the Task."""
        return self._call.task_table

    @property
    def task_type(self) -> str:
        """The name of the handler."""
        return self._call.task_type

    @property
    def queue(self) -> str:
        """The Queue that the Task was taken from."""
        return self._call.queue

    @property
    def tenant_id(self) -> str:
        """Whose Task it is; '' is the platform's own."""
        return self._call.tenant_id

    @property
    def origin(self) -> str:
        """Why the Run happens: "enqueued", "scheduled", "batch" or "manual"."""
        return self._call.origin

    @property
    def attempt(self) -> int:
        """1 for the first attempt; attempts that were lost or interrupted don't count."""
        return self._call.attempt

    @property
    def max_retries(self) -> int:
        """How many attempts may follow the first."""
        return self._call.max_retries

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt of this Task, and in no other Task: "table:id"."""
        return f"{self._call.task_table}:{self._call.task_id}"

    @property
    def fence(self) -> int:
        """Rises with each claim of the Task: pass it on to what must refuse a stale attempt."""
        return self._call.fence

    @property
    def fire_time(self) -> datetime | None:
        """The planned instant of the schedule's fire; None for a Task that no schedule made."""
        text = self.data.get("fire_time")
        return datetime.fromisoformat(text) if isinstance(text, str) else None

    @property
    def data(self) -> Mapping[str, Any]:
        """What travels with the Task beside its parameters: trace, schedule, batch."""
        if self._data is None:
            # The column can be written by anybody's SQL: what is no object counts as nothing.
            self._data = _object(self._call.context)
        return self._data

    @property
    def deadline(self) -> datetime | None:
        """When the time limit is reached (UTC); None without one, or before the start."""
        if self._started is None or self._call.timeout is None:
            return None
        left = self._started + self._call.timeout - monotonic()
        return datetime.now(UTC) + timedelta(seconds=left)

    # --- What it may say -------------------------------------------------------------------------

    @property
    def log(self) -> RunLogger:
        """A logger whose records go to the Run's log, from any thread."""
        return RunLogger(logging.getLogger(f"task.{self._call.task_type}"), {"taskyard": self})

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Tell how far it is. Cheap: the latest one is sent about once a second."""
        self._reporter.progress(self, done, total, note)

    @property
    def checkpoint(self) -> Checkpoint:
        """JSON that outlives this attempt: `ctx.checkpoint.get()`, `ctx.checkpoint.set(value)`."""
        if self._checkpoint is None:
            self._checkpoint = Checkpoint(self, self._call.checkpoint, self._reporter)
        return self._checkpoint

    @property
    def cancelled(self) -> bool:
        """Whether the Run shall stop: look at it in long loops of plain `def` handlers.

        A handler that has seen True and returns counts as stopped, not as completed: at a graceful
        stop its Task runs again elsewhere.
        """
        if self._stop is None:
            return False
        self._noticed = True
        return True

    def raise_if_cancelled(self) -> None:
        """Raise Cancel if the Run shall stop."""
        if self.cancelled:
            assert self._stop is not None
            raise Cancel(self._stop.why)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """A database transaction that commits the handler's writes and the Task's end together.

        Only in `def` handlers, once an attempt. `tx.connection` is a SQLAlchemy connection; the
        output of the Run is `tx.result`. Raises TaskLost at the end of the block, and writes
        nothing, if the Task was meanwhile cancelled or given to another server.
        """
        if self._settled:
            raise NotNow("open a transaction", f"task {self.idempotency_key}", "settled already")
        return self._reporter.transaction(self)

    # --- For those who run it --------------------------------------------------------------------

    @property
    def call(self) -> Call:
        """What the Run was started with."""
        return self._call

    @property
    def started(self) -> float | None:
        """When the handler began, by the monotonic clock."""
        return self._started

    def begin(self, now: float) -> None:
        """The handler starts now, by the monotonic clock: the time limit counts from here."""
        self._started = now

    def ask_to_stop(self, kind: str, why: str) -> None:
        """Raise the flag that `cancelled` shows; the first reason stays."""
        if self._stop is None:
            self._stop = Stop(kind, why)

    def notice(self) -> None:
        """The handler has been told so that it can't overlook it: its coroutine is cancelled."""
        self._noticed = True

    @property
    def stop(self) -> Stop | None:
        """Why it was told to stop, without counting as having looked."""
        return self._stop

    @property
    def noticed(self) -> bool:
        """Whether the handler has seen that it shall stop."""
        return self._noticed

    @property
    def settled(self) -> bool:
        """Whether the end of the Task is written already, by `transaction`."""
        return self._settled

    @property
    def ended(self) -> bool:
        """Whether its Outcome is on its way: what a left-over thread still says is dropped."""
        return self._ended

    def end(self) -> None:
        """Its Outcome is made."""
        self._ended = True

    def mark_settled(self) -> None:
        """`transaction` has committed: what the handler does from now on changes nothing."""
        self._settled = True


class Checkpoint:
    """One JSON value that the next attempt of the same Task finds again."""

    def __init__(self, context: Context, text: str | None, reporter: Reporter) -> None:
        self._context = context
        self._text = text
        self._reporter = reporter

    def get(self, default: Any = None) -> Any:
        """The value set last, in this attempt or an earlier one; `default` if there is none."""
        value = load_result(self._text, "the checkpoint")
        return default if value is None else value

    def set(self, value: Any) -> None:
        """Keep a JSON value (at most 256 KiB); None forgets it.

        It is stored soon, not at once: after a crash the attempt before it may be found. Raises
        ParamsNotJson or PayloadTooLarge.
        """
        self._text = dump_result(value, "the checkpoint")
        self._reporter.checkpoint(self._context, self._text)


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that marks its records with their Run.

    The mark is what makes threads that a handler starts itself log into the right Run: a new thread
    doesn't inherit context variables.
    """

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def current() -> Context | None:
    """The Context of the Run that calls, from anywhere below its handler; None outside of one."""
    return CURRENT.get()


CURRENT: ContextVar[Context | None] = ContextVar("taskyard_context", default=None)
"""The Context of the Run whose handler is on the stack; set by `engine/attempt.py` alone."""


def unattended(task_type: str) -> Context:
    """A Context for a handler that is called as a plain function; it reports to nobody."""
    return Context(Call(0, "", 0, 0, task_type, ""), _Nobody())


class _Nobody:
    def progress(
        self, context: Context, done: float, total: float | None, note: str | None
    ) -> None:
        pass

    def checkpoint(self, context: Context, text: str | None) -> None:
        pass

    def transaction(self, context: Context) -> AbstractContextManager[Transaction]:
        raise NotNow("open a transaction", f"handler {context.task_type}", "called without a task")


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
