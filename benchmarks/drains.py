"""Drains: the two contenders that every drain is a race between, Taskyard and the reference.

Both start on a new database, are idle and warm when all tasks become visible in one commit, and are
watched by the same watch. Taskyard's folder and server are site.py's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import watch
from benchmarks.lanes import Lane
from benchmarks.machine import Meter
from benchmarks.processes import Process
from benchmarks.race import Sample
from benchmarks.site import Site

REFERENCE = "reference: raw driver, batch 200"


class ReferenceDrain:
    """The bare script of benchmarks.reference."""

    name = REFERENCE

    def __init__(self, lane: Lane, tasks: int) -> None:
        self._lane = lane
        self._tasks = tasks

    def measure(self) -> Sample:
        lane = self._lane
        lane.make()
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.reference", lane.name, lane.url]
            process = Process(command, Path(folder) / "log")
            try:
                process.wait_for_line("ready")
                with lane.opened() as db:
                    load = watch.put(lane, db, "ref_tasks", self._tasks)
                    meter = Meter([process.pid], lane.store)
                    seconds = watch.drained(lane, db, load)
                    sample = Sample(load.tasks, seconds, meter.read())
            finally:
                process.stop()
                lane.drop()
        return sample


class TaskyardDrain:
    """One or more servers of Taskyard with default settings, one queue, an async no-op handler."""

    def __init__(self, lane: Lane, tasks: int, workers: int, servers: int = 1) -> None:
        self.name = label(workers, servers)
        self._lane = lane
        self._tasks = tasks
        self._workers = workers
        self._servers = servers

    def measure(self) -> Sample:
        with Site(self._lane, self._workers) as site:
            servers = [site.start(f"bench-{n + 1}") for n in range(self._servers)]
            with self._lane.opened() as db:
                site.warm_up(db)
                load = watch.put(self._lane, db, site.table, self._tasks)
                meter = Meter([server.pid for server in servers], self._lane.store)
                seconds = watch.drained(self._lane, db, load)
                sample = Sample(load.tasks, seconds, meter.read())
                site.expect_runs(db, load)
        return sample


def label(workers: int, servers: int = 1) -> str:
    """The name of a drain of ours in tables."""
    return f"taskyard, max_workers {workers}" + (f", {servers} servers" if servers > 1 else "")
