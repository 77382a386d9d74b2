"""Lines: what a Run logs and prints, as lines in capped chunks.

Owns the form of a line ("2026-11-22T10:00:00.123Z INFO logger message"), the cap on a Run's log and
how it is cut into chunks. Leaves to `engine/capture.py` and `tasks/track.py` where lines come from,
and to `logs.py` where the chunks are kept.
"""

from __future__ import annotations

import logging
import time
from typing import TypeAlias

from taskyard.core.tracebacks import error_text

LOG_CAP = 1024 * 1024
"""Bytes of log that one Run may have."""

LOG_CHUNK = 64 * 1024
"""Bytes of one chunk; about what one row of the log table holds."""

Chunk: TypeAlias = tuple[int, int, str]
"""Run id, number of the chunk in its Run, text."""


def line(level: str, name: str, message: str, at: float | None = None) -> str:
    """One line of a log; `at` is seconds since 1970 (default now)."""
    seconds = time.time() if at is None else at
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{int(seconds % 1 * 1000):03d}Z {level} {name} {message}\n"


def record_line(record: logging.LogRecord) -> str:
    """A log record as a line, with its traceback if it has one."""
    try:
        message = record.getMessage()
    except Exception as error:
        # A wrong "%d" must not cost the line, nor the Run.
        message = f"{record.msg} (not formatted: {type(error).__name__})"
    if record.exc_info and record.exc_info[1] is not None:
        message = f"{message}\n{error_text(record.exc_info[1])}"
    return line(record.levelname, record.name, message, record.created)


class RunLog:
    """The log of one Run on its way out."""

    __slots__ = ("_lines", "_seq", "_waiting", "_written")

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._waiting = 0
        self._written = 0
        self._seq = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more will be kept."""
        return self._written >= LOG_CAP

    def write(self, text: str) -> int:
        """Take one or more whole lines; returns how many bytes wait."""
        # Databases store neither NUL nor lone surrogates, and handlers print what files contain.
        data = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
        room = LOG_CAP - self._written
        self._written += min(len(data), room)
        if len(data) > room:
            if room <= 0:
                return self._waiting
            data = data[:room].rstrip() + f"\n… cut: a run keeps {LOG_CAP:,} bytes …\n".encode()
        self._lines.append(data)
        self._waiting += len(data)
        return self._waiting

    def take(self, run_id: int) -> list[Chunk]:
        """The lines that wait, as chunks (run_id, seq, text)."""
        data = b"".join(self._lines)
        self._lines.clear()
        self._waiting = 0
        chunks = [
            (run_id, self._seq + index, part.decode("utf-8", "replace"))
            for index, part in enumerate(_parts(data))
        ]
        self._seq += len(chunks)
        return chunks


def _parts(data: bytes) -> list[bytes]:
    """`data` in parts of at most LOG_CHUNK bytes, between lines, at worst between characters."""
    parts = []
    while len(data) > LOG_CHUNK:
        end = data.rfind(b"\n", 0, LOG_CHUNK) + 1
        if not end:
            end = LOG_CHUNK
            while data[end] & 0xC0 == 0x80:
                end -= 1
        parts.append(data[:end])
        data = data[end:]
    return [*parts, data] if data else parts
