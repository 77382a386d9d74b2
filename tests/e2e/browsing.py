"""Browsing: what a person does in a browser, by the names that pages give to things.

Owns Chromium and that a visit without any error is the only good one: what a page says on its
console, what breaks in it and what it asks of other hosts is noted and held against it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, Request, expect, sync_playwright

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
    "servers": "/servers",
    "handlers": "/handlers",
    "schedules": "/schedules",
    "users": "/admin",
    "tenants": "/admin?tab=tenants",
    "tokens": "/admin?tab=tokens",
    "roles": "/admin?tab=roles",
    "audit": "/admin?tab=audit",
}
"""The pages by name."""


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

    def choose(self, label: str, word: str) -> None:
        """Choose a word in a field that is searched by typing."""
        field = self.page.get_by_role("combobox", name=label, exact=True)
        field.click()
        field.fill(word)
        self.page.get_by_role("option", name=word, exact=True).click()

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
