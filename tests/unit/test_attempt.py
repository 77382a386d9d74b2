"""One attempt: what a call of a handler comes to."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from taskyard.context import Call, Context, current, unattended
from taskyard.core.errors import Cancel, ParamsInvalid, Retry, Snooze
from taskyard.core.lifecycle import Kind, Outcome
from taskyard.engine.attempt import Live, Row, run_async, run_sync, timed_out
from taskyard.engine.measure import LoopMeter, ThreadMeter
from taskyard.handlers import Handler, HandlerOptions, Never


def live(function: Any, params: str | None = None, **fields: Any) -> Live:
    options: HandlerOptions = {"retry": [Never(LookupError)]}
    reporter: Any = unattended("job")._reporter
    call = Call(7, "t", 42, 1, "job", "default", params, **fields)
    return Live(call, Handler(function, "job", options), reporter)


def attempt(function: Any, params: str | None = None) -> Outcome:
    """Run `function`, on a loop if it is `async def`."""
    run = live(function, params)
    return outcome(
        asyncio.run(run_async(run, LoopMeter()))
        if run.handler.is_async
        else run_sync(run, ThreadMeter())
    )


def outcome(row: Row) -> Outcome:
    return Outcome(row[0], Kind(row[1]), *row[2:])


def raising(error: BaseException) -> Any:
    def job() -> None:
        raise error

    return job


def test_the_row_has_the_fields_of_an_outcome_in_their_order() -> None:
    end = attempt(lambda: [1])

    assert (end.run_id, end.kind, end.output) == (7, Kind.COMPLETED, "[1]")
    assert end.started is not None and end.finished is not None and end.started <= end.finished
    assert end.cpu_time is not None and 0 <= end.cpu_time < 5
    assert end.memory is not None and end.memory > 1_000_000


def test_no_result_is_no_output() -> None:
    assert attempt(lambda: None).output is None


def test_a_coroutine_has_no_cpu_time_of_its_own() -> None:
    async def job() -> int:
        return 1

    assert (attempt(job).output, attempt(job).cpu_time) == ("1", None)


def test_the_current_context_is_set_during_the_call_only() -> None:
    seen: list[Context | None] = []

    attempt(lambda: seen.append(current()))

    assert seen[0] is not None and seen[0].task_id == 42
    assert current() is None


@pytest.mark.parametrize(
    ("error", "kind", "delay", "text"),
    [
        (ValueError("x"), Kind.FAILED, None, "ValueError: x"),
        (SystemExit(1), Kind.FAILED, None, "SystemExit: 1"),
        (KeyboardInterrupt(), Kind.FAILED, None, "KeyboardInterrupt"),
        (asyncio.CancelledError(), Kind.FAILED, None, "CancelledError"),
        (KeyError("x"), Kind.REJECTED, None, "KeyError: 'x'"),
        (Retry("1m", "busy"), Kind.RETRY, 60.0, "retry: busy"),
        (Retry(), Kind.RETRY, None, "retry"),
        (Snooze(5), Kind.SNOOZE, 5.0, "snooze"),
        (Cancel("why"), Kind.CANCELLED, None, "cancelled: why"),
    ],
)
def test_what_an_exception_comes_to(
    error: BaseException, kind: Kind, delay: float | None, text: str
) -> None:
    end = attempt(raising(error))

    assert (end.kind, end.delay, end.output) == (kind, delay, None)
    assert end.error is not None and text in end.error


def test_wrong_parameters_are_rejected_but_the_same_error_from_inside_is_a_failure() -> None:
    def job(n: int) -> None:
        raise ParamsInvalid("other", ['"x" is required'])

    outside, inside = attempt(job, '{"n": "x"}'), attempt(job, '{"n": 1}')

    assert outside.kind is Kind.REJECTED
    assert outside.error is not None and "Traceback" not in outside.error
    assert inside.kind is Kind.FAILED


def test_a_result_that_cannot_be_kept_is_rejected_because_the_work_is_done() -> None:
    end = attempt(lambda: {1, 2})

    assert end.kind is Kind.REJECTED
    assert end.error is not None and "TY204" in end.error


def test_a_run_that_is_stopped_before_its_start_is_never_begun() -> None:
    async def later() -> None:
        raise AssertionError("was started")

    def now() -> None:
        raise AssertionError("was started")

    for function in (now, later):
        run = live(function)
        run.context.ask_to_stop("cancelled", "not wanted")
        row = (
            asyncio.run(run_async(run, LoopMeter()))
            if run.handler.is_async
            else run_sync(run, ThreadMeter())
        )
        assert (row[1], row[3], row[5]) == ("cancelled", "not wanted", None)


def test_a_handler_that_saw_the_flag_was_stopped_however_it_ended() -> None:
    def returns(ctx: Context) -> str:
        ctx.ask_to_stop("cancelled", "enough")
        return "half" if ctx.cancelled else "whole"

    def raises(ctx: Context) -> None:
        ctx.ask_to_stop("cancelled", "enough")
        if ctx.cancelled:
            raise RuntimeError("aborted")

    def overlooks(ctx: Context) -> str:
        ctx.ask_to_stop("cancelled", "enough")
        return "whole"

    assert (attempt(returns).kind, attempt(returns).output) == (Kind.CANCELLED, None)
    assert attempt(raises).kind is Kind.CANCELLED
    assert "RuntimeError: aborted" in (attempt(raises).error or "")
    assert attempt(overlooks).output == '"whole"'


def test_what_comes_after_a_settled_transaction_changes_nothing() -> None:
    def fails(ctx: Context) -> None:
        ctx.mark_settled()
        raise ValueError("afterwards")

    def returns(ctx: Context) -> object:
        ctx.mark_settled()
        return object()

    assert [attempt(job).kind for job in (fails, returns)] == [Kind.SETTLED, Kind.SETTLED]


def test_a_timeout_shows_where_the_thread_is() -> None:
    ends: list[Any] = []

    def handler() -> None:
        ends.append(timed_out(run, threading.get_ident()))

    run = live(handler, timeout=2.0)
    run_sync(run, ThreadMeter())

    assert ends[0].kind is Kind.TIMEOUT
    lines = ends[0].error.splitlines()
    assert lines[0] == "Where it was:"
    assert "in handler" in lines[1]
    assert lines[-1] == "Timed out after 2s."


def test_chained_exceptions_are_told_with_their_cause() -> None:
    def job() -> None:
        try:
            json.loads("{")
        except ValueError as error:
            raise RuntimeError("no settings") from error

    error = attempt(job).error or ""

    assert "JSONDecodeError" in error
    assert error.endswith("RuntimeError: no settings")
