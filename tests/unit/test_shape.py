"""Shape: refuses what a handler's own check refuses, in its words, and nothing besides."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from taskyard.context import Context
from taskyard.core.errors import ParamsInvalid, ParamsNotJson
from taskyard.core.shape import problems
from taskyard.core.signature import Signature


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    street: str
    number: int | None = None


HINTS: tuple[Any, ...] = (
    int,
    float,
    bool,
    str,
    bytes,
    int | None,
    int | str,
    list[int],
    list[Address],
    set[str],
    tuple[int, str],
    dict[str, int],
    dict[str, Address | None],
    Address,
    Colour,
    Level,
    Literal["a", 1, True],
    datetime,
    date,
    timedelta,
    UUID,
    Decimal,
    Any,
    None,
)

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.sampled_from(["", "1", "-1", "1.0", "1.5", "x", "red", "true", "yes", "a", "1e3", " 2 "])
    | st.sampled_from(["2026-01-31", "2026-01-31T08:00:00Z", "PT5M", "08:00", "NaN", "inf"])
    | st.sampled_from(["12345678-1234-5678-1234-567812345678", "١", "1_000"])
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["street", "number", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)


def signature_of(hint: Any) -> Signature:
    def handler(value: Any, other: int = 1) -> None: ...

    handler.__annotations__["value"] = hint
    return Signature("work", handler, Context)


SIGNATURES = [signature_of(hint) for hint in HINTS]


@given(signature=st.sampled_from(SIGNATURES), params=st.fixed_dictionaries({"value": VALUES}))
def test_what_the_handler_would_take_is_never_refused(
    signature: Signature, params: dict[str, Any]
) -> None:
    if problems(signature.schema, params):
        with pytest.raises((ParamsInvalid, ParamsNotJson)):
            signature.load(json.dumps(params))


CASES = [
    (int, {"value": "two"}, ['"value" must be an integer, got "two"']),
    (int, {}, ['"value" is required']),
    (int, {"value": 1, "othr": 2}, ['"othr" is not a parameter (did you mean "other"?)']),
    (bool, {"value": "maybe"}, ['"value" must be true or false, got "maybe"']),
    (list[int], {"value": [1, "x"]}, ['"value[1]" must be an integer, got "x"']),
    (Address, {"value": {"number": "x"}}, ['"value.street" is required']),
    (dict[str, int], {"value": {"a": []}}, ['"value.a" must be an integer, got []']),
    (Colour, {"value": "green"}, ['"value" must be "red" or "blue", got "green"']),
    (int | None, {"value": "x"}, ['"value" must be an integer or be null, got "x"']),
    (str, {"value": 1}, ['"value" must be text, got 1']),
]


@pytest.mark.parametrize(("hint", "params", "expected"), CASES)
def test_the_words_are_those_of_the_handler(hint: Any, params: Any, expected: list[str]) -> None:
    signature = signature_of(hint)
    found = problems(signature.schema, params)
    assert found[: len(expected)] == expected
    with pytest.raises(ParamsInvalid):
        signature.load(json.dumps(params))


def test_a_secret_is_not_told() -> None:
    assert problems(signature_of(int).schema, {"value": "canary"}, shown=False) == [
        '"value" must be an integer'
    ]
