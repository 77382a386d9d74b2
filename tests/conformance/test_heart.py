"""Heart: the lease from this side: who is trusted, until when, and who may judge others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conformance.spine import Spine
from harness.waiting import stays_true, wait_until
from taskyard import servers
from taskyard.access.caller import LOCAL
from taskyard.engine.heart import Heart
from taskyard.engine.server import Life

LEASE = 1.2


@pytest.fixture
def drained() -> threading.Event:
    return threading.Event()


@pytest.fixture
def heart(spine: Spine, drained: threading.Event) -> Iterator[Heart]:
    """The beating heart of a Session `life` with a short lease."""
    spine.session("life", lease=LEASE)
    heart = Heart(spine.db, "life", LEASE, told_to_drain=drained.set)
    heart.start()
    yield heart
    heart.stop()


def lease_left(spine: Spine) -> float:
    row = servers.find_session(spine.db, "life")
    assert row is not None
    return row.lease_left


def wait_beaten(spine: Spine) -> None:
    """Until a beat has come through: before, the lease is that of the registration."""

    def beat_at() -> float:
        row = servers.find_session(spine.db, "life")
        assert row is not None
        return row.beat_at

    first = beat_at()
    wait_until(lambda: beat_at() > first, 5, "it beats")


def stop_beating(heart: Heart, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Heart) -> Any:
        raise ConnectionError("the database is away")

    monkeypatch.setattr(Heart, "_ask", away)


def test_a_session_that_beats_is_trusted_for_longer_than_its_lease(
    spine: Spine, heart: Heart
) -> None:
    stays_true(heart.trusted, LEASE * 1.5, "it is trusted", every=0.05)
    assert 0 < lease_left(spine) <= LEASE
    assert heart.healthy_for() >= LEASE


def test_trust_ends_before_the_lease_does(
    spine: Spine, heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our own clock nobody can have declared us dead yet: there is a margin of a sixth."""
    wait_beaten(spine)
    stop_beating(heart, monkeypatch)
    wait_until(lambda: not heart.trusted(), LEASE * 1.5, "trust ends", every=0.005)
    assert lease_left(spine) > 0
    assert heart.healthy_for() == 0.0
    assert not heart.dead.is_set()


def test_who_was_away_is_trusted_again_and_judges_nobody_for_a_whole_lease(
    spine: Spine, heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_beating(heart, patch)
        wait_until(lambda: not heart.trusted(), LEASE * 1.5, "trust ends")
    wait_until(heart.trusted, 5, "trust comes back", every=0.01)
    assert heart.healthy_for() < LEASE / 2
    wait_until(lambda: heart.healthy_for() >= LEASE, 5, "it was well for a whole lease")


def test_a_single_lost_beat_restarts_the_time_that_a_judge_must_have_been_well(
    spine: Spine, heart: Heart, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: heart.healthy_for() >= LEASE, 5, "it was well for a whole lease")
    ask = Heart._ask

    def lost_once(self: Heart) -> Any:
        monkeypatch.setattr(Heart, "_ask", ask)
        raise ConnectionError("a packet was lost")

    monkeypatch.setattr(Heart, "_ask", lost_once)
    wait_until(lambda: heart.healthy_for() < LEASE / 2, 5, "a beat is lost", every=0.005)
    assert heart.trusted()


def test_a_session_that_was_declared_dead_knows_and_is_never_trusted_again(
    spine: Spine, heart: Heart
) -> None:
    spine.kill("life")
    wait_until(heart.dead.is_set, 5, "the heart knows")
    assert not heart.trusted()
    stays_true(lambda: not heart.trusted(), 0.5, "it stays dead")
    assert heart.healthy_for() == 0.0


def test_a_session_that_is_asked_to_drain_is_told(
    spine: Spine, heart: Heart, drained: threading.Event
) -> None:
    assert not drained.is_set()
    assert servers.drain(spine.db, LOCAL, "server-life") == 1
    wait_until(drained.is_set, 5, "it is told")
    assert heart.trusted()


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_only_who_was_well_for_a_whole_lease_declares_others_dead(spine: Spine) -> None:
    """After an outage every lease looks expired, also those of Servers that are fine."""

    def may_judge(healthy_for: float, lease_left: float) -> bool:
        life = SimpleNamespace(
            heart=SimpleNamespace(healthy_for=lambda: healthy_for),
            settings=SimpleNamespace(lease=30.0),
        )
        row = SimpleNamespace(lease_left=lease_left)
        return Life._may_judge(cast(Any, life), cast(Any, row))

    assert may_judge(30.0, -0.1)
    assert not may_judge(29.9, -100.0)
    assert not may_judge(1000.0, 0.1)
