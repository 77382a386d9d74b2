"""Incident: what a row of `ty_incidents` is.

Owns the Incident as an object and its states. What opens and resolves one is `judge.py`'s to say
and `check.py`'s to write; what people do to one is `incidents.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson

from taskyard.db.database import Tx
from taskyard.db.listing import utc

COLUMNS = (
    "id",
    "rule_id",
    "rule_name",
    "kind",
    "subject",
    "summary",
    "state",
    "count",
    "first_at",
    "last_at",
    "run_id",
    "details",
    "tenant_id",
    "acknowledged_by",
    "acknowledged_at",
    "silenced_until",
    "resolved_by",
    "resolved_at",
    "notified_at",
    "messages",
)

_TIMES = ("first_at", "last_at", "acknowledged_at", "silenced_until", "resolved_at", "notified_at")


class State(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    """Somebody looks after it: nobody is reminded any more."""
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Incident:
    """One occurrence of what a rule watches.

    `subject` tells the incidents of a rule apart ("task_type:backup"), `summary` says what is
    wrong, `count` how many Runs (or other things) it is about, `run_id` is the newest of them.
    `messages` counts how often people were told, `notified_at` is the last time. `resolved_by` is
    null where it was over by itself.
    """

    id: int
    rule_id: int
    rule_name: str
    kind: str
    subject: str
    summary: str
    state: State
    count: int
    first_at: datetime
    last_at: datetime
    run_id: int | None
    details: dict[str, Any]
    tenant_id: str
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    silenced_until: datetime | None
    resolved_by: str | None
    resolved_at: datetime | None
    notified_at: datetime | None
    messages: int

    def is_silent(self, now: datetime) -> bool:
        """Is nobody to be told now?"""
        return self.silenced_until is not None and self.silenced_until > now

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def of_row(row: Mapping[str, Any]) -> Incident:
    """The incident of a row with `COLUMNS`."""
    times = {name: utc(row[name]) for name in _TIMES}
    details = orjson.loads(row["details"])
    return Incident(**{**row, **times, "details": details, "state": State(row["state"])})


def read(tx: Tx, incident_id: int) -> Incident | None:
    """The incident of an id, whoever asks."""
    found = select(tx, "id = :id", id=incident_id)
    return found[0] if found else None


def select(tx: Tx, where: str, **parameters: Any) -> list[Incident]:
    """The incidents for which a condition holds, the oldest first."""
    columns = ", ".join(f"{tx.dialect.quote(name)}" for name in COLUMNS)
    sql = f"SELECT {columns} FROM ty_incidents WHERE {where} ORDER BY id"
    return [of_row(row) for row in tx.rows(sql, **parameters)]
