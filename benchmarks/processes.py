"""Processes: starts what a benchmark measures and ends it, each by its own pid only."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STOP = 30.0  # seconds a process may take to end by itself


class Failed(RuntimeError):
    """A process ended, or did not start, when it should not; carries the end of its log."""


class Process:
    """A running program whose output goes to a log file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._name = " ".join(command)
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def wait_for_line(self, line: str, seconds: float = 30.0) -> None:
        """Wait until the log holds the line."""
        give_up = time.monotonic() + seconds
        while line not in self.log.read_text(errors="replace").splitlines():
            self.check()
            if time.monotonic() > give_up:
                raise Failed(f"no {line!r} from {self._name}\n{self.tail()}")
            time.sleep(0.01)

    def check(self) -> None:
        """Raise when the process has ended."""
        if self._child.poll() is not None:
            raise Failed(f"ended with {self._child.returncode}: {self._name}\n{self.tail()}")

    def stop(self) -> None:
        """End it: politely, then by force."""
        self._child.terminate()
        try:
            self._child.wait(STOP)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


def run(command: Sequence[str], cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end; returns its standard output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Failed(f"ended with {done.returncode}: {' '.join(command)}\n{done.stderr[-4000:]}")
    return done.stdout
