"""Turnstile: the writers of one SQLite file take turns.

Owns a lock between threads and an flock between processes, beside the database file. SQLite's own
busy timeout sleeps and hopes: measured with four writers, one waited up to 9.6 s and beats died;
through the turnstile the worst wait was 8 ms (rulings 3.4). As our processes commit and checkpoint
only inside their turn, no commit of ours meets a checkpoint of ours (the WAL-reset bug of SQLite
before 3.51.3).
"""

from __future__ import annotations

import os
import threading
from types import TracebackType

import sqlalchemy as sa

from taskyard.core.errors import NotNow

try:
    import fcntl
except ImportError:  # Windows: threads of one process take turns, processes use SQLite's timeout
    fcntl = None  # type: ignore[assignment]


class Turnstile:
    """A context manager: inside it, this thread is the only writer among our processes."""

    def __init__(self, url: sa.URL) -> None:
        self._threads = threading.Lock()
        self._path = None if url.database in (None, "", ":memory:") else f"{url.database}-turn"
        self._file: int | None = None
        self._pid = os.getpid()
        self._inside: int | None = None

    def __enter__(self) -> None:
        if self._inside == threading.get_ident():
            # Waiting would be for ever: SQLite has one writer, and it is this very thread.
            raise NotNow(
                "write to SQLite",
                "a second time",
                "locked by this thread's own open transaction",
                "Write in that transaction: connection=tx.connection.",
            )
        self._threads.acquire()
        self._inside = threading.get_ident()
        try:
            if self._path is not None and fcntl is not None:
                fcntl.flock(self._descriptor(), fcntl.LOCK_EX)
        except BaseException:
            self._inside = None
            self._threads.release()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._file is not None and fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._inside = None
            self._threads.release()

    def _descriptor(self) -> int:
        if self._file is None or self._pid != os.getpid():
            assert self._path is not None
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
            self._pid = os.getpid()
        return self._file
