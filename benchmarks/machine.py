"""Machine: who used the processors while something was measured, and how much memory a process tree
holds.

A shared or throttled machine spoils a figure silently; every table therefore says how much of the
processors went to processes that have nothing to do with the measurement.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """Seconds of wall clock and of CPU (worker, database), and the share of all cores of others."""

    wall: float
    worker: float
    store: float
    others: float


@dataclass(frozen=True)
class Memory:
    """Bytes of a process tree, shared pages in each process (resident) or once (proportional)."""

    resident: int
    proportional: int


class Meter:
    """Reads the clocks at the start; read() tells what was used since.

    `pids` are the measured processes, `store` the name of the database's, `aside` those that watch.
    """

    def __init__(self, pids: Iterable[int], store: str = "", aside: Iterable[int] = ()) -> None:
        self._pids = list(pids)
        self._store = store
        self._aside = list(aside)
        self._began = self._clocks()

    def read(self) -> Usage:
        """What was used since the meter was made."""
        wall, busy, worker, store, bench = (
            now - before for now, before in zip(self._clocks(), self._began, strict=True)
        )
        others = (busy - worker - store - bench) / (wall * (psutil.cpu_count() or 1))
        return Usage(wall, worker, store, max(others, 0.0))

    def _clocks(self) -> tuple[float, float, float, float, float]:
        times = psutil.cpu_times()
        # steal is time the machine's host gave to somebody else: as bad as a busy neighbour
        busy = sum(times) - times.idle - times.iowait - times.guest - times.guest_nice
        worker = sum(cpu_of(pid) for pid in self._pids)
        # with its ended children, but without the live ones: those are measured, or watch
        bench = _cpu(psutil.Process()) + sum(cpu_of(pid) for pid in self._aside)
        return time.monotonic(), busy, worker, store_cpu(self._store), bench


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and all below it, ended children included."""
    return sum(map(_cpu, tree(pid)))


def memory_of(pid: int) -> Memory:
    """Memory of a process and all below it."""
    resident = proportional = 0
    for process in tree(pid):
        try:
            full = process.memory_full_info()
        except psutil.NoSuchProcess:
            continue
        resident += full.rss
        proportional += full.pss
    return Memory(resident, proportional)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all below it; empty when it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def store_cpu(name: str) -> float:
    """CPU seconds of all processes of a database server, known by the name of their program."""
    if not name:
        return 0.0
    return sum(_cpu(p) for p in psutil.process_iter(["name"]) if p.info["name"] == name)


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
