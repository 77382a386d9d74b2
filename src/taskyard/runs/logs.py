"""Logs: what a handler wrote, in chunks of text under its Run.

Owns `ty_run_logs`. Chunks come in order (`seq`) while the Run lives, so a reader can follow; their
size is capped where they are made (`engine/capture.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskyard.access.caller import Caller
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Database, Tx
from taskyard.runs.browse import show_run

Chunk = tuple[int, int, str]
"""Run id, number of the chunk in its Run, text."""


@dataclass(frozen=True, slots=True)
class LogPart:
    """A part of a Run's log. `after` is what to ask for the next part with; while the Run is
    `running`, or the part is not the last one (`more`), there may be one."""

    text: str
    after: int
    more: bool
    running: bool


def append(db: Database, session: str, chunks: Sequence[Chunk]) -> None:
    """Write chunks of Runs of one Session; nothing when it is dead (protocol G4)."""

    def work(tx: Tx) -> None:
        alive = tx.value(
            "SELECT 1 FROM ty_servers WHERE session = :session AND state <> 'dead'",
            session=session,
        )
        if alive:
            tx.many(
                "INSERT INTO ty_run_logs (run_id, seq, text, created_at)"
                f" VALUES (:run_id, :seq, :text, {tx.dialect.utc_now})"
                + tx.dialect.or_nothing("seq"),
                [{"run_id": run, "seq": seq, "text": text} for run, seq, text in chunks],
            )

    db.run(work)


def read_log(
    db: Database, caller: Caller, run_id: int, after: int = -1, limit: int = 16
) -> LogPart:
    """The log of a Run from behind `after` (-1: from its start), `limit` chunks of at most 64 KiB.

    Raises RunUnknown or NotAllowed.
    """
    # Asked before the log is read: chunks written before the end must not be missed.
    running = show_run(db, caller, run_id)["status"] == RunStatus.RUNNING
    chunks = read(db, run_id, after, limit + 1)
    part = chunks[:limit]
    return LogPart(
        text="".join(text for _, text in part),
        after=part[-1][0] if part else after,
        more=len(chunks) > limit,
        running=running,
    )


def read(db: Database, run_id: int, after: int = -1, limit: int = 200) -> list[tuple[int, str]]:
    """Chunks of a Run after number `after`, in order: (number, text)."""
    rows = db.read(
        lambda tx: tx.all(
            "SELECT seq, text FROM ty_run_logs WHERE run_id = :run_id AND seq > :after"
            " ORDER BY seq LIMIT :limit",
            run_id=run_id,
            after=after,
            limit=limit,
        )
    )
    return [(row[0], row[1]) for row in rows]
