"""Desk: a page of the demo's own: the mails that were caught, and a button that crashes a server.

Owns that page and who may press the button: a browser on this machine that has read the page, by a
word that only the page knows. The console is the API's and knows nothing of all this.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote

from taskyard.demo.serving import Serving

_SHOWN = 100
_LONGEST = 1_000
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; sandbox allow-forms"
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Taskyard demo</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto;
padding: 0 1rem }} li {{ overflow-wrap: anywhere }}</style></head>
<body><h1>The demo's desk</h1>
<h2>Crash a server</h2>
<p>{server}</p>
<h2>Mails that were caught: {count}</h2>
<ul>{mails}</ul></body></html>
"""
_BUTTON = """</p><form method="post" action="/crash">
<input type="hidden" name="word" value="{word}"><button>Stop {name}</button></form>
<p>It is killed as by a power cut: it turns lost, its runs too, and the other server takes over."""


class Desk(Serving):
    """Serves on a free port of 127.0.0.1, for the length of a `with` block."""

    def __init__(self, mails: Path, server: str, crash: Callable[[], bool]) -> None:
        """`mails` is the folder of the mailbox; `crash` kills `server`, once."""
        self.mails = mails
        self.server = server
        self.crash = crash
        self.crashed = False
        self.word = secrets.token_urlsafe(16)
        listening = _Server(("127.0.0.1", 0), _Answer)
        listening.desk = self
        super().__init__(listening)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def page(self) -> str:
        """The page as it is now."""
        files = sorted(self.mails.glob("*"), reverse=True)
        button = _BUTTON.format(word=self.word, name=escape(self.server))
        return _PAGE.format(
            server=f"{escape(self.server)} was stopped." if self.crashed else button,
            count=len(files),
            mails="".join(
                f'<li><a href="/mail/{quote(file.name)}">{escape(file.stem)}</a></li>'
                for file in files[:_SHOWN]
            ),
        )

    def mail(self, name: str) -> tuple[str, str] | None:
        """Kind and text of a mail; None where there is none of this name."""
        for file in self.mails.glob("*"):
            if file.name == name:
                kind = "text/html" if file.suffix == ".html" else "text/plain"
                return kind, file.read_text(encoding="utf-8")
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    desk: Desk


class _Answer(BaseHTTPRequestHandler):
    timeout = 10

    @property
    def desk(self) -> Desk:
        assert isinstance(self.server, _Server)
        return self.server.desk

    def do_GET(self) -> None:
        """The page, or one mail."""
        head, _, name = self.path.partition("/mail/")
        if not self._is_asked_here():
            self._say(403, "text/plain", "Only from this machine.")
        elif self.path == "/":
            self._say(200, "text/html", self.desk.page())
        elif head == "" and (found := self.desk.mail(unquote(name))) is not None:
            self._say(200, *found)
        else:
            self._say(404, "text/plain", "There is nothing here.")

    def do_POST(self) -> None:
        """The button."""
        size = min(int(self.headers.get("Content-Length") or 0), _LONGEST)
        given = parse_qs(self.rfile.read(size).decode("ascii", "replace")).get("word", [""])[0]
        knows = hmac.compare_digest(given.encode(), self.desk.word.encode())
        if self.path != "/crash" or not knows or not self._is_asked_here():
            self._say(403, "text/plain", "Press the button on the page.")
            return
        self.desk.crashed = self.desk.crash() or self.desk.crashed
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()

    def _is_asked_here(self) -> bool:
        """By this very address: no other name may lead here."""
        return self.headers.get("Host") == f"127.0.0.1:{self.desk.port}"

    def _say(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (its name)
        """Say nothing: the terminal is the demo's."""
