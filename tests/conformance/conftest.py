"""Fixtures of the storage tests: a spine on each database in turn."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from conformance.people import People
from conformance.spine import Spine
from taskyard.access import passwords
from taskyard.db.database import Database


@pytest.fixture
def spine(lane: str) -> Iterator[Spine]:
    """A database with a schema, the queue "default" and a live Session."""
    spine = Spine(lane)
    yield spine
    spine.db.close()


@pytest.fixture
def people(lane: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[People]:
    """A database with a schema and nobody in it, whose passwords are hashed quickly."""
    passwords._nobodys.cache_clear()
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(1, 8, 1))
    db = Database(lane)
    yield People(db)
    db.close()
    passwords._nobodys.cache_clear()
