"""Capture: how what a Run prints and logs becomes lines of its log.

Owns the logging handler of a runner, and the capture of file descriptors 1 and 2 in runners with
one Run at a time, which catches what C libraries and child programs print as well. The form of a
line is `runs/lines.py`'s, sending is `outbox.py`'s.
"""

from __future__ import annotations

import codecs
import fcntl
import logging
import os
import select
import sys
import threading
import time

from taskyard.context import CURRENT, Context
from taskyard.engine.outbox import Outbox
from taskyard.runs.lines import line, record_line

_PARTIAL = 8 * 1024
"""Bytes of an unfinished line that are kept back; a progress bar may never write a newline."""


class LogCapture(logging.Handler):
    """Sends each record that is logged in a Run to the Run's log.

    Records outside of Runs go to standard error, unless the application has handlers of its own.
    """

    def __init__(self, outbox: Outbox, *, echo: bool) -> None:
        super().__init__()
        self._outbox = outbox
        self._echo = echo
        self.only: Context | None = None
        """The one Run of this process, if it has one at a time: its threads have no other."""

    def emit(self, record: logging.LogRecord) -> None:
        context = getattr(record, "taskyard", None) or CURRENT.get() or self.only
        if isinstance(context, Context) and context.run_id:
            self._outbox.log(context, record_line(record))
        elif self._echo:
            try:
                os.write(2, record_line(record).encode("utf-8", "replace"))
            except OSError:
                pass  # A handler has closed it; there is nobody to tell.


def install(outbox: Outbox) -> LogCapture:
    """Put the capture on the root logger, at level INFO if the application has set up nothing."""
    root = logging.getLogger()
    capture = LogCapture(outbox, echo=not root.handlers)
    if not root.handlers:
        root.setLevel(logging.INFO)
    root.addHandler(capture)
    # A process that a handler forks could wait for ever for a lock that another thread had held.
    os.register_at_fork(after_in_child=lambda: root.removeHandler(capture))
    return capture


def remove_stream_handlers() -> None:
    """Take the application's handlers to stdout and stderr off the root logger.

    Where the streams themselves are captured, each record would stand in the log twice.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        if isinstance(handler, logging.StreamHandler) and handler.stream in streams:
            root.removeHandler(handler)


class StreamCapture:
    """Reads what this process, its threads and its child programs write to stdout and stderr."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._context: Context | None = None
        self._wanted = True
        self._partial = b""
        self._reading = threading.Lock()
        self._outside = os.dup(2)
        self._pipe, self._end = os.pipe()
        fcntl.fcntl(self._pipe, fcntl.F_SETFL, os.O_NONBLOCK)
        threading.Thread(target=self._read_on, name="stdout", daemon=True).start()

    def begin(self, context: Context) -> None:
        """From here on output belongs to this Run."""
        # Each time anew, because a handler may close or redirect the descriptors.
        os.dup2(self._end, 1)
        os.dup2(self._end, 2)
        _reopen("stdout", 1)
        _reopen("stderr", 2)
        self._wanted, self._context = True, context

    def end(self) -> None:
        """All that was written until now has been taken when this returns."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass  # Closed or replaced by the handler: then there is nothing to flush.
        with self._reading:
            self._take_all()
            self._lines(self._partial, last=True)
            self._context = None

    def _read_on(self) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        while True:
            poll.poll()
            with self._reading:
                self._take_all()

    def _take_all(self) -> None:
        # A child program that never stops writing must not keep us here; the pipe holds 64 KiB.
        for _ in range(16):
            try:
                data = os.read(self._pipe, 64 * 1024)
            except BlockingIOError:
                return
            if self._context is None:
                os.write(self._outside, data)
            elif self._wanted:
                self._lines(self._partial + data, last=False)

    def _lines(self, data: bytes, *, last: bool) -> None:
        end = data.rfind(b"\n") + 1
        if last or len(data) - end > _PARTIAL:
            end = len(data)
        whole, self._partial = data[:end], data[end:]
        if whole and self._context is not None:
            now = time.time()
            texts = codecs.decode(whole, "utf-8", "replace").removesuffix("\n").split("\n")
            told = "".join(_output_line(text, now) for text in texts)
            self._wanted = self._outbox.log(self._context, told)


def _output_line(text: str, at: float) -> str:
    # Of what a progress bar overwrites only the last state is worth a line.
    return line("OUTPUT", "-", text.rstrip("\r").rpartition("\r")[2], at)


def _reopen(name: str, descriptor: int) -> None:
    """Make sure that sys.stdout (sys.stderr) writes lines to the descriptor as they are printed."""
    stream = getattr(sys, name)
    try:
        if stream.fileno() == descriptor:
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
            return
    except (OSError, ValueError, AttributeError):
        pass  # Closed, or replaced by something that is no file.
    fresh = os.fdopen(descriptor, "w", 1, errors="backslashreplace", closefd=False)
    setattr(sys, name, fresh)
