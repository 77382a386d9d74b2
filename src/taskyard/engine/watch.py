"""Watch: the thread of a runner that sees to deadlines and live logs, whatever the handlers do.

Owns the clock of both. It is a thread of its own because the loop may be blocked and the main
thread busy; only a C function that holds the interpreter's lock stops it, and then the supervisor's
own timer is left. What is done about an overdue Run is the body's business.
"""

from __future__ import annotations

import threading
import time
from time import monotonic

from taskyard.engine.bodies import Body
from taskyard.engine.outbox import Outbox

TICK = 0.1
"""Seconds between two looks while Runs are in progress: how late a time limit may strike."""

TELL_EVERY = 0.5
"""Seconds between two reports of log lines and progress."""


class Watch:
    """Looks at the Runs of a body while there are any."""

    def __init__(self, body: Body, outbox: Outbox) -> None:
        self._body = body
        self._outbox = outbox
        self._told_at = 0.0

    def start(self) -> None:
        """Begin to watch, on a thread of its own."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def _run(self) -> None:
        while True:
            # An idle runner is not woken: a hundred of them would cost a core.
            self._body.busy.wait()
            self._body.busy.clear()
            while self._body.running:
                time.sleep(TICK)
                self.look(monotonic())

    def look(self, now: float) -> None:
        """One pass over the Runs in progress."""
        for live in list(self._body.running.values()):
            if live.is_late(now):
                self._body.overdue(live, now)
        if now - self._told_at >= TELL_EVERY:
            self._told_at = now
            self._outbox.tick()
