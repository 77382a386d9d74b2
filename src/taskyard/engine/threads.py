"""Threads: a pool for plain `def` handlers with a hand-off of its own.

Measured against asyncio.to_thread: 23 µs instead of 59 for one call at a time, 2.8 instead of 35
for fifty at once. Threads are made when they are needed, and stay.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Threads(Generic[T]):
    """Does `work(item)` for each item that is put, on at most `slots` threads.

    `work` must not raise. The threads are daemons: none of them keeps the process alive.
    """

    def __init__(self, work: Callable[[T], None], slots: int) -> None:
        self._work = work
        self._slots = slots
        self._items: SimpleQueue[T] = SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished = 0
        self._threads = 0

    def put(self, item: T) -> None:
        """Hand over an item; it waits if all threads are busy."""
        with self._lock:
            self._unfinished += 1
            is_one_more_needed = self._threads < min(self._unfinished, self._slots)
            self._threads += is_one_more_needed
        if is_one_more_needed:
            name = f"handler-{self._threads}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        self._items.put(item)

    def _run(self) -> None:
        while True:
            self._work(self._items.get())
            with self._lock:
                self._unfinished -= 1
