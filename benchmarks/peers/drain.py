"""Drain: a peer as a contender. Its jobs wait, its worker starts, the clock runs from its first job
to its last record.

Also makes the virtual environment of the peers when it is missing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lanes import Lane
from benchmarks.machine import Meter
from benchmarks.processes import ROOT, Failed, Process, run
from benchmarks.race import Sample

VENV = ROOT / ".venv-bench"
REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"
PATIENCE = 300.0  # seconds


@dataclass(frozen=True)
class Peer:
    """A peer: its module, where it works, and its part of the tasks (slow ones get fewer)."""

    name: str
    module: str
    lane: str
    store: str
    slots: int
    share: float


PGQUEUER = Peer("pgqueuer, uncapped, batch 100", "pgqueuer_pg", "postgres", "postgres", 100, 1.0)
PROCRASTINATE = Peer("procrastinate, c=100", "procrastinate_pg", "postgres", "postgres", 100, 0.1)
CELERY = Peer("celery + redis, prefork 2", "celery_redis", "postgres", "redis-server", 2, 0.1)
HUEY = Peer("huey, 100 threads, no fsync", "huey_sqlite", "sqlite", "", 100, 0.5)
# Its fastest: one job at a time, but no rival for the interpreter's lock.
HUEY_ALONE = Peer("huey, 1 thread, no fsync", "huey_sqlite", "sqlite", "", 1, 0.5)
PEERS = (PGQUEUER, PROCRASTINATE, CELERY, HUEY, HUEY_ALONE)


class PeerDrain:
    """One worker of a peer."""

    def __init__(self, peer: Peer, lane: Lane, tasks: int) -> None:
        self.name = peer.name
        self._peer = peer
        self._lane = lane
        self._tasks = round(tasks * peer.share)

    def measure(self) -> Sample:
        self._lane.make()
        with tempfile.TemporaryDirectory() as folder:
            try:
                return self._drain(Path(folder))
            finally:
                self._lane.drop()

    def _drain(self, folder: Path) -> Sample:
        stamp = folder / "stamp"
        run(self._words("fill", str(self._tasks)))
        watcher = Process(self._words("watch", str(self._tasks)), folder / "watcher.log")
        watcher.wait_for_line("ready")
        slots = str(self._peer.slots)
        worker = Process(self._words("work", slots, str(stamp)), folder / "worker.log")
        try:
            _wait_for(stamp, worker)
            meter = Meter([worker.pid], self._peer.store, aside=[watcher.pid])
            ended = _wait_for_end(watcher, worker)
            seconds = ended - min(map(float, stamp.read_text().split()))
            return Sample(self._tasks, seconds, meter.read())
        finally:
            worker.stop()
            watcher.stop()
            run(self._words("clear", "0"))

    def _words(self, word: str, *more: str) -> list[str]:
        module = f"benchmarks.peers.{self._peer.module}"
        return [str(VENV / "bin" / "python"), "-m", module, word, self._lane.url, *more]


def make_venv() -> None:
    """Make the peers' virtual environment, once."""
    if (VENV / "bin" / "python").exists():
        return
    print(f"installing the peers into {VENV.name}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--requirement", str(REQUIREMENTS)], check=True)


def _wait_for(stamp: Path, worker: Process) -> None:
    give_up = time.monotonic() + PATIENCE
    while not stamp.exists() or not stamp.read_text():
        worker.check()
        if time.monotonic() > give_up:
            raise Failed(f"no job ran\n{worker.tail()}")
        time.sleep(0.002)


def _wait_for_end(watcher: Process, worker: Process) -> float:
    give_up = time.monotonic() + PATIENCE
    while True:
        for line in watcher.log.read_text().splitlines():
            if line.startswith("done "):
                return float(line.split()[1])
        worker.check()
        if time.monotonic() > give_up:
            raise Failed(f"jobs left after {PATIENCE:g} s\n{worker.tail()}")
        time.sleep(0.02)
