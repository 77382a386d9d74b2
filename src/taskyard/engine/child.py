"""Child: one Runner as the supervisor sees it: a process, its wire, and what it was given.

Owns starting the process, sending, decoding, and killing. Which Runner gets what is `pool.py`'s.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from taskyard.engine import wire
from taskyard.engine.work import Work


class Child:
    """A Runner process. `works` are the calls it has and has not ended, by run id."""

    def __init__(
        self,
        session: str,
        isolation: str,
        environment: Mapping[str, str],
        folder: str,
    ) -> None:
        self.isolation = isolation
        self.works: dict[int, Work] = {}
        self.ready = False
        self.retiring = False
        self.dismissed: float | None = None
        self.finished = 0
        self.idle_since = time.monotonic()
        self.last_word = time.monotonic()
        self.stuck_runs: set[int] = set()
        self.stuck_by: int | None = None
        """The Run that blocks the event loop, when the Runner knows it."""
        self.interrupted: set[int] = set()
        """Runs whose handlers were told that the Server stops."""
        self.exit_code: int | None = None
        self._lock = threading.Lock()
        self._unsent: list[bytes] = []
        self._decoder = wire.Decoder()
        self._start(session, environment, folder)

    def __repr__(self) -> str:
        return f"<Runner {self.pid} {self.isolation}>"

    def _start(self, session: str, environment: Mapping[str, str], folder: str) -> None:
        ours, theirs = socket.socketpair()
        # Exec of our own module, not a fork server: measured, a looping child of a fork server
        # outlives a kill -9 of the supervisor; with exec and a death signal it is gone in a second.
        command = [
            sys.executable,
            "-m",
            "taskyard.engine.runner",
            "--fd",
            str(theirs.fileno()),
            "--session",
            session,
            "--isolation",
            self.isolation,
        ]
        with theirs:
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr if _has_descriptor(sys.stderr) else None,
                env=dict(environment),
                cwd=folder,
            )
        ours.setblocking(False)
        self.socket = ours
        self.pid = self.process.pid

    # --- sending --------------------------------------------------------------------------------

    def send(self, frames: Iterable[bytes]) -> bool:
        """Send what the socket takes and keep the rest; True when nothing is left to send."""
        with self._lock:
            self._unsent.extend(frames)
            return self._flush()

    def flush(self) -> bool:
        """Go on sending; True when nothing is left."""
        with self._lock:
            return self._flush()

    def _flush(self) -> bool:
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent[0])
            except BlockingIOError:
                return False
            except OSError:
                self._unsent.clear()  # it is dead; the reader notices
                return True
            if sent < len(self._unsent[0]):
                self._unsent[0] = self._unsent[0][sent:]
                return False
            self._unsent.pop(0)
        return True

    # --- receiving ------------------------------------------------------------------------------

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived; None when the Runner has closed its end."""
        try:
            data = self.socket.recv(wire.READ_SIZE)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self.last_word = time.monotonic()
        return self._decoder.feed(data)

    # --- the end --------------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill the process, and its group when it has one of its own."""
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def dismiss(self) -> None:
        """Close the wire, once: a Runner without calls runs its stop hooks and exits."""
        if self.dismissed is not None:
            return
        self.dismissed = time.monotonic()
        self.send([wire.encode({"t": "stop"})])
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reap(self) -> str:
        """Wait for the process that has closed its wire; returns how it died, in words."""
        try:
            code = self.process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self.process.wait()
        self.exit_code = code
        self.socket.close()
        if code >= 0:
            return f"its runner exited with code {code}"
        try:
            return f"its runner was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"its runner was killed by signal {-code}"


def _has_descriptor(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    return True
