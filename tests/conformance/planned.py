"""Planned: schedules, the Tasks and fires they made, and a clock that can be moved.

Owns what the tests of schedules share. Asks the real verbs; fires are asked for with a moment of
the test's choice in place of the database's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from conformance.spine import TABLE, Spine
from taskyard.access.caller import LOCAL, Caller
from taskyard.db.listing import utc
from taskyard.schedules import edits, fire, manage, rows
from taskyard.schedules.making import Maker
from taskyard.tasks.catalog import Catalog

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
"""When these tests take place, wherever they bring their own clock."""


def at(seconds: float) -> datetime:
    """A moment so many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


class Planned:
    """The Schedules of one database."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        self.db = spine.db

    def add(self, name: str = "tick", caller: Caller = LOCAL, **fields: Any) -> int:
        """A Schedule by the verb; each second unless it has a rule of its own."""
        given = {"name": name, "task_type": "work", **fields}
        if not {"cron_expression", "interval"} & given.keys():
            given["cron_expression"] = "* * * * * *"
        return int(manage.create_schedule(self.db, caller, given)["id"])

    def set_clock(self, schedule: int, moment: datetime = NOON) -> None:
        """It fires next at `moment`, whatever the database's clock says."""
        self.db.run(lambda tx: rows.plan(tx, schedule, moment))

    def insert(self, **columns: Any) -> int:
        """A row by plain SQL; returns its id."""
        given = {"name": "by-sql", "task_type": "work", **columns}
        marks = ", ".join(f":{name}" for name in given)
        self.spine.execute(
            f"INSERT INTO ty_schedules ({', '.join(given)}) VALUES ({marks})", **given
        )
        return int(self.spine.value("SELECT MAX(id) FROM ty_schedules"))

    def change(self, schedule: int, sql: str, **values: Any) -> None:
        """What a stranger does: UPDATE one row by SQL."""
        done = self.spine.execute(
            f"UPDATE ty_schedules SET {sql} WHERE id = :id", id=schedule, **values
        )
        assert done == 1

    def notice(self) -> int:
        return edits.notice_schedule_edits(self.db, "UTC")

    def look(self, now: datetime | None = None) -> fire.Fired:
        """What a Server does when it wakes: one look."""
        return fire.fire_due(self.db, Maker(self.db, Catalog(self.db)), now=now)

    def fire(self, now: datetime | None = None) -> int:
        """Look until nothing is due any more; how many instants fired."""
        count = 0
        while (fired := self.look(now)).more or fired.count:
            count += fired.count
        return count

    def row(self, schedule: int) -> dict[str, Any]:
        [found] = self.spine.rows("SELECT * FROM ty_schedules WHERE id = :id", id=schedule)
        for name in ("next_fire_at", "last_fire_at", "last_missed_at", "start_at", "end_at"):
            found[name] = utc(found[name])
        return found

    def fires(self, schedule: int) -> list[datetime]:
        """The instants that it fired, in order."""
        sql = "SELECT fire_time FROM ty_fires WHERE schedule_id = :id ORDER BY fire_time"
        return moments(row["fire_time"] for row in self.spine.rows(sql, id=schedule))

    def tasks(self, table: str = TABLE) -> list[dict[str, Any]]:
        """All Tasks in the order of their ids, with what their context says."""
        quoted = self.db.dialect.quote(table)
        found = self.spine.rows(f"SELECT * FROM {quoted} ORDER BY id")
        return [row | orjson.loads(row["context"] or "{}") for row in found]

    def run_all(self) -> int:
        """Claim and complete everything that is there; how many Tasks."""
        count = 0
        while rows := self.spine.claim(limit=50):
            for row in rows:
                self.spine.finish(row)
            count += len(rows)
        return count


def moments(values: Iterable[Any]) -> list[datetime]:
    """Times as drivers give them."""
    return [moment for value in values if (moment := utc(value)) is not None]


def seconds(moments: Iterable[datetime]) -> list[float]:
    """Moments as seconds after noon."""
    return [(moment - NOON).total_seconds() for moment in moments]
