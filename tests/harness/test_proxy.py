"""The proxy does what it is told, and nothing else: an echo server stands behind it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from harness.proxy import Proxy


class Echo:
    """Answers every chunk with itself, and remembers what it got."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = ("127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                end, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(end,), daemon=True).start()

    def _answer(self, end: socket.socket) -> None:
        with suppress(OSError), end:
            while data := end.recv(65536):
                self.heard += data
                end.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    made = Proxy(echo.address)
    yield made
    made.close()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as end:
        assert ask(end, b"hello") == b"hello"
        yield end


def ask(client: socket.socket, text: bytes) -> bytes:
    """What comes back before the connection ends; all of the text if it holds."""
    got = b""
    client.sendall(text)
    with suppress(ConnectionError):
        while len(got) < len(text):
            data = client.recv(65536)
            if not data:
                break
            got += data
    return got


def test_a_forgotten_answer_was_heard_and_is_never_delivered(
    proxy: Proxy, echo: Echo, client: socket.socket
) -> None:
    proxy.forget_answers(rb"COMMIT", times=1)
    assert ask(client, b"SELECT") == b"SELECT"
    assert ask(client, b"COMMIT") == b""
    assert echo.heard.endswith(b"COMMIT")
    assert proxy.dropped == 1
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
        assert ask(again, b"COMMIT") == b"COMMIT"


def test_a_cut_lets_exactly_the_given_bytes_pass(proxy: Proxy, client: socket.socket) -> None:
    proxy.cut_after(3)
    assert ask(client, b"abcdef") == b"abc"


def test_a_reset_ends_every_connection(proxy: Proxy, client: socket.socket) -> None:
    assert proxy.reset_all() == 1
    with suppress(OSError):
        assert client.recv(1) == b""
        return
    with pytest.raises(OSError, match=""):
        client.sendall(b"x" * 1_000_000)


def test_a_half_close_ends_only_the_answers(
    proxy: Proxy, echo: Echo, client: socket.socket
) -> None:
    proxy.half_close_all()
    assert client.recv(1) == b""
    client.sendall(b"still here")
    deadline = time.monotonic() + 5
    while not echo.heard.endswith(b"still here"):
        assert time.monotonic() < deadline, "the request never arrived"
        time.sleep(0.01)


def test_a_black_hole_holds_everything_back_and_lets_it_go_afterwards(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.black_hole(True)
    client.sendall(b"later")
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.recv(1)
    proxy.black_hole(False)
    client.settimeout(5)
    assert client.recv(100) == b"later"


def test_latency_delays_both_directions(proxy: Proxy, client: socket.socket) -> None:
    proxy.latency = 0.1
    asked = time.monotonic()
    assert ask(client, b"slow") == b"slow"
    assert time.monotonic() - asked >= 0.2


def test_a_refusing_proxy_takes_no_new_connection_and_keeps_the_old_ones(
    proxy: Proxy, client: socket.socket
) -> None:
    proxy.refuse(True)
    with suppress(OSError), socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as late:
        assert late.recv(1) == b""
    assert ask(client, b"old") == b"old"
