"""Bodies: what the two isolations of a runner have in common.

Owns the Runs in progress, their cancellation, and what is done about coroutines that don't end. How
Runs happen is said by the two bodies: `shared.py` (many at once) and `alone.py` (one at a time).
Both get their work from the thread that reads the socket, and are looked after by `Watch`. A call
itself is `attempt.py`'s.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any, TypeAlias

from taskyard.context import Call
from taskyard.core.errors import HandlerUnknown
from taskyard.core.lifecycle import Kind
from taskyard.engine.attempt import End, Live, Row, limit_text, said, timed_out, unstarted
from taskyard.engine.measure import LoopMeter
from taskyard.engine.outbox import Outbox
from taskyard.handlers import Registry

LOOP_PATIENCE = 1.0
"""Seconds in which a loop that is not blocked takes up a cancellation."""

CANCEL_PATIENCE = 3.0
"""Seconds that a cancelled coroutine has for its `finally` blocks."""

UNWILLING = f" It went on for {CANCEL_PATIENCE:g} s after it was cancelled."
"""What is told of a coroutine that didn't."""

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
        why = f"the event loop is blocked by {named(culprit)}"
        late = [
            live
            for live in list(self.running.values())
            if live.overran and live.handler.is_async and not live.delivered
        ]
        for live in late:
            thread = self._main if live is culprit or culprit is None else None
            note = f" {why[0].upper()}{why[1:]}."
            self._finish(live, live.row(timed_out(live, thread, note), ROUGH))
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


ROUGH = LoopMeter()
"""For Runs that are ended by another thread than theirs: their CPU time can't be asked."""


def named(live: Live | None) -> str:
    if live is None:
        return "code outside of any run"
    return f"run {live.run_id} ({live.call.task_type})"
