"""A runner process as its supervisor sees it: exec'd over a socketpair, waited for with limits."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from taskyard.context import Call
from taskyard.engine.attempt import Row
from taskyard.engine.wire import Decoder, encode

SRC = Path(__file__).parents[2] / "src"

HEAD = """\
from __future__ import annotations
import asyncio, ctypes, logging, os, sys, threading, time
from taskyard import Cancel, Context, Never, Retry, Secret, Snooze, Yard
yard = Yard("sqlite:///never-opened.db")
"""


class RunnerProcess:
    """A runner with handlers of its own, and every message that it has sent."""

    def __init__(
        self, folder: Path, handlers: str, isolation: str = "shared", *options: str
    ) -> None:
        self.folder = folder
        (folder / "handlers.py").write_text(HEAD + textwrap.dedent(handlers))
        self.messages: list[dict[str, Any]] = []
        self._decoder = Decoder()
        self.socket, theirs = socket.socketpair()
        command = [sys.executable, "-m", "taskyard.engine.runner", "--fd", str(theirs.fileno())]
        command += ["--session", "s1", "--isolation", isolation, *options]
        with theirs:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(SRC)},
                stderr=subprocess.PIPE,
            )
        self.hello = self.wait_for("hello", within=30)
        self.own_handlers = [
            spec for spec in self.hello["handlers"] if not spec["name"].startswith("taskyard.")
        ]

    def start(self, *calls: tuple[Any, ...], **fields: Any) -> None:
        """Send calls: (run id, task type[, params]), with more fields of `Call` for all of them."""
        self.send({"t": "start", "calls": [_call(*call, **fields) for call in calls]})

    def send(self, message: dict[str, Any]) -> None:
        self.socket.sendall(encode(message))

    def run(self, task_type: str, params: str | None = None, **fields: Any) -> dict[str, Any]:
        """Start one call and wait for its outcome."""
        run_id = 1 + max(self.outcomes(), default=0)
        self.start((run_id, task_type, params), **fields)
        return self.outcome(run_id)

    def outcome(self, run_id: int, within: float = 20) -> dict[str, Any]:
        """The outcome of a Run, waited for."""
        self.until(lambda: run_id in self.outcomes(), within, f"the outcome of run {run_id}")
        return self.outcomes()[run_id]

    def outcomes(self) -> dict[int, dict[str, Any]]:
        rows = [row for m in self.messages if m["t"] == "done" for row in m["outcomes"]]
        return {row[0]: dict(zip(_FIELDS, row, strict=True)) for row in rows}

    def log(self, run_id: int) -> str:
        """The log of a Run as far as it has come, in the order of its chunks."""
        chunks = [c for m in self.messages if m["t"] == "log" for c in m["chunks"]]
        return "".join(text for run, _, text in chunks if run == run_id)

    def wait_for(self, kind: str, within: float = 20) -> dict[str, Any]:
        """The first message of a kind."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [m for m in self.messages if m["t"] == kind]
            return bool(found)

        self.until(look, within, f'a message "{kind}"')
        return found[0]

    def until(self, fact: Callable[[], bool], within: float, what: str) -> None:
        """Read until the fact holds; a fact that never comes fails, and says what did."""
        deadline = time.monotonic() + within
        while not fact():
            left = deadline - time.monotonic()
            assert left > 0, f"waited {within} s in vain for {what}; got {self._kinds()}"
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                continue
            assert data, f"the runner ended before {what}: {self._last_words()}"
            self.messages += self._decoder.feed(data)

    def wait_for_end(self, within: float = 20) -> int:
        """Read on until the process has ended; returns its exit code."""
        deadline = time.monotonic() + within
        self.socket.settimeout(within)
        while data := self.socket.recv(65536):
            self.messages += self._decoder.feed(data)
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def _kinds(self) -> list[str]:
        return [str(message)[:200] for message in self.messages[1:]]

    def _last_words(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()[-3000:]


_FIELDS = [
    "run_id",
    "kind",
    "output",
    "error",
    "delay",
    "started",
    "finished",
    "cpu",
    "memory",
    "pid",
]
assert len(_FIELDS) == len(get_args(Row))


def _call(run_id: int, task_type: str, params: str | None = None, **fields: Any) -> list[Any]:
    fixed = (run_id, "default_tasks", run_id, 1, task_type, "default", params)
    # As long as what a supervisor sends: the fields behind are for later versions.
    return list(Call(*fixed, **{"max_retries": 3, **fields}))[:16]
