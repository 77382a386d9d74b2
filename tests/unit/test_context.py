"""The context: what a handler knows about its Run, and what it may say."""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskyard.context import CURRENT, Call, Context, Transaction, current, unattended
from taskyard.core.errors import Cancel, NotNow, ParamsNotJson, PayloadTooLarge


class Heard:
    """A Reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def progress(
        self, context: Context, done: float, total: float | None, note: str | None
    ) -> None:
        self.told.append((done, total, note))

    def checkpoint(self, context: Context, text: str | None) -> None:
        self.told.append(text)

    def transaction(self, context: Context) -> AbstractContextManager[Transaction]:
        raise NotImplementedError


def context(reporter: Heard | None = None, **fields: Any) -> Context:
    return Context(Call(7, "mail_tasks", 42, 3, "mail", "mail", **fields), reporter or Heard())


def test_a_handler_can_ask_who_it_works_for() -> None:
    ctx = context(attempt=2, max_retries=5, tenant_id="acme", origin="batch")

    assert (ctx.run_id, ctx.task_id, ctx.task_table, ctx.task_type, ctx.queue) == (
        7,
        42,
        "mail_tasks",
        "mail",
        "mail",
    )
    assert (ctx.attempt, ctx.max_retries, ctx.tenant_id, ctx.origin) == (2, 5, "acme", "batch")
    assert (ctx.idempotency_key, ctx.fence) == ("mail_tasks:42", 3)


@pytest.mark.parametrize("text", [None, "", "[1]", "null", "{", '{"fire_time": null}'])
def test_a_context_column_that_says_nothing_useful_harms_nothing(text: str | None) -> None:
    assert context(context=text).fire_time is None


def test_the_fire_time_comes_from_the_task() -> None:
    text = json.dumps({"fire_time": "2026-01-02T03:04:05+08:00"})

    assert context(context=text).fire_time == datetime(2026, 1, 1, 19, 4, 5, tzinfo=UTC)


def test_the_deadline_counts_from_the_start_of_the_handler() -> None:
    limited, unlimited = context(timeout=60.0), context()

    for ctx in (limited, unlimited):
        ctx.begin(time.monotonic() - 20)

    assert context(timeout=60.0).deadline is None
    assert unlimited.deadline is None
    assert limited.deadline is not None
    assert abs(limited.deadline - datetime.now(UTC) - timedelta(seconds=40)) < timedelta(seconds=5)


def test_a_run_that_nobody_stopped_goes_on() -> None:
    ctx = context()

    ctx.raise_if_cancelled()

    assert not ctx.cancelled
    assert not ctx.noticed


def test_only_who_has_looked_has_noticed_that_it_shall_stop() -> None:
    ctx = context()

    ctx.ask_to_stop("cancelled", "not wanted")
    ctx.ask_to_stop("timeout", "too late to change the reason")

    assert [ctx.noticed, ctx.cancelled, ctx.noticed] == [False, True, True]
    with pytest.raises(Cancel) as cancel:
        ctx.raise_if_cancelled()
    assert cancel.value.reason == "not wanted"


def test_a_checkpoint_is_found_by_the_next_attempt() -> None:
    heard = Heard()
    first = context(heard)
    assert first.checkpoint.get("nothing") == "nothing"

    first.checkpoint.set({"page": 3})
    second = context(checkpoint=heard.told[-1])

    assert first.checkpoint.get() == second.checkpoint.get() == {"page": 3}
    second.checkpoint.set(None)
    assert second.checkpoint.get() is None


def test_a_checkpoint_is_json_of_limited_size() -> None:
    with pytest.raises(ParamsNotJson, match="the checkpoint"):
        context().checkpoint.set(object())
    with pytest.raises(PayloadTooLarge, match="the checkpoint"):
        context().checkpoint.set("x" * 300_000)


def test_log_records_carry_their_run_into_every_thread() -> None:
    ctx = context()
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("task.mail")
    logger.addHandler(keep := Keep())
    try:
        thread = threading.Thread(target=ctx.log.warning, args=("hello %s", "you"))
        thread.start()
        thread.join(10)
        ctx.log.warning("with more", extra={"mine": 1})
    finally:
        logger.removeHandler(keep)

    assert [record.getMessage() for record in records] == ["hello you", "with more"]
    assert [vars(record)["taskyard"] for record in records] == [ctx, ctx]
    assert vars(records[1])["mine"] == 1


def test_the_current_context_is_the_one_of_the_run() -> None:
    assert current() is None

    token = CURRENT.set(ctx := context())

    assert current() is ctx
    CURRENT.reset(token)


def test_outside_of_a_runner_a_context_reports_to_nobody() -> None:
    ctx = unattended("mail")

    ctx.progress(1, 2, "x")
    ctx.checkpoint.set(1)
    ctx.log.debug("x")

    assert ctx.checkpoint.get() == 1
    with pytest.raises(NotNow, match="called without a task"):
        ctx.transaction()


def test_a_task_is_settled_once() -> None:
    ctx = context()
    ctx.mark_settled()

    with pytest.raises(NotNow, match="settled already"):
        ctx.transaction()
