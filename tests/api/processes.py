"""Processes: the command as people start it, in a folder with an application, and what it says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2

from harness.servers import environment
from support import wait_for


class Folder:
    """A folder with an application, and commands started in it."""

    def __init__(self, path: Path, handlers: str) -> None:
        self.path = path
        self.started: list[subprocess.Popen[str]] = []
        (path / "handlers.py").write_text(handlers)

    def start(self, *words: str, **settings: object) -> Started:
        number = len(self.started)
        out, err = self.path / f"out{number}", self.path / f"err{number}"
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "taskyard", *words],
                cwd=self.path,
                env=environment(**settings),
                stdout=stdout,
                stderr=stderr,
                text=True,
            )
        self.started.append(process)
        return Started(process, out, err)

    def run(self, *words: str) -> str:
        """What a command that succeeds prints."""
        done = subprocess.run(
            [sys.executable, "-m", "taskyard", *words],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str) -> tuple[int, str]:
        """The code and the words of a command that is to end at once."""
        done = subprocess.run(
            [sys.executable, "-m", "taskyard", *words],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stderr

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()


class Started:
    """A process, what it says, and how to ask it."""

    def __init__(self, process: subprocess.Popen[str], out: Path, err: Path) -> None:
        self.process = process
        self.out = out
        self.err = err

    @property
    def url(self) -> str:
        """Where it listens, as soon as it says so."""
        told = wait_for(lambda: self._listening(), 60, f"listening in {self.err.read_text()}")
        return str(told)

    def _listening(self) -> str | None:
        assert self.process.poll() is None, self.err.read_text()
        found = re.search(r"listening on (\S+)", self.err.read_text())
        return found and found.group(1)

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response | None:
        """The answer, or None where nobody answers."""
        try:
            return httpx2.request(method, self.url + path, verify=False, timeout=30, **request)
        except httpx2.TransportError:
            return None

    def answers(self, path: str, status: int) -> httpx2.Response:
        """The answer with this status, as soon as there is one."""

        def asked() -> httpx2.Response | None:
            response = self.ask("GET", path)
            return response if response is not None and response.status_code == status else None

        found = wait_for(asked, 60, f"{status} of {path}: {self.err.read_text()}")
        assert found is not None
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)
