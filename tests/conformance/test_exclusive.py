"""Exclusive keys: one running Task a key, whatever the number of Servers, and nobody starves."""

from __future__ import annotations

import random
from functools import partial

import pytest

from conformance.spine import TABLE, Spine, ended, together
from taskyard.core.lifecycle import Kind
from taskyard.db.database import Tx
from taskyard.db.rows import Claim, ClaimedRow, Head
from taskyard.tasks import claim as claiming


def test_one_row_of_a_key_runs_at_a_time_and_the_next_follows(spine: Spine) -> None:
    ids = [spine.put(excl_key="k") for _ in range(3)]
    for task in ids:
        row = spine.take(task)
        for session in (spine.me, spine.session(f"other-{task}")):
            taken = spine.taken(session=session)
            assert (taken.rows, taken.full) == ([], False)
        spine.finish(row)
    assert spine.claim() == []


def test_the_head_of_a_key_is_by_priority_then_time_then_id(spine: Spine) -> None:
    third = spine.put(excl_key="k", at=3_000.0)
    second = spine.put(excl_key="k", at=2_000.0)
    first = spine.put(excl_key="k", at=9_000.0, priority=1)
    fourth = spine.put(excl_key="k", at=3_000.0)
    for task in (first, second, third, fourth):
        spine.finish(spine.take(task))


def test_different_keys_and_rows_without_one_run_side_by_side(spine: Spine) -> None:
    heads = [spine.put(excl_key=key) for key in ("a", "b", "A", "ä")]
    for key in ("a", "b"):
        spine.put(excl_key=key)
    plain = [spine.put(), spine.put()]
    assert sorted(row.id for row in spine.claim(20)) == sorted([*heads, *plain])


def test_a_key_is_over_all_queues_of_a_table_and_no_other_table(spine: Spine) -> None:
    spine.queue("same", TABLE)
    spine.queue("other", "other_tasks")
    first = spine.put(excl_key="k")
    spine.put(excl_key="k", queue="same")
    other = spine.put(excl_key="k", queue="other")
    spine.take(first)
    assert spine.claim(queue="same") == []
    spine.take(other, table="other_tasks", queue="other")


def test_a_task_that_is_not_due_does_not_hold_its_key(spine: Spine) -> None:
    spine.put(excl_key="k", delay=3600, priority=9)
    due = spine.put(excl_key="k")
    spine.take(due)


def test_a_failed_task_gives_its_key_to_the_next_while_it_waits(spine: Spine) -> None:
    first, second = spine.put(excl_key="k"), spine.put(excl_key="k")
    spine.finish(spine.take(first), Kind.FAILED, error="later", delay=3600.0)
    spine.finish(spine.take(second))
    assert spine.claim() == []


def test_a_row_edited_by_sql_keeps_its_key_until_its_owner_lets_go(spine: Spine) -> None:
    """1 -> 0 and 1 -> 4 by SQL: the handler still runs, so exclusivity is over `owner`."""
    for status in (0, 2, 4):
        first, second = spine.put(excl_key="k"), spine.put(excl_key="k")
        row = spine.take(first)
        spine.change(first, f"status = {status}")
        assert spine.claim(session=spine.session(f"late-{status}")) == []
        spine.settle(ended(row))
        spine.execute(f"UPDATE {TABLE} SET status = 4 WHERE id = {first}")
        spine.finish(spine.take(second))


def test_the_database_itself_refuses_a_second_owner_of_a_key(spine: Spine) -> None:
    """Whatever we look at first: heads that two Servers saw at the same moment."""
    first, second = spine.put(excl_key="k"), spine.put(excl_key="k")
    spine.take(first)
    with pytest.raises(Exception) as caught:
        spine.change(second, "status = 1, owner = 'other'")
    assert spine.db.dialect.is_duplicate(caught.value)


def test_a_race_for_a_key_that_is_lost_is_no_error(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our claim another Server has taken a Task of the same key."""
    first, second = spine.put(excl_key="k"), spine.put(excl_key="k")
    look = spine.db.dialect.free_heads

    def late(tx: Tx, table: str, after: str) -> tuple[list[Head], str]:
        heads, more = look(tx, table, after)
        return [head._replace(id=second) for head in heads], more

    monkeypatch.setattr(spine.db.dialect, "free_heads", late)
    ask = spine.ask(5)
    taking = spine.db.dialect.claim

    def overtaken(tx: Tx, asked: Claim) -> list[ClaimedRow]:
        tx.execute(f"UPDATE {TABLE} SET status = 1, owner = 'other' WHERE id = {first}")
        return taking(tx, asked)

    monkeypatch.setattr(spine.db.dialect, "claim", overtaken)
    taken = claiming.claim(spine.db, ask)
    assert taken.rows == [] and taken.full
    monkeypatch.undo()
    assert spine.row(second)["status"] == 0


def test_an_empty_key_is_a_key(spine: Spine) -> None:
    """Strangers may write '' into the column; such rows must not lie there for ever."""
    first, second = spine.put(excl_key=""), spine.put(excl_key="")
    spine.finish(spine.take(first))
    spine.finish(spine.take(second))


def test_held_keys_hide_no_free_key_however_many_they_are(spine: Spine) -> None:
    """One look goes through 200 keys: the next must go on behind them, not begin again."""
    spine.put_many(450, excl_key="held-{n:03}")
    held: list[int] = []
    while len(held) < 450:
        rows = spine.claim(500)
        assert rows
        held += [row.id for row in rows]
    spine.put_many(450, excl_key="held-{n:03}")
    free = spine.put(excl_key="zzz")
    after, found = "", []
    for _ in range(4):
        taken = spine.taken(10, after_key=after)
        found += [row.id for row in taken.rows]
        after = taken.after_key
        assert found or taken.full, "it pays to ask again at once: not all keys were looked at"
        if found:
            break
    assert found == [free]


def test_keys_of_unknown_types_hide_no_free_key(spine: Spine) -> None:
    spine.put_many(250, "unknown", excl_key="a-{n:03}")
    free = spine.put(excl_key="zzz")
    first = spine.taken(10)
    rows = first.rows or spine.taken(10, after_key=first.after_key).rows
    assert [row.id for row in rows] == [free]


def test_every_key_gets_its_turn_with_rows_without_one_beside(spine: Spine) -> None:
    keyed = spine.put_many(300, excl_key="k{n:03}", at=5_000.0)
    plain = spine.put_many(30, at=1_000.0)
    after, found = "", []
    for _ in range(12):
        taken = spine.taken(40, after_key=after)
        found += [row.id for row in taken.rows]
        after = taken.after_key
    assert sorted(found) == sorted([*keyed, *plain])


def test_many_claimers_at_once_never_run_one_key_twice(spine: Spine) -> None:
    """Heads move while others look: new rows of higher priority come in, ends free keys."""
    dice = random.Random(7)
    for _ in range(60):
        spine.put(excl_key=f"k{dice.randrange(4)}", priority=dice.randrange(3))
    names = [spine.session(f"s{n}") for n in range(3)]
    busy: set[str] = set()
    overlaps: list[str] = []

    def work(session: str) -> int:
        mine, done, idle = random.Random(session), 0, 0
        while idle < 3:
            rows = spine.claim(2, session=session)
            idle = 0 if rows else idle + 1
            for row in rows:
                assert row.excl_key is not None
                if row.excl_key in busy:
                    overlaps.append(row.excl_key)
                busy.add(row.excl_key)
            if done < 30 and mine.random() < 0.5:
                spine.put(excl_key=f"k{mine.randrange(4)}", priority=mine.randrange(5))
            for row in rows:
                busy.discard(row.excl_key or "")
                spine.finish_as(session, row)
                done += 1
        return done

    done = sum(together(*[partial(work, name) for name in names]))
    assert overlaps == []
    assert done == spine.column("status").count(2)
    left = spine.claim(10)
    assert len({row.excl_key for row in left}) == len(left)
