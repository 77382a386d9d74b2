"""Time limits of items: who is past it has failed or is tried again, and nobody beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from conformance.batched import TABLE, Batched
from conformance.spine import Spine, ended
from taskyard.batches import chunk
from taskyard.batches.handler import BatchHandler
from taskyard.context import Context, unattended
from taskyard.core.lifecycle import Kind

LATE = "Where it was:\n  in check\nTimed out after 1s."


@pytest.fixture
def batched(spine: Spine) -> Batched:
    return Batched(spine)


def run_out(batched: Batched) -> None:
    """A Run takes an item, and is ended by its runner because the item takes too long."""
    row = batched.claim()
    batched.turn(batched.worker_of(row), want=1, first=True)
    end = ended(row, Kind.TIMEOUT, error=LATE, delay=0.0)
    batched.spine.settle(end, batched.spine.me, table=TABLE, queue="batches")
    batched.keep()


def test_what_hung_with_its_run_is_tried_again_and_fails_in_the_end(batched: Batched) -> None:
    batch = batched.add([1], concurrency=1, max_retries=1)
    run_out(batched)
    [item] = batched.items(batch)
    assert (item["status"], item["retry_count"], item["crashes"]) == ("pending", 1, 0)
    assert item["error"] == LATE
    assert batched.counts(batch) == (1, 0, 0, 0, 0)

    run_out(batched)
    [item] = batched.items(batch)
    assert (item["status"], item["attempts"], item["crashes"]) == ("failed", 2, 0)
    assert item["error"] == LATE
    assert batched.counts(batch) == (1, 1, 0, 1, 0)
    assert batched.status(batch) == "completed"


def test_what_must_not_be_done_twice_is_not_tried_again(batched: Batched) -> None:
    batched.register(on_inflight="mark_unknown")
    batch = batched.add([1], concurrency=1, max_retries=3)
    run_out(batched)
    [item] = batched.items(batch)
    assert (item["status"], item["error"]) == ("failed", LATE)


def test_a_polite_handler_that_was_told_so_has_failed(batched: Batched) -> None:
    batched.register(timeout=1)

    def overrun(item: int) -> None:
        if item == 1:
            assert batched.context.deadline is not None
            batched.context._chunk.ask_to_stop(Kind.TIMEOUT, "Timed out after 1s.")  # type: ignore[attr-defined]
            batched.context.raise_if_cancelled()

    batched.act = overrun
    batch = batched.add([1, 2], concurrency=1)
    batched.work()
    late, other = batched.items(batch)
    assert (late["status"], late["attempts"], other["status"]) == ("failed", 1, "completed")
    assert late["error"].endswith("Timed out after 1s.")


def test_a_coroutine_is_cancelled_and_its_run_goes_on(batched: Batched) -> None:
    async def check(item: int) -> int:
        if item == 2:
            raise TimeoutError("its own")
        await asyncio.sleep(60 if item == 1 else 0)
        return item

    options: Any = {"timeout": 0.1}
    batched.handler = BatchHandler(check, "check", options, lambda: batched.db)
    batch = batched.add([0, 1, 2, 3], concurrency=1)
    row = batched.claim()
    context = Context(batched._call(row), unattended("check")._reporter)
    told = asyncio.run(chunk.work_async(batched.handler, context))

    assert told == {"completed": 2, "failed": 2}
    late, own = batched.items(batch)[1:3]
    assert late["error"].splitlines()[-1] == "Timed out after 0.1s."
    assert "asyncio.sleep(60" in late["error"]
    assert own["error"].splitlines()[-1] == "TimeoutError: its own"


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_limit_that_is_none_is_refused(batched: Batched) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        batched.register(timeout=0)
    with pytest.raises(ValueError, match="soon"):
        batched.register(timeout="soon")
