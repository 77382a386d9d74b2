"""Bodies: where a runner's Runs happen, and what is done about those that don't end.

Owns the two isolations. `Shared`: many Runs at once, coroutines on one loop, functions on threads.
`Alone`: one Run at a time in the main thread, with its output captured, its memory limited and its
figures exact. Both get their work from the thread that reads the socket, and are looked after by
`Watch`. A call itself is `attempt.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeAlias

from taskyard.context import Call
from taskyard.core.errors import HandlerUnknown
from taskyard.core.lifecycle import Kind
from taskyard.core.tracebacks import error_text
from taskyard.engine.attempt import (
    End,
    Live,
    Row,
    limit_text,
    run_async,
    run_sync,
    said,
    timed_out,
    unstarted,
)
from taskyard.engine.capture import LogCapture, StreamCapture
from taskyard.engine.measure import LoopMeter, Meter, ProcessMeter, ThreadMeter, limited
from taskyard.engine.outbox import Outbox
from taskyard.engine.threads import Threads
from taskyard.handlers import Registry

logger = logging.getLogger("taskyard.runner")

LOOP_PATIENCE = 1.0
"""Seconds in which a loop that is not blocked takes up a cancellation."""

CANCEL_PATIENCE = 3.0
"""Seconds that a cancelled coroutine has for its `finally` blocks."""

Loop: TypeAlias = asyncio.AbstractEventLoop


class Body:
    """What both isolations share: the Runs in progress, cancellation, overdue coroutines."""

    def __init__(self, registry: Registry, outbox: Outbox, loop: Loop) -> None:
        self.running: dict[int, Live] = {}
        self.busy = threading.Event()
        """Set when work arrives; `Watch` sleeps until then."""
        self._registry = registry
        self._outbox = outbox
        self._loop = loop
        self._retired = False
        self._main = threading.main_thread().ident

    def start(self, items: Sequence[Sequence[Any]]) -> None:
        """Take up calls as they came over the wire. Called by the reading thread."""
        raise NotImplementedError

    def run_forever(self) -> None:
        """Work, in the main thread, until the process ends."""
        raise NotImplementedError

    def await_in(self, work: Coroutine[Any, Any, None], seconds: float) -> None:
        """Run a coroutine where the handlers run, and wait so long for it, from another thread."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def cancel(self, run_ids: Sequence[int], why: str) -> None:
        """Tell Runs to stop: coroutines are cancelled, functions find the flag."""
        for run_id in run_ids:
            if (live := self.running.get(run_id)) is not None:
                live.context.ask_to_stop(Kind.CANCELLED, why)
                if live.handler.is_async:
                    self._loop.call_soon_threadsafe(self._deliver, live)

    def overdue(self, live: Live, now: float) -> None:
        """A Run is past its deadline. Called by the watching thread."""
        if not live.handler.is_async:
            self._overdue_function(live)
        elif not live.overran:
            live.overran = True
            live.context.ask_to_stop(Kind.TIMEOUT, limit_text(live))
            live.deadline = now + LOOP_PATIENCE
            self._loop.call_soon_threadsafe(self._deliver, live)
        elif live.delivered:
            self._overdue_coroutine(live)
        else:
            self._blocked()

    def _overdue_function(self, live: Live) -> None:
        raise NotImplementedError

    def _overdue_coroutine(self, live: Live) -> None:
        """It was cancelled, the loop goes round, and yet it doesn't end."""
        raise NotImplementedError

    # --- Below -----------------------------------------------------------------------------------

    def _admit(self, item: Sequence[Any]) -> Live | None:
        call = Call(*item)
        handler = self._registry.find(call.task_type)
        if handler is None:
            unknown = HandlerUnknown(call.task_type, [known.name for known in self._registry])
            self._outbox.refused(unstarted(call, End(Kind.REJECTED, None, said(unknown))))
            return None
        live = self.running[call.run_id] = Live(call, handler, self._outbox)
        return live

    def _finish(self, live: Live, row: Row) -> bool:
        """Report a Run once; False if somebody has reported it already."""
        if self.running.pop(live.run_id, None) is None:
            return False
        self._outbox.done(live.context, row)
        return True

    def _deliver(self, live: Live) -> None:
        """Cancel a coroutine. Runs on the loop, so never inside of the coroutine's own step."""
        if live.delivered or live.run_id not in self.running:
            return
        live.delivered = True
        if live.started is None or live.task is None:
            return  # It looks at the flag before its first step.
        if live.deadline is not None:
            live.deadline = monotonic() + CANCEL_PATIENCE
        live.context.notice()
        live.task.cancel()

    def _blocked(self) -> None:
        """The loop doesn't go round: report all who are overdue, and ask to be killed."""
        culprit = self._on_the_loop()
        why = f"the event loop is blocked by {_named(culprit)}"
        late = [
            live
            for live in list(self.running.values())
            if live.overran and live.handler.is_async and not live.delivered
        ]
        for live in late:
            thread = self._main if live is culprit or culprit is None else None
            note = f" {why[0].upper()}{why[1:]}."
            self._finish(live, live.row(timed_out(live, thread, note), _ROUGH))
        self._stuck([live.run_id for live in late], culprit, why)

    def _on_the_loop(self) -> Live | None:
        current = asyncio.current_task(self._loop)
        return next((live for live in list(self.running.values()) if live.task is current), None)

    def _stuck(self, run_ids: list[int], culprit: Live | None, why: str) -> None:
        by = None if culprit is None else culprit.run_id
        self._outbox.send({"t": "stuck", "runs": run_ids, "by": by, "why": why})

    def _retire(self, why: str) -> None:
        self._outbox.flush()
        if not self._retired:
            self._retired = True
            self._outbox.send({"t": "retire", "why": why})


_ROUGH = LoopMeter()
"""For Runs that are ended by another thread than theirs: their CPU time can't be asked."""


def _named(live: Live | None) -> str:
    if live is None:
        return "code outside of any run"
    return f"run {live.run_id} ({live.call.task_type})"


class Shared(Body):
    """Many Runs at once."""

    def __init__(self, registry: Registry, outbox: Outbox, loop: Loop, slots: int) -> None:
        super().__init__(registry, outbox, loop)
        self._loop_meter: Meter = LoopMeter()
        self._thread_meter: Meter = ThreadMeter()
        self._threads = Threads(self._run_function, slots)
        self._flushing = False

    def start(self, items: Sequence[Sequence[Any]]) -> None:
        coroutines = []
        for item in items:
            live = self._admit(item)
            if live is None:
                continue
            if live.handler.is_async:
                coroutines.append(live)
            else:
                self._threads.put(live)
        if coroutines:
            self._loop.call_soon_threadsafe(self._spawn, coroutines)
        self.busy.set()
        self._outbox.flush()

    def run_forever(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # asyncio lets these through from a task that a handler has left behind.
                logger.warning("a background task tried to end the runner", exc_info=True)

    def _spawn(self, lives: list[Live]) -> None:
        for live in lives:
            live.task = self._loop.create_task(self._run_coroutine(live))

    async def _run_coroutine(self, live: Live) -> None:
        self._finish(live, await run_async(live, self._loop_meter))
        # One flush for all that end in this turn of the loop.
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        self._outbox.flush()

    def _run_function(self, live: Live) -> None:
        live.thread = threading.get_ident()
        self._finish(live, run_sync(live, self._thread_meter))
        self._outbox.flush()

    def _overdue_function(self, live: Live) -> None:
        # Nothing can end a thread. The flag lets a handler that looks at it end by itself.
        live.context.ask_to_stop(Kind.TIMEOUT, limit_text(live))
        if self._finish(live, live.row(timed_out(live, live.thread), _ROUGH)):
            self._retire(f"{_named(live)} overran its time limit on a thread")

    def _overdue_coroutine(self, live: Live) -> None:
        if self._finish(live, live.row(timed_out(live, None, _UNWILLING), _ROUGH)):
            self._retire(f"{_named(live)} goes on although it was cancelled")


_UNWILLING = f" It went on for {CANCEL_PATIENCE:g} s after it was cancelled."


class Alone(Body):
    """One Run at a time."""

    def __init__(
        self,
        registry: Registry,
        outbox: Outbox,
        loop: Loop,
        logs: LogCapture,
        streams: StreamCapture,
        memory_limit: int | None,
    ) -> None:
        super().__init__(registry, outbox, loop)
        self._meter: Meter = ProcessMeter()
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._logs = logs
        self._streams = streams
        self._memory_limit = memory_limit
        self._folder = os.getcwd()
        self._umask = os.umask(0)
        os.umask(self._umask)

    def start(self, items: Sequence[Sequence[Any]]) -> None:
        for item in items:
            if (live := self._admit(item)) is not None:
                self._inbox.put(partial(self._run, live))
        self.busy.set()
        self._outbox.flush()

    def run_forever(self) -> None:
        while True:
            self._inbox.get()()

    def await_in(self, work: Coroutine[Any, Any, None], seconds: float) -> None:
        # The loop goes round only while something is run on it.
        done = threading.Event()

        def run() -> None:
            try:
                self._loop.run_until_complete(work)
            finally:
                done.set()

        self._inbox.put(run)
        done.wait(seconds)

    def _run(self, live: Live) -> None:
        if self._memory_limit is not None:
            live.function = limited(live.function, self._memory_limit)
        self._streams.begin(live.context)
        self._logs.only = live.context
        try:
            row = self._called(live)
        finally:
            self._logs.only = None
            self._streams.end()
        self._tidy()
        self._finish(live, row)
        self._outbox.flush()

    def _called(self, live: Live) -> Row:
        if not live.handler.is_async:
            live.thread = self._main
            return run_sync(live, self._meter)
        try:
            return self._loop.run_until_complete(self._as_task(live))
        except BaseException as error:
            # A task that the handler left to itself has raised SystemExit through the loop.
            if live.task is not None:
                live.task.cancel()
            return live.row(End(Kind.FAILED, None, error_text(error)), self._meter)

    async def _as_task(self, live: Live) -> Row:
        live.task = asyncio.current_task()
        return await run_async(live, self._meter)

    def _tidy(self) -> None:
        """Undo what a handler may have changed of the process for the next one."""
        os.umask(self._umask)
        try:
            os.chdir(self._folder)
        except OSError:
            pass  # The folder is gone: nothing that a next Run could do about it either.

    def _overdue_function(self, live: Live) -> None:
        if self._finish(live, live.row(timed_out(live, live.thread), _ROUGH)):
            self._stuck([live.run_id], live, f"{_named(live)} overran its time limit")

    def _overdue_coroutine(self, live: Live) -> None:
        if self._finish(live, live.row(timed_out(live, None, _UNWILLING), _ROUGH)):
            self._stuck([live.run_id], live, f"{_named(live)} goes on although it was cancelled")
