"""Console: how soon do its pages show their last row, with a million runs behind them?

`taskyard web` in a process of its own on the database that `history` fills, and Chromium, which
opens each page anew as from a bookmark. What counts is the time from the click to the picture in
which the last row, card or chart appears; pages take turns, so that a slow moment hits all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.history import Question, on_filled, served
from benchmarks.lanes import Lane
from benchmarks.machine import Meter
from benchmarks.options import Options
from benchmarks.past import QUEUE, TASK_TYPE
from benchmarks.processes import Failed

BAR = 1500.0  # ms that the p95 of each page may take
REPEAT = 7  # times that each is opened in a round

PAGES = {
    "overview, 24 h": "/",
    "overview, 30 days": "/?from=now-30d",
    "runs, 24 h": "/runs",
    "runs, 30 days": "/runs?from=now-30d",
    "runs, 100 of 30 days": "/runs?from=now-30d&limit=100",
    "runs, failed": "/runs?from=now-30d&status=failed",
    "runs, one type": f"/runs?from=now-30d&task_type={TASK_TYPE}",
    "runs, one queue": f"/runs?from=now-30d&queue={QUEUE}",
    "runs, longest first": "/runs?from=now-30d&sort=-execution_time",
    "error groups": "/runs?from=now-30d&tab=errors",
    "timeline": "/runs?from=now-30d&tab=timeline",
}

# Texts that tell how long ago something was change all the time; what comes late are elements.
_WATCH = """
window.lastPaint = 0;
new MutationObserver((changes) => {
  const isNew = changes.some(({ target, addedNodes }) =>
    target instanceof Element && target.closest("main") &&
    [...addedNodes].some((node) => node instanceof Element));
  if (!isNew) return;
  requestAnimationFrame(() => setTimeout(() => { window.lastPaint = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""

_IS_SHOWN = """() =>
  window.lastPaint > 0 && !document.querySelector(".skeleton") &&
  document.querySelector("main tbody tr, main .stat, main .gantt-lane")"""


def main(options: Options) -> None:
    """All pages on each lane, in turns."""
    on_filled(options, look)


def look(lane: Lane, rounds: int) -> None:
    """Open each page of a database that is filled, and print what it took."""
    with served(lane) as (client, server), chromium() as page:
        link = client.post("/api/v1/users/bench/sign-in-link")
        if link.status_code != 200:
            raise Failed(f"{link.status_code} of the sign-in link: {link.text}")
        base = str(client.base_url).rstrip("/")
        page.goto(base + link.json()["path"])
        pages = [Question(name, path, {}) for name, path in PAGES.items()]
        for one in pages:
            seconds_until_painted(page, base + one.path)  # once, uncounted: all is in memory then
        meter = Meter([server.pid], lane.store)
        for _ in range(rounds * REPEAT):
            for one in pages:
                one.taken.append(seconds_until_painted(page, base + one.path) * 1000)
        report(lane, pages, meter.read().others)


@contextmanager
def chromium() -> Iterator[Page]:
    """A tab of a browser; CHROMIUM says where that is."""
    path = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(_WATCH)
        yield page
        browser.close()


def seconds_until_painted(page: Page, url: str) -> float:
    """Open a page; from the start of the navigation until nothing new has come for a while."""
    page.goto(url)
    page.wait_for_function(_IS_SHOWN, timeout=60_000)
    # As long as the API is being asked more may come.
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(100)
    painted: Any = page.evaluate("() => window.lastPaint")
    return float(painted) / 1000


def report(lane: Lane, pages: list[Question], others: float) -> None:
    print(f"\n{lane.title}, ms{'':20}  {'p50':>6} {'p95':>6} {'most':>6}")
    for one in pages:
        figures = (median(one.taken), one.p95, max(one.taken))
        print(f"{one.name:28}", "".join(f" {figure:6.0f}" for figure in figures))
    slow = [one for one in pages if one.p95 > BAR]
    worst = max(pages, key=lambda one: one.p95)
    print(f"{'MISSED ' if slow else 'reached'}  {lane.title}: p95 of all {len(pages)}", end="")
    print(f" at most {BAR:g} ms; slowest: {worst.name} {worst.p95:.0f} ms;", end="")
    print(f" others {others:.0%}\n", flush=True)
