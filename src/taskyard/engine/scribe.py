"""Scribe: writes down what running handlers say, beside the work and never in its way.

Owns one thread that gathers log chunks and progress and writes them a few times a second; with
`log_dir` set also a file a Run. When the database is away or too slow, the oldest lines are dropped
rather than the memory filled.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from taskyard.db.database import Database
from taskyard.engine.work import Notes, Work
from taskyard.runs import logs, progress

logger = logging.getLogger("taskyard.scribe")

_EVERY = 0.2
_MOST_CHUNKS = 2_000


class Scribe:
    """Gathers notes from the pool and writes them."""

    def __init__(
        self,
        db: Database,
        session: str,
        find: Callable[[int], Work | None],
        log_dir: Path | None,
    ) -> None:
        self._db = db
        self._session = session
        self._find = find
        self._log_dir = log_dir
        self._lock = threading.Lock()
        self._chunks: list[logs.Chunk] = []
        self._progress: dict[tuple[str, int, int], progress.Progress] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write, name="taskyard-scribe", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def note(self, notes: Notes) -> None:
        """Take notes; they are written within a fraction of a second."""
        with self._lock:
            self._chunks += notes.logs
            if len(self._chunks) > _MOST_CHUNKS:
                del self._chunks[: len(self._chunks) - _MOST_CHUNKS]
            for run_id, said in notes.progress.items():
                work = self._find(run_id)
                if work is not None:
                    self._progress[(work.lane.table, work.row.id, run_id)] = said

    def stop(self) -> None:
        """Write what is left and end the thread."""
        self._stop.set()
        self._thread.join(5.0)

    def _write(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(_EVERY)
            try:
                self.flush()
            except Exception as error:
                logger.warning("notes of running handlers could not be written: %s", error)
                self._stop.wait(1.0)

    def flush(self) -> None:
        """Write everything noted so far."""
        with self._lock:
            chunks, self._chunks = self._chunks, []
            said, self._progress = self._progress, {}
        try:
            if chunks:
                logs.append(self._db, self._session, chunks)
            if said:
                progress.save_progress(self._db, self._session, said)
        except Exception:
            with self._lock:
                self._chunks = [*chunks, *self._chunks]
                self._progress = {**said, **self._progress}
            raise
        if self._log_dir is not None and chunks:
            self._append_files(self._log_dir, chunks)

    def _append_files(self, directory: Path, chunks: list[logs.Chunk]) -> None:
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        directory.mkdir(parents=True, exist_ok=True)
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for run_id, _, text in chunks:
                # Relative to the open folder and never through a link that somebody planted.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                file = os.open(f"job-{int(run_id)}-{day}.log", flags, 0o640, dir_fd=folder)
                with os.fdopen(file, "a") as stream:
                    stream.write(text)
        finally:
            os.close(folder)
