"""Every page, in both languages and themes, wide and narrow: for everybody, and nothing foreign."""

from __future__ import annotations

import pytest

from e2e.browsing import DETAILS, PAGES, Browser
from e2e.site import Site
from e2e.texts import english_only, missing, shown

ALL = {**PAGES, **DETAILS}
DIALOGS = [
    "/tasks?new=1&type=shop.greet",
    "/queues?edit=%2B",
    "/batches?new=1",
    "/schedules?edit=%2B",
    "/alerts?tab=rules&edit=%2B",
    "/admin?edit=%2B",
]


@pytest.fixture(scope="module", params=["en-US", "zh-CN"])
def locale(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("name", ALL)
def test_a_page_is_for_everybody(
    browser: Browser, filled: Site, name: str, locale: str, width: int, dark: bool
) -> None:
    visitor = browser.visitor(filled, locale=locale, width=width, dark=dark)
    visitor.sign_in(filled.path(ALL[name]))
    visitor.page.wait_for_load_state("networkidle")
    visitor.shoot(f"{name}-{locale}-{'dark' if dark else 'light'}-{width}")
    assert visitor.axe() == []
    assert visitor.page.evaluate("document.documentElement.lang") == locale.replace("-US", "")
    if locale == "zh-CN":
        assert english_only() & shown(visitor.page) == set()
    assert missing(visitor.page) == 0
    visitor.leave()


@pytest.mark.parametrize("name", ALL)
def test_a_page_fits_320_pixels(browser: Browser, filled: Site, name: str) -> None:
    visitor = browser.visitor(filled, width=320)
    visitor.sign_in(filled.path(ALL[name]))
    page = visitor.page
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wider) == 0
    visitor.leave()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", DIALOGS)
def test_a_dialog_is_for_everybody(browser: Browser, filled: Site, path: str, dark: bool) -> None:
    visitor = browser.visitor(filled, dark=dark)
    visitor.sign_in(path)
    visitor.page.get_by_role("dialog").wait_for()
    assert visitor.axe() == []
    visitor.leave()
