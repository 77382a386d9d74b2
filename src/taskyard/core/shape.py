"""Shape: can a JSON value be what a handler takes, as far as its JSON Schema tells?

Owns the check of parameters where the handler's code is not: in the API. It refuses only what the
handler's own check (`core/signature.py`) refuses as well, which reads "3" as a number and a number
as a date: a schema is never taken more strictly here than there. What validators of the handler's
own would accept or refuse besides no schema tells.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from taskyard.core.errors import did_you_mean

_MANY = 20

Schema = Mapping[str, Any]


def problems(schema: Schema, value: Any, *, shown: bool = True) -> list[str]:
    """What keeps `value` from fitting, a line a place; [] if nothing is known to.

    `shown` tells what was given; without, it stays secret.
    """
    found = _Check(schema.get("$defs", {}), shown).faults(schema, value, "")
    return [line for _, line in zip(range(_MANY), found, strict=False)]


class _Check:
    """The check of one value; `defs` are the schemas that `$ref` names."""

    def __init__(self, defs: Mapping[str, Schema], shown: bool) -> None:
        self._defs = defs
        self._shown = shown

    def faults(self, schema: Schema, value: Any, place: str) -> Iterator[str]:
        schema = self._resolved(schema)
        if "anyOf" in schema:
            if not any(self._fits(part, value) for part in schema["anyOf"]):
                yield self._must(place, _choice(schema["anyOf"]), value)
        elif "enum" in schema or "const" in schema:
            known = schema.get("enum", [schema.get("const")])
            if value not in known and str(value) not in map(str, known):
                yield self._must(place, "be " + " or ".join(map(_text, known)), value)
        elif schema.get("type") in _TYPES:
            yield from self._typed(schema, value, place)

    def _typed(self, schema: Schema, value: Any, place: str) -> Iterator[str]:
        kind = schema["type"]
        words, fits = _TYPES[kind]
        if not fits(value) and not _is_written_otherwise(schema, value):
            yield self._must(place, words, value)
        elif kind == "object" and isinstance(value, dict):
            yield from self._object(schema, value, place)
        elif kind == "array" and isinstance(value, list) and isinstance(schema.get("items"), dict):
            for number, item in enumerate(value):
                yield from self.faults(schema["items"], item, f"{place}[{number}]")

    def _object(self, schema: Schema, value: dict[str, Any], place: str) -> Iterator[str]:
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        if "patternProperties" in schema:
            others = True
        for name in schema.get("required", []):
            if name not in value:
                yield f'"{_join(place, name)}" is required'
        for name, item in value.items():
            if name in known:
                yield from self.faults(known[name], item, _join(place, name))
            elif others is False:
                hint = did_you_mean(name, known).strip(" D")
                yield f'"{_join(place, name)}" is not a parameter' + (f" (d{hint})" if hint else "")
            elif isinstance(others, dict):
                yield from self.faults(others, item, _join(place, name))

    def _fits(self, schema: Schema, value: Any) -> bool:
        return next(self.faults(schema, value, ""), None) is None

    def _resolved(self, schema: Schema) -> Schema:
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        return self._defs.get(name, {}) if name else schema

    def _must(self, place: str, words: str, value: Any) -> str:
        told = f", got {_text(value)}" if self._shown else ""
        return f'"{place or "task_params"}" must {words}{told}'


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and _read(value) is not None)


def _is_integer(value: Any) -> bool:
    number = _read(value) if isinstance(value, str) else value
    if isinstance(number, float):
        return number.is_integer() or math.isinf(number)  # more digits than a float has
    return isinstance(number, int)


def _read(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_boolean(value: Any) -> bool:
    words = ("0", "1", "true", "false", "t", "f", "yes", "no", "y", "n", "on", "off")
    return str(value).lower() in words or value in (0, 1)


_TYPES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("be text", lambda value: isinstance(value, str)),
    "integer": ("be an integer", _is_integer),
    "number": ("be a number", _is_number),
    "boolean": ("be true or false", _is_boolean),
    "array": ("be a list", lambda value: isinstance(value, list)),
    "object": ("be an object", lambda value: isinstance(value, dict)),
    "null": ("be null", lambda value: value is None),
}


def _is_written_otherwise(schema: Schema, value: Any) -> bool:
    """Dates and lengths of time may also be given as numbers."""
    written = ("date-time", "date", "time", "duration")
    return schema.get("format") in written and _is_number(value)


def _choice(parts: list[Schema]) -> str:
    words = [_TYPES[part["type"]][0] for part in parts if part.get("type") in _TYPES]
    return " or ".join(words) if len(words) == len(parts) else "fit one of its types"


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
