"""Servers as real processes: started, killed, stopped, continued, and never left behind.

Owns every process it started, known by pid and start time; what it ends, it ends by that and by
nothing else. A server's working directory holds the handlers file and its journal, shared by the
whole fleet.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from harness.history import Journal
from harness.waiting import wait_until

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"

_DIE_WITH_US = (
    sys.executable,
    "-S",
    "-E",
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])",
)
"""Asks the kernel for a kill -9 when the test run dies, then becomes the given command."""


def command(*arguments: str) -> list[str]:
    """The product's command line, by the interpreter that runs the tests."""
    return [sys.executable, "-m", "taskyard", *arguments]


def environment(**settings: object) -> dict[str, str]:
    """The tests' environment without foreign settings, with ``lease=2`` as ``TASKYARD_LEASE=2``."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TASKYARD_")}
    kept["PYTHONPATH"] = os.pathsep.join(
        [str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    kept["PYTHONUNBUFFERED"] = "1"
    kept.update({f"TASKYARD_{name.upper()}": str(value) for name, value in settings.items()})
    return kept


def run_command(
    url: str, *arguments: str, folder: Path, timeout: float = 60, **settings: object
) -> str:
    """Run one command of the product to its end and return what it printed; fail if it failed."""
    done = subprocess.run(
        command("--db", url, *arguments),
        cwd=folder,
        env=environment(**settings),
        timeout=timeout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"{arguments} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


class Server:
    """One server of a fleet: the same ``server_id`` through all its lives."""

    def __init__(self, name: str, url: str, folder: Path, settings: Mapping[str, object]) -> None:
        self.name = name
        self.url = url
        self.folder = folder
        self.settings = dict(settings)
        self.kills: dict[int, float] = {}
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: dict[int, psutil.Process] = {}

    @property
    def pid(self) -> int:
        """The supervisor's pid in its present (or last) life."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything it ever wrote to stderr and stdout."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self, prefix: tuple[str, ...] = ()) -> Server:
        """Start a life of it; ``prefix`` is a command that runs the rest, as ``unshare`` does."""
        assert not self.alive, f"{self.name} runs already"
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                [*_DIE_WITH_US, *prefix, *command("--db", self.url, "worker")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment(server_id=self.name, **self.settings),
            )
        self._remember(psutil.Process(self._process.pid))
        return self

    def runners(self) -> list[psutil.Process]:
        """Its child processes, of every depth, now."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children(recursive=True)
            for child in children:
                self._remember(child)
            return children
        return []

    def kill(self) -> None:
        """kill -9 of the supervisor, that pid only; returns when it is gone."""
        self.runners()
        assert self._process is not None
        self._process.kill()
        self.kills[self.pid] = time.monotonic()
        self._process.wait(10)

    def stop(self) -> list[psutil.Process]:
        """SIGSTOP of the supervisor and of its runners; returns the runners."""
        os.kill(self.pid, signal.SIGSTOP)
        runners = self.runners()
        for runner in runners:
            runner.suspend()
        return runners

    def resume(self, runners: list[psutil.Process], runners_first: bool) -> None:
        """SIGCONT of everything that ``stop`` stopped, in the order asked for."""
        if not runners_first:
            os.kill(self.pid, signal.SIGCONT)
        for runner in runners:
            with suppress(psutil.NoSuchProcess):
                runner.resume()
        if runners_first:
            # So their results lie in the pipe before the supervisor looks at its clock.
            time.sleep(0.3)
            os.kill(self.pid, signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM: the polite request to stop."""
        self.runners()
        assert self._process is not None
        self._process.terminate()

    def wait(self, within: float) -> int:
        """Wait for its exit and return the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} did not exit within {within:g} s; its log ends:\n{self.log[-3000:]}"
            ) from None

    def end(self) -> None:
        """End everything this server ever started that still lives, by pid and start time."""
        with suppress(Exception):
            self.runners()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        for process in self._seen.values():
            with suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()

    def left_behind(self) -> list[psutil.Process]:
        """Processes of former lives that still live."""
        mine = {self.pid, *(child.pid for child in self.runners())} if self.alive else set()
        return [p for p in self._seen.values() if p.pid not in mine and lives(p)]

    def _remember(self, process: psutil.Process) -> None:
        self._seen.setdefault(process.pid, process)


def lives(process: psutil.Process) -> bool:
    """Whether that very process (not a later one of its pid) is there and no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Fleet:
    """Servers on one database that share a folder, a handlers file and its journal.

    ``defaults`` are settings every server gets (``lease=2`` is ``TASKYARD_LEASE=2``).
    """

    def __init__(self, url: str, folder: Path, **defaults: object) -> None:
        self.url = url
        self.folder = folder
        self.defaults = {"runners": 1, "config_sync_interval": 1, **defaults}
        self.servers: dict[str, Server] = {}
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "app.py", folder / "handlers.py")
        self.journal = Journal(folder / "journal.jsonl")

    def upgrade(self) -> None:
        """Bring the database to the present schema, as an operator does before the first start."""
        run_command(self.url, "db", "upgrade", folder=self.folder)

    def start(
        self, name: str, *, prefix: tuple[str, ...] = (), url: str | None = None, **settings: object
    ) -> Server:
        """Start a server under a ``server_id``, at the fleet's database or by another address."""
        server = Server(name, url or self.url, self.folder, {**self.defaults, **settings})
        self.servers[name] = server
        return server.start(prefix)

    @property
    def kills(self) -> dict[int, float]:
        """Every supervisor pid that was killed, and when."""
        return {pid: at for server in self.servers.values() for pid, at in server.kills.items()}

    def end(self) -> None:
        for server in self.servers.values():
            server.end()

    def logs(self) -> str:
        """The end of every server's log: the detail of a failing wait."""
        return "".join(
            f"\n--- {server.name} ---\n{server.log[-2500:]}" for server in self.servers.values()
        )

    def wait_started(self, count: int, within: float = 40) -> None:
        """Wait until so many attempts have started."""
        wait_until(
            lambda: self.journal.count("start") >= count,
            within,
            f"{count} handlers started",
            detail=self.logs,
        )
