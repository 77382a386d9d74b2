"""taskyard.testing: what applications test themselves with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskyard import Context, Retry, Snooze, Yard, current, testing

yard = Yard("postgresql://nobody@127.0.0.1:1/production")
done: list[Any] = []


@yard.handler("note", queue="notes")
def note(word: str) -> str:
    done.append(word)
    return word.upper()


@yard.handler("later")
async def later(ctx: Context, word: str) -> None:
    await asyncio.sleep(0)
    assert current() is ctx
    note.enqueue(word=word)


@yard.handler("flaky", max_retries=2)
def flaky(ctx: Context, wait: str = "10m") -> int:
    attempt: int = ctx.checkpoint.get(0) + 1
    ctx.checkpoint.set(attempt)
    if attempt < 3:
        raise Retry(after=wait)
    return attempt


@yard.handler("broken", max_retries=0)
def broken() -> None:
    raise ValueError("broken on purpose")


@yard.handler("restless")
def restless() -> None:
    raise Snooze(0)


@pytest.fixture
def stage() -> Iterator[testing.Stage]:
    done.clear()
    with testing.rehearse(yard) as stage:
        yield stage


def test_a_rehearsal_never_touches_the_yards_own_database() -> None:
    url = yard.settings.database_url

    with testing.rehearse(yard):
        assert yard.settings.database_url.startswith("sqlite:///")
        folder = Path(str(yard.database.url.database)).parent

    assert yard.settings.database_url == url
    assert not folder.exists()


def test_each_rehearsal_begins_empty() -> None:
    for _ in range(2):
        with testing.rehearse(yard) as stage:
            assert stage.enqueued() == []
            note.enqueue(word="x")


def test_everything_that_is_due_runs_in_order_with_what_it_enqueues(stage: testing.Stage) -> None:
    later.enqueue(word="c")
    note.enqueue(word="a")
    note.options(priority=1).enqueue(word="b")

    ran = stage.drain()

    assert done == ["b", "a", "c"]
    assert {(run.task_type, run.status, run.output) for run in ran} == {
        ("later", "completed", None),
        ("note", "completed", "A"),
        ("note", "completed", "B"),
        ("note", "completed", "C"),
    }
    assert stage.drain() == []


def test_what_waits_can_be_asserted(stage: testing.Stage) -> None:
    note.enqueue(word="a")
    note.enqueue(word="b")

    stage.assert_enqueued("note", count=2)
    stage.assert_enqueued("note", {"word": "a"}, queue="notes", count=1)
    stage.assert_enqueued("later", count=0)
    for wrong in (("later",), ("note", {"word": "z"}), ("note", {"wird": "a"})):
        with pytest.raises(AssertionError, match="notes/1"):
            stage.assert_enqueued(*wrong)
    with pytest.raises(AssertionError, match="expected 3 of note"):
        stage.assert_enqueued("note", count=3)


def test_the_clock_moves_when_the_test_says_so(stage: testing.Stage) -> None:
    note.options(delay="1h").enqueue(word="a")
    assert stage.drain() == []

    stage.travel("59m")
    assert stage.drain() == []
    stage.travel("2m")

    assert [run.output for run in stage.drain()] == ["A"]


def test_a_task_that_fails_is_tried_again_with_its_checkpoint(stage: testing.Stage) -> None:
    task = flaky.enqueue()
    statuses = []
    for _ in range(3):
        statuses += [(run.attempt, run.status) for run in stage.drain(allow_failures=True)]
        stage.travel("11m")

    assert statuses == [(1, "failed"), (2, "failed"), (3, "completed")]
    assert task.wait() == 3
    assert [run["status"] for run in task.runs()] == ["completed", "failed", "failed"]


def test_a_failure_fails_the_test_unless_it_was_expected(stage: testing.Stage) -> None:
    broken.enqueue()
    note.enqueue(word="a")

    with pytest.raises(AssertionError, match="ValueError: broken on purpose"):
        stage.drain()

    assert done == ["a"]


def test_tasks_that_go_round_in_circles_end_the_test(
    stage: testing.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "MOST_RUNS", 10)
    restless.enqueue()

    with pytest.raises(AssertionError, match="after 10 runs there are still tasks that are due"):
        stage.drain()


def test_async_tests_drain_on_their_own_loop(stage: testing.Stage) -> None:
    async def test() -> list[testing.Ran]:
        await later.aenqueue(word="a")
        return await stage.adrain()

    ran = asyncio.run(test())

    assert sorted(run.task_type for run in ran) == ["later", "note"]
    assert done == ["a"]
