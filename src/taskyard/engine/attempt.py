"""Attempt: one call of a Handler for one Run, and what it came to.

Owns the call itself (parameters in, Context in, result or exception out), the Outcome as it goes
over the wire, and the text of errors. Whatever a handler does, short of ending its process, becomes
an Outcome here. Leaves to `runner.py` and its bodies where and when the call happens, and to
`core/lifecycle.py` what the Outcome means for the Task.
"""

from __future__ import annotations

import inspect
import os
import sys
from asyncio import CancelledError, Task
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

from taskyard.context import CURRENT, Call, Context, Reporter
from taskyard.core.durations import format_duration
from taskyard.core.errors import Cancel, Retry, Snooze, TaskyardError
from taskyard.core.lifecycle import Kind
from taskyard.core.payload import cut_error, dump_result
from taskyard.core.tracebacks import error_text, stack_text
from taskyard.engine.measure import Meter
from taskyard.handlers import Handler
from taskyard.tracing import attempt_span

PID = os.getpid()

Row: TypeAlias = tuple[
    int,  # run_id
    str,  # kind
    str | None,  # output, JSON
    str | None,  # error
    float | None,  # delay before the next attempt, seconds
    float | None,  # started, monotonic
    float | None,  # finished, monotonic
    float | None,  # CPU seconds
    int | None,  # bytes
    int,  # pid
]
"""An Outcome on the wire; the order is that of `lifecycle.Outcome`."""


class End(NamedTuple):
    """What a call came to, before it is measured."""

    kind: Kind
    output: str | None = None
    error: str | None = None
    delay: float | None = None


class Live:
    """A Run that is in progress in this process."""

    __slots__ = (
        "call",
        "called",
        "context",
        "cpu",
        "deadline",
        "delivered",
        "function",
        "handler",
        "overran",
        "run_id",
        "started",
        "task",
        "thread",
    )

    def __init__(self, call: Call, handler: Handler[..., Any], reporter: Reporter) -> None:
        self.call = call
        self.run_id = call.run_id
        self.handler = handler
        self.context = Context(call, reporter)
        self.function = handler.body(self.context)
        """What is called; a memory limit wraps it."""
        self.called = False
        """Whether its parameters were in order, so that what it raises is the handler's own."""
        self.started: float | None = None
        self.cpu: float | None = None
        self.deadline: float | None = None
        """When, by the monotonic clock, somebody must look at it."""
        self.overran = False
        """Whether it was found past its limit; its deadline is then when it must have ended."""
        self.delivered = False
        """Whether a coroutine has been cancelled on its loop."""
        self.task: Task[Any] | None = None
        self.thread: int | None = None

    def begin(self, meter: Meter) -> None:
        """The handler starts now: its clocks run from here."""
        self.started = monotonic()
        self.context.begin(self.started)
        if self.call.timeout is not None:
            self.deadline = self.started + self.call.timeout
        self.cpu = meter.start()

    def is_late(self, now: float) -> bool:
        """Whether somebody must look at it: it is past its limit, or its part is."""
        part = self.context.part
        if part is not None and part.until <= now and not self.overran:
            return True
        return self.deadline is not None and self.deadline <= now

    def arguments(self) -> dict[str, Any]:
        """What the handler is called with. Raises what `Handler.arguments` raises."""
        arguments = self.handler.arguments(self.context, self.call.params)
        self.called = True
        return arguments

    def row(self, end: End, meter: Meter) -> Row:
        """The Outcome, measured now."""
        cpu, memory = meter.stop(self.cpu)
        return (
            self.run_id,
            end.kind,
            end.output,
            end.error,
            end.delay,
            self.started,
            monotonic(),
            cpu,
            memory,
            PID,
        )


async def run_async(live: Live, meter: Meter) -> Row:
    """Call an `async def` handler; runs in an asyncio Task of its own."""
    context = live.context
    CURRENT.set(context)
    # A cancellation that came before the first step has no frame to be raised in.
    if context.stop is not None:
        return unstarted(live.call, stopped(context))
    live.begin(meter)
    try:
        with attempt_span(live.call):
            value = await live.function(**live.arguments())
        end = returned(context, value)
    except BaseException as error:
        end = raised(live, error)
    return live.row(end, meter)


def run_sync(live: Live, meter: Meter) -> Row:
    """Call a `def` handler on this thread."""
    context = live.context
    if context.stop is not None:
        return unstarted(live.call, stopped(context))
    before = CURRENT.set(context)
    live.begin(meter)
    try:
        with attempt_span(live.call):
            value = live.function(**live.arguments())
        end = returned(context, value)
    except BaseException as error:
        end = raised(live, error)
    finally:
        CURRENT.reset(before)
    return live.row(end, meter)


def unstarted(call: Call, end: End) -> Row:
    """The Outcome of a Run whose handler never began."""
    return (call.run_id, end.kind, end.output, end.error, end.delay, None, None, None, None, PID)


def returned(context: Context, value: Any) -> End:
    """What a result means. Raises what `dump_result` raises."""
    if context.settled:
        return End(Kind.SETTLED)
    if context.noticed:
        return stopped(context)
    if value is None:
        return End(Kind.COMPLETED)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError("the handler returned a coroutine: is its outermost decorator `async def`?")
    try:
        return End(Kind.COMPLETED, dump_result(value))
    except TaskyardError as error:
        # It would be no better the next time, and the work is done: no retry.
        return End(Kind.REJECTED, None, said(error))


def raised(live: Live, error: BaseException) -> End:
    """What an exception means."""
    context = live.context
    if context.settled:
        context.log.warning("raised after its transaction had settled it", exc_info=error)
        return End(Kind.SETTLED)
    if context.stop is not None and (context.noticed or isinstance(error, _STOPPING)):
        return stopped(context, error)
    match error:
        case Retry():
            return End(Kind.RETRY, None, _reason("retry", error.reason), error.after)
        case Snooze():
            return End(Kind.SNOOZE, None, _reason("snooze", error.reason), error.after)
        case Cancel():
            return End(Kind.CANCELLED, None, _reason("cancelled", error.reason))
        case TaskyardError() if not live.called:
            return End(Kind.REJECTED, None, said(error))
    again, delay = live.handler.retry_after(error, context.attempt)
    return End(Kind.FAILED if again else Kind.REJECTED, None, error_text(error), delay)


def stopped(context: Context, error: BaseException | None = None) -> End:
    """The end of a Run that was told to stop, and did."""
    assert context.stop is not None
    kind, why = context.stop
    # At a time limit the cancellation's own traceback tells where the handler was. The reason comes
    # last, as in every traceback: it is the line that lists and messages show.
    if error is not None and (kind == Kind.TIMEOUT or not isinstance(error, _STOPPING)):
        why = f"{error_text(error)}\n{why}"
    return End(Kind(kind), None, cut_error(why))


_STOPPING = (Cancel, CancelledError)


def timed_out(live: Live, thread: int | None, why: str = "") -> End:
    """The end of a Run that overran its limit, with the place where its thread is."""
    frame = sys._current_frames().get(thread) if thread is not None else None
    place = "" if frame is None else f"Where it was:\n{stack_text(frame, __file__)}"
    return End(Kind.TIMEOUT, None, cut_error(place + limit_text(live) + why))


def limit_text(live: Live) -> str:
    """The sentence that a timeout is told with."""
    part, own = live.context.part, live.call.timeout
    seconds = part.seconds if part is not None and part.until <= monotonic() else own
    return f"Timed out after {format_duration(seconds or 0)}."


# --- Texts ---------------------------------------------------------------------------------------


def said(error: TaskyardError) -> str:
    """One of our own errors, which needs no traceback: the sentence and the remedy."""
    return cut_error(f"{error}\n{error.fix}")


def _reason(word: str, reason: str) -> str:
    return cut_error(f"{word}: {reason}" if reason else word)
