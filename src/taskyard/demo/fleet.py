"""Fleet: the processes of the demo, each started by its command and ended by its pid.

Owns that none is left behind: they are asked to stop, killed when they don't, and end by themselves
when the demo is killed.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

_PATIENCE = 10.0
"""Seconds that a process gets to stop; the servers' grace is 3."""

_PORTS = 20
"""How many are tried from the wanted one on."""

# Asks the kernel for a SIGTERM when we die, then becomes the given command.
_END_WITH_US = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
)


class Process:
    """A Python process of the demo; its output goes to NAME.log in the folder."""

    def __init__(self, name: str, words: Iterable[str], folder: Path, server_id: str = "") -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        command = [sys.executable, *words]
        if sys.platform == "linux":
            command = [sys.executable, "-S", "-E", "-c", _END_WITH_US, *command]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=_environment(server_id),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ctrl-C is for the demo, which then stops its processes in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Has it not ended yet?"""
        return self._process.poll() is None

    @property
    def killed(self) -> bool:
        """Did it end by a SIGKILL?"""
        return self._process.poll() == -signal.SIGKILL

    def tail(self) -> str:
        """The end of what it wrote."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def ask_to_stop(self) -> None:
        """Send it a SIGTERM."""
        if self.running:
            self._process.terminate()

    def kill(self) -> None:
        """Send it a SIGKILL; its children notice that it is gone, and end."""
        if self.running:
            self._process.kill()

    def family(self) -> list[psutil.Process]:
        """Its descendants."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def wait(self, deadline: float) -> None:
        """Wait for its end until `deadline` (monotonic), then kill it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


def stop(processes: list[Process]) -> None:
    """Stop all of them at the same time, with their children."""
    children = [child for process in processes for child in process.family()]
    for process in processes:
        process.ask_to_stop()
    deadline = time.monotonic() + _PATIENCE
    for process in processes:
        process.wait(deadline)
    for child in psutil.wait_procs(children, timeout=2.0)[1]:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def server(server_id: str, folder: Path) -> Process:
    """Start `taskyard worker` as `server_id`."""
    return Process(server_id, ["-m", "taskyard", "worker"], folder, server_id)


def web(folder: Path, port: int) -> Process:
    """Start `taskyard web`: the console and the HTTP API, for this machine alone."""
    return Process("web", ["-m", "taskyard", "web", "--port", str(port)], folder)


def free_port(wanted: int) -> int:
    """A port of this machine that nobody listens on: `wanted` (0: any), or the next free one."""
    for port in (*range(wanted, min(wanted + _PORTS, 65_536)), 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                return int(listener.getsockname()[1])
    raise AssertionError("port 0 is always free")


def shop(folder: Path) -> Process:
    """Start the program that enqueues."""
    return Process("shop", ["shop.py"], folder)


def _environment(server_id: str) -> dict[str, str]:
    """Ours without the user's own settings: the demo must not touch their database."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TASKYARD_")}
    if "PYTHONPATH" in kept:
        places = kept["PYTHONPATH"].split(os.pathsep)
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(place).absolute()) for place in places)
    return kept | ({"TASKYARD_SERVER_ID": server_id} if server_id else {})
