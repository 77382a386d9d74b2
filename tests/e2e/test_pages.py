"""Every page, in both languages and themes, wide and narrow: for everybody, and nothing foreign."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.browsing import PAGES, ROOT, Browser, Visitor
from e2e.site import Site

LOCALES = ROOT / "web" / "src" / "locales"


def values(catalogue: Any) -> Iterator[str]:
    for value in catalogue.values():
        if isinstance(value, dict):
            yield from values(value)
        else:
            yield value


def english_only() -> set[str]:
    """Texts that only the English catalogue has."""
    en, zh = (
        set(values(json.loads((LOCALES / f"{name}.json").read_text(encoding="utf-8"))))
        for name in ("en", "zh-CN")
    )
    return {text for text in en - zh if len(text) >= 4 and "{" not in text}


@pytest.fixture(scope="module", params=["en-US", "zh-CN"])
def locale(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody(
    browser: Browser, filled: Site, name: str, locale: str, width: int, dark: bool
) -> None:
    visitor = browser.visitor(filled, locale=locale, width=width, dark=dark)
    visitor.sign_in(PAGES[name])
    visitor.page.wait_for_load_state("networkidle")
    visitor.shoot(f"{name}-{locale}-{'dark' if dark else 'light'}-{width}")
    assert visitor.axe() == []
    assert visitor.page.evaluate("document.documentElement.lang") == locale.replace("-US", "")
    if locale == "zh-CN":
        assert english_only() & shown(visitor) == set()
    visitor.leave()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_320_pixels(browser: Browser, filled: Site, name: str) -> None:
    visitor = browser.visitor(filled, width=320)
    visitor.sign_in(PAGES[name])
    page = visitor.page
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wider) == 0
    visitor.leave()


@pytest.mark.parametrize("path", ["/tasks?new=1&type=shop.greet", "/queues?edit=%2B"])
def test_a_dialog_is_for_everybody(browser: Browser, filled: Site, path: str) -> None:
    visitor = browser.visitor(filled)
    visitor.sign_in(path)
    visitor.page.get_by_role("dialog").wait_for()
    assert visitor.axe() == []
    visitor.leave()


def test_14_chinese_stays(browser: Browser, filled: Site) -> None:
    visitor = browser.visitor(filled)
    visitor.sign_in("/runs")
    page = visitor.page
    page.get_by_label("User menu: admin").click()
    page.get_by_label("Language").select_option("zh-CN")
    page.get_by_role("heading", level=1, name="运行记录").wait_for()
    page.reload()
    visitor.settle()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert {"已完成", "失败", "超时"} <= shown(visitor)
    visitor.leave()


def shown(visitor: Visitor) -> set[str]:
    """Each text that can be seen on the page."""
    found: list[str] = visitor.page.evaluate(
        """() => {
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          const texts = [];
          while (walker.nextNode()) {
            const parent = walker.currentNode.parentElement;
            if (parent.checkVisibility()) texts.push(walker.currentNode.data.trim());
          }
          return texts;
        }"""
    )
    return set(found)
