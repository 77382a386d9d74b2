"""Deadlines: no call to a database waits for ever.

Owns one watching thread a Database. A connection that went silent (its packets swallowed, its
server frozen) is shut down at its deadline, so the waiting call returns with a lost connection.
Drivers do not offer this everywhere: psycopg has no read timeout, and a server's own
statement_timeout is silent when the server is (failures.md 5).
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Deadlines:
    """Connections in use and the moment by which each must be back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[float, Any]] = {}
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    @contextmanager
    def within(self, connection: Any, seconds: float) -> Iterator[None]:
        """Watch a driver connection for the length of the block."""
        if not hasattr(connection, "fileno"):  # SQLite has no wire to be cut; PyMySQL times out
            yield
            return
        key = id(connection)
        self._watched[key] = (time.monotonic() + seconds, connection)
        if self._thread is None:
            self._start()
        try:
            yield
        finally:
            self._watched.pop(key, None)

    def close(self) -> None:
        """Stop the watching thread."""
        self._closed.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="taskyard-deadlines", daemon=True
                )
                self._thread.start()

    def _watch(self) -> None:
        while not self._closed.wait(1.0):
            now = time.monotonic()
            for deadline, connection in list(self._watched.values()):
                if deadline < now:
                    _cut(connection)


def _cut(connection: Any) -> None:
    with suppress(Exception):
        wire = socket.socket(fileno=socket.dup(connection.fileno()))
        try:
            wire.shutdown(socket.SHUT_RDWR)
        finally:
            wire.close()
