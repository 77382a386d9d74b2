"""Spool: ends of attempts that could not be written, kept in a file until they can.

Owns one append-only file a Session, written only when settling fails (rulings 3.15). While its
process lives, the dispatcher's memory is what gets settled and the file is the copy; when the
process dies during an outage, the next one of the same Server flushes the file, under the old fence
and owner, before that Session is declared dead. What the fence does not let in any more is dropped.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from taskyard.db.database import Database
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.engine.work import Work
from taskyard.settings import Settings
from taskyard.tasks import settle

logger = logging.getLogger("taskyard.spool")

_MOST_BYTES = 64 * 1024 * 1024


def folder(settings: Settings) -> Path:
    """Where spools are: `spool_dir`, else beside a SQLite file, else in the user's state folder."""
    if settings.spool_dir is not None:
        return settings.spool_dir
    url = settings.database_url
    if url.startswith("sqlite") and ":memory:" not in url:
        return Path(url.split(":///", 1)[1].split("?")[0]).absolute().parent
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "taskyard"


def size(settings: Settings) -> int:
    """Bytes in all spools of this machine that these settings lead to."""
    total = 0
    for path in folder(settings).glob("spool-*.jsonl"):
        with suppress(FileNotFoundError):  # its server has just flushed it
            total += path.stat().st_size
    return total


class Spool:
    """The spool of one Session."""

    def __init__(self, settings: Settings, session: str) -> None:
        self._path = folder(settings) / f"spool-{settings.server_id}-{session}.jsonl"
        self._lock = threading.Lock()
        self._kept: set[int] = set()

    def keep(self, endings: Sequence[tuple[settle.Place, Ending]]) -> None:
        """Keep ends that are not in the file yet; they are on the disk when this returns."""
        with self._lock:
            new = [(place, e) for place, e in endings if e.run_id not in self._kept]
            if not new:
                return
            try:
                self._append(new)
            except OSError as error:
                logger.error("the spool %s cannot be written: %s", self._path, error)
                return
            self._kept.update(e.run_id for _, e in new)

    def forget(self, works: Iterable[Work]) -> None:
        """These have been written to the database; the file goes when nothing is left in it."""
        if not self._kept:
            return
        with self._lock:
            self._kept.difference_update(work.run_id for work in works)
            if not self._kept:
                self._path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """How many ends wait in it."""
        return len(self._kept)

    def close(self) -> None:
        """Remove the file: its Session has ended in order, or is dead."""
        with self._lock:
            self._kept.clear()
            self._path.unlink(missing_ok=True)

    def _append(self, endings: Sequence[tuple[settle.Place, Ending]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = "".join(
            json.dumps([place.table, place.queue, place.session, place.server_id, list(ending)])
            + "\n"
            for place, ending in endings
        )
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if os.fstat(descriptor).st_size + len(lines) > _MOST_BYTES:
                raise OSError("it is full")
            os.write(descriptor, lines.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def flush_old(db: Database, settings: Settings, session: str) -> int:
    """Write what an earlier Session of this Server had kept; returns how many ends counted."""
    path = folder(settings) / f"spool-{settings.server_id}-{session}.jsonl"
    if not path.exists():
        return 0
    places: dict[settle.Place, list[Ending]] = {}
    for line in path.read_text().splitlines():
        try:
            table, queue, owner, server_id, values = json.loads(line)
            ending = Ending(*values)
        except (ValueError, TypeError):
            continue  # the line that was being written when the process died
        places.setdefault(settle.Place(table, queue, owner, server_id), []).append(ending)
    written = sum(
        settle.settle(db, place, endings, _nothing).written for place, endings in places.items()
    )
    path.unlink(missing_ok=True)
    logger.info("%d results of session %s were kept through its end", written, session)
    return written


def _nothing(run_id: int) -> ClaimedRow | None:
    return None
