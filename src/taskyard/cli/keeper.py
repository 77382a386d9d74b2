"""Keeper: keeps the process of the API beside a supervisor: starts it, watches it, stops it.

Owns that process. The socket is bound here, so a port in use is known before anything starts, and
no request is refused while the process is replaced. The child is `child.py`.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time

from taskyard.api import posture
from taskyard.settings import Settings

logger = logging.getLogger("taskyard.web")

_PATIENCE = 10.0
"""Seconds that the process gets to stop; requests under way get 5 of them."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
"""Seconds before it is started again: doubled while it keeps dying young."""
_YOUNG = 60.0


class Keeper:
    """The API's process: `start()`, then `stop()`."""

    def __init__(self, settings: Settings, *, no_auth: bool, log_level: str) -> None:
        """Raises UnsafeAddress, PortInUse or BadSetting; nothing is started yet."""
        posture.require_safe(settings, no_auth=no_auth)
        self._listener = posture.bind(settings.host, settings.port)
        self._order = json.dumps(
            {
                "settings": settings.to_json(),
                "no_auth": no_auth,
                "log_level": log_level,
            }
        )
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._watch = threading.Thread(target=self._keep, name="web-keeper", daemon=True)
        self.url = posture.url_of(settings, self._listener)

    def start(self) -> None:
        """Start the process, and start it again whenever it dies."""
        self._process = self._spawn()
        self._watch.start()

    def stop(self) -> None:
        """Stop it: requests under way get to end."""
        self._stopped.set()
        process = self._process
        if process is not None:
            _end(process)
        self._watch.join(_PATIENCE)
        self._listener.close()

    def _spawn(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskyard.cli.child", str(self._listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[self._listener.fileno()],
            text=True,
            # Ctrl-C is for the supervisor, which then stops everything in order.
            start_new_session=True,
        )
        assert process.stdin is not None
        # By pipe, because the settings hold passwords; its end tells the child that we are gone.
        process.stdin.write(self._order + "\n")
        process.stdin.flush()
        return process

    def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            born = time.monotonic()
            assert self._process is not None
            code = self._process.wait()
            if self._stopped.is_set():
                return
            if not _is_young(born):
                pause = _FIRST_PAUSE
            logger.error("the API ended with code %d; it is started again in %g s", code, pause)
            if not self._stopped.wait(pause):
                self._process = self._spawn()
            pause = min(pause * 2, _LONGEST_PAUSE)


def _is_young(born: float) -> bool:
    return time.monotonic() - born < _YOUNG


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
