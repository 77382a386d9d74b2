"""Measure: what a Run costs in CPU seconds and bytes, and the limit on what it may allocate.

Owns the two meters: in a shared runner figures are cheap and rough, in a runner with one Run at a
time they are exact (Linux; elsewhere the memory is what the process has at the end).
"""

from __future__ import annotations

import inspect
import os
import resource
import time
from collections.abc import Callable
from typing import Any, Protocol

_FRESH = 0.05
"""Seconds for which one reading of the process's memory serves all its Runs."""

_PAGE = resource.getpagesize()


class Meter(Protocol):
    """Measures one Run at a time and thread."""

    def start(self) -> float:
        """Begin; returns the CPU clock's reading."""

    def stop(self, begun: float | None) -> tuple[float | None, int | None]:
        """CPU seconds since `begun` (None: unknown) and bytes of memory."""


class LoopMeter:
    """For coroutines, which share a thread: no CPU time, and the memory of the process."""

    def __init__(self) -> None:
        self._memory = _Memory()

    def start(self) -> float:
        return 0.0

    def stop(self, begun: float | None) -> tuple[float | None, int | None]:
        return None, self._memory.now()


class ThreadMeter(LoopMeter):
    """For functions on threads: the thread's CPU time, and the memory of the process."""

    def start(self) -> float:
        return time.thread_time()

    def stop(self, begun: float | None) -> tuple[float | None, int | None]:
        return None if begun is None else time.thread_time() - begun, self._memory.now()


class ProcessMeter:
    """For one Run at a time: CPU time with that of ended children, and the peak of memory."""

    def start(self) -> float:
        _forget_peak()
        return _cpu()

    def stop(self, begun: float | None) -> tuple[float | None, int | None]:
        return None if begun is None else _cpu() - begun, _peak()


class _Memory:
    """The process's resident bytes, read at most every 50 ms."""

    def __init__(self) -> None:
        self._read_at = 0.0
        self._bytes: int | None = None

    def now(self) -> int | None:
        now = time.monotonic()
        if now - self._read_at > _FRESH:
            self._bytes, self._read_at = _resident(), now
        return self._bytes


def _resident() -> int | None:
    try:
        # Opened each time (9 µs, 20 times a second at most): handlers may close what we hold open.
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        import psutil  # Not above: it is only for systems without /proc.

        return int(psutil.Process().memory_info().rss)


def _cpu() -> float:
    spent = os.times()
    return time.process_time() + spent.children_user + spent.children_system


def _forget_peak() -> None:
    """Set the peak back to what is in use, so that the next reading is this Run's."""
    try:
        with open("/proc/self/clear_refs", "w") as clear_refs:
            clear_refs.write("5")
    except OSError:
        pass  # Not Linux, or a /proc that is read-only: the reading is then too high.


def _peak() -> int | None:
    kilobytes = _status("VmHWM")
    return _resident() if kilobytes is None else kilobytes * 1024


def _status(field: str) -> int | None:
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(field.encode()):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


class MemoryLimit:
    """Lets a block allocate so many bytes more than the process has; beyond, MemoryError.

    RLIMIT_DATA counts private writable memory, not address space, so libraries that reserve much
    and use little are not punished. Without /proc there is no limit. It is lifted before the error
    is looked at, because whoever formats a traceback needs memory too.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._before = resource.getrlimit(resource.RLIMIT_DATA)

    def __enter__(self) -> None:
        kilobytes = _status("VmData")
        if kilobytes is not None:
            allowed = kilobytes * 1024 + self._limit
            resource.setrlimit(resource.RLIMIT_DATA, (allowed, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, self._before)


def limited(function: Callable[..., Any], limit: int) -> Callable[..., Any]:
    """`function`, `async def` or `def`, under a MemoryLimit of so many bytes."""

    def call(**arguments: Any) -> Any:
        with MemoryLimit(limit):
            return function(**arguments)

    async def await_call(**arguments: Any) -> Any:
        with MemoryLimit(limit):
            return await function(**arguments)

    return await_call if inspect.iscoroutinefunction(function) else call
