"""rate_limit: Tasks a second over all Servers, on the database's clock, fractions included."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from conformance.spine import Spine, together
from harness.waiting import stays_true


def test_a_rate_holds_over_two_claimers(spine: Spine) -> None:
    """40 a second for 2 s: 80 and the burst of a tenth of a second, whoever asks how often.

    A machine that stalls loses what is more than the burst, so below there is more room.
    """
    spine.put_many(300)
    names = [spine.session("a"), spine.session("b")]
    spine.taken(5, rate_limit=40.0)  # the clock of the rate starts
    started = time.monotonic()

    def drain(session: str) -> int:
        count = 0
        while time.monotonic() - started < 2.0:
            taken = spine.taken(5, session=session, rate_limit=40.0)
            count += len(taken.rows)
            time.sleep(min(taken.wait or 0.0, 0.1))
        return count

    count = sum(together(*[partial(drain, name) for name in names]))
    seconds = time.monotonic() - started
    assert 40 <= count <= 40 * seconds + 5


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
def test_claimers_of_one_rate_go_one_after_the_other(spine: Spine) -> None:
    """The row of the rate is locked from the look at it to the end of the claim."""
    spine.put_many(5)
    assert len(spine.taken(1, rate_limit=1.0).rows) == 1
    with ThreadPoolExecutor(1) as pool:
        with spine.db.transaction() as tx:
            tx.execute("UPDATE ty_rates SET next_free = 0")
            second = pool.submit(spine.taken, 5, rate_limit=1.0)
            stays_true(lambda: not second.done(), 0.5, "it waits for the other claim")
            tx.execute("UPDATE ty_rates SET next_free = 9e9")
        assert second.result(10).rows == []


def test_a_rate_below_one_a_second_is_kept(spine: Spine) -> None:
    spine.put_many(5)
    first = spine.taken(5, rate_limit=0.5)
    assert len(first.rows) == 1
    second = spine.taken(5, rate_limit=0.5)
    assert second.rows == [] and not second.full
    assert second.wait is not None and 1.0 < second.wait <= 2.0


def test_the_wait_ends_when_the_next_task_may_go(spine: Spine) -> None:
    spine.put_many(5)
    spine.taken(5, rate_limit=4.0)
    wait = spine.taken(5, rate_limit=4.0).wait
    assert wait is not None and 0.1 < wait <= 0.25
    time.sleep(wait + 0.005)
    assert len(spine.taken(5, rate_limit=4.0).rows) == 1


def test_an_idle_queue_saves_up_no_more_than_a_burst(spine: Spine) -> None:
    """A tenth of a second's worth, at least one Task: idling for long earns nothing more."""
    spine.taken(5, rate_limit=20.0)
    time.sleep(0.5)
    spine.put_many(50)
    assert len(spine.taken(50, rate_limit=20.0).rows) == 2
    assert len(spine.taken(50, rate_limit=20.0).rows) == 0


def test_what_was_not_taken_is_not_charged(spine: Spine) -> None:
    for _ in range(3):
        assert spine.taken(5, rate_limit=0.001).rows == []
    spine.put()
    assert len(spine.taken(5, rate_limit=0.001).rows) == 1


def test_each_queue_has_a_rate_of_its_own(spine: Spine) -> None:
    spine.queue("other", "other_tasks")
    spine.put_many(2)
    spine.put_many(2, queue="other")
    assert len(spine.taken(2, rate_limit=0.1).rows) == 1
    taken = spine.taken(2, rate_limit=0.1, queue="other", table="other_tasks")
    assert len(taken.rows) == 1


def test_a_rate_may_change_between_claims(spine: Spine) -> None:
    spine.put_many(20)
    assert len(spine.taken(20, rate_limit=0.001).rows) == 1
    assert spine.taken(20, rate_limit=0.001).rows == []
    assert len(spine.taken(20).rows) == 19
