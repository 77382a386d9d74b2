"""Duties: what the platform does by itself now and then, as Schedules like all others.

Owns which there are and when. They are rows of `ty_schedules` with the source `system`: visible,
and people may change or stop them (`schedules/declared.py` says what holds). What must be done
every few seconds, on every Server, is no Schedule but a chore (`chores.py`): it would fill the
history with itself.
"""

from __future__ import annotations

from taskyard.schedules.declared import Declared
from taskyard.settings import Settings


def duties(settings: Settings) -> list[Declared]:
    """The platform's own Schedules."""
    hour, minute = settings.prune_at.split(":")
    prune = {
        "name": "taskyard.prune",
        "task_type": "taskyard.prune",
        "cron_expression": f"{int(minute)} {int(hour)} * * *",
        "time_zone": settings.default_time_zone,
        "overlap": "skip",
    }
    return [Declared("taskyard", prune)]
