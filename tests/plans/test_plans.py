"""Plans: no statement of the spine reads a task table from end to end, whatever lies in it.

A queue's table is full of what is over, not yet due, held back or keyed, and its statistics were
taken at another time. What a turn of a dispatcher reads must depend on what it takes alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.spine import TABLE, WORK, Spine, ended
from harness.sql import Database as Stranger
from plans.crowd import analyze, crowd, later
from plans.watching import Watch, watching
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import Kind
from taskyard.tasks import browse, holds, manage, rescue

TAKEN = 50

MOST = {"postgresql": 60, "mysql": 40, "sqlite": 30}
"""Pages, rows, hundreds of steps that a statement may read for each row that it is about."""

Fill = Callable[[Spine, Stranger, int], None]


def turn(spine: Spine) -> Watch:
    """All that a dispatcher and the chores of a Server do to a table, once round."""
    with watching() as watch:
        spine.put()
        rows = spine.claim(TAKEN)
        assert len(rows) == TAKEN
        kinds = [Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED, Kind.INTERRUPTED]
        endings = [
            ended(row, kinds[n % 4], error=None if n % 4 == 0 else "x", delay=3600.0)
            for n, row in enumerate(rows)
        ]
        assert spine.settle(endings[:-4]).superseded == []
        owned = rescue.owned(spine.db, TABLE, spine.me)
        assert len(owned) == 4
        released = dict(list(owned.items())[:2])
        assert rescue.release_forgotten(spine.db, spine.place(), released) == 2
        assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 0
        spine.kill(spine.me)
        assert rescue.rescue(spine.db, TABLE, max_crashes=5) == 2
        holds.hold_blocked(spine.db, TABLE, WORK)
        holds.release_holds(spine.db, TABLE, WORK)
        ref = spine.ref(unique_key="only once")
        manage.state(spine.db, ref)
        manage.cancel(spine.db, LOCAL, ref)
        manage.retry(spine.db, LOCAL, ref)
    return watch


def check(watch: Watch, family: str) -> None:
    """Nothing was scanned, and nothing was read that was not asked for."""
    statements = watch.on(TABLE)
    assert len(statements) > 12
    scanned = [one for one in statements if any(TABLE in scan for scan in one.scans)]
    assert not scanned, "\n".join(map(str, scanned))
    greedy = [one for one in statements if one.read > MOST[family] * TAKEN]
    assert not greedy, "\n".join(map(str, greedy))


def nothing(spine: Spine, stranger: Stranger, size: int) -> None:
    """A table as large as what is due."""
    crowd(stranger, TABLE, size)


def finished(spine: Spine, stranger: Stranger, size: int) -> None:
    """What was done in years."""
    crowd(stranger, TABLE, size, status="2")
    crowd(stranger, TABLE, TAKEN * 2)


def finished_and_known(spine: Spine, stranger: Stranger, size: int) -> None:
    """The same with statistics that say: nothing is ever pending here, and nothing runs."""
    crowd(stranger, TABLE, size, status="2")
    analyze(stranger, TABLE)
    crowd(stranger, TABLE, TAKEN * 2)


def a_burst_after_idling(spine: Spine, stranger: Stranger, size: int) -> None:
    """Statistics of an empty table, and then everything at once."""
    analyze(stranger, TABLE)
    crowd(stranger, TABLE, size)


def all_pending_and_known(spine: Spine, stranger: Stranger, size: int) -> None:
    crowd(stranger, TABLE, size, priority="i % 3")
    analyze(stranger, TABLE)


FILLS = [nothing, finished, finished_and_known, a_burst_after_idling, all_pending_and_known]


@pytest.mark.parametrize("fill", FILLS, ids=lambda fill: fill.__name__)
def test_nothing_is_scanned_in_a_table_of_twenty_thousand(
    spine: Spine, stranger: Stranger, fill: Fill
) -> None:
    fill(spine, stranger, 20_000)
    check(turn(spine), stranger.family)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "size", [200_000, pytest.param(1_000_000, marks=pytest.mark.long)], ids=lambda size: f"{size:,}"
)
def test_nothing_is_scanned_in_a_large_table(spine: Spine, stranger: Stranger, size: int) -> None:
    finished_and_known(spine, stranger, size)
    check(turn(spine), stranger.family)


def test_an_empty_table_costs_next_to_nothing(spine: Spine, stranger: Stranger) -> None:
    """An idle Server asks for ever."""
    with watching() as watch:
        assert spine.claim(TAKEN) == []
        holds.hold_blocked(spine.db, TABLE, WORK)
        holds.release_holds(spine.db, TABLE, WORK)
        rescue.rescue(spine.db, TABLE, max_crashes=5)
        rescue.owned(spine.db, TABLE, spine.me)
    assert watch.read < 200, "\n".join(map(str, watch.statements))


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "scale", [0.25, pytest.param(1.0, marks=pytest.mark.long)], ids=lambda scale: f"{scale:g}"
)
def test_what_cannot_run_is_never_read(spine: Spine, stranger: Stranger, scale: float) -> None:
    """200 000 future rows of higher priority, 100 000 of one held key, 100 000 of unknown type."""
    crowd(
        stranger, TABLE, int(200_000 * scale), priority="9 + i % 2", schedule_time=later(stranger)
    )
    key = spine.put(excl_key="held", at=0.0)
    crowd(stranger, TABLE, int(100_000 * scale), excl_key="'held'")
    crowd(stranger, TABLE, int(100_000 * scale), task_type="'unknown'", hold="1")
    analyze(stranger, TABLE)
    holder = spine.session("holder")
    spine.take(key, session=holder)
    crowd(stranger, TABLE, TAKEN * 2)
    crowd(
        stranger,
        TABLE,
        20,
        excl_key="'free' || i" if stranger.family != "mysql" else "CONCAT('free', i)",
    )
    watch = turn(spine)
    held = [one for one in watch.on(TABLE) if "DISTINCT" in one.sql and "hold" in one.sql]
    watch.statements = [one for one in watch.statements if one not in held]
    check(watch, stranger.family)
    waiting = browse.backlog(spine.db, TABLE)
    assert waiting.running == 1


def test_many_priorities_and_many_keys_are_walked_by_probes(
    spine: Spine, stranger: Stranger
) -> None:
    key = "'key-' || i" if stranger.family != "mysql" else "CONCAT('key-', i)"
    crowd(stranger, TABLE, 20_000, priority="i % 201 - 100")
    crowd(stranger, TABLE, 20_000, excl_key=key)
    with watching() as watch:
        rows = spine.claim(TAKEN)
    assert len(rows) == TAKEN
    scanned = [one for one in watch.on(TABLE) if any(TABLE in scan for scan in one.scans)]
    assert not scanned, "\n".join(map(str, scanned))
    assert watch.read < 8_000, "\n".join(map(str, watch.statements))
