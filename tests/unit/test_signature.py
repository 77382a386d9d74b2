"""What a handler takes: read from its type hints, checked on the way in and on the way out."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from taskyard.context import Context
from taskyard.core.errors import (
    HandlerImportFailed,
    ParamsInvalid,
    ParamsNotJson,
    PayloadTooLarge,
)
from taskyard.core.signature import Secret, Signature

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


def signature(function: Callable[..., Any], name: str = "job") -> Signature:
    return Signature(name, function, Context)


def round_trip(function: Callable[..., Any], **values: Any) -> dict[str, Any]:
    read = signature(function)
    return read.load(read.dump((), values))


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Account(BaseModel):
    name: str
    id: UUID = Field(default_factory=uuid4)
    password: Secret[str] | None = None


# --- There and back ------------------------------------------------------------------------------


def test_typed_values_arrive_typed() -> None:
    def job(
        when: datetime,
        wait: timedelta,
        point: Point,
        points: list[Point],
        account: Account,
        color: Color,
        price: Decimal,
        names: set[str],
        pair: tuple[int, str],
        raw: bytes,
        mode: Literal["a", "b"],
    ) -> None: ...

    values: dict[str, Any] = {
        "when": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "wait": timedelta(hours=1.5),
        "point": Point(1, 2),
        "points": [Point(3)],
        "account": Account(name="ada"),
        "color": Color.RED,
        "price": Decimal("1.10"),
        "names": {"a", "b"},
        "pair": (1, "x"),
        "raw": b"\x00\xff",
        "mode": "a",
    }

    assert round_trip(job, **values) == values


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.text()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_any_json_passes_unchanged_where_nothing_is_hinted(value: Any) -> None:
    def job(value) -> None: ...  # type: ignore[no-untyped-def]

    assert round_trip(job, value=value) == {"value": value}


@pytest.mark.parametrize(
    "name", ["schema", "json", "copy", "model_dump", "_private", "class_", "p_a"]
)
def test_a_parameter_may_have_any_name(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def job({name}: int): ...", scope)

    assert round_trip(scope["job"], **{name: 5}) == {name: 5}


def test_defaults_are_left_to_the_code_that_runs() -> None:
    def old(size: int = 10) -> None: ...
    def new(size: int = 20) -> None: ...

    text = signature(old).dump((), {})

    assert text is None
    assert signature(new).load(text) == {"size": 20}


def test_a_default_may_be_a_field_with_limits() -> None:
    def job(size: int = Field(5, gt=0)) -> None: ...

    assert signature(job).load(None) == {"size": 5}
    with pytest.raises(ParamsInvalid, match='"size" must be greater than 0, got 0'):
        signature(job).load('{"size": 0}')


def test_values_that_a_nested_default_made_at_random_are_kept() -> None:
    def job(account: Account) -> None: ...

    account = Account(name="ada")

    assert round_trip(job, account=account)["account"].id == account.id


def test_a_handler_may_take_whatever_comes() -> None:
    def job(a: int, **rest: Any) -> None: ...

    assert round_trip(job, a=1, b="x") == {"a": 1, "b": "x"}


def test_arguments_may_be_given_by_position() -> None:
    def job(ctx: Context, to: str, subject: str = "-") -> None: ...

    assert json.loads(signature(job).dump(("ada",), {"subject": "hi"}) or "") == {
        "to": "ada",
        "subject": "hi",
    }
    with pytest.raises(ParamsInvalid, match="takes 2 values, got 3"):
        signature(job).dump((1, 2, 3), {})
    with pytest.raises(ParamsInvalid, match='"to" is given twice'):
        signature(job).dump(("ada",), {"to": "eve"})


# --- The context and the fire time ---------------------------------------------------------------


def test_the_context_is_found_by_its_hint_wherever_it_stands() -> None:
    def first(ctx: Context, a: int) -> None: ...
    def last(a: int, context: Context | None = None) -> None: ...
    def annotated(a: int, *, c: Annotated[Context, "mine"]) -> None: ...
    def none(a: int) -> None: ...
    def lists(a: list[Context]) -> None: ...

    found = [signature(f).context for f in (first, last, annotated, none)]

    assert found == ["ctx", "context", "c", None]
    assert all(signature(f).names == ["a"] for f in (first, last, annotated, none))
    assert signature(lists).context is None


def test_the_context_may_be_imported_for_type_checkers_only() -> None:
    scope: dict[str, Any] = {}
    exec("from __future__ import annotations\ndef job(ctx: Context, a: int): ...", scope)

    assert signature(scope["job"]).context == "ctx"
    assert signature(scope["job"]).load('{"a": 1}') == {"a": 1}


def test_another_class_of_that_name_is_not_the_context() -> None:
    scope: dict[str, Any] = {}
    exec(
        "from __future__ import annotations\nclass Context(str): ...\ndef job(ctx: Context): ...",
        scope,
    )

    assert signature(scope["job"]).context is None


def test_a_fire_time_need_not_be_given() -> None:
    def job(fire_time: datetime) -> None: ...
    def other(fire_time: str) -> None: ...

    assert signature(job).takes_fire_time and not signature(other).takes_fire_time
    assert signature(job).load(None) == {"fire_time": None}


# --- Refusals ------------------------------------------------------------------------------------


def job(times: int, name: str = "", point: Point | None = None, many: list[int] = []) -> None:  # noqa: B006
    ...


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"times": "two"}', 'job: "times" must be an integer, got "two".'),
        ('{"times": 1.5}', 'job: "times" must be an integer, got 1.5.'),
        ('{"times": null}', 'job: "times" must be an integer, got null.'),
        ("{}", 'job: "times" is required.'),
        ("", 'job: "times" is required.'),
        ('{"times": 1, "name": 5}', 'job: "name" must be text, got 5.'),
        ('{"times": 1, "nme": "x"}', 'job: "nme" is not a parameter (did you mean "name"?).'),
        ('{"times": 1, "zzz": "x"}', 'job: "zzz" is not a parameter.'),
        ('{"times": 1, "point": {"y": 1}}', 'job: "point.x" is required.'),
        ('{"times": 1, "many": [1, "x"]}', 'job: "many[1]" must be an integer, got "x".'),
        ("[1]", 'job: "task_params" must be an object, got [1].'),
        ("5", 'job: "task_params" must be an object, got 5.'),
    ],
)
def test_a_refusal_names_the_field_and_what_it_got(text: str, sentence: str) -> None:
    with pytest.raises(ParamsInvalid) as refusal:
        signature(job).load(text)

    assert refusal.value.text == sentence


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(ParamsInvalid) as refusal:
        signature(job).dump((), {"name": 1, "point": 2})

    assert len(refusal.value.problems) == 3


def test_a_long_value_is_not_repeated_in_full() -> None:
    with pytest.raises(ParamsInvalid) as refusal:
        signature(job).load(json.dumps({"times": "x" * 10_000}))

    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("text", ["{", '{"times": }', "nope", "{'times': 1}", "\x00"])
def test_what_is_no_json_is_told_as_such(text: str) -> None:
    with pytest.raises(ParamsNotJson, match="task_params of job is not JSON"):
        signature(job).load(text)


def test_too_much_is_refused_on_both_ways() -> None:
    def big(text: str) -> None: ...

    with pytest.raises(PayloadTooLarge):
        signature(big).dump(("x" * 2_000_000,), {})
    with pytest.raises(PayloadTooLarge):
        signature(big).load(json.dumps({"text": "é" * 600_000}, ensure_ascii=False))


def test_a_number_that_json_cannot_say_is_refused() -> None:
    def job(x: float) -> None: ...

    with pytest.raises(ParamsNotJson):
        signature(job).dump((math.nan,), {})


def test_a_signature_that_cannot_travel_is_refused_when_it_is_registered() -> None:
    def stars(*args: int) -> None: ...
    def positional(a: int, /) -> None: ...

    for function in (stars, positional):
        with pytest.raises(TypeError, match="parameters travel by name"):
            signature(function)


def test_hints_that_cannot_be_read_say_so() -> None:
    def unknown(x: Unknown) -> None: ...
    def strange(x: Callable[[], object]) -> None: ...
    def foreign(x: Signature) -> None: ...

    with pytest.raises(HandlerImportFailed, match=r"name 'Unknown' is not defined"):
        signature(unknown).load("{}")
    with pytest.raises(HandlerImportFailed, match="Signature"):
        signature(foreign).load("{}")
    assert signature(strange).schema["type"] == "object"


# --- Schema and secrets --------------------------------------------------------------------------


def test_the_schema_describes_what_is_taken() -> None:
    schema = signature(job).schema

    assert schema["required"] == ["times"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["many"]["items"] == {"type": "integer"}
    assert schema["properties"]["name"]["default"] == ""


def test_a_secret_reaches_the_handler_and_is_shown_nowhere() -> None:
    def login(user: str, password: Secret[str], pin: SecretStr, old: list[Secret[str]]) -> None: ...

    read = signature(login)
    text = read.dump((), {"user": "ada", "password": "pw1", "pin": "pw2", "old": ["pw3"]})
    values = read.load(text)

    assert json.loads(text or "")["password"] == "pw1"
    assert values["password"].get_secret_value() == "pw1"
    assert values["pin"].get_secret_value() == "pw2"
    assert values["old"][0].get_secret_value() == "pw3"
    assert "pw" not in repr(values).replace("password", "")
    assert read.secrets == {"password", "pin", "old"}


def test_secrets_inside_of_models_are_found() -> None:
    def job(accounts: dict[str, Account]) -> None: ...

    assert signature(job).secrets == {"password"}


def test_a_refusal_never_repeats_a_secret() -> None:
    def login(password: Secret[str], n: int = 0) -> None: ...

    for text in ('{"password": ["hunter2"]}', '{"password": "a", "n": "hunter2"}'):
        with pytest.raises(ParamsInvalid) as refusal:
            signature(login).load(text)
        assert "hunter2" not in str(refusal.value)
