"""Shared: the body of a runner that has many Runs at once, on one loop and on threads.

Owns who runs where, and that what ends together is told together. A thread can't be ended: when one
overruns its limit its Run is reported, and the runner asks to be replaced.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

from taskyard.core.lifecycle import Kind
from taskyard.engine.attempt import Live, limit_text, run_async, run_sync, timed_out
from taskyard.engine.bodies import ROUGH, UNWILLING, Body, Loop, named
from taskyard.engine.measure import LoopMeter, Meter, ThreadMeter
from taskyard.engine.outbox import Outbox
from taskyard.engine.threads import Threads
from taskyard.handlers import Registry

logger = logging.getLogger("taskyard.runner")


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
        if self._finish(live, live.row(timed_out(live, live.thread), ROUGH)):
            self._retire(f"{named(live)} overran its time limit on a thread")

    def _overdue_coroutine(self, live: Live) -> None:
        if self._finish(live, live.row(timed_out(live, None, UNWILLING), ROUGH)):
            self._retire(f"{named(live)} goes on although it was cancelled")
