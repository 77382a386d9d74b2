"""Wire: how a supervisor and its runners talk.

Owns the framing (a 4-byte big-endian length, then one JSON document with the key "t") and the
socket of the runner's side. JSON only, never pickle: what a runner sends is data, and a broken
runner can at worst be called broken. What the messages mean is said in engine/runner.py.

The supervisor reads many runners with selectors, so it uses `encode`, `encode_all` and `Decoder`
on sockets of its own; a runner has one blocking `Channel`.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

FRAME_CAP = 64 * 1024 * 1024
"""Bytes of one document. More is a broken peer, not a big message: big lists are split."""

SPLIT_AT = 8 * 1024 * 1024
"""Bytes above which `encode_all` parts a list: a frame is held in memory whole on both sides."""

READ_SIZE = 256 * 1024

_LENGTH = struct.Struct(">I")

Message = dict[str, Any]


class WireBroken(Exception):
    """The other side sent something that is no frame: nothing after it can be trusted."""


def encode(message: Mapping[str, Any]) -> bytes:
    """One frame. Raises ValueError when the document is above FRAME_CAP or is not JSON."""
    body = orjson.dumps(message)
    if len(body) > FRAME_CAP:
        raise ValueError(f"a message of {len(body)} bytes is above the limit of {FRAME_CAP}")
    return _LENGTH.pack(len(body)) + body


def encode_all(kind: str, field: str, items: Sequence[object]) -> Iterator[bytes]:
    """Frames that carry all `items` in their order, parted so that none grows large."""
    body = orjson.dumps({"t": kind, field: items})
    if len(body) > SPLIT_AT and len(items) > 1:
        half = len(items) // 2
        yield from encode_all(kind, field, items[:half])
        yield from encode_all(kind, field, items[half:])
        return
    if len(body) > FRAME_CAP:
        raise ValueError(f"one item of {len(body)} bytes is above the limit of {FRAME_CAP}")
    yield _LENGTH.pack(len(body)) + body


class Decoder:
    """Turns bytes as they arrive into messages; keeps an unfinished frame for the next call."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages completed by `data`. Raises WireBroken."""
        self._buffer += data
        messages: list[Message] = []
        at = 0
        with memoryview(self._buffer) as view:
            while len(view) - at >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(view, at)
                if length > FRAME_CAP:
                    raise WireBroken(f"a frame of {length} bytes was announced")
                end = at + _LENGTH.size + length
                if end > len(view):
                    break
                messages.append(_document(view[at + _LENGTH.size : end]))
                at = end
        del self._buffer[:at]
        return messages


def _document(body: memoryview) -> Message:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WireBroken(f"a frame is not JSON: {error}") from None
    finally:
        body.release()
    if not isinstance(message, dict) or not isinstance(message.get("t"), str):
        raise WireBroken("a frame is not a message")
    return message


class Channel:
    """The runner's end: blocking, written by any thread, read by one.

    A full socket makes `send` wait, which is the back-pressure: a runner can't fill the memory of
    a supervisor that has no time to read.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._sending = threading.Lock()

    @classmethod
    def inherited(cls, fd: int) -> Channel:
        """The channel over a file descriptor that the parent passed on.

        Children of this process don't get it: one that outlives a runner would keep the
        supervisor from seeing the end of the stream.
        """
        os.set_inheritable(fd, False)
        channel = cls(socket.socket(fileno=fd))
        os.register_at_fork(after_in_child=channel.close)
        return channel

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends one message. Raises OSError when the other side is gone."""
        self.send_frame(encode(message))

    def send_all(self, kind: str, field: str, items: Sequence[object]) -> None:
        """Sends a list of any length in as many messages as it needs."""
        for frame in encode_all(kind, field, items):
            self.send_frame(frame)

    def send_frame(self, frame: bytes) -> None:
        with self._sending:
            self._socket.sendall(frame)

    def receive(self) -> Iterator[Message]:
        """Messages until the other side closes. Raises WireBroken."""
        decoder = Decoder()
        while data := self._read():
            yield from decoder.feed(data)

    def _read(self) -> bytes:
        try:
            return self._socket.recv(READ_SIZE)
        except ConnectionError:
            return b""

    def close(self) -> None:
        self._socket.close()
