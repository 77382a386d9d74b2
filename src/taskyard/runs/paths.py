"""Paths: Runs and Tasks by a value in their parameters, like `params.user.id=42`.

Owns how such a filter is read and what it finds. The databases know too little of JSON in common
(and stored text need not be JSON), so SQL lets through what may have the value somewhere, and the
payload itself is looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from taskyard.core.errors import QueryInvalid
from taskyard.core.payload import is_secret
from taskyard.db.select import Condition, Operator

PREFIX = "params."

_MANY = 5
_STEPS = 20

# What is in a text as it is, however the JSON around it is written.
_PLAIN = re.compile(r"[A-Za-z0-9 _.:@-]+")


@dataclass(frozen=True, slots=True)
class PathFilter:
    """A path into the payload, step by step, and the value that must stand there, as text.

    A text is equal to itself, anything else to its JSON: `42`, `true`, `null`. A number is a step
    into an array as well as a key.
    """

    path: tuple[str, ...]
    value: str

    def condition(self, column: str) -> Condition:
        """What SQL can tell beforehand: the longest plain part of the value is in the column."""
        plain = max(_PLAIN.findall(self.value), key=len, default="")
        return Condition(column, Operator.HAS, (plain,))

    def fits(self, payload: Any) -> bool:
        """Does the value stand there?"""
        try:
            found = orjson.loads(payload)
        except (orjson.JSONDecodeError, TypeError):
            return False
        for step in self.path:
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                return False
        return self.value == (found if isinstance(found, str) else orjson.dumps(found).decode())


def take(
    filters: Mapping[str, Any], hidden: Collection[str] = ()
) -> tuple[list[PathFilter], dict[str, Any]]:
    """The filters of paths, and the others; raises QueryInvalid.

    Names in `hidden` are secrets beside those that look like one.
    """
    given = {name: value for name, value in filters.items() if name.startswith(PREFIX)}
    if len(given) > _MANY:
        raise QueryInvalid(
            PREFIX + "…", f"There are {len(given)} of {PREFIX}…", f"Give at most {_MANY}."
        )
    others = {name: value for name, value in filters.items() if name not in given}
    read = [_read(name, value, hidden) for name, value in given.items() if value is not None]
    return read, others


def _read(name: str, value: Any, hidden: Collection[str]) -> PathFilter:
    path = tuple(name.removeprefix(PREFIX).split("."))
    if not all(path) or len(path) > _STEPS:
        raise QueryInvalid(name, f'"{name}" is no path.', "Write it like params.user.id.")
    secret = next((step for step in path if step in hidden or is_secret(step)), None)
    if secret is not None:
        # Whoever may try values one by one would read it.
        raise QueryInvalid(
            name, f'"{secret}" is masked, so it cannot be searched.', "Leave it out."
        )
    if not isinstance(value, str):
        value = orjson.dumps(value).decode()
    return PathFilter(path, value)
