"""The first minutes of a stranger, on each database: a worker, a task, its run, its log."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import environment
from support import wait_for
from taskyard.access.caller import LOCAL
from taskyard.db.database import Database
from taskyard.db.listing import Query
from taskyard.runs.browse import list_runs

HANDLERS = '''
import asyncio
from pathlib import Path
from taskyard import Context, Yard

yard = Yard()


@yard.handler("shop.greet")
def greet(ctx: Context, name: str) -> dict:
    ctx.log.info("greeting %s", name)
    return {"text": f"Hello {name}!"}


@yard.handler("boom", max_retries=0)
def boom() -> None:
    raise ValueError("boom-1")


@yard.handler("steps")
async def steps(ctx: Context) -> str:
    """Takes its last steps when there is a file `go`."""
    for step in range(4):
        ctx.log.info("step %d", step)
        ctx.progress(step, 4)
        while step and not Path("go").exists():
            await asyncio.sleep(0.05)
    return "done"
'''


class Terminal:
    """A folder, a database, and commands as real processes."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.command = [sys.executable, "-m", "taskyard", *options]
        self.folder = folder
        (folder / "handlers.py").write_text(HANDLERS)
        self.started: list[subprocess.Popen[str]] = []

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [*self.command, *words],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=90,
        )

    def ok(self, *words: str) -> str:
        """Run a command that has to succeed; returns what it printed."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command that goes on."""
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [*self.command, *words],
                cwd=self.folder,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def live_run(url: str) -> str:
    """The id of the run that is live, as soon as there is one."""
    database = Database(url)
    try:
        return str(
            wait_for(
                lambda: list_runs(database, LOCAL, Query({"status": "running"})).rows,
                timeout=60,
                what="a live run",
            )[0]["id"]
        )
    finally:
        database.close()


@pytest.fixture
def terminal(empty_lane: str, tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path, "--db", empty_lane)
    yield terminal
    terminal.close()


@pytest.mark.timeout(300)
def test_a_stranger_sees_what_he_expects(terminal: Terminal, empty_lane: str) -> None:
    terminal.ok("db", "upgrade")
    worker = terminal.start("worker", "--server-id", "server-1", "--runners", "1", "--grace", "30s")

    # A task that is waited for prints its output and nothing else; when it fails, its error.
    greeted = terminal.ok("task", "add", "shop.greet", "name=Ada", "--wait")
    assert json.loads(greeted) == {"text": "Hello Ada!"}
    failed = terminal.run("task", "add", "boom", "--wait")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "ValueError: boom-1" in failed.stderr
    assert "TY322 Task default/2 failed: ValueError: boom-1." in failed.stderr

    # Both are in the history.
    boom, greet = json.loads(terminal.ok("run", "list", "--json"))
    assert (boom["status"], greet["status"]) == ("failed", "completed")
    assert terminal.ok("run", "log", str(greet["id"])).rstrip().endswith("greeting Ada")

    # A live run can be watched, and its log followed, to the end.
    terminal.ok("task", "add", "steps")
    run = live_run(empty_lane)
    follower, watcher = terminal.start("run", "log", run, "-f"), terminal.start("run", "watch", run)
    assert follower.stdout is not None
    assert follower.stdout.readline().rstrip().endswith("step 0")
    (terminal.folder / "go").touch()
    assert [line.split()[-1] for line in follower.stdout.readlines()] == ["1", "2", "3"]
    assert follower.wait(60) == 0
    assert watcher.communicate(timeout=60)[0] == "completed\n"

    # Nothing is wrong, and a server that is drained stops.
    levels = {row["level"] for row in json.loads(terminal.ok("doctor", "--json"))}
    assert levels <= {"ok", "warning"}
    terminal.ok("server", "drain", "server-1", "--wait")
    assert worker.wait(60) == 0


@pytest.mark.timeout(300)
def test_up_needs_no_setup_and_lets_running_tasks_finish(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        up = terminal.start("up", "--runners", "1", "--grace", "60s", "--port", "0")
        greeted = terminal.ok("task", "add", "shop.greet", "name=Bob", "--wait")
        assert json.loads(greeted) == {"text": "Hello Bob!"}
        terminal.ok("task", "add", "steps")
        live_run(f"sqlite:///{tmp_path / 'taskyard.db'}")
        up.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert up.wait(60) == 0
        assert json.loads(terminal.ok("run", "list", "--json"))[0]["status"] == "completed"
    finally:
        terminal.close()


def test_a_database_that_refuses_ends_a_worker_at_once(tmp_path: Path) -> None:
    done = Terminal(tmp_path, "--db", "sqlite:////nowhere/at/all/x.db").run("worker")
    assert done.returncode == 6
    assert "TY102 Cannot reach" in done.stderr
