"""The acceptance checks of the console, by roles and labels; their numbers are the design's."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from e2e.browsing import Browser, Visitor
from e2e.site import FAIL, OK, SLOW, Site

ALL = OK + FAIL + SLOW


def test_1_sign_in(browser: Browser, fresh: Site) -> None:
    visitor = browser.visitor(fresh)
    page = visitor.page
    page.goto("/runs")
    page.wait_for_url("**/login?next=/runs")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill("wrong")
    with page.expect_response("**/api/v1/login") as refused:
        page.get_by_role("button", name="Sign in").click()
    assert refused.value.status == 401
    expect(page.get_by_role("alert")).to_have_count(1)
    expect(page.get_by_label("User name")).to_have_value("admin")

    page.get_by_label("Password").fill(fresh.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/runs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    expect(page.get_by_text("Nothing has run in this range")).to_be_visible()
    expect(page.get_by_role("link", name="New task")).to_be_visible()
    visitor.rows(0)
    visitor.leave()


def test_2_overview_counts_and_leads_on(reader: Visitor) -> None:
    page = reader.page
    reader.go("/?from=now-1h")
    cards = {"Runs": ALL, "Success rate": "80.0 %", "Failed": FAIL, "Timed out": SLOW}
    for label, value in cards.items():
        card = page.get_by_role("link", name=re.compile(f"^{label} {value}"))
        expect(card).to_be_visible()
    page.get_by_role("link", name=re.compile("^Failed ")).click()
    page.wait_for_url("**/runs?**status=failed**")
    reader.rows(FAIL)
    tags = page.get_by_role("cell").filter(has_text=re.compile("^failed$"))
    expect(tags).to_have_count(FAIL)
    expect(tags.locator("svg")).to_have_count(FAIL)
    assert reader.site.get("/runs", status="failed")["total"] == FAIL


def test_3_the_filter_is_the_address(browser: Browser, reader: Visitor) -> None:
    page = reader.page
    reader.go("/runs")
    reader.choose("Task type", "qa.fail")
    reader.choose("Queue", "qa")
    reader.tick("Status", "failed", "timed out")
    page.get_by_label("Time range").select_option("now-1h")
    reader.rows(FAIL)
    wanted = {"task_type": "qa.fail", "queue": "qa", "status": "failed,timeout", "from": "now-1h"}
    assert reader.query() == wanted
    page.reload()
    reader.rows(FAIL)
    expect(page.get_by_role("combobox", name="Task type")).to_have_accessible_name("Task type")
    expect(page.get_by_text("qa.fail").first).to_be_visible()
    expect(page.get_by_label(re.compile("^Status: failed, timed out"))).to_be_visible()
    expect(page.get_by_label("Time range")).to_have_value("now-1h")

    other = browser.visitor(reader.site)
    other.sign_in(page.url.removeprefix(reader.site.url))
    other.rows(FAIL)
    other.leave()

    page.go_back()
    page.wait_for_function("() => !location.search.includes('from=')")
    assert reader.query() == {name: wanted[name] for name in ("task_type", "queue", "status")}
    page.get_by_role("button", name="Clear filters").click()
    assert reader.site.get("/runs", **{"from": "2000-01-01T00:00:00Z"})["total"] == ALL
    expect(page.get_by_text(f"of {ALL}")).to_be_visible()


def test_5_a_failed_run_says_why(reader: Visitor) -> None:
    page = reader.page
    runs = reader.site.get("/runs", task_type="qa.fail", limit=50, include="payload")["data"]
    (run,) = [run for run in runs if run["payload"] == {"n": 3}]
    reader.go("/runs?task_type=qa.fail")
    assert_read_only(reader)
    reader.go(f"/runs/{run['id']}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("failed")
    panel = page.get_by_role("region", name="Error")
    for words in ("ValueError", "boom-3", "qa_handlers.py"):
        expect(panel).to_contain_text(words)
    expect(page.get_by_role("region", name="Payload")).to_contain_text('"n": 3')
    facts = page.get_by_role("region", name="Facts")
    memory = facts.locator("div").filter(has=page.get_by_text("Memory", exact=True))
    assert re.fullmatch(r"\d+(\.\d)? (KiB|MiB|GiB)", memory.locator("dd").inner_text())
    for name in ("Took", "Server"):
        said = facts.locator("div").filter(has=page.get_by_text(name, exact=True)).locator("dd")
        expect(said).not_to_have_text("–")
    attempt = facts.locator("div").filter(has=page.get_by_text("Attempt", exact=True))
    expect(attempt.locator("dd")).to_have_text("1")
    panel.get_by_role("button", name="Copy").click()
    expect(panel.get_by_text("Copied")).to_be_attached()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied.startswith("Traceback") and "qa_handlers.py" in copied
    assert_read_only(reader)


def assert_read_only(visitor: Visitor) -> None:
    forbidden = re.compile("create|edit|delete|new", re.IGNORECASE)
    for role in ("button", "link"):
        expect(visitor.page.get_by_role(role, name=forbidden)).to_have_count(0)


def test_8_new_task(worker: Visitor) -> None:
    page = worker.page
    worker.go("/tasks")
    posts: list[str] = []
    page.on(
        "request",
        lambda r: posts.append(r.url) if r.method == "POST" and r.url.endswith("/tasks") else None,
    )
    opener = page.get_by_role("button", name="New task")
    opener.focus()
    page.keyboard.press("c")
    drawer = page.get_by_role("dialog", name="New task")
    worker.choose("Handler", "shop.greet")
    drawer.get_by_role("tab", name="JSON").click()
    text = drawer.get_by_label("Parameters (JSON)")
    text.fill("{bad")
    drawer.get_by_role("button", name="Enqueue").click()
    expect(text).to_have_accessible_description("This is not valid JSON.")
    assert posts == []

    text.fill("{}")
    drawer.get_by_role("tab", name="Form").click()
    drawer.get_by_label(re.compile("^name")).fill("Ada")
    drawer.get_by_label(re.compile("^times")).fill("2")
    drawer.get_by_label("Priority").fill("7")
    drawer.get_by_label("Template name").fill("nightly")
    drawer.get_by_role("button", name="Save as template").click()
    before = worker.site.get("/tasks", task_type="shop.greet")["total"]
    drawer.get_by_role("button", name="Enqueue").dblclick()
    expect(drawer).to_have_count(0)
    toast = page.get_by_role("status").filter(has_text="was enqueued")
    expect(toast.get_by_role("link")).to_have_attribute("href", re.compile(r"^/tasks/qa/\d+$"))
    assert len(posts) == 1
    assert worker.site.get("/tasks", task_type="shop.greet")["total"] == before + 1

    page.reload()
    worker.settle()
    page.get_by_role("button", name="New task").click()
    drawer.get_by_label("From template").select_option("nightly")
    expect(drawer.get_by_label(re.compile("^name"))).to_have_value("Ada")
    expect(drawer.get_by_label(re.compile("^times"))).to_have_value("2")
    expect(drawer.get_by_label("Priority")).to_have_value("7")

    page.keyboard.press("Escape")
    asked = page.get_by_role("dialog", name="Discard what you typed?")
    expect(asked).to_be_visible()
    asked.get_by_role("button", name="Discard").click()
    expect(drawer).to_have_count(0)
    expect(page.get_by_role("button", name="New task")).to_be_focused()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_16_the_theme_follows_and_stays(browser: Browser, filled: Site, dark: bool) -> None:
    visitor = browser.visitor(filled, dark=dark)
    visitor.sign_in()
    page = visitor.page
    is_dark = "() => document.documentElement.classList.contains('dark')"
    assert page.evaluate(is_dark) is dark
    page.emulate_media(color_scheme="light" if dark else "dark")
    page.wait_for_function(f"{is_dark}".replace("() => ", f"() => {str(not dark).lower()} === "))
    page.keyboard.press("l")
    page.wait_for_function(f"{is_dark}".replace("() => ", f"() => {str(dark).lower()} === "))
    page.reload()
    assert page.evaluate(is_dark) is dark
    visitor.leave()
