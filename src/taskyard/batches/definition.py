"""Definition: what a batch is asked to be, read and checked field by field.

Owns the fields and their limits; what they leave open the Handler's own promises fill. Pure, and
cheap to import: an application's decorators use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from taskyard.core.durations import parse_duration
from taskyard.core.errors import BatchInvalid, did_you_mean
from taskyard.core.payload import dump_params

ON_INFLIGHT = ("retry", "mark_unknown")
"""What becomes of an item whose worker died while it had it."""

MOST_WORKERS = 1_000


@dataclass(frozen=True, slots=True)
class Definition:
    """A batch as it is asked for.

    `params` is what every item gets besides itself, `concurrency` how many are worked on at once,
    `rate_limit` items a second over all servers, `pause` seconds that each worker waits after an
    item, `max_retries` attempts of an item after its first, `stop_after` failed items that end it,
    `notify` the channels that are told of its end.
    """

    task_type: str
    name: str = ""
    tenant_id: str = ""
    params: str | None = None
    concurrency: int = 5
    rate_limit: float | None = None
    pause: float | None = None
    max_retries: int = 0
    stop_after: int | None = None
    on_inflight: str = "retry"
    notify: str | None = None


FIELDS = tuple(Definition.__dataclass_fields__)
PROMISES = ("concurrency", "rate_limit", "pause", "max_retries", "on_inflight")
"""The fields whose defaults a handler sets with `@yard.batch`."""


def read(fields: Mapping[str, Any], promises: Mapping[str, Any] | None = None) -> Definition:
    """Read the fields of a batch; None counts as not given. Raises BatchInvalid, naming the field.

    `promises` are the handler's own, for what is left open.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for name in given:
        if name not in _READERS:
            hint = did_you_mean(name, _READERS).strip()
            raise BatchInvalid(
                name, f"a batch has no such field. {hint}", f"There are: {', '.join(_READERS)}."
            )
    if "task_type" not in given:
        raise BatchInvalid("task_type", "it is missing", "Name the batch handler.")
    known = {name: value for name, value in (promises or {}).items() if value is not None}
    found = {name: _READERS[name](name, value) for name, value in {**known, **given}.items()}
    found.setdefault("name", found["task_type"])
    return Definition(**found)


def _text(longest: int) -> Callable[[str, Any], str]:
    def reader(name: str, value: Any) -> str:
        text = str(value).strip()
        if not isinstance(value, str) or len(text) > longest or not text.isprintable():
            why = f"it must be visible text of at most {longest} characters"
            raise BatchInvalid(name, why, "Shorten it.")
        return text

    return reader


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    def reader(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise BatchInvalid(name, f"it cannot be {value!r}", f"Give {low} to {high:,}.")
        return value

    return reader


def _rate(name: str, value: Any) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 1e-6 <= number <= 1e6:
        why = f"it cannot be {value!r}"
        raise BatchInvalid(name, why, "Give items a second, like 2 or 0.5.")
    return float(number)


def _seconds(name: str, value: Any) -> float | None:
    try:
        seconds = parse_duration(value)
    except (ValueError, TypeError) as error:
        raise BatchInvalid(
            name, str(error), 'Give seconds, like 0.5, or a text like "2s".'
        ) from None
    if seconds > 86_400:
        raise BatchInvalid(name, "it is more than a day", "Give a shorter one.")
    return seconds or None


def _choice(name: str, value: Any) -> str:
    if value not in ON_INFLIGHT:
        why = f"it cannot be {value!r}"
        raise BatchInvalid(name, why, f"Give {' or '.join(ON_INFLIGHT)}.")
    return str(value)


def _object(name: str, value: Any) -> str | None:
    if not isinstance(value, Mapping):
        raise BatchInvalid(name, "it must be an object", 'Give names and values: {"name": 1}.')
    return dump_params(dict(value), name) if value else None


def _wish(name: str, value: Any) -> str | None:
    """Who is told of the end: names and ids of channels, and addresses; or the two apart."""
    if isinstance(value, Mapping):
        return orjson.dumps(dict(value)).decode() if value else None
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(w, str | int) for w in words):
        why = "it must be a list of channels and addresses"
        raise BatchInvalid(name, why, 'Give them like ["ops", "ada@example.org"].')
    wish = {
        "channels": [word for word in words if "@" not in str(word)],
        "to": [word for word in words if "@" in str(word)],
    }
    return orjson.dumps(wish).decode() if words else None


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "task_type": _text(50),
    "name": _text(200),
    "tenant_id": _text(64),
    "params": _object,
    "concurrency": _whole(1, MOST_WORKERS),
    "rate_limit": _rate,
    "pause": _seconds,
    "max_retries": _whole(0, 1_000),
    "stop_after": _whole(1, 1_000_000_000),
    "on_inflight": _choice,
    "notify": _wish,
}
