"""Fixtures of the plan tests: a spine on each database, and a stranger who fills its table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.spine import Spine
from harness.sql import Database as Stranger


@pytest.fixture
def spine(lane: str) -> Iterator[Spine]:
    spine = Spine(lane)
    yield spine
    spine.db.close()


@pytest.fixture
def stranger(spine: Spine) -> Iterator[Stranger]:
    stranger = Stranger(spine.url)
    if stranger.family == "postgresql":  # Statistics are what a test makes them, and stay so.
        stranger.run("ALTER TABLE default_tasks SET (autovacuum_enabled = false)")
    yield stranger
    stranger.close()
