"""Mailbox: a local SMTP server that delivers nothing and keeps every mail as a file.

Owns the few words of SMTP that a mail program speaks (RFC 5321), and where the mails are put.
"""

from __future__ import annotations

import re
import socketserver
import threading
from collections import deque
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Self

from taskyard.demo.serving import Serving

_KEPT = 500
"""Mails that stay in the folder; a demo that runs all night shall not fill the disk."""
_LONGEST = 10 * 1024 * 1024


class Mailbox(Serving):
    """Receives mail on a free port of 127.0.0.1, for the length of a `with` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        """How many mails have come."""
        self._files: deque[Path] = deque()
        self._lock = threading.Lock()
        server = _Server(("127.0.0.1", 0), _Dialogue)
        server.mailbox = self
        super().__init__(server)

    def __enter__(self) -> Self:
        self.folder.mkdir(exist_ok=True)
        return super().__enter__()

    def keep(self, data: bytes) -> None:
        """Put a mail into the folder: its HTML as it is, or its text."""
        message = message_from_bytes(data, policy=policy.default)
        assert isinstance(message, EmailMessage)
        body = message.get_body(("html", "plain"))
        suffix = "html" if body is not None and body.get_content_subtype() == "html" else "txt"
        text = "" if body is None else body.get_content()
        subject = re.sub(r"\W+", "-", str(message["Subject"] or "mail")).strip("-")[:60]
        with self._lock:
            self.count += 1
            path = self.folder / f"{self.count:05d}-{subject}.{suffix}"
            path.write_text(text, encoding="utf-8")
            self._files.append(path)
            if len(self._files) > _KEPT:
                self._files.popleft().unlink(missing_ok=True)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    mailbox: Mailbox


class _Dialogue(socketserver.StreamRequestHandler):
    """One connection of a mail program."""

    timeout = 30

    def handle(self) -> None:
        self._say("220 taskyard demo")
        try:
            while line := self.rfile.readline(2048):
                if not self._answer(line.decode("ascii", "replace").strip().upper()):
                    return
        except OSError:
            pass  # It hung up, or has been silent for too long.

    def _answer(self, words: str) -> bool:
        """Answer one command; False when the conversation is over."""
        match words.partition(" ")[0]:
            case "QUIT":
                self._say("221 bye")
                return False
            case "DATA":
                self._say("354 go on")
                self._receive()
            case "EHLO" | "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP":
                self._say("250 yes")
            case _:
                self._say("502 no such word here")
        return True

    def _receive(self) -> None:
        lines, size = [], 0
        while (line := self.rfile.readline(65_536)) not in (b".\r\n", b".\n", b""):
            size += len(line)
            if size <= _LONGEST:
                lines.append(line[1:] if line.startswith(b"..") else line)
        if size > _LONGEST:
            self._say("552 too long")
            return
        assert isinstance(self.server, _Server)
        self.server.mailbox.keep(b"".join(lines))
        self._say("250 kept")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())
