"""Floods: too much of anything, over real sockets, is refused soon and costs little.

While it goes on everybody else is answered, and the process does not grow.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress

import httpx2
import psutil
import pytest
import uvicorn

from api.house import V1, House
from support import wait_for
from taskyard.api import intake, posture
from taskyard.api.limits import MAX_HEAD
from taskyard.api.serve import config

SOON = 5.0
"""Seconds within which a flood is answered; alone it takes a tenth of one."""
GROWTH = 64 * 1024 * 1024
IDLE = 200


class Listening:
    """A house that listens, on a thread of its own."""

    def __init__(self, house: House) -> None:
        self._bound = posture.bind("127.0.0.1", 0)
        self.address = self._bound.getsockname()
        self._server = uvicorn.Server(config(house.site))
        self._thread = threading.Thread(target=self._server.run, args=([self._bound],))
        self._thread.start()
        wait_for(lambda: self._server.started, 30, "the server")

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._bound.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=SOON)

    def health(self) -> float:
        """How long the answer takes, in seconds."""
        begun = time.monotonic()
        url = f"http://127.0.0.1:{self.address[1]}/healthz"
        assert httpx2.get(url, timeout=SOON).status_code == 200
        return time.monotonic() - begun

    def send(self, *parts: bytes | Iterable[bytes]) -> tuple[int, float]:
        """Send these until something is answered: the status, and the seconds it took."""
        begun = time.monotonic()
        with self.connect() as peer:
            with suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    for piece in [part] if isinstance(part, bytes) else part:
                        peer.sendall(piece)
            answer = b""
            with suppress(ConnectionResetError):
                answer = peer.recv(4096)
        status = int(answer.split(b" ", 2)[1]) if answer else 0
        return status, time.monotonic() - begun


@pytest.fixture
def listening(fresh: str) -> Iterator[Listening]:
    house = House(fresh, no_auth=True)
    listening = Listening(house)
    yield listening
    listening.close()
    house.close()


def head(*lines: str, method: str = "POST", path: str = f"{V1}/queues") -> bytes:
    """The head of a request; without a line of `""` at its end it goes on."""
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines)
    return "".join(f"{line}\r\n" for line in lines).encode()


JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"
BLOCK = b" " * 65_536


def blocks(count: int) -> Iterator[bytes]:
    """100 MB and more, a block at a time."""
    return (BLOCK for _ in range(count))


def chunks() -> Iterator[bytes]:
    return (b"10000\r\n" + BLOCK + b"\r\n" for _ in range(1_600))


def test_too_much_is_refused_soon(listening: Listening) -> None:
    deep = b"[" * 100_000
    many = b"".join(b"x-%d: y\r\n" % number for number in range(10_000))
    long = b"x" * (MAX_HEAD * 3)
    floods: dict[str, tuple[set[int], tuple[bytes | Iterable[bytes], ...]]] = {
        "a large body": ({413}, (head(JSON, "Content-Length: 104857600", ""), blocks(1_600))),
        "chunks for ever": ({413}, (head(JSON, CHUNKED, ""), chunks())),
        "deep JSON": ({400}, (head(JSON, f"Content-Length: {len(deep)}", ""), deep)),
        "many headers": ({422, 431}, (head(method="GET"), many, b"\r\n")),
        "a long header": ({422, 431}, (head(method="GET"), b"x: ", long, b"\r\n\r\n")),
        "a header for ever": ({431}, (head(method="GET"), b"x: ", blocks(1_600))),
        "headers for ever": ({431}, (head(method="GET"), (b"x: y\r\n" * 10_000,) * 1_000)),
        "a long address": ({422, 431}, (b"GET /" + long + b" HTTP/1.1\r\n\r\n",)),
        "an address for ever": ({431}, (b"GET /", blocks(1_600))),
        "no HTTP": ({400}, (b"\x16\x03\x01\x02\x00\x01\x00" * 100,)),
        "a length twice": (
            {400},
            (head(JSON, "Content-Length: 2", "Content-Length: 20", ""), b"{}"),
        ),
        "two ways to end": ({400}, (head(JSON, CHUNKED, "Content-Length: 2", ""), b"{}")),
    }
    process = psutil.Process()
    before = process.memory_info().rss
    for name, (expected, parts) in floods.items():
        status, seconds = listening.send(*parts)
        # A peer that goes on sending may see its connection cut before it sees the answer.
        assert status in expected | {0}, name
        assert seconds < SOON, name
    assert process.memory_info().rss - before < GROWTH
    assert listening.health() < SOON


def test_pages_that_are_far_off_are_refused_soon(listening: Listening) -> None:
    far = (f"{V1}/runs?limit={10**9}", f"{V1}/runs?offset={10**9}", "/api/task?limit=1000000000")
    for path in far:
        status, seconds = listening.send(head("", method="GET", path=path))
        assert (status, seconds < SOON) == (400, True), path


def test_who_says_nothing_is_sent_away(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent peers, and those who never end their head, keep nobody else from being answered."""
    monkeypatch.setattr(intake, "HEAD_SECONDS", 1.0)
    with ExitStack() as stack:
        peers = [stack.enter_context(closing(listening.connect())) for _ in range(IDLE)]
        for number, peer in enumerate(peers):
            if number % 2:
                peer.sendall(head("x: y", method="GET"))
        assert max(listening.health() for _ in range(20)) < SOON
        for peer in peers:
            answer = peer.recv(1000)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert peer.recv(1000) == b""


def test_a_head_may_come_slowly(listening: Listening) -> None:
    """A byte at a time, and two requests over one connection, one with a body."""
    body = json.dumps({"queue_name": "mail"}).encode()
    request = head(JSON, f"Content-Length: {len(body)}", "") + body
    with listening.connect() as peer:
        for number in range(len(request)):
            peer.sendall(request[number : number + 1])
        assert peer.recv(4096).startswith(b"HTTP/1.1 201 ")
        peer.sendall(head("", method="GET"))
        assert b'"queue_name":"mail"' in peer.recv(8192)
