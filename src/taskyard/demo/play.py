"""Play: the demo from its first second to its last.

Owns the order of things: folder, mailbox, servers, shop, and the same backwards. What is seen on
the way is `pictures.py`'s.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from taskyard.access.caller import LOCAL
from taskyard.core.errors import TaskyardError
from taskyard.demo import fleet, site
from taskyard.demo.desk import Desk
from taskyard.demo.mailbox import Mailbox
from taskyard.demo.partner import Partner

if TYPE_CHECKING:
    from taskyard.db.database import Database
    from taskyard.demo.pictures import Picture

_LOOK = 0.5
_CLOSING = 2.0
"""Seconds before the end in which no new work comes, so that what is there gets done."""
_START = 60.0


class Demo:
    """A demo, for the length of a `with` block; behind it no process and no file is left."""

    def __init__(self, *, keep: bool = False, port: int = 0) -> None:
        """`keep` leaves the folder behind; `port` is the console's, or the next that is free."""
        self.keep = keep
        self.folder: Path
        """Where it happens."""
        self.port = fleet.free_port(port)
        """Where the console is."""
        self.link: str
        """The address that signs a browser in, once."""
        self.desk: str
        """The address of the page with the mails and the button that crashes a server."""
        self.stopped = threading.Event()
        """Set it to end the demo early, in order."""
        self._exits = ExitStack()
        self._database: Database
        self._mailbox: Mailbox
        self._processes: list[fleet.Process] = []
        self._started = 0.0

    def __enter__(self) -> Self:
        self.folder = site.new_folder()
        if not self.keep:
            self._exits.callback(site.remove, self.folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()

    def start(self) -> None:
        """Start everything; both servers work when this returns.

        Raises TaskyardError with the last words of a process that has ended.
        """
        self._mailbox = self._exits.enter_context(Mailbox(self.folder / "mail"))
        partner = self._exits.enter_context(Partner())
        desk = Desk(self._mailbox.folder, site.SERVERS[-1], self._crash)
        self.desk = self._exits.enter_context(desk).url
        site.lay_out(self.folder, self._mailbox.port, self.port, partner.url)
        self._exits.callback(self.close)
        # The servers import what they need while we do the same: the start takes 2 s instead of 3.
        for server_id in site.SERVERS:
            self._processes.append(fleet.server(server_id, self.folder))
        self._database = site.open_database(self.folder)
        self._exits.callback(self._database.close)
        self.link = site.sign_in_link(self._database, self.port)
        self._processes.append(fleet.web(self.folder, self.port))
        self._await_servers()
        # A batch needs a server that has told of its handler.
        self._processes.append(fleet.shop(self.folder))
        self._await_console()
        self._started = time.monotonic()

    def play(self, seconds: float | None) -> Iterator[Picture]:
        """Let it run for so long (None: until `stopped` is set); a picture twice a second.

        Raises TaskyardError when one of its processes ends.
        """
        closing = None if seconds is None else seconds - min(_CLOSING, seconds / 4)
        while not self.stopped.is_set():
            elapsed = time.monotonic() - self._started
            if seconds is not None and elapsed >= seconds:
                return
            if closing is not None and elapsed >= closing:
                self._close_the_shop()
            self._check()
            yield self.look()
            self.stopped.wait(_LOOK)

    def close(self) -> None:
        """Stop the processes; what has been done can still be looked at."""
        fleet.stop(self._processes)
        self._processes.clear()

    def look(self) -> Picture:
        """What there is to see now."""
        from taskyard.demo import pictures

        return pictures.look(self._database, self._started, self._mailbox.count)

    def runs(self, **filters: str) -> list[dict[str, Any]]:
        """The newest 500 Runs, with their errors; `filters` are those of every list of Runs."""
        from taskyard.demo import pictures

        return pictures.newest_runs(self._database, 500, **filters)

    def _await_servers(self) -> None:
        from taskyard import servers

        deadline = time.monotonic() + _START
        while not self.stopped.is_set():
            self._check()
            working = [row for row in servers.list_servers(self._database, LOCAL) if row.specs()]
            if len(working) == len(site.SERVERS):
                return
            if time.monotonic() > deadline:
                raise _failed(self._processes[0])
            time.sleep(0.02)

    def _await_console(self) -> None:
        """It answers; until then the link would show a browser's own error page."""
        deadline = time.monotonic() + _START
        while not self.stopped.is_set():
            self._check()
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if time.monotonic() > deadline:
                raise _failed(next(one for one in self._processes if one.name == "web"))
            time.sleep(0.05)

    def _close_the_shop(self) -> None:
        shops = [process for process in self._processes if process.name == "shop"]
        fleet.stop(shops)
        self._processes = [process for process in self._processes if process not in shops]

    def _crash(self) -> bool:
        """Kill the last server as a power cut would; whether it was there."""
        for process in self._processes:
            if process.name == site.SERVERS[-1] and process.running:
                process.kill()
                return True
        return False

    def _check(self) -> None:
        for process in self._processes:
            # A server that was killed is a part of the show, by the desk or by hand.
            was_shown = process.name in site.SERVERS and process.killed
            if not process.running and not was_shown:
                raise _failed(process)


def _failed(process: fleet.Process) -> TaskyardError:
    return TaskyardError(
        f"The demo's {process.name} does not work. Its last words:\n{process.tail()}",
        "It is a fault of Taskyard's; `taskyard demo --keep` leaves all logs in its folder.",
    )
