"""Intake: what of a connection is read before there is a request.

Owns how long and how large the head of a request may be, its address and all its headers: uvicorn
would gather whatever is sent for as long as it is sent, whoever sends it. How much of a
request is taken then is `limits.py`'s.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from taskyard.api.limits import MAX_HEAD

HEAD_SECONDS = 10.0
"""In which a head has to be there, from the connection, or from its first byte, on."""

_TOO_LARGE = b"431 Request Header Fields Too Large"
_TOO_LATE = b"408 Request Timeout"


class Intake(HttpToolsProtocol):
    """A connection of uvicorn's, whose heads are limited."""

    _gathered = 0
    _in_head = True
    _timer: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless it is too much of a head."""
        within = self._in_head
        super().data_received(data)
        if within and self._in_head:
            self._gathered += len(data)
            if self._gathered > MAX_HEAD:
                self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._in_head, self._gathered = True, 0
        self._wait()

    def on_headers_complete(self) -> None:
        """A head ends."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._refuse, _TOO_LATE)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: bytes) -> None:
        self._stop_waiting()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:  # else it would stand in an answer
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        self.transport.close()
