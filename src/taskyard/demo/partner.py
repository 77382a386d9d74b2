"""Partner: a local web server whose pages the demo's batch looks at.

Owns how they behave: each wants a token that is good for a few seconds, answers after a moment, and
a few are out of order when they are first asked.
"""

from __future__ import annotations

import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from taskyard.demo.serving import Serving

PAGES = 60
_TOKEN_SECONDS = 4.0
_OUT_OF_ORDER = frozenset(range(4, PAGES, 9))
"""Seven pages that answer 503 once."""


class Partner(Serving):
    """Serves on a free port of 127.0.0.1, for the length of a `with` block."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0
        self._broken = set(_OUT_OF_ORDER)
        server = _Server(("127.0.0.1", 0), _Answer)
        server.partner = self
        super().__init__(server)

    @property
    def url(self) -> str:
        """Its address, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def token(self) -> str:
        """The token that is good now; a new one where the last is too old."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._token, self._until = secrets.token_hex(8), time.monotonic() + _TOKEN_SECONDS
            return self._token

    def status(self, page: int, token: str) -> int:
        """What a page answers."""
        with self._lock:
            if token != self._token or time.monotonic() >= self._until:
                return 401
            if page in self._broken:
                self._broken.remove(page)
                return 503
        return 200 if 0 <= page < PAGES else 404


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    partner: Partner


class _Answer(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """`/token`, and `/page/N` for who has one."""
        kind, _, number = self.path.strip("/").partition("/")
        if kind == "token":
            self._say(200, self.server.partner.token())
            return
        time.sleep(0.1)  # a moment, so that a batch can be watched
        page = int(number) if kind == "page" and number.isdecimal() else -1
        status = self.server.partner.status(page, self.headers.get("Authorization", ""))
        self._say(status, f"page {number}: {status}")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (its name)
        """Say nothing: stderr is the demo's."""

    def _say(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
