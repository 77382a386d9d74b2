"""Retold: a Run in the words of the task history of requirement 3.

Owns its four statuses and the form of its rows: what it calls a Run, what it says of one that went
wrong, and the end of its log. Which Runs are shown is `history.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import dropwhile
from typing import Any

import orjson

from taskyard.core.lifecycle import RunStatus
from taskyard.core.payload import mask_json
from taskyard.db.database import Tx
from taskyard.db.listing import utc
from taskyard.runs import browse

STATUSES: Mapping[str, tuple[RunStatus, ...]] = {
    "started": (RunStatus.RUNNING,),
    "success": (RunStatus.COMPLETED,),
    "failed": (RunStatus.FAILED, RunStatus.TIMEOUT),
    "unknown": (RunStatus.LOST, RunStatus.CANCELLED, RunStatus.INTERRUPTED),
}
"""Its statuses, and which of ours they are."""

COLUMNS = (
    "id",
    "task_type",
    "status",
    "session",
    "started_at",
    "completed_at",
    "claimed_at",
    "execution_time",
    "payload",
    "error",
)
"""What of a Run is needed for its row."""

WORDS = {ours: word for word, several in STATUSES.items() for ours in several}
"""Our statuses in its words."""

_STACK = 20
_MESSAGE = 4_000
_ENTRIES = 100
_LOG_CHUNKS = 200

_CLASS = re.compile(r"[A-Za-z_][\w.]*")
_ENTRY = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]{12}Z) ([A-Z]+) (\S+) (.*)")


def start(run: Mapping[str, Any]) -> datetime:
    """When a Run started; of one that was handed back before it did, when it was claimed."""
    return utc(run["started_at"]) or browse.moment(run["claimed_at"])


def row(run: Mapping[str, Any]) -> dict[str, Any]:
    """A Run as a row of the history, without its log."""
    took = None if run["completed_at"] is None else run["execution_time"]
    return {
        "id": run["id"],
        "task": run["task_type"],
        "db_id": None,
        "started_at": start(run),
        "ended_at": utc(run["completed_at"]),
        "duration": None if took is None else round(took * 1_000),
        "status": WORDS[run["status"]],
        "task_details": _details(run),
        "run_id": None,
        "logs": None,
    }


def _details(run: Mapping[str, Any]) -> dict[str, Any]:
    """What the Run got; when it went wrong, that stands beside what it died of."""
    given = _object(mask_json(run["payload"]))
    if run["error"] is None:
        return given
    exception, message = _died_of(run["error"])
    return {
        "status": run["status"],
        "exception": exception,
        "message": message[:_MESSAGE],
        "stacktrace": run["error"].splitlines()[-_STACK:],
        "ex-data": None,
        "original-info": given,
    }


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        value = text
    return value if isinstance(value, dict) else {"payload": value}


def _died_of(error: str) -> tuple[str | None, str]:
    """The class and the message at the end of a traceback; of another text, the message alone."""
    frames = error.rpartition('\n  File "')[2].splitlines()
    told = list(dropwhile(lambda line: line.startswith(" "), frames[1:]))
    name, _, message = told[0].partition(": ") if told else ("", "", "")
    if not _CLASS.fullmatch(name):
        return None, error
    return name, "\n".join(filter(None, [message, *told[1:]]))


# --- the log -------------------------------------------------------------------------------------


def log(tx: Tx, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The last entries of a Run's log."""
    chunks = tx.all(
        "SELECT text FROM ty_run_logs WHERE run_id = :id ORDER BY seq DESC LIMIT :chunks",
        id=run["id"],
        chunks=_LOG_CHUNKS,
    )
    entries: list[dict[str, Any]] = []
    for text in "".join(chunk for (chunk,) in reversed(chunks)).splitlines():
        if told := _ENTRY.fullmatch(text):
            at, level, logger, message = told.groups()
            entries.append(_entry(run, at, level, logger, message))
        elif entries and len(entries[-1]["msg"]) < _MESSAGE:
            entries[-1]["msg"] = f"{entries[-1]['msg']}\n{text}"[:_MESSAGE]
    dropped, kept = entries[:-_ENTRIES], entries[-_ENTRIES:]
    if not dropped:
        return kept
    note = f"[truncated] {len(dropped)} messages"
    return [_entry(run, dropped[-1]["timestamp"], "INFO", "taskyard", note), *kept]


def _entry(
    run: Mapping[str, Any], at: str, level: str, logger: str, message: str
) -> dict[str, Any]:
    return {
        "timestamp": at,
        "level": level,
        "fqns": logger,
        "msg": message[:_MESSAGE],
        "process_uuid": run["session"],
    }
