"""A TCP proxy on loopback that misbehaves on request: late, silent, cut, half-closed, forgetful.

Stands between a server and its database. Faults are switched on by plain calls while traffic flows.
The forgetful fault is the one that matters most: the database executes a statement and its answer
never arrives, so the client can't know whether its COMMIT took place.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from contextlib import suppress

CHUNK = 65536
_ABORT = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a free loopback port and passes bytes to ``upstream`` until told otherwise."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.latency = 0.0
        self.dropped = 0
        self._open = threading.Event()
        self._open.set()
        self._refusing = False
        self._cut_after: int | None = None
        self._forget: re.Pattern[bytes] | None = None
        self._forget_left = 0
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def black_hole(self, on: bool) -> None:
        """Keep connections open and let no byte through; what was held back flows afterwards."""
        self._open.clear() if on else self._open.set()

    def refuse(self, on: bool) -> None:
        """Answer new connections with a reset, as a host without a database does."""
        self._refusing = on

    def reset_all(self) -> int:
        """Reset every connection there is; returns how many."""
        links = self._now()
        for link in links:
            link.reset()
        return len(links)

    def half_close_all(self) -> None:
        """Close only the direction from the database to the client, on every connection."""
        for link in self._now():
            with suppress(OSError):
                link.client.shutdown(socket.SHUT_WR)

    def cut_after(self, count: int | None) -> None:
        """Reset the connection that carries the ``count``-th byte of answers from now on, there."""
        with self._lock:
            self._cut_after = count

    def forget_answers(self, pattern: bytes, times: int) -> None:
        """Let the next ``times`` requests that match be served, but drop the answers and the link.

        An answer that matches counts too: PostgreSQL's answers name the command, while the text of
        a prepared statement is sent only once.
        """
        with self._lock:
            self._forget, self._forget_left = re.compile(pattern), times

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closed = True
        self._open.set()
        with suppress(OSError):
            self._listener.close()
        self.reset_all()

    def _now(self) -> list[_Link]:
        with self._lock:
            return list(self._links)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._admit(client)

    def _admit(self, client: socket.socket) -> None:
        try:
            if self._refusing:
                raise ConnectionRefusedError
            server = socket.create_connection(self.upstream, timeout=5)
        except OSError:
            abort(client)
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server)
        with self._lock:
            self._links.add(link)
        for pump in (self._requests, self._answers):
            threading.Thread(target=self._pump, args=(pump, link), daemon=True).start()

    def _pump(self, pump: object, link: _Link) -> None:
        try:
            pump(link)  # type: ignore[operator]
        except OSError:
            pass
        finally:
            link.reset()
            with self._lock:
                self._links.discard(link)

    def _requests(self, link: _Link) -> None:
        while data := link.client.recv(CHUNK):
            self._delay()
            if self._is_to_be_forgotten(data):
                link.forgotten = True
            link.server.sendall(data)

    def _answers(self, link: _Link) -> None:
        while data := link.server.recv(CHUNK):
            self._delay()
            if link.forgotten or self._is_to_be_forgotten(data):
                self.dropped += 1
                return
            cut = self._cut(len(data))
            link.client.sendall(data[:cut])
            if cut is not None:
                return

    def _delay(self) -> None:
        self._open.wait()
        if self.latency:
            time.sleep(self.latency)

    def _is_to_be_forgotten(self, data: bytes) -> bool:
        with self._lock:
            if self._forget_left and self._forget and self._forget.search(data):
                self._forget_left -= 1
                return True
            return False

    def _cut(self, count: int) -> int | None:
        """How many of ``count`` bytes still pass, None when all do."""
        with self._lock:
            if self._cut_after is None:
                return None
            passed, self._cut_after = self._cut_after, self._cut_after - count
            if self._cut_after > 0:
                return None
            self._cut_after = None
            return passed


class _Link:
    """The two ends of one proxied connection."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.forgotten = False

    def reset(self) -> None:
        for end in (self.client, self.server):
            abort(end)


def abort(end: socket.socket) -> None:
    """Close with a reset instead of a polite end of stream."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    with suppress(OSError):
        # A thread that waits in recv() holds the file open: shutdown wakes it, close alone doesn't.
        end.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        end.close()
