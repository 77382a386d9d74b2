"""Handlers: options, promises, retry rules, plain calls, and the registry."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from taskyard.context import CURRENT, Call, Context
from taskyard.core.errors import HandlerImportFailed, HandlerTwice, HandlerUnknown, ParamsInvalid
from taskyard.core.lifecycle import RetryPolicy
from taskyard.handlers import Application, Handler, HandlerOptions, HandlerSpec, Never, On, Registry


def handler(function: Any, name: str = "job", **options: Any) -> Handler[..., Any]:
    given: HandlerOptions = options  # type: ignore[assignment]
    return Handler(function, name, given)


def nothing() -> None:
    """Does nothing.

    At length.
    """


def call(**fields: Any) -> Context:
    return Context(Call(7, "t", 3, 2, "job", "default", **fields), None)  # type: ignore[arg-type]


# --- What it promises ----------------------------------------------------------------------------


def test_a_handler_without_options_promises_the_defaults() -> None:
    spec = handler(nothing).spec

    assert (spec.queue, spec.max_retries, spec.timeout, spec.isolation) == (
        "default",
        3,
        None,
        "shared",
    )
    assert (spec.delivery, spec.on_lost, spec.retry) == ("at_least_once", "finish", RetryPolicy())
    assert spec.doc == "Does nothing."
    assert spec.location.startswith("test_handlers.py:")


def test_a_spec_survives_the_wire() -> None:
    def job(a: int, b: str = "x") -> None: ...

    spec = handler(job, timeout="5m", retry="fixed", excl_key="k-{a}").spec

    assert HandlerSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_at_most_once_and_memory_limits_mean_a_process_of_its_own() -> None:
    assert handler(nothing, delivery="at_most_once").spec.isolation == "process"
    assert handler(nothing, memory_limit=10**8).spec.isolation == "process"
    with pytest.raises(ValueError, match='need isolation="process"'):
        handler(nothing, memory_limit=10**8, isolation="shared")


def test_exclusive_and_at_most_once_runs_stop_when_their_server_is_lost() -> None:
    assert handler(nothing, delivery="at_most_once").spec.on_lost == "stop"
    assert handler(nothing, excl_key="one").spec.on_lost == "stop"
    assert handler(nothing, excl_key="one", on_lost="finish").spec.on_lost == "finish"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"timeout": "soon"}, "is not a duration"),
        ({"isolation": "thread"}, "isolation must be one of shared, process"),
        ({"delivery": "exactly_once"}, "delivery must be one of"),
        ({"on_lost": "pray"}, "on_lost must be one of"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        handler(nothing, **options)


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="no option retries"):
        handler(nothing, retries=3)


@pytest.mark.parametrize("name", ["", "x" * 51, "a\nb", " a"])
def test_a_name_that_no_column_or_line_can_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a handler"):
        handler(nothing, name)


def test_the_exclusivity_key_is_made_of_parameters_and_their_defaults() -> None:
    def job(account: str, region: str = "eu") -> None: ...

    spec = handler(job, excl_key="sync-{account}-{region}").spec

    assert spec.exclusive_key({"account": "a1"}) == "sync-a1-eu"
    assert spec.exclusive_key({"account": "a1", "region": "us"}) == "sync-a1-us"
    with pytest.raises(ParamsInvalid, match="'account' is needed for the exclusivity key"):
        spec.exclusive_key({})
    with pytest.raises(HandlerImportFailed, match='excl_key names "nobody"'):
        _ = handler(job, excl_key="{nobody}").spec


# --- Retries -------------------------------------------------------------------------------------


def test_the_first_retry_rule_that_fits_decides() -> None:
    rules = handler(
        nothing,
        retry=[
            Never(FileNotFoundError),
            On(ConnectionError, kind="fixed", base=5, jitter=False),
            On(OSError, base=1, cap=3, jitter=False),
            RetryPolicy("fixed", 60),
        ],
    )

    assert rules.retry_after(FileNotFoundError(), 1) == (False, None)
    assert rules.retry_after(ConnectionResetError(), 4) == (True, 5)
    assert [rules.retry_after(OSError(), n)[1] for n in (1, 2, 3)] == [1, 2, 3]
    assert rules.retry_after(ValueError(), 1) == (True, None)
    assert rules.spec.retry == RetryPolicy("fixed", 60)


def test_rules_that_are_none_are_refused() -> None:
    with pytest.raises(TypeError, match="retry= takes"):
        handler(nothing, retry=[ValueError])


# --- Arguments and calls -------------------------------------------------------------------------


def test_a_run_gets_its_parameters_the_context_and_the_fire_time() -> None:
    def job(ctx: Context, a: int, fire_time: datetime) -> None: ...

    planned = datetime(2026, 3, 4, 5, tzinfo=UTC)
    context = call(context=json.dumps({"fire_time": planned.isoformat()}))

    arguments = handler(job).arguments(context, '{"a": 1}')

    assert arguments == {"ctx": context, "a": 1, "fire_time": planned}


def test_without_a_schedule_the_fire_time_is_what_was_given_or_now() -> None:
    def job(fire_time: datetime) -> None: ...

    given = handler(job).arguments(call(), '{"fire_time": "2020-01-01T00:00:00Z"}')
    before = datetime.now(UTC)
    now = handler(job).arguments(call(), None)["fire_time"]

    assert given["fire_time"] == datetime(2020, 1, 1, tzinfo=UTC)
    assert before <= now <= datetime.now(UTC)


def test_calling_a_handler_is_a_plain_call() -> None:
    def add(a: int, b: int = 1) -> int:
        return a + b

    async def add_later(a: int) -> int:
        return a + 1

    assert handler(add)(1, b=2) == 3
    assert handler(add)("x", b="y") == "xy"
    assert asyncio.run(handler(add_later)(1)) == 2
    assert vars(handler(add))["__name__"] == "add"


def test_a_plain_call_may_leave_the_context_out() -> None:
    def first(ctx: Context, a: int) -> tuple[str, int]:
        return ctx.task_type, a

    def last(a: int, ctx: Context) -> tuple[str, int]:
        return ctx.task_type, a

    def keyword(a: int, *, ctx: Context) -> tuple[str, int]:
        return ctx.task_type, a

    for function in (first, last, keyword):
        assert handler(function)(5) == ("job", 5)
        assert handler(function)(a=5) == ("job", 5)
    mine = Context(Call(1, "", 0, 0, "mine", ""), None)  # type: ignore[arg-type]
    assert handler(first)(mine, 5) == handler(first)(ctx=mine, a=5) == ("mine", 5)


def test_a_handler_called_inside_of_a_run_gets_that_runs_context() -> None:
    def inner(ctx: Context) -> int:
        return ctx.run_id

    token = CURRENT.set(call())
    try:
        assert handler(inner)() == 7
    finally:
        CURRENT.reset(token)


# --- Registry and hooks --------------------------------------------------------------------------


def test_a_registry_finds_handlers_and_says_what_it_knows() -> None:
    registry = Registry()
    one = handler(nothing, "mail.send")
    registry.add(one)

    assert registry.get("mail.send") is one
    assert registry.find("mail.sned") is None
    with pytest.raises(HandlerUnknown, match=r'Did you mean "mail.send"\?'):
        registry.get("mail.sned")


def test_two_functions_cannot_have_one_name() -> None:
    registry = Registry()
    registry.add(handler(nothing, "a"))

    with pytest.raises(HandlerTwice) as twice:
        registry.add(handler(nothing, "a"))

    assert twice.value.first.startswith("test_handlers.py:")


def test_hooks_are_kept_in_order_and_given_back() -> None:
    application = Application()

    @application.on_runner_start
    def one() -> None: ...
    @application.on_runner_start
    async def two() -> None: ...

    assert application.start_hooks == [one, two]
