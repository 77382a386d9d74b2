"""Site: a server with a console, as its users start it, and the fixture F of the checks.

Owns the process of `taskyard up` in a folder of its own and its first user; all in it is made
through public doors. What a person does in a browser is `browsing.py`'s.
"""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from harness.servers import environment, run_command
from harness.waiting import wait_until

HANDLERS = Path(__file__).with_name("qa_handlers.py")
OK, FAIL, SLOW = 60, 12, 3
QUEUE = (
    "queue",
    "create",
    "qa",
    "--table",
    "qa_tasks",
    "--max-workers",
    "4",
    "--scan-interval",
    "1",
)


class Site:
    """`taskyard up` on a fresh SQLite file."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self._things: dict[str, str] = {}
        # The handlers' traceback is to name the file that they stand in.
        shutil.copy(HANDLERS, folder / "qa_handlers.py")
        (folder / "handlers.py").write_text("from qa_handlers import yard\n")
        url = "sqlite:///qa.db"
        run_command(url, "db", "upgrade", folder=folder)
        # Before the worker's start makes it with other settings.
        run_command(url, *QUEUE, folder=folder)
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "taskyard", "--db", url, "up", "--port", "0"],
                cwd=folder,
                env=environment(runners=2, **settings),
                stdout=out,
                stderr=err,
            )
        self.url = str(wait_until(self._listening, 60, "listening", detail=self._err.read_text))
        self.password = str(wait_until(self._password, 30, "a first user"))
        self.http = httpx2.Client(base_url=self.url, timeout=30, headers={"Origin": self.url})
        self.sign_in()

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def sign_in(self) -> None:
        body = {"username": "admin", "password": self.password}
        assert self.http.post("/api/v1/login", json=body).status_code == 200

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/api/v1{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        answer = self.http.post(f"/api/v1{path}", json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def insert(self, task_type: str, params: str = "{}") -> None:
        """A task by SQL, as any program makes one."""
        with sqlite3.connect(self.folder / "qa.db", timeout=10) as connection:
            sql = "INSERT INTO qa_tasks (task_type, task_params) VALUES (?, ?)"
            connection.execute(sql, (task_type, params))
        connection.close()

    def fill(self) -> None:
        """Fixture F: 75 runs: 60 completed, 12 failed, 3 timed out; and two tenants."""
        wait_until(lambda: self.get("/handlers")["total"] >= 4, 60, "handlers")
        for tenant in ("acme", "beta"):
            self.post("/tenants", {"tenant_id": tenant, "name": tenant.title()})
        tasks = [{"task_type": "qa.ok", "task_params": {"n": n}} for n in range(OK)]
        tasks += [{"task_type": "qa.fail", "task_params": {"n": n}} for n in range(FAIL)]
        tasks += [{"task_type": "qa.slow"} for _ in range(SLOW)]
        self.post("/tasks/bulk", {"tasks": tasks})
        try:
            wait_until(self._is_filled, 90, "75 runs", every=0.5, detail=self._counts)
        except AssertionError:
            self.close()
            raise

    def path(self, pattern: str) -> str:
        """A path with the ids of things that are there, made at the first need; no run comes of it.

        {run} and {task} are one that failed; {batch} and {schedule} have not been started.
        """
        if "{" in pattern and not self._things:
            run = self.get("/runs", status="failed", limit=1)["data"][0]
            items = [{"item_id": str(n)} for n in range(3)]
            batch = {"task_type": "qa.sevenths", "name": "waiting", "items": items, "start": False}
            rule = {"cron_expression": "0 2 * * *", "task_type": "qa.ok", "task_params": {"n": 1}}
            schedule = self.post("/schedules", {"name": "sleeping", "status": 0, **rule})
            self._things = {
                "run": str(run["id"]),
                "task": f"{run['queue']}/{run['task_id']}",
                "batch": str(self.post("/batches", batch)["id"]),
                "schedule": str(schedule["id"]),
            }
        return pattern.format(**self._things)

    def _is_filled(self) -> bool:
        return self._counts() == (OK, FAIL, SLOW)

    def _counts(self) -> tuple[int, ...]:
        found = self.get("/stats/summary")
        return tuple(found[name] for name in ("completed", "failed", "timeout"))

    def _listening(self) -> str | None:
        assert self.process.poll() is None, self._err.read_text()
        found = re.search(r"listening on (\S+)", self._err.read_text())
        return found and found.group(1)

    def _password(self) -> str | None:
        found = re.search(r"password\s+(\S+)", self._out.read_text())
        return found and found.group(1)
