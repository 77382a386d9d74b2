"""Payload: what may be stored as JSON, and what is hidden when it is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from taskyard.core import payload
from taskyard.core.errors import ParamsNotJson, PayloadTooLarge

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_comes_back_as_it_went_in(value: Any) -> None:
    text = payload.dump_params(value)
    assert payload.load_params(text) == value
    assert text is None or json.loads(text) == value


@given(JSON)
def test_what_the_standard_library_wrote_is_read_the_same(value: Any) -> None:
    assert payload.load_params(json.dumps(value)) == value


class Colour(Enum):
    RED = "red"
    BAD = math.nan


class Model(BaseModel):
    amount: float
    at: datetime | None = None


@dataclass
class Point:
    x: float
    inner: object = None


class Plain:
    pass


def nested(depth: int, ring: Any = None) -> Any:
    for _ in range(depth):
        ring = [] if ring is None else [ring]
    return ring


def circle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (False, "false"),
        ({"a": (1, "ü", None)}, '{"a":[1,"ü",null]}'),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), '"2026-01-02T03:04:00+00:00"'),
        (date(2026, 1, 2), '"2026-01-02"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Colour.RED, '"red"'),
        (Model(amount=1.5), '{"amount":1.5,"at":null}'),
        (Point(1.0), '{"x":1.0,"inner":null}'),
        (nested(64), "[" * 64 + "]" * 64),
    ],
)
def test_plain_data_models_and_times_are_json(value: object, text: str | None) -> None:
    assert payload.dump_params(value) == text
    assert payload.dump_result(value) == text


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (math.nan, r"\$ is nan"),
        ({"a": [1, None, {"b": -math.inf}]}, r"\$\.a\[2\]\.b is -inf"),
        (Model(amount=math.nan), r"\$\.amount is nan"),
        (Point(0.0, Point(math.nan)), r"\$\.inner\.x is nan"),
        ([Colour.BAD], r"\$\[0\] is nan"),
        (circle(), "circular"),
        (nested(65), "deeper than 64 levels"),
        (nested(300), "deeper than 64 levels"),
        ({"n": 2**64}, r"\$\.n is an integer of more than 64 bits"),
        (-(2**63) - 1, "more than 64 bits"),
        ({"tags": {"x"}}, r"\$\.tags is of type set"),
        ([b"raw"], r"\$\[0\] is of type bytes"),
        (Plain(), "of type Plain"),
        (Plain, "of type type"),
        ({1: "x"}, "key 1, which is not text"),
        ({"\ud800": 1}, "which is not text"),
        ({"a": "\ud800"}, r"\$\.a is text with a lone surrogate"),
        (time(1, tzinfo=UTC), "tzinfo"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_what_json_cannot_say_is_refused_with_its_place(value: object, why: str) -> None:
    with pytest.raises(ParamsNotJson, match=f"^TY204 the result is not JSON: .*{why}"):
        payload.dump_result(value)


def test_a_payload_above_its_limit_is_refused_with_both_sizes() -> None:
    fits = "x" * (payload.RESULT_LIMIT - 2)
    assert payload.dump_result(fits) is not None
    with pytest.raises(PayloadTooLarge, match="262,145 bytes, the limit is 262,144") as caught:
        payload.dump_result(fits + "x")
    assert (caught.value.size, caught.value.limit) == (262_145, 262_144)
    assert payload.dump_params(fits + "x") is not None
    with pytest.raises(PayloadTooLarge):
        payload.dump_params("ü" * (payload.PARAMS_LIMIT // 2))
    with pytest.raises(PayloadTooLarge):
        payload.load_params(b'"' + b"x" * payload.PARAMS_LIMIT + b'"')


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_no_parameters_are_none(text: str | None) -> None:
    assert payload.load_params(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a" 1}', r"char 5"),
        ('{"a":NaN}', "char 5"),
        ("'x'", "char 0"),
        ('"open', "char 5"),
        ("[1] 2", "char"),
        (b"\xff", "UTF-8|utf-8"),
        ("[" * 65 + "]" * 65, "deeper than 64 levels"),
        ("[" * 5_000, "depth|recursion"),
        ('{"id":18446744073709551616}', "18446744073709551616 is an integer of more than 64 bits"),
        ('{"id":-9999999999999999999}', "more than 64 bits"),
    ],
)
def test_text_that_is_not_json_is_refused_with_its_place(text: str | bytes, why: str) -> None:
    with pytest.raises(ParamsNotJson, match=f"row 42 is not JSON: .*({why})"):
        payload.load_params(text, "task_params of mail_tasks row 42")


@pytest.mark.parametrize("text", ['{"id":"18446744073709551616"}', "[0.12345678901234567890]"])
def test_long_digits_that_are_no_integers_are_no_fault(text: str) -> None:
    assert payload.load_params(text) == json.loads(text)


@given(st.text(max_size=400), st.integers(0, 200))
def test_an_error_text_fits_its_limit_whatever_it_holds(text: str, limit: int) -> None:
    cut = payload.cut_error(text, limit + 60)
    assert len(cut.encode()) <= limit + 60
    assert "\0" not in cut


def test_a_long_error_text_keeps_its_head_and_its_tail() -> None:
    cut = payload.cut_error("Traceback" + "." * 100_000 + "ValueError: the end")
    assert cut.startswith("Traceback..")
    assert cut.endswith("ValueError: the end")
    assert "bytes cut" in cut
    assert payload.ERROR_LIMIT - 4 < len(cut.encode()) <= payload.ERROR_LIMIT


def test_an_error_text_that_fits_is_left_as_it_is() -> None:
    assert payload.cut_error("ZeroDivisionError: ü") == "ZeroDivisionError: ü"


SECRET_NAMES = [
    "password",
    "Passwd",
    "db_password",
    "client-secret",
    "accessToken",
    "API_KEY",
    "apikey",
    "key",
    "private.key",
    "Authorization",
    "Set-Cookie",
    "credentials",
    "dsn",
    "pwd",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_value_under_a_secrets_name_is_masked_at_any_depth(name: str) -> None:
    shown = payload.mask({"list": [{"deep": {name: {"value": "canary"}, "other": 1}}]})
    assert shown == {"list": [{"deep": {name: "***", "other": 1}}]}


@pytest.mark.parametrize("name", ["monkey", "keyboard", "passenger", "author", "pinned", "to"])
def test_a_name_that_only_resembles_a_secret_is_shown(name: str) -> None:
    assert payload.mask({name: "x"}) == {name: "x"}


def test_fields_that_a_handler_declares_secret_are_masked_too() -> None:
    assert payload.mask({"iban": "DE02", "to": "a"}, also={"iban"}) == {"iban": "***", "to": "a"}


def test_that_nothing_is_set_is_no_secret() -> None:
    assert payload.mask({"password": None}) == {"password": None}


@given(JSON, st.sampled_from(SECRET_NAMES))
def test_masking_never_lets_a_secret_pass(value: Any, name: str) -> None:
    hidden = payload.mask([value, {name: ["c4n4ry"]}, {"inner": [{name: "c4n4ry"}]}])
    assert "c4n4ry" not in list(strings(hidden))


def strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings(child)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:pw@db:5432/jobs", "postgresql://app:***@db:5432/jobs"),
        ("mysql+pymysql://:p%40w@h/x", "mysql+pymysql://:***@h/x"),
        ("two a://u:1@x and b://u:2@y", "two a://u:***@x and b://u:***@y"),
        ("http://host:80/path?mail=a@b", "http://host:80/path?mail=a@b"),
        ("a@b.example", "a@b.example"),
    ],
)
def test_passwords_in_addresses_are_masked_and_the_rest_stays(text: str, shown: str) -> None:
    assert payload.mask_url(text) == shown
    assert payload.mask({"note": text}) == {"note": shown}
