"""Fixtures of the storage tests: a spine on each database in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.spine import Spine


@pytest.fixture
def spine(lane: str) -> Iterator[Spine]:
    """A database with a schema, the queue "default" and a live Session."""
    spine = Spine(lane)
    yield spine
    spine.db.close()
