"""Pool: the Runners of one Session.

Owns which Runner gets which call, what is read from them, time limits that a Runner cannot keep
itself, and what a Runner's death means for the calls it had. One thread reads all wires and starts
all processes: a Runner's death signal hangs on the thread that started it. What an Outcome means is
not judged here.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from taskyard.core.lifecycle import Kind, Outcome
from taskyard.engine import wire
from taskyard.engine.child import Child
from taskyard.engine.work import Notes, Work
from taskyard.handlers import HandlerSpec
from taskyard.settings import Settings

logger = logging.getLogger("taskyard.pool")

_TICK = 0.1
_PATIENCE = 0.5  # seconds past a time limit that an isolated Runner gets to report it itself
_OVERRUN = 2.0  # seconds past a time limit after which a silent Runner is killed
_STUBBORN = 25.0  # seconds the neighbours of a handler that will not stop get to finish
_DISMISSED = 10.0  # seconds a Runner gets for its stop hooks
_IDLE = 60.0  # seconds an isolated Runner is kept without work

Deliver = Callable[[list[Work]], None]


class Pool:
    """The Runners of one Session, and the thread that attends to them."""

    def __init__(
        self,
        settings: Settings,
        session: str,
        *,
        deliver: Deliver,
        note: Callable[[Notes], None],
        checkpoint: Callable[[Work, str | None], None],
    ) -> None:
        self._settings = settings
        self._session = session
        self._deliver = deliver
        self._note = note
        self._checkpoint = checkpoint
        self._environment = _environment(settings)
        self._folder = str(settings.folder)
        self._lock = threading.RLock()
        self._children: list[Child] = []
        self._waiting: deque[Work] = deque()
        self._works: dict[int, Work] = {}
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        self._bell.setblocking(False)
        self._ring.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._stopping = False
        self._deaths = 0
        self._spawn_after = 0.0
        self._thread = threading.Thread(target=self._attend, name="taskyard-pool", daemon=True)
        self.specs: dict[str, HandlerSpec] = {}
        self.problems: list[dict[str, Any]] = []
        self.introduced = threading.Event()
        """Set when a first Runner has told which Handlers there are (or why there are none)."""

    # --- what the supervisor says ---------------------------------------------------------------

    def start(self) -> None:
        """Start the Runners."""
        self._thread.start()

    def submit(self, works: list[Work]) -> None:
        """Run these; each comes back through `deliver` with its outcome, in any order."""
        now = time.monotonic()
        with self._lock:
            for work in works:
                work.sent = now
                self._works[work.run_id] = work
            shared = [work for work in works if not work.alone]
            for child, part in _spread(shared, self._shared_ready()):
                self._send(child, part)
            if shared and not self._shared_ready():
                self._waiting.extend(shared)
            alone = [work for work in works if work.alone]
            self._waiting.extend(alone)
        if alone or self._waiting:
            self._wake()

    def cancel(self, works: Iterable[Work], why: str, grace: float = 3.0) -> None:
        """Ask handlers to stop; those that do not within `grace` seconds are stopped."""
        now = time.monotonic()
        with self._lock:
            for work in works:
                if work.cancelled is None:
                    work.cancelled, work.why_cancelled = now, why
                    work.cancel_grace = grace
            for child in self._children:
                runs = [w.run_id for w in child.works.values() if w.cancelled == now]
                if runs:
                    child.send([wire.encode({"t": "cancel", "runs": runs, "why": why})])
            unsent = [work for work in self._waiting if work.cancelled is not None]
            for work in unsent:
                self._waiting.remove(work)
                self._works.pop(work.run_id, None)
                work.outcome = Outcome(work.run_id, Kind.CANCELLED, error=why)
        if unsent:
            self._deliver(unsent)
        self._wake()

    def interrupt(self, works: Iterable[Work]) -> None:
        """Raise the cancel flag of handlers without cancelling their Tasks: a stop is coming."""
        wanted = {work.run_id for work in works}
        with self._lock:
            for child in self._children:
                runs = [run for run in child.works if run in wanted]
                if runs:
                    why = "the server is stopping"
                    child.send([wire.encode({"t": "cancel", "runs": runs, "why": why})])
                    child.interrupted.update(runs)

    def find(self, run_id: int) -> Work | None:
        """The Work of a Run that is under way."""
        return self._works.get(run_id)

    def interrupt_all(self) -> None:
        """Stop what still runs: each call comes back as interrupted, its Runner is killed."""
        with self._lock:
            works = [*self._works.values()]
            self._works.clear()
            self._waiting.clear()
            for child in self._children:
                if child.works:
                    child.works.clear()
                    child.retiring = True
                    child.kill()
        finished = time.monotonic()
        for work in works:
            kind = Kind.CANCELLED if work.cancelled is not None else Kind.INTERRUPTED
            why = work.why_cancelled or "the server was stopped"
            work.outcome = Outcome(
                work.run_id, kind, error=why, started=work.sent, finished=finished
            )
        if works:
            self._deliver(works)

    def retire_all(self) -> None:
        """Replace every Runner by a new one, which imports the application anew."""
        with self._lock:
            for child in self._children:
                child.retiring = True
        self._wake()

    def kill_all(self) -> None:
        """Kill every Runner now; nothing comes back from them any more."""
        with self._lock:
            self._stopping = True
            self._works.clear()
            self._waiting.clear()
            for child in self._children:
                child.works.clear()
                child.kill()
        self._wake()

    def stop(self, timeout: float = 5.0) -> None:
        """Dismiss the Runners, which have no work any more, and end the thread."""
        with self._lock:
            self._stopping = True
            for child in self._children:
                child.dismiss()
        self._wake()
        self._thread.join(timeout)
        with self._lock:
            for child in self._children:
                child.kill()
        self._wake()
        self._thread.join(1.0)

    @property
    def pids(self) -> list[int]:
        """Process ids of the Runners."""
        with self._lock:
            return [child.pid for child in self._children]

    # --- the thread -----------------------------------------------------------------------------

    def _attend(self) -> None:
        while True:
            try:
                self._keep_staffed()
                for key, mask in self._selector.select(_TICK):
                    self._hear(key.data, mask)
                self._watch_limits()
            except Exception:
                logger.exception("the pool stumbled")
                time.sleep(0.1)
            with self._lock:
                if self._stopping and not self._children:
                    return

    def _keep_staffed(self) -> None:
        """Start what is missing, dismiss what is not needed, give waiting work to whom is free."""
        with self._lock:
            if self._stopping:
                return
            for child in self._children:
                if child.retiring and not child.works:
                    child.dismiss()
            staff = [c for c in self._children if c.isolation == "shared" and not c.retiring]
            missing = self._settings.runners - len(staff)
        for _ in range(missing):
            if time.monotonic() < self._spawn_after:
                break
            self._spawn("shared")
        self._serve_waiting()
        self._dismiss_idle()

    def _serve_waiting(self) -> None:
        with self._lock:
            shared = [work for work in self._waiting if not work.alone]
            alone = deque(work for work in self._waiting if work.alone)
            ready = self._shared_ready()
            for child, part in _spread(shared, ready):
                self._send(child, part)
            for child in self._free_isolated():
                if alone:
                    self._send(child, [alone.popleft()])
            self._waiting = alone if ready else deque([*shared, *alone])
            missing = self._missing_isolated(alone)
        if not self._stopping and time.monotonic() >= self._spawn_after:
            for _ in range(missing):
                self._spawn("process")

    def _missing_isolated(self, waiting: Iterable[Work]) -> int:
        """Runners to start for calls that run alone; suspects share a few, so no storm follows."""
        isolated = [c for c in self._children if c.isolation == "process" and not c.retiring]
        coming = sum(not child.ready for child in isolated)
        suspects = sum(work.suspect for work in waiting)
        declared = sum(not work.suspect for work in waiting)
        room = max(0, max(4, 2 * self._settings.runners) - len(isolated) - declared + coming)
        return declared + min(suspects, room) - coming

    def _free_isolated(self) -> list[Child]:
        return [
            c
            for c in self._children
            if c.isolation == "process" and c.ready and not c.retiring and not c.works
        ]

    def _dismiss_idle(self) -> None:
        now = time.monotonic()
        with self._lock:
            for child in self._children:
                idle = child.isolation == "process" and child.ready and not child.works
                if idle and now - child.idle_since > _IDLE:
                    child.retiring = True

    def _spawn(self, isolation: str) -> None:
        try:
            child = Child(self._session, isolation, self._environment, self._folder)
        except OSError as error:
            logger.error("a runner could not be started: %s", error)
            self._spawn_after = time.monotonic() + 1.0
            return
        with self._lock:
            self._children.append(child)
            self._selector.register(child.socket, selectors.EVENT_READ, child)
            if self._stopping:
                child.kill()

    def _hear(self, child: Child | None, mask: int) -> None:
        if child is None:
            with suppress(BlockingIOError):
                self._bell.recv(4096)
            self._send_on()
            return
        if mask & selectors.EVENT_WRITE and child.flush():
            self._selector.modify(child.socket, selectors.EVENT_READ, child)
        if mask & selectors.EVENT_READ:
            try:
                messages = child.receive()
            except wire.WireBroken as error:
                logger.error("%r sent nonsense: %s", child, error)
                child.kill()
                messages = None
            if messages is None:
                self._bury(child)
                return
            for message in messages:
                self._take(child, message)

    def _send_on(self) -> None:
        with self._lock:
            for child in self._children:
                if not child.flush():
                    events = selectors.EVENT_READ | selectors.EVENT_WRITE
                    self._selector.modify(child.socket, events, child)

    # --- what Runners say -----------------------------------------------------------------------

    def _take(self, child: Child, message: dict[str, Any]) -> None:
        match message["t"]:
            case "done":
                self._finish(child, [_outcome(row) for row in message["outcomes"]])
            case "log":
                self._note(Notes(logs=[(r, s, t) for r, s, t in message["chunks"]]))
            case "progress":
                items = {run: (done, total, note) for run, done, total, note in message["items"]}
                for run in items:
                    if run in child.works:
                        child.works[run].noted = True
                self._note(Notes(progress=items))
            case "checkpoint":
                work = child.works.get(message["run"])
                if work is not None:
                    work.noted = True
                    self._checkpoint(work, message["data"])
            case "hello":
                self._welcome(child, message)
            case "retire":
                logger.info("%r is being replaced: %s", child, message.get("why"))
                child.retiring = True
            case "stuck":
                logger.warning("%r is stuck and gets killed: %s", child, message.get("why"))
                child.stuck_runs.update(message["runs"])
                child.stuck_by = message.get("by")
                child.kill()
            case other:
                logger.error("%r sent an unknown message %r", child, other)

    def _welcome(self, child: Child, message: dict[str, Any]) -> None:
        with self._lock:
            others = any(c.ready and not c.retiring for c in self._children)
            specs = {s["name"]: HandlerSpec.from_dict(s) for s in message["handlers"]}
            # One whose import or start hook failed, where others' did not, gets no work.
            child.ready = not others or specs.keys() >= self.specs.keys()
            if child.ready:
                self.specs = specs
            self.problems = message["problems"]
            self._deaths = 0
        self.introduced.set()
        self._serve_waiting()

    def _finish(self, child: Child, outcomes: list[Outcome]) -> None:
        done: list[Work] = []
        with self._lock:
            for outcome in outcomes:
                work = child.works.pop(outcome.run_id, None)
                if work is None:
                    continue
                self._works.pop(outcome.run_id, None)
                if outcome.kind is Kind.CANCELLED and outcome.run_id in child.interrupted:
                    # It stopped because the server stops, not because its Task was cancelled.
                    outcome.kind = Kind.INTERRUPTED
                work.outcome = outcome
                done.append(work)
            child.finished += len(done)
            if not child.works:
                child.idle_since = time.monotonic()
            limit = self._settings.max_tasks_per_child
            if child.isolation == "process" and child.finished >= limit:
                child.retiring = True
        if done:
            self._deliver(done)
        if child.isolation == "process":
            self._serve_waiting()

    def _bury(self, child: Child) -> None:
        """A Runner is dead: each of its calls gets the outcome that this means."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(child.socket)
        how = child.reap()
        with self._lock:
            self._children.remove(child)
            works = list(child.works.values())
            child.works.clear()
            for work in works:
                self._works.pop(work.run_id, None)
            unexpected = not self._stopping and not (child.retiring and not works)
        if unexpected:
            logger.warning("%r died: %s; it had %d calls", child, how, len(works))
            self._deaths += 1
            # A Runner that dies before its hello will die again: not in a busy loop.
            pause = 0.0 if child.ready else min(10.0, 0.2 * 2 ** min(self._deaths, 6))
            self._spawn_after = time.monotonic() + pause
        for work in works:
            work.outcome = _after_death(work, works, child, how)
        if works:
            self._deliver(works)

    # --- time limits ----------------------------------------------------------------------------

    def _watch_limits(self) -> None:
        now = time.monotonic()
        with self._lock:
            children = list(self._children)
        for child in children:
            if child.dismissed is not None and now - child.dismissed > _DISMISSED:
                child.kill()
            with self._lock:
                works = list(child.works.values())
            overdue = [w for w in works if _is_overdue(w, child, now)]
            stubborn = [
                w for w in works if w.cancelled is not None and now - w.cancelled > w.cancel_grace
            ]
            if overdue:
                child.stuck_runs.update(w.run_id for w in overdue)
                child.kill()
            elif stubborn:
                self._stop_stubborn(child, works, stubborn, now)

    def _stop_stubborn(
        self, child: Child, works: list[Work], stubborn: list[Work], now: float
    ) -> None:
        """A thread cannot be stopped; its Runner can, when its neighbours have had their time."""
        child.retiring = True
        waited = min(w.cancelled for w in stubborn if w.cancelled is not None)
        if len(stubborn) == len(works) or now - waited > _STUBBORN:
            child.kill()

    # --- below ----------------------------------------------------------------------------------

    def _shared_ready(self) -> list[Child]:
        return [c for c in self._children if c.isolation == "shared" and c.ready and not c.retiring]

    def _send(self, child: Child, works: list[Work]) -> None:
        if not works:
            return
        now = time.monotonic()
        for work in works:
            work.sent = now
            child.works[work.run_id] = work
        frames = wire.encode_all("start", "calls", [work.call() for work in works])
        if not child.send(frames):
            self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError, OSError):
            self._ring.send(b"!")


def _spread(works: list[Work], children: list[Child]) -> list[tuple[Child, list[Work]]]:
    """Deal works out so that the Runners end up with equally many."""
    if not children or not works:
        return []
    if len(children) == 1:
        return [(children[0], works)]
    target = (sum(len(c.works) for c in children) + len(works)) / len(children)
    dealt, at = [], 0
    for child in sorted(children, key=lambda c: len(c.works)):
        share = max(0, round(target) - len(child.works))
        dealt.append((child, works[at : at + share]))
        at += share
    dealt[0][1].extend(works[at:])
    return dealt


def _is_overdue(work: Work, child: Child, now: float) -> bool:
    if work.timeout is None or work.sent is None:
        return False
    over = now - work.sent - work.timeout
    if child.isolation == "process":
        return over > _PATIENCE  # its own report names the place in the code; it gets the time
    # A shared Runner keeps the limits itself (a call may wait for a thread there); only one that
    # says nothing any more is taken to hang in foreign code that holds the interpreter.
    return over > _OVERRUN and now - child.last_word > _OVERRUN + work.timeout


def _after_death(work: Work, works: list[Work], child: Child, how: str) -> Outcome:
    finished = time.monotonic()

    def outcome(kind: Kind, error: str) -> Outcome:
        return Outcome(
            run_id=work.run_id,
            kind=kind,
            error=error,
            started=work.sent,
            finished=finished,
            pid=child.pid,
        )

    if work.run_id in child.stuck_runs:
        limit = f"timed out after {work.timeout:g} s" if work.timeout else "timed out"
        return outcome(Kind.TIMEOUT, f"{limit}; its runner was killed")
    if work.run_id == child.stuck_by:
        return outcome(Kind.CRASHED, "blocked the event loop of its runner, which was killed")
    if work.cancelled is not None:
        return outcome(Kind.CANCELLED, work.why_cancelled)
    known = bool(child.stuck_runs) or any(w.cancelled is not None for w in works)
    if known or child.retiring:
        return outcome(Kind.INTERRUPTED, f"a neighbour in its runner had to be killed ({how})")
    if len(works) == 1:
        return outcome(Kind.CRASHED, f"crashed: {how}")
    return outcome(Kind.SUSPECTED, f"{how}, with {len(works)} calls in it; it will run alone")


_KINDS = {kind.value: kind for kind in Kind}


def _outcome(row: list[Any]) -> Outcome:
    return Outcome(row[0], _KINDS[row[1]], *row[2:])


def _environment(settings: Settings) -> dict[str, str]:
    """What a Runner inherits: the environment, and the settings that were given otherwise."""
    environment = dict(os.environ)
    environment["TASKYARD_DATABASE_URL"] = settings.database_url
    environment["TASKYARD_SERVER_ID"] = settings.server_id
    environment["TASKYARD_THREAD_SLOTS"] = str(settings.thread_slots)
    if settings.app:
        environment["TASKYARD_APP"] = settings.app
    if settings.log_dir:
        environment["TASKYARD_LOG_DIR"] = str(settings.log_dir)
    return environment
