"""Site: Taskyard as a user sets it up - a folder with handlers.py, a database, a queue row, servers
started by command.

Everything goes through a public door (the command, SQL on the published tables), so any version can
be measured.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from benchmarks.lanes import Db, Lane
from benchmarks.processes import Failed, Process, run
from benchmarks.watch import Load

HANDLERS = '''\
import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from taskyard import Yard

yard = Yard()
STAMPS = Path(__file__).with_name("stamps.txt")


@yard.handler("noop", queue="bench")
async def noop() -> None:
    """Do nothing."""


@yard.handler("stamp", queue="bench")
async def stamp(sent: float) -> None:
    """Note when it was sent and when it started, by the machine's monotonic clock."""
    started = time.monotonic()
    line = f"{sent} {started}\\n".encode()
    file = os.open(STAMPS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line)
    os.close(file)


@yard.handler("hold", queue="bench", max_retries=0)
async def hold() -> None:
    """Keep running, and with it the task's key."""
    await asyncio.sleep(3600)
'''

# Seconds. The start of a drain is no part of it, but two servers should start together.
SCAN_INTERVAL = 0.05
PATIENCE = 60.0  # seconds for a server to run its first task


class Site:
    """A folder and a database that live as long as the `with` block, and the servers in it."""

    queue = "bench"
    table = "bench_tasks"

    def __init__(self, lane: Lane, max_workers: int, scan_interval: float = SCAN_INTERVAL) -> None:
        self._lane = lane
        self._workers = max_workers
        self._scan_interval = scan_interval
        self._servers: list[Process] = []
        self._temporary = tempfile.TemporaryDirectory(prefix="taskyard-bench-")
        self.folder = Path(self._temporary.name)

    def __enter__(self) -> Site:
        try:
            self._set_up()
        except BaseException:
            self._tear_down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            for server in self._servers:
                print(f"--- end of {server.log.name}\n{server.tail()}", file=sys.stderr)
        self._tear_down()

    def command(self, *words: str) -> str:
        """Run `taskyard WORDS` in the folder; returns what it printed."""
        return run(self._words(*words), cwd=self.folder, env=self.env())

    def start(self, server_id: str = "bench-1", **settings: str) -> Process:
        """Start a server; settings are environment variables without their TASKYARD_."""
        env = {f"TASKYARD_{name.upper()}": value for name, value in settings.items()}
        server = Process(
            self._words("worker"),
            log=self.folder / f"{server_id}.log",
            cwd=self.folder,
            env={**self.env(), "TASKYARD_SERVER_ID": server_id, **env},
        )
        self._servers.append(server)
        return server

    def stop(self) -> None:
        """Stop all servers."""
        while self._servers:
            self._servers.pop().stop()

    def warm_up(self, db: Db) -> None:
        """Wait until every server has run a task: none may still be starting when it counts."""
        give_up = time.monotonic() + PATIENCE
        self._wait(lambda: self._has_table(db), give_up, "the server made no table")
        before = int(db.value(f"SELECT COALESCE(MAX(id), 0) FROM {self.table}"))
        waiting = {server.log.stem for server in self._servers}
        while waiting:
            self._add_noops(db)
            self._wait(lambda: self._is_idle(db, before), give_up, "the warm-up's tasks do not end")
            waiting -= self._servers_that_worked(db, before)

    def expect_runs(self, db: Db, load: Load) -> None:
        """Raise unless every task of the load has its Run: no history, no drain."""
        runs = db.value(
            "SELECT COUNT(*) FROM ty_runs WHERE "
            f"task_table = '{load.table}' AND task_id BETWEEN {load.first} AND {load.last} "
            "AND status = 'completed'"
        )
        if runs != load.tasks:
            raise Failed(f"{runs} completed runs for {load.tasks} tasks")

    def _set_up(self) -> None:
        (self.folder / "handlers.py").write_text(HANDLERS)
        self._lane.make()
        self.command("db", "upgrade")
        with self._lane.opened() as db:
            db.run(
                "INSERT INTO queue_configs (queue_name, table_name, max_workers, scan_interval) "
                f"VALUES ('{self.queue}', '{self.table}', {self._workers}, {self._scan_interval})"
            )

    def _tear_down(self) -> None:
        self.stop()
        self._lane.drop()
        self._temporary.cleanup()

    def _words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "taskyard", "--db", self._lane.url, *words]

    def env(self) -> dict[str, str]:
        return {"TASKYARD_DATABASE_URL": self._lane.url}

    def _wait(self, fact: Callable[[], bool], give_up: float, complaint: str) -> None:
        while not fact():
            for server in self._servers:
                server.check()
            if time.monotonic() > give_up:
                raise Failed(f"{complaint} within {PATIENCE:g} s")
            time.sleep(0.05)

    def _has_table(self, db: Db) -> bool:
        # the fence column stands only in a table that a server has taken over
        return "fence" in self._lane.columns(db, self.table)

    def _add_noops(self, db: Db) -> None:
        db.run(
            f"INSERT INTO {self.table} (task_type, schedule_time) "
            f"SELECT 'noop', {self._lane.now} FROM {self._lane.series(50)}"
        )

    def _is_idle(self, db: Db, before: int) -> bool:
        left = f"SELECT COUNT(*) FROM {self.table} WHERE id > {before} AND status IN (0, 1)"
        return int(db.value(left)) == 0

    def _servers_that_worked(self, db: Db, before: int) -> set[str]:
        names = db.rows(f"SELECT DISTINCT server_id FROM {self.table} WHERE id > {before}")
        return {str(name) for (name,) in names}
