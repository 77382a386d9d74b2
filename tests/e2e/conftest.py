"""Fixtures of the console's tests: a browser, a server with runs in it, and who looks at it.

They need Chromium, the built console and time, so they run by `python3 dev.py e2e` alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.browsing import Browser, Visitor
from e2e.site import Site
from taskyard.api.console import is_built

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not is_built():
        pytest.fail("The console is not built: python3 dev.py web")
    browser = Browser(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with the runs of fixture F; no test may add to them."""
    site = Site(tmp_path_factory.mktemp("filled"))
    site.fill()
    yield site
    site.close()


@pytest.fixture(scope="session")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with the same runs, to which tests add."""
    site = Site(tmp_path_factory.mktemp("working"))
    site.fill()
    yield site
    site.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Site]:
    """A server on an empty database."""
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.fixture
def reader(browser: Browser, filled: Site) -> Iterator[Visitor]:
    """Somebody signed in who looks at fixture F."""
    visitor = browser.visitor(filled)
    visitor.sign_in()
    yield visitor
    visitor.leave()


@pytest.fixture
def worker(browser: Browser, working: Site) -> Iterator[Visitor]:
    """Somebody signed in who works."""
    visitor = browser.visitor(working)
    visitor.sign_in()
    yield visitor
    visitor.leave()
