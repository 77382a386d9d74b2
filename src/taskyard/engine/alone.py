"""Alone: the body of a runner that has one Run at a time, in its main thread.

Owns what only such a runner can do: capture all output, limit memory, measure exactly, and undo
what a handler has changed of the process.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from taskyard.core.lifecycle import Kind
from taskyard.core.tracebacks import error_text
from taskyard.engine.attempt import End, Live, Row, run_async, run_sync, timed_out
from taskyard.engine.bodies import ROUGH, UNWILLING, Body, Loop, named
from taskyard.engine.capture import LogCapture, StreamCapture
from taskyard.engine.measure import Meter, ProcessMeter, limited
from taskyard.engine.outbox import Outbox
from taskyard.handlers import Registry


class Alone(Body):
    """One Run at a time."""

    def __init__(
        self,
        registry: Registry,
        outbox: Outbox,
        loop: Loop,
        logs: LogCapture,
        streams: StreamCapture,
    ) -> None:
        super().__init__(registry, outbox, loop)
        self._meter: Meter = ProcessMeter()
        self._inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._logs = logs
        self._streams = streams
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
        limit = live.handler.spec.memory_limit
        if limit is not None:
            live.function = limited(live.function, limit)
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
        if self._finish(live, live.row(timed_out(live, live.thread), ROUGH)):
            self._stuck([live.run_id], live, f"{named(live)} overran its time limit")

    def _overdue_coroutine(self, live: Live) -> None:
        if self._finish(live, live.row(timed_out(live, None, UNWILLING), ROUGH)):
            self._stuck([live.run_id], live, f"{named(live)} goes on although it was cancelled")
