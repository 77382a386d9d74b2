"""Batches that break: workers die, answers are lost, slots go; nothing is done twice, or never."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from conformance.batched import TABLE, Batched
from conformance.spine import Spine
from taskyard.access.caller import LOCAL
from taskyard.alerts import channels
from taskyard.batches import exchange, keeper, manage
from taskyard.batches.exchange import Done
from taskyard.batches.reclaim import MAX_CRASHES
from taskyard.core.errors import AlertInvalid, OutcomeUnknown


@pytest.fixture
def batched(spine: Spine) -> Batched:
    return Batched(spine)


def ends(items: Any, status: str = "completed") -> list[Done]:
    return [Done(item, status) for item in items]


def test_only_what_was_under_way_is_done_again(batched: Batched) -> None:
    batch = batched.add(range(20), concurrency=1)
    batched.spine.session("doomed")
    worker = batched.worker("doomed")
    first = batched.turn(worker, want=5).items
    batched.turn(worker, ends(first), want=3)

    batched.lose("doomed")
    batched.work()

    assert batched.counts(batch) == (20, 20, 20, 0, 0)
    attempts = [item["attempts"] for item in batched.items(batch)]
    assert attempts == [1] * 5 + [2] * 3 + [1] * 12
    assert [item["crashes"] for item in batched.items(batch)] == [0] * 5 + [1] * 3 + [0] * 12


def test_a_zombie_gets_nothing_new_and_its_late_ends_count_once(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=1)
    batched.spine.session("zombie")
    zombie = batched.worker("zombie")
    kept, given_away = batched.turn(zombie, want=2).items
    batched.lose("zombie")

    # Nobody has taken them back yet: what is done is done. But there is nothing more for it.
    answer = batched.turn(zombie, ends([kept]), want=5)
    assert (answer.items, answer.more) == ([], False)
    assert batched.counts(batch) == (10, 1, 1, 0, 0)

    heir = batched.worker()
    taken = batched.turn(heir, want=1, first=True).items
    assert [item.item_id for item in taken] == [given_away.item_id]
    batched.turn(zombie, ends([kept, given_away], "failed"), want=5)
    assert batched.counts(batch) == (10, 1, 1, 0, 0)
    batched.turn(heir, ends(taken))
    assert batched.counts(batch) == (10, 2, 2, 0, 0)


def test_items_that_must_not_be_done_twice_are_marked_unknown(batched: Batched) -> None:
    batched.register(on_inflight="mark_unknown")
    batch = batched.add(range(5), concurrency=1)
    batched.spine.session("doomed")
    worker = batched.worker("doomed")
    answer = batched.turn(worker, want=1)
    assert answer.one_by_one

    batched.lose("doomed")
    batched.work()

    assert batched.counts(batch) == (5, 5, 4, 1, 0)
    [first] = [item for item in batched.items(batch) if item["status"] == "failed"]
    assert first["error"].startswith("unknown: its worker died")
    assert 0 not in batched.seen


def test_an_item_that_kills_its_workers_fails_in_the_end(batched: Batched) -> None:
    batch = batched.add([1], concurrency=1)
    for number in range(MAX_CRASHES):
        batched.spine.session(f"victim{number}")
        batched.keep()
        batched.turn(batched.worker(f"victim{number}"), want=1, first=True)
        batched.lose(f"victim{number}")
    batched.keep()

    [item] = batched.items(batch)
    assert (item["status"], item["attempts"]) == ("failed", MAX_CRASHES)
    assert "died 5 times" in item["error"]
    assert batched.status(batch) == "completed"


def test_slots_whose_task_is_gone_get_another(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=3)
    quoted = batched.db.dialect.quote(TABLE)
    batched.spine.execute(f"DELETE FROM {quoted}")
    batched.spine.queue("unrelated", "unrelated_tasks")

    assert batched.keep() == 3
    assert batched.keep() == 0
    batched.spine.execute(f"UPDATE {quoted} SET status = 3 WHERE status = 0")
    assert batched.keep() == 3
    assert len(batched.tasks()) == 3
    batched.work()
    assert batched.status(batch) == "completed"
    assert batched.keep() == 0


def test_a_task_that_was_replaced_ends_without_an_item(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=1)
    old = batched.worker()
    batched.spine.execute("DELETE FROM ty_batch_slots")
    assert batched.keep() == 1

    answer = batched.turn(old, want=5)

    assert (answer.items, answer.more) == ([], False)
    batched.work()
    assert batched.counts(batch)[1] == 10


def test_the_slot_goes_to_the_end_of_the_line_and_is_never_doubled(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=1)
    worker = batched.worker()
    taken = batched.turn(worker, want=2).items

    answer = batched.turn(worker, ends(taken), want=2, hand_over=True)

    assert answer.handed_over
    assert not answer.items
    # Its own Task has not been settled yet; run again it finds that the slot is another's.
    assert batched.turn(worker, want=2).items == []
    heir = batched.worker()
    assert len(batched.turn(heir, want=2).items) == 2
    assert batched.counts(batch) == (10, 2, 2, 0, 0)


def test_what_a_lost_answer_has_taken_is_put_back(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=1)
    worker = batched.worker()
    mine = batched.turn(worker, want=2).items
    batched.turn(worker, want=3)  # the answer of which is lost

    known = [item.id for item in mine]
    batched.db.run(lambda tx: exchange.give_back_unknown(tx, worker.batch_id, worker.run_id, known))

    statuses = [item["status"] for item in batched.items(batch)]
    assert statuses == ["running"] * 2 + ["pending"] * 8
    assert [item["attempts"] for item in batched.items(batch)] == [1] * 2 + [0] * 8
    batched.turn(worker, ends(mine), want=1)
    assert [item["item_id"] for item in batched.items(batch) if item["status"] == "running"] == [
        "2"
    ]


def test_an_outage_repeats_nothing_and_loses_nothing(
    batched: Batched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second transaction is committed, and its answer lost; every third never begins."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    run, calls = batched.db.run, 0

    def shaky(work: Any, **how: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise OutcomeUnknown("before")
        answer = run(work, **how)
        if calls % 2 == 0:
            raise OutcomeUnknown("after")
        return answer

    batched.act = lambda item: item
    batch = batched.add(range(200), concurrency=1)
    row = batched.claim()
    from taskyard.batches import chunk
    from taskyard.context import Context, unattended

    context = Context(batched._call(row), unattended("check")._reporter)
    monkeypatch.setattr(batched.db, "run", shaky)
    chunk.work(batched.handler, context)
    monkeypatch.undo()

    assert batched.counts(batch) == (200, 200, 200, 0, 0)
    assert sorted(batched.seen) == list(range(200))
    assert {item["attempts"] for item in batched.items(batch)} == {1}


def test_a_creation_that_broke_off_gives_its_key_free(batched: Batched) -> None:
    batch = batched.add([1, 2], start=False)
    batched.spine.execute("UPDATE ty_batches SET unfinished = 1")
    batched.keep()
    assert batched.status(batch) == "pending"

    ago = batched.db.dialect.utc_after("-61")
    batched.spine.execute(f"UPDATE ty_batches SET updated_at = {ago}")
    batched.keep()

    assert batched.spine.rows("SELECT id FROM ty_batches") == []
    assert batched.add([1]) > batch


def test_a_cancel_that_broke_off_is_finished_by_the_keeper(
    batched: Batched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SOME", 3)
    batch = batched.add(range(10), concurrency=1)
    batched.spine.session("doomed")
    batched.turn(batched.worker("doomed"), want=2)
    monkeypatch.setattr(keeper, "finish", lambda db, batch_id: None)
    manage.cancel_batch(batched.db, LOCAL, batch)
    monkeypatch.undo()
    assert batched.counts(batch) == (10, 0, 0, 0, 0)

    batched.keep()
    assert batched.counts(batch) == (10, 0, 0, 0, 8)
    batched.lose("doomed")
    batched.keep()

    assert batched.counts(batch) == (10, 0, 0, 0, 10)
    assert batched.row(batch)["unfinished"] == 0


def test_the_end_is_told_once_to_each_channel(batched: Batched) -> None:
    made = channels.create_channel(batched.db, LOCAL, "ops", "mail", {"to": ["ops@x.org"]})
    batch = batched.add(range(5), concurrency=2, notify=["ops", "ada@x.org"])
    batched.work()
    batched.keep()

    told = batched.spine.rows("SELECT task_type, task_params FROM alerts_tasks ORDER BY id")
    given = [orjson.loads(row["task_params"]) for row in told]
    assert [one["channel_id"] for one in given] == [made.channel.id, None]
    assert {one["batch_id"] for one in given} == {batch}


def test_a_channel_that_is_not_there_is_named(batched: Batched) -> None:
    with pytest.raises(AlertInvalid, match="pigeon"):
        batched.add([1], notify=["pigeon"])


def test_the_rate_limit_counts_over_all_workers(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=2, rate_limit=2.0)
    one, other = batched.worker(), batched.worker()

    first = batched.turn(one, want=10)
    second = batched.turn(other, want=10)
    third = batched.turn(one, want=10)

    assert (len(first.items), first.wait) == (1, 0.0)
    assert len(second.items) == 1
    assert 0.0 < second.wait <= 0.5
    assert (third.items, third.more) == ([], True)
    assert third.wait > 0.2
    assert batched.counts(batch)[1] == 0


def test_slots_of_many_batches_take_turns(batched: Batched) -> None:
    large = batched.add(range(50), tenant_id="large", concurrency=10)
    small = batched.add(range(50), tenant_id="small", concurrency=2)

    order = [batched.worker().batch_id for _ in range(4)]

    assert sorted(order) == sorted([large, small, large, small])
