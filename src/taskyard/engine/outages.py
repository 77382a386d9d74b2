"""Outages: says that the database is away, once for all threads that notice.

Owns how often a Server says so: it has two threads for each task table, and a line from each of
them would be noise.
"""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger("taskyard.server")

_EVERY = 10.0


class Outages:
    """What a Server says of its database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def tell(self, error: Exception) -> None:
        """Log that the database is away, unless that was said in the last ten seconds."""
        with self._lock:
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + _EVERY
        logger.warning("the database is away: %s", error)
