"""Texts: what a page shows in words, and which words only the English catalogue has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Page

from e2e.browsing import ROOT

LOCALES = ROOT / "web" / "src" / "locales"

_SEEN = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = [document.title];
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (parent.checkVisibility()) texts.push(walker.currentNode.data.trim());
  }
  for (const field of document.querySelectorAll("[placeholder]")) {
    if (field.checkVisibility()) texts.push(field.placeholder.trim());
  }
  return texts;
}"""


def shown(page: Page) -> set[str]:
    """Each text that can be seen on the page, its title and the hints in its fields too."""
    found: list[str] = page.evaluate(_SEEN)
    return set(found)


def english_only() -> set[str]:
    """Texts of four letters and more that only the English catalogue has."""
    en, zh = (
        set(_values(json.loads((LOCALES / f"{name}.json").read_text(encoding="utf-8"))))
        for name in ("en", "zh-CN")
    )
    return {text for text in en - zh if len(text) >= 4 and "{" not in text}


def missing(page: Page) -> int:
    """How many keys the page asked for that its catalogue does not have."""
    return int(page.evaluate("() => document.documentElement.dataset.missingTexts"))


def _values(catalogue: dict[str, Any]) -> Iterator[str]:
    for value in catalogue.values():
        if isinstance(value, dict):
            yield from _values(value)
        else:
            yield value
