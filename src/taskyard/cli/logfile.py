"""Logfile: where a server's log goes: stderr, and with `log_dir` a file a day.

Owns the shape of a line (as in the logs of runs: UTC, ISO 8601) and executor-DATE.log of the
setting `log_dir`; the files of runs are `engine/scribe.py`'s.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO


def start_logging(level: str, folder: Path | None) -> None:
    """Send what is logged to stderr and, with a folder, to its file of the day."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        handlers.append(DailyFile(folder))
    lines = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    lines.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(lines)
    logging.basicConfig(level=level.upper(), handlers=handlers, force=True)
    # Its eleven lines about plug-ins would be the first that a newcomer reads.
    logging.getLogger("alembic").setLevel(max(logging.WARNING, logging.root.level))


class DailyFile(logging.Handler):
    """Appends to executor-YYYY-MM-DD.log in a folder; the day is UTC's, as in the lines."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._day = ""
        self._file: TextIO | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. What cannot be written (a full disk) is told once by logging itself."""
        try:
            file = self._of(datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%d"))
            file.write(f"{self.format(record)}\n")
            file.flush()
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the file of the day."""
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _of(self, day: str) -> TextIO:
        if self._file is None or day != self._day:
            if self._file is not None:
                self._file.close()
            # Never through a link that somebody planted in the folder.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            number = os.open(self._folder / f"executor-{day}.log", flags, 0o640)
            self._file = os.fdopen(number, "a", encoding="utf-8")
            self._day = day
        return self._file
