"""Asked: what may stand behind the `?` of an address, as data.

Owns the parameters of lists, made from their declarations (`db/listing.py`), so that what can be
asked, what OpenAPI tells and what is refused are the same. How a value is read is the list's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from taskyard.api.fields import DURATION
from taskyard.core.errors import QueryInvalid, did_you_mean
from taskyard.db import listing
from taskyard.db.listing import Filter, Listing, Operator, Query

TIME = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}
REF = {"type": "string", "pattern": "^[^/]+/[0-9]{1,18}$"}
"""QUEUE/ID of a Task."""
WHOLE = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}

_ANY = "PATH"

_SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "integer": WHOLE,
    "duration": {"anyOf": [{"type": "number", "minimum": 0}, DURATION["anyOf"][1]]},
    "time": TIME,
    "text": TEXT,
}
"""Of the kinds of filters; `words` have an enum of their own."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One word that may be asked with, as OpenAPI tells it."""

    name: str
    help: str
    schema: Mapping[str, Any] = field(default_factory=lambda: TEXT)
    required: bool = False

    @property
    def is_family(self) -> bool:
        """Does it stand for many names that begin alike? OpenAPI has no word for such."""
        return self.name.endswith(_ANY)

    def takes(self, name: str) -> bool:
        """Is this what a name means?"""
        return name == self.name or (self.is_family and name.startswith(self.name[: -len(_ANY)]))

    def to_openapi(self) -> dict[str, Any]:
        """The Parameter object; several values of one stand behind each other, with commas."""
        told = {
            "name": self.name,
            "in": "query",
            "description": self.help,
            "schema": dict(self.schema),
            "required": self.required,
        }
        if self.schema.get("type") == "array":
            told |= {"style": "form", "explode": False}
        return told


def words(known: Iterable[str]) -> dict[str, Any]:
    """The schema of one word out of a few."""
    return {"type": "string", "enum": [str(word) for word in known]}


def several(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of one or several values."""
    return {"type": "array", "items": dict(schema), "minItems": 1}


PAGING = (
    Parameter(
        "limit",
        f"Rows of a page, at most {listing.MAX_LIMIT}.",
        {"type": "integer", "minimum": 1, "maximum": listing.MAX_LIMIT, "default": 50},
    ),
    Parameter("cursor", "Go on behind this page's end: its `next_cursor`, with the same sort."),
    Parameter(
        "offset",
        "Skip so many rows; a cursor goes further, and faster.",
        {"type": "integer", "minimum": 0, "maximum": listing.MAX_OFFSET, "default": 0},
    ),
)


PATHS = Parameter(
    f"params.{_ANY}",
    "Only with this value there in the parameters, like `params.user.id=42`; five at most.",
)


def of_list(declared: Listing, *others: Parameter) -> tuple[Parameter, ...]:
    """The parameters of a list: its filters, `others`, its orders and its pages."""
    filters = [
        Parameter(name, one.help or HELP[one.operator], _schema(one))
        for name, one in declared.filters.items()
    ]
    orders = [
        sign + word for word in (*declared.sorts, *declared.loose_sorts) for sign in ("", "-")
    ]
    sort = Parameter(
        "sort", 'The order; "-" is the largest first.', words(orders) | {"default": declared.sort}
    )
    include = Parameter("include", "Columns to give as well.", several(words(declared.large)))
    return (*filters, *others, sort, *([include] if declared.large else []), *PAGING)


def query_of(asked: Mapping[str, str], declared: Listing) -> Query:
    """What is asked of a list. Raises QueryInvalid."""
    rest = dict(asked)
    include = tuple(filter(None, rest.pop("include", "").split(",")))
    for name in include:
        if name not in declared.large:
            text = f'There is no column "{name}" to include.{did_you_mean(name, declared.large)}'
            raise QueryInvalid("include", text, f"There are: {', '.join(declared.large)}.")
    sort = rest.pop("sort", declared.sort)
    if not sort:
        raise QueryInvalid(
            "sort", 'There is no sort "".', f"There are: {', '.join(declared.sorts)}."
        )
    return Query(
        sort=sort,
        limit=whole(rest, "limit", 50),
        cursor=rest.pop("cursor", None) or None,
        offset=whole(rest, "offset", 0),
        large=include,
        filters=rest,
        count=True,
    )


def read(request: Request, known: Sequence[Parameter]) -> dict[str, str]:
    """What stands behind the `?`, one text a name. Raises QueryInvalid, also for unknown names."""
    found: dict[str, str] = {}
    names = [parameter.name for parameter in known]
    for name, value in request.query_params.multi_items():
        if not any(parameter.takes(name) for parameter in known):
            raise QueryInvalid(
                name,
                f'There is no parameter "{name}".{did_you_mean(name, names)}',
                f"There are: {', '.join(names)}." if names else "This address takes none.",
            )
        found[name] = f"{found[name]},{value}" if name in found else value
    for parameter in known:
        if parameter.required and parameter.name not in found:
            raise QueryInvalid(
                parameter.name, f'The parameter "{parameter.name}" is missing.', parameter.help
            )
    return found


def flag(asked: Mapping[str, str], name: str) -> bool:
    """A parameter that is true or false. Raises QueryInvalid."""
    text = asked.get(name, "false").lower()
    if text not in ("true", "false"):
        raise QueryInvalid(name, f'{name}: "{text}" is none of true, false.', "Correct the value.")
    return text == "true"


def whole(
    asked: dict[str, str], name: str, default: int, *, least: int | None = None, most: int = 2**63
) -> int:
    """Take out a parameter that is a whole number. Raises QueryInvalid."""
    try:
        number = listing.integer(asked.pop(name, default))
    except ValueError as error:
        raise QueryInvalid(name, f"{name}: {error}.", "Correct the value.") from None
    if (least is not None and number < least) or number > most:
        raise QueryInvalid(name, f"{name} cannot be {number}.", f"Give {least} to {most}.")
    return number


HELP = {
    Operator.IN: "Only with this, or one of these.",
    Operator.FROM: "Only from here on.",
    Operator.TO: "Only before this.",
    Operator.CONTAINS: "Only with this text in it, in upper or lower case.",
}


def _schema(declared: Filter) -> Mapping[str, Any]:
    schema = words(declared.words) if declared.words else _SCHEMAS[declared.kind]
    if declared.operator in (Operator.FROM, Operator.TO) and schema is TEXT:
        return TIME
    return several(schema) if declared.operator is Operator.IN else schema
