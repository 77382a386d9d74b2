"""Track: Runs of code that has no Task: a cron script, a management command, a block in a program.

Owns `track` and `tracked`, and the client Session behind them: its beats keep the Runs of this
process alive, so that a crash makes them `lost` (rulings 3.13). The rows are `runs/record.py`'s.
Nothing here may break or hold up the user's code: what can't be written is a warning.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import psutil

from taskyard import servers
from taskyard.core.errors import Cancel, TaskyardError
from taskyard.core.lifecycle import Origin, RunStatus
from taskyard.core.payload import dump_params, dump_result, mask
from taskyard.core.tracebacks import error_text
from taskyard.db.database import Database, Tx
from taskyard.runs import logs, record
from taskyard.runs.ids import RunIds
from taskyard.runs.lines import Chunk, RunLog, record_line
from taskyard.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("taskyard.track")

FLUSH_EVERY = 1.0
"""Seconds between two writings of log lines."""


class Tracked:
    """A block of code while it is tracked."""

    def __init__(self, name: str, payload: str | None) -> None:
        self.name = name
        self.run_id: int | None = None
        """The id of its Run; None if it could not be recorded (yet)."""
        self.result: Any = None
        """The output of the Run (JSON); set it inside the block."""
        self.payload = payload
        self.began = 0.0
        self.cpu: float | None = None
        self._lines = RunLog()
        self._writing = threading.RLock()

    @property
    def log(self) -> logging.Logger:
        """A logger whose records go to the Run's log; others do too, inside the block."""
        return logging.getLogger(f"track.{self.name}")

    def start(self) -> None:
        """The block begins now."""
        self.began, self.cpu = time.monotonic(), _thread_cpu()

    def write(self, text: str) -> None:
        """Keep whole lines of its log."""
        with self._writing:
            self._lines.write(text)

    def take(self, run_id: int) -> list[Chunk]:
        """The lines that wait to be stored."""
        with self._writing:
            return self._lines.take(run_id)


@contextmanager
def track(
    database: Callable[[], Database], settings: Settings, name: str, details: Any = None
) -> Iterator[Tracked]:
    """Record the block as a Run named `name`; `details` (JSON) is its payload.

    Raises ParamsNotJson or PayloadTooLarge for `details`; never anything about the database.
    """
    tracked = Tracked(name, dump_params(mask(details), f"details of {name}"))
    client = _client(database, settings)
    client.open(tracked)
    end: tuple[RunStatus, str | None] = RunStatus.COMPLETED, None
    try:
        with _capture.into(tracked):
            tracked.start()
            yield tracked
    except BaseException as error:
        end = _ended_by(error)
        raise
    finally:
        client.close(tracked, *end)


def tracked(
    open_track: Callable[[Any], AbstractContextManager[Tracked]],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`track` as a decorator: each call of the function, `def` or `async def`, is a Run."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_loop(*args: P.args, **kwargs: P.kwargs) -> Any:
                with open_track(None) as run:
                    run.result = await function(*args, **kwargs)
                    return run.result

            return in_loop  # type: ignore[return-value]

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with open_track(None) as run:
                run.result = result = function(*args, **kwargs)
                return result

        return call

    return decorate


def _ended_by(error: BaseException) -> tuple[RunStatus, str | None]:
    if isinstance(error, SystemExit) and not error.code:
        return RunStatus.COMPLETED, None
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError | Cancel | GeneratorExit):
        return RunStatus.CANCELLED, error_text(error)
    return RunStatus.FAILED, error_text(error)


# --- The client Session --------------------------------------------------------------------------


class Client:
    """The Session of a process that tracks: one for each database, from its first Run on."""

    def __init__(self, database: Callable[[], Database], settings: Settings) -> None:
        self._open_database = database
        self._settings = settings
        self._lock = threading.Lock()
        self._session: str | None = None
        self._ids: RunIds | None = None
        self._active: dict[int, Tracked] = {}

    def open(self, tracked: Tracked) -> None:
        """Write that it runs."""
        with _harmless("the start of %s could not be recorded", tracked.name):
            run = self._begin(tracked)
            self._once(lambda tx: record.open_tracked(tx, run))
            tracked.run_id = run["id"]
            self._active[run["id"]] = tracked

    def close(self, tracked: Tracked, status: RunStatus, error: str | None) -> None:
        """Write how it ended; the whole Run, if its start could not be written."""
        end = {**_end(tracked, error), "status": status.value}
        with _harmless("the end of %s could not be recorded", tracked.name):
            if tracked.run_id is None:
                run = {**self._begin(tracked), **end}
                self._once(lambda tx: record.insert_ended(tx, run))
                tracked.run_id = run["id"]
            else:
                self._active.pop(tracked.run_id, None)
                run = {**end, "id": tracked.run_id}
                if not self._database.run(lambda tx: record.close_tracked(tx, run)):
                    logger.warning("%s ended, but had been taken for lost", tracked.name)
            self._write(tracked.take(tracked.run_id))

    def _begin(self, tracked: Tracked) -> dict[str, Any]:
        """The fields of a Run that are known at its start; opens the Session if need be."""
        with self._lock:
            if self._session is None:
                self._start()
        assert self._ids is not None
        return {
            "id": self._ids.reserve(1),
            "task_type": tracked.name,
            "origin": Origin.TRACKED.value,
            "payload": tracked.payload,
            "server_id": self._settings.server_id,
            "session": self._session,
            "pid": os.getpid(),
        }

    def _start(self) -> None:
        self._ids = self._ids or RunIds(self._database)
        session = servers.new_session()
        servers.register(
            self._database,
            session,
            self._settings.server_id,
            lease=self._settings.lease,
            runners=0,
            kind="client",
        )
        self._session = session
        threading.Thread(target=self._keep, args=(session,), name="track", daemon=True).start()
        atexit.register(self.finish)

    def _keep(self, session: str) -> None:
        """Beat, and write what was logged, until the Session is over."""
        beaten = time.monotonic()
        while self._session == session:
            time.sleep(FLUSH_EVERY)
            with _harmless("the log of tracked code could not be written"):
                self.flush()
            if time.monotonic() - beaten < self._settings.beat:
                continue
            with _harmless("tracked code could not tell that it is alive"):
                if not self._once(lambda tx: servers.beat(tx, session, self._settings.lease)):
                    self._session = None  # Taken for dead; the next Run opens a new one.
                beaten = time.monotonic()

    def flush(self) -> None:
        """Write the log lines that wait."""
        for run_id, tracked in list(self._active.items()):
            self._write(tracked.take(run_id))

    def finish(self) -> None:
        """End the Session, in order."""
        session, self._session = self._session, None
        atexit.unregister(self.finish)
        if session is not None:
            with _harmless("the end of this process could not be recorded"):
                servers.close(self._database, session)

    def _write(self, chunks: list[Chunk]) -> None:
        if chunks and self._session is not None:
            logs.append(self._database, self._session, chunks)

    @property
    def _database(self) -> Database:
        return self._open_database()

    def _once(self, work: Callable[[Tx], Any]) -> Any:
        # Not `run`, which tries again for seconds: the user's code is waiting.
        with self._database.transaction(deadline=5.0) as tx:
            return work(tx)


def _end(tracked: Tracked, error: str | None) -> dict[str, Any]:
    duration = time.monotonic() - tracked.began
    cpu = _thread_cpu()
    return {
        "output": _output(tracked),
        "error": error,
        "memory_usage": psutil.Process().memory_info().rss,
        "cpu_time": None if cpu is None or tracked.cpu is None else cpu - tracked.cpu,
        "execution_time": duration,
        "age": duration,
    }


def _output(tracked: Tracked) -> str | None:
    try:
        return dump_result(tracked.result)
    except TaskyardError as error:
        logger.warning("the result of %s is not recorded: %s", tracked.name, error)
        return None


def _thread_cpu() -> float | None:
    """The CPU clock of this thread; None on a loop, whose thread is everybody's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return time.thread_time()
    return None


@contextmanager
def _harmless(what: str, *about: object) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.warning(what + ": %s", *about, error)


# --- The process ---------------------------------------------------------------------------------

_clients: dict[tuple[int, str], Client] = {}
_clients_lock = threading.Lock()


def _client(database: Callable[[], Database], settings: Settings) -> Client:
    key = os.getpid(), settings.database_url
    with _clients_lock:
        if key not in _clients:
            _clients[key] = Client(database, settings)
        return _clients[key]


class _Capture(logging.Handler):
    """Takes each record that is logged inside a tracked block into its Run's log.

    It is on the root logger only while a block runs: a handler there would make a later
    `logging.basicConfig()` do nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tracked: ContextVar[Tracked | None] = ContextVar("taskyard_tracked", default=None)
        self._count = threading.Lock()
        self._blocks = 0

    @contextmanager
    def into(self, tracked: Tracked) -> Iterator[None]:
        """Capture for the block, in this thread or coroutine."""
        self._change(1)
        before = self._tracked.set(tracked)
        try:
            yield
        finally:
            self._tracked.reset(before)
            self._change(-1)

    def emit(self, record: logging.LogRecord) -> None:
        tracked = self._tracked.get()
        if tracked is not None and record.name != logger.name:
            tracked.write(record_line(record))
        # What Python prints when no handler is set up shall be printed all the same.
        last = logging.lastResort
        if last is not None and logging.root.handlers == [self] and record.levelno >= last.level:
            last.handle(record)

    def _change(self, by: int) -> None:
        with self._count:
            self._blocks += by
            if self._blocks == 0:
                logging.root.removeHandler(self)
            elif by == self._blocks:
                logging.root.addHandler(self)


_capture = _Capture()


def forget() -> None:
    """End the client Sessions of this process; the next block opens new ones. For tests."""
    with _clients_lock:
        for client in _clients.values():
            client.finish()
        _clients.clear()
