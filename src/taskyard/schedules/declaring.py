"""Declaring: what `@yard.schedule` says about a Handler, checked where it stands.

Owns the fields of the decorator and their form as JSON, in which Runners tell them. How they become
rows is `declared.py`'s. Cheap to import: every Runner whose application declares a Schedule does.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from taskyard.core.durations import parse_duration
from taskyard.handlers import Handler
from taskyard.schedules.definition import FIELDS, read


def declare(handler: Handler[..., Any], rule: str | None, options: Mapping[str, Any]) -> None:
    """Declare a Schedule for a Handler. Raises ScheduleInvalid, CronInvalid, TypeError for an
    option that there is not, ValueError for a name that is taken."""
    fields = {**options, "cron_expression": rule, "task_type": handler.name}
    if "params" in fields:
        fields["task_params"] = fields.pop("params")
    fields.setdefault("name", handler.name)
    if unknown := fields.keys() - set(FIELDS):
        raise TypeError(f"{handler.name}: a schedule has no option {', '.join(sorted(unknown))}")
    if any(declared["name"] == fields["name"] for declared in handler.schedules):
        raise ValueError(
            f'{handler.name}: it has a schedule "{fields["name"]}" already; give this one a name='
        )
    read(fields)
    plain = {name: _plain(value) for name, value in fields.items() if value is not None}
    handler.schedules.append(plain)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, timedelta):
        return parse_duration(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else value
