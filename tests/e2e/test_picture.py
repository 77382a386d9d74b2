"""The demo in a browser: its tour, its desk, and the picture in the READMEs.

`README_PICTURE=1` writes the picture anew to docs/images; else it lies with the others.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.browsing import ROOT, SHOTS, Browser
from harness.waiting import wait_until

LARGEST = 200 * 1024
ENOUGH = 40
"""Runs that the picture is to show."""


@pytest.fixture
def link(tmp_path: Path) -> Iterator[str]:
    """The link of a demo that has just started."""
    out = tmp_path / "out"
    with out.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskyard", "demo", "--no-browser", "--port", "0"],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
        )
    try:
        wait_until(lambda: "Console: " in out.read_text(), 90, "a link", detail=out.read_text)
        found = re.search(r"^Console: (\S+)", out.read_text(), re.M)
        assert found
        yield found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_the_demo_leads_on_a_tour_and_is_a_picture(browser: Browser, link: str) -> None:
    context = browser.context(link)
    page = context.new_page()
    page.goto(link)
    tour = page.get_by_role("complementary", name="Tour of the demo")
    expect(tour).to_contain_text("1 of 5")

    def has_enough() -> bool:
        words = page.get_by_role("link", name=re.compile("^Runs ")).filter(has_text="range before")
        number = re.search(r"Runs\s*([\d,]+)", words.first.inner_text())
        return number is not None and int(number[1].replace(",", "")) >= ENOUGH

    expect(page.get_by_role("link", name=re.compile("^Runs .*range before"))).to_be_visible()
    wait_until(has_enough, 90, f"{ENOUGH} runs", every=1.0)
    page.wait_for_load_state("networkidle")
    place = ROOT / "docs" / "images" if os.environ.get("README_PICTURE") else SHOTS
    place.mkdir(exist_ok=True)
    page.screenshot(path=place / "overview.png")
    assert (place / "overview.png").stat().st_size <= LARGEST

    for _ in range(4):
        tour.get_by_role("button", name="Next").click()
    with page.expect_popup() as opened:
        tour.get_by_role("link", name="The button").click()
    desk = opened.value
    desk.get_by_role("button", name="Stop server-002").click()
    expect(desk.get_by_text("server-002 was stopped.")).to_be_visible()
    tour.get_by_role("link", name="Show me").click()
    gone = page.get_by_role("row").filter(has_text="server-002")
    expect(gone).to_contain_text(re.compile("late|lost|dead|gone"), timeout=60_000)
    tour.get_by_role("button", name="Next").click()
    expect(tour).to_contain_text("@yard.handler")
    tour.get_by_role("button", name="End the tour").click()
    expect(tour).to_have_count(0)
    context.close()
