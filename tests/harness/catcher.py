"""Catchers: a mail server and an HTTP server that keep what they get, on sockets of this machine.

Owns what alerts are sent to in tests: each keeps every message, and answers what a test wants.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Mailbox:
    """A mail server without TLS. `refuse` has answers by command, like `{"RCPT": "550 nobody"}`."""

    def __init__(self, refuse: dict[str, str] | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refuse = refuse or {}
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Talk)
        self._server.daemon_threads = True
        self._server.mailbox = self  # type: ignore[attr-defined]
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        box: Mailbox = self.server.mailbox  # type: ignore[attr-defined]
        recipients: list[str] = []
        self._say("220 catcher")
        while line := self.rfile.readline():
            word = line.decode().split()[0].upper() if line.split() else ""
            if word in box.refuse:
                self._say(box.refuse[word])
            elif word == "EHLO":
                self._say("250-catcher", "250 AUTH PLAIN")
            elif word == "DATA":
                self._say("354 go on")
                box.recipients.append(recipients)
                box.mails.append(self._mail())
                self._say("250 kept")
            elif word == "QUIT":
                self._say("221 bye")
                return
            else:
                if word == "RCPT":
                    recipients = [*recipients, line.decode().partition(":")[2].strip(" <>\r\n")]
                self._say("235 welcome" if word == "AUTH" else "250 ok")

    def _mail(self) -> EmailMessage:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        mail = message_from_bytes(b"".join(lines), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        return mail

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


@dataclass(frozen=True)
class Posted:
    """One request that a hook got."""

    path: str
    headers: dict[str, str]
    body: bytes


class Hook:
    """An HTTP server that answers the given statuses one after the other, then 204.

    A redirect leads to `location`.
    """

    def __init__(self, answers: Iterable[int] = (), location: str = "", host: str = "") -> None:
        self.posted: list[Posted] = []
        self.answers = list(answers)
        self.location = location
        self._server = ThreadingHTTPServer((host or "127.0.0.1", 0), _Answer)
        self._server.daemon_threads = True
        self._server.hook = self  # type: ignore[attr-defined]
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        hook: Hook = self.server.hook  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        hook.posted.append(Posted(self.path, headers, body))
        status = hook.answers.pop(0) if hook.answers else 204
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", hook.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
