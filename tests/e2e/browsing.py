"""Browsing: what a person does in a browser, by the names that pages give to things.

Owns Chromium and that a visit without any error is the only good one: what a page says on its
console, what breaks in it and what it asks of other hosts is noted and held against it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Locator, Page, Request, expect, sync_playwright

from e2e.looks import focus_fault
from e2e.site import Site

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = ROOT / "e2e-shots"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = {
    "overview": "/",
    "runs": "/runs",
    "errors": "/runs?tab=errors",
    "timeline": "/runs?tab=timeline",
    "alerts": "/alerts",
    "alert rules": "/alerts?tab=rules",
    "alert channels": "/alerts?tab=channels",
    "tasks": "/tasks",
    "batches": "/batches",
    "queues": "/queues",
    "queue": "/queues/qa",
    "servers": "/servers",
    "handlers": "/handlers",
    "schedules": "/schedules",
    "users": "/admin",
    "tenants": "/admin?tab=tenants",
    "tokens": "/admin?tab=tokens",
    "roles": "/admin?tab=roles",
    "audit": "/admin?tab=audit",
    "settings": "/settings",
}
"""The pages by name."""
DETAILS = {
    "run": "/runs/{run}",
    "task": "/tasks/{task}",
    "batch": "/batches/{batch}",
    "schedule": "/schedules/{schedule}",
    "no page": "/nowhere",
}
"""Pages of one thing; see `Site.path`."""

_HAS_FOCUS = "() => document.activeElement !== document.body"
_NAME = """() => {
  const at = document.activeElement;
  const labels = [...(at.labels ?? [])].map((label) => label.innerText).join(" ");
  return (at.getAttribute("aria-label") ?? (labels || at.innerText)).trim();
}"""


class Browser:
    """Chromium, started once."""

    def __init__(self, path: str) -> None:
        self._playwright = sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(
            executable_path=path, headless=True, args=OPTIONS
        )

    def close(self) -> None:
        self._chromium.close()
        self._playwright.stop()

    def context(self, url: str) -> Any:
        """A browser of its own, wide and light, for what is no Site."""
        return self._chromium.new_context(
            base_url=url, locale="en-US", viewport={"width": 1280, "height": 800}
        )

    def visitor(
        self, site: Site, *, locale: str = "en-US", width: int = 1280, dark: bool = False
    ) -> Visitor:
        """Somebody with a browser of their own, not signed in."""
        context = self._chromium.new_context(
            base_url=site.url,
            locale=locale,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            permissions=["clipboard-read", "clipboard-write"],
            # Our policy forbids foreign scripts; axe is put in by the test.
            bypass_csp=False,
        )
        return Visitor(site, context)


class Visitor:
    """One person, one tab, and all that went wrong before their eyes."""

    def __init__(self, site: Site, context: BrowserContext) -> None:
        self.site = site
        self.context = context
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.asked: list[Request] = []
        self.page.on("pageerror", lambda error: self.faults.append(f"page: {error}"))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self.asked.append(request))

    def leave(self) -> None:
        """Go; raises what went wrong on the way."""
        foreign = [r.url for r in self.asked if not r.url.startswith((self.site.url, "blob:"))]
        self.context.close()
        assert self.faults == []
        assert foreign == []

    def sign_in(self, path: str = "/") -> None:
        """Sign in by the session of the API's client, quicker than by the page."""
        self.context.add_cookies(
            [
                {"name": cookie.name, "value": str(cookie.value), "url": self.site.url}
                for cookie in self.site.http.cookies.jar
            ]
        )
        self.go(path)

    def go(self, path: str) -> None:
        """Go to a page and wait until it shows its title and what it asked for."""
        self.page.goto(path)
        self.settle()

    def settle(self) -> None:
        """Wait until the page shows what it asked for."""
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        expect(self.page.locator(".skeleton")).to_have_count(0)

    def rows(self, count: int) -> None:
        """There are so many rows of data in the table."""
        rows = self.page.get_by_role("table").first.locator("tbody").get_by_role("row")
        expect(rows).to_have_count(count)

    def query(self) -> dict[str, str]:
        """What stands behind the `?` of the address."""
        found: dict[str, str] = self.page.evaluate(
            "() => Object.fromEntries(new URLSearchParams(location.search))"
        )
        return found

    def choose(self, label: str, word: str, within: Locator | None = None) -> None:
        """Choose a word in a field that is searched by typing."""
        at = within or self.page.locator("body")
        field = at.get_by_role("combobox", name=label, exact=True)
        field.click()
        field.fill(word)
        at.get_by_role("option", name=word, exact=True).filter(visible=True).click()

    def tab_to(self, name: str) -> None:
        """Press Tab until what has this name has the focus, which is seen at each stop."""
        for _ in range(120):
            # Behind the last thing the browser's own come, and then the first.
            if self.page.evaluate(_HAS_FOCUS):
                fault = focus_fault(self.page)
                assert not fault, fault
                if self.page.evaluate(_NAME) == name:
                    return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"no {name!r} is reached by Tab")

    def tick(self, label: str, *words: str) -> None:
        """Tick boxes in a fold-out."""
        self.page.locator("summary").filter(has_text=re.compile(".")).and_(
            self.page.get_by_label(re.compile(f"^{label}: "))
        ).click()
        for word in words:
            self.page.get_by_role("checkbox", name=word, exact=True).check()
        self.page.keyboard.press("Escape")

    def axe(self) -> list[str]:
        """What is not accessible to all, by WCAG 2.2 AA."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: dict[str, Any] = self.page.evaluate(
            "() => axe.run({runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa']})"
        )
        return [
            f"{rule['id']}: {node['target']} {node.get('failureSummary', '')}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    def shoot(self, name: str) -> None:
        """Keep a picture of the page."""
        SHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=True)

    def _hear(self, message: Any) -> None:
        # Chromium itself says this of every answer that is no 2xx.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.faults.append(f"{message.type}: {message.text}")
