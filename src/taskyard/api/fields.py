"""Fields: what bodies have in common: their strictness, and types that several of them have.

What OpenAPI tells of a body is what is taken: a number is no text that looks like one, a true is no
1, and a field nobody knows is refused.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import SkipJsonSchema

from taskyard.core.durations import parse_duration

Absent = SkipJsonSchema[None]
"""Beside a type: it may be left out, but there is no null of it."""


class Body(BaseModel):
    """What a client sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def no_null_of_it(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a null where leaving out is meant."""
        if value is None and Absent in get_args(cls.model_fields[info.field_name or ""].annotation):
            raise ValueError("leave it out; there is no null of it")
        return value


def not_both(one: str, other: str) -> dict[str, Any]:
    """What a schema says where two fields exclude each other; a null is none."""
    given = {"not": {"type": "null"}}
    return {"not": {"required": [one, other], "properties": {one: given, other: given}}}


LONGEST = 3_650 * 86_400.0
"""Seconds that a length of time may be here: ten years."""

_NUMBER = r"[0-9]{1,8}(\.[0-9]{1,6})?"
_UNITS = "wdhms"
_TEXTS = [
    f"{_NUMBER}{unit}" + "".join(f"({_NUMBER}{less})?" for less in _UNITS[place + 1 :])
    for place, unit in enumerate(_UNITS)
]

_TEXT = {"type": "string", "pattern": f"^({'|'.join([_NUMBER, *_TEXTS])})$"}

DURATION: dict[str, Any] = {"anyOf": [{"type": "number", "minimum": 0, "maximum": LONGEST}, _TEXT]}
"""A length of time, as OpenAPI tells it."""


def _seconds(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds > LONGEST:
        raise ValueError("that is more than ten years")
    return seconds


Duration = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(DURATION)]
"""A length of time: seconds, or a text like "90s", "5m", "1h30m", "2d"."""


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _written(value: Any) -> Any:
    """A time as it was written; a number, which some read as seconds, is none."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _DATE.match(value)):
        raise ValueError("that is no time like 2026-07-31T09:30:00+08:00")
    return value


Moment = Annotated[datetime, Strict(False), BeforeValidator(_written)]
"""A time: a text in ISO 8601."""


Word = TypeVar("Word")

OneOf = Annotated[Word, Strict(False)]
"""A word of an enum."""


def told(**schema: Any) -> Any:
    """What OpenAPI tells of a value that its verb checks: the verb's error names field and fix."""
    return Field(json_schema_extra=schema)


def lasting(least: float, most: float, *, null: bool = True) -> Any:
    """What OpenAPI tells of a length of time within bounds; its verb checks them."""
    numbers = {"type": "number", "minimum": least, "maximum": most}
    return told(anyOf=[numbers, _TEXT, *([{"type": "null"}] if null else [])])
