"""Fixtures of the API's tests: a house on SQLite, made quickly, and one on each database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.house import Client, House


@pytest.fixture
def fresh(template: Path, tmp_path: Path) -> str:
    """The URL of a fresh database."""
    shutil.copy(template, tmp_path / "house.db")
    return f"sqlite:///{tmp_path / 'house.db'}"


@pytest.fixture(scope="module")
def town_url(template: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a database for all tests of a module."""
    path = tmp_path_factory.mktemp("town") / "town.db"
    shutil.copy(template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def house(fresh: str) -> Iterator[House]:
    """A house where everybody has to sign in."""
    house = House(fresh)
    yield house
    house.close()


@pytest.fixture
def root(house: House) -> Client:
    """A superuser."""
    return house.user("root")


@pytest.fixture
def open_house(fresh: str) -> Iterator[House]:
    """A house where nobody has to sign in."""
    house = House(fresh, no_auth=True)
    yield house
    house.close()


@pytest.fixture
def lane_house(lane: str) -> Iterator[House]:
    """A house on each database in turn."""
    house = House(lane)
    yield house
    house.close()
