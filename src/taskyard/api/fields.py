"""Fields: types that several bodies have, with what OpenAPI tells of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from taskyard.core.durations import parse_duration

LONGEST = 3_650 * 86_400.0
"""Seconds that a length of time may be here: ten years."""

_NUMBER = r"[0-9]{1,8}(\.[0-9]{1,6})?"
_UNITS = "wdhms"
_TEXTS = [
    f"{_NUMBER}{unit}" + "".join(f"({_NUMBER}{less})?" for less in _UNITS[place + 1 :])
    for place, unit in enumerate(_UNITS)
]

DURATION: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": LONGEST},
        {"type": "string", "pattern": f"^({'|'.join(_TEXTS)})$"},
    ]
}
"""A length of time, as OpenAPI tells it."""


def _seconds(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds > LONGEST:
        raise ValueError("that is more than ten years")
    return seconds


Duration = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(DURATION)]
"""A length of time: seconds, or a text like "90s", "5m", "1h30m", "2d"."""


Absent = SkipJsonSchema[None]
"""Beside a type: it may be left out, but there is no null of it."""


def told(**schema: Any) -> Any:
    """What OpenAPI tells of a value that its verb checks: the verb's error names field and fix."""
    return Field(json_schema_extra=schema)
