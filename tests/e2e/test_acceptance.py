"""The acceptance checks of the console, by roles and labels; their numbers are the design's."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from e2e.browsing import PAGES, Browser, Visitor
from e2e.looks import brightness, contrasts, focus_fault
from e2e.site import FAIL, OK, SLOW, Site
from e2e.texts import english_only, missing, shown
from harness.catcher import Mailbox
from harness.waiting import wait_until

ALL = OK + FAIL + SLOW
MAIN_PAGES = (
    *("overview", "runs", "alerts", "tasks", "batches", "schedules"),
    *("queues", "handlers", "servers", "users", "settings"),
)


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
    expect(page.get_by_role("alert")).to_have_count(0)
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
    filters = page.get_by_role("region", name="Filters")
    for label, value in {"Task type": "qa.fail", "Queue": "qa"}.items():
        choice = filters.get_by_role("combobox", name=label)
        expect(choice).to_have_accessible_description(value)
        expect(filters.get_by_text(value, exact=True).first).to_be_visible()
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


def test_3_the_columns_stand_in_the_address(browser: Browser, reader: Visitor) -> None:
    page = reader.page
    reader.go("/runs?sort=execution_time")
    heads = page.get_by_role("columnheader")
    every = heads.all_inner_texts()
    assert reader.query() == {"sort": "execution_time"}
    page.locator("summary").filter(has_text="Columns").click()
    for name in ("Error", "Server"):
        page.get_by_role("checkbox", name=name, exact=True).click()
        expect(heads.filter(has_text=name)).to_have_count(0)
    assert reader.axe() == []
    chosen = reader.query()
    assert chosen["sort"] == "execution_time"
    assert not {"error", "server_id"} & set(chosen["cols"].split(","))

    other = browser.visitor(reader.site, width=320)
    other.sign_in(page.url.removeprefix(reader.site.url))
    other.page.locator("summary").filter(has_text="Columns").click()
    box = other.page.get_by_role("checkbox", name="Error", exact=True)
    expect(box).not_to_be_checked()
    expect(box).to_be_in_viewport()
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert other.page.evaluate(wider) == 0
    other.leave()

    page.go_back()
    expect(heads).to_have_count(len(every) - 1)
    page.go_forward()
    expect(heads).to_have_count(len(every) - 2)
    for name in ("Error", "Server"):
        page.get_by_role("checkbox", name=name, exact=True).click()
    expect(heads).to_have_text(every)
    assert reader.query() == {"sort": "execution_time"}


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
    given = {
        "Due": "2099-01-02T03:04",
        "Priority": "7",
        "Retries at most": "2",
        "Unique key": "nightly-1",
        "Tenant": "acme",
    }
    worker.choose("Queue", "qa", within=drawer)
    for label, value in given.items():
        drawer.get_by_label(label, exact=True).fill(value)
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
    for label, value in {"Handler": "shop.greet", "Queue": "qa"}.items():
        choice = drawer.get_by_role("combobox", name=label, exact=True)
        expect(choice).to_have_accessible_description(value)
    for label, value in given.items():
        expect(drawer.get_by_label(label, exact=True)).to_have_value(value)

    page.keyboard.press("Escape")
    asked = page.get_by_role("dialog", name="Discard what you typed?")
    expect(asked).to_be_visible()
    asked.get_by_role("button", name="Discard").click()
    expect(drawer).to_have_count(0)
    expect(page.get_by_role("button", name="New task")).to_be_focused()


def test_9_a_batch_is_followed_and_mended(browser: Browser, tmp_path: Path) -> None:
    box = Mailbox()
    site = Site(tmp_path, smtp_host="127.0.0.1", smtp_port=box.port, smtp_tls="none")
    try:
        visitor = browser.visitor(site)
        wait_until(lambda: site.get("/handlers")["total"] >= 4, 60, "handlers")
        visitor.sign_in("/batches")
        follow_and_mend(visitor, box)
        visitor.leave()
    finally:
        site.close()
        box.close()


def follow_and_mend(visitor: Visitor, box: Mailbox) -> None:
    page, folder = visitor.page, visitor.site.folder
    page.get_by_role("button", name="New batch").first.click()
    drawer = page.get_by_role("dialog", name="New batch")
    visitor.choose("Handler", "qa.sevenths", within=drawer)
    drawer.get_by_label("Items", exact=True).fill("\n".join(str(n) for n in range(1, 101)))
    expect(drawer.get_by_text("100 items, 0 duplicates left out")).to_be_visible()
    drawer.get_by_label("Mail at the end").fill("ops@example.com")
    drawer.get_by_role("button", name="Create and start").click()
    expect(drawer).to_have_count(0)
    page.get_by_role("table").get_by_role("link", name="qa.sevenths").first.click()

    assert_rises_to_the_end(page)
    numbers = page.get_by_role("region", name="Numbers")
    for label, value in (("Total", 100), ("Processed", 100), ("Completed", 86), ("Failed", 14)):
        expect(numbers.get_by_role("group", name=label)).to_contain_text(str(value))
    visitor.tick("Status", "failed")
    visitor.rows(14)
    mails(box, 1)

    (folder / "fixed").touch()
    page.get_by_role("button", name="Retry failed").click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("14")
    asked.get_by_role("button", name="Retry failed").click()
    completed = numbers.get_by_role("group", name="Completed")
    expect(completed).to_contain_text("100", timeout=30_000)
    expect(page.get_by_role("progressbar").first).to_have_attribute("aria-valuenow", "100")
    calls = (folder / "calls").read_text().splitlines()
    assert len(calls) == 114 and len(set(calls)) == 100

    first, second = mails(box, 2)
    assert all(to == ["ops@example.com"] for to in box.recipients)
    assert re.search(r"Completed: 86\nFailed: +14\n", first)
    assert re.search(r"Completed: 100\nFailed: +0\n", second)


def assert_rises_to_the_end(page: Page) -> None:
    """The bar's value never falls until it says 100."""
    bar = page.get_by_role("progressbar").first
    seen = [0]
    give_up = time.monotonic() + 60
    while seen[-1] < 100:
        assert time.monotonic() < give_up, seen
        seen.append(int(bar.get_attribute("aria-valuenow") or 0))
        page.wait_for_timeout(50)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, "it was not seen to move"


def mails(box: Mailbox, count: int) -> list[str]:
    """The texts of the mails, once there are so many; more do not come."""
    wait_until(lambda: len(box.mails) >= count, 30, f"{count} mails")
    assert len(box.mails) == count
    bodies = [mail.get_body(("plain",)) for mail in box.mails]
    return [body.get_content().replace("\r\n", "\n") for body in bodies if body is not None]


def test_14_all_pages_in_chinese(browser: Browser, filled: Site) -> None:
    visitor = browser.visitor(filled)
    visitor.sign_in("/runs")
    page = visitor.page
    page.get_by_label("User menu: admin").click()
    page.get_by_label("Language").select_option("zh-CN")
    page.get_by_role("heading", level=1, name="运行记录").wait_for()
    page.reload()
    visitor.settle()
    assert {"已完成", "失败", "超时"} <= shown(page)
    assert_chinese(visitor)
    visitor.leave()

    other = browser.visitor(filled, locale="zh-CN")
    other.page.goto("/login")
    expect(other.page.get_by_role("heading", level=1)).to_have_text("登录")
    assert_chinese(other)
    other.leave()


@pytest.mark.parametrize("name", MAIN_PAGES)
def test_14_a_page_in_chinese(browser: Browser, filled: Site, name: str) -> None:
    visitor = browser.visitor(filled, locale="zh-CN")
    visitor.sign_in(PAGES[name])
    visitor.page.wait_for_load_state("networkidle")
    assert_chinese(visitor)
    visitor.leave()


def assert_chinese(visitor: Visitor) -> None:
    page = visitor.page
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert english_only() & shown(page) == set()
    assert missing(page) == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_16_the_theme_follows_and_stays(browser: Browser, filled: Site, dark: bool) -> None:
    visitor = browser.visitor(filled, dark=dark)
    visitor.sign_in()
    page = visitor.page
    is_dark = "() => document.documentElement.classList.contains('dark')"
    assert page.evaluate(is_dark) is dark
    page.emulate_media(color_scheme="light" if dark else "dark")
    wanted = (
        f"() => document.documentElement.classList.contains('dark') === {str(not dark).lower()}"
    )
    page.wait_for_function(wanted, timeout=1_000)
    page.keyboard.press("l")
    page.wait_for_function(wanted.replace("===", "!=="), timeout=1_000)
    page.reload()
    assert page.evaluate(is_dark) is dark
    visitor.leave()


def test_16_the_first_picture_is_dark(browser: Browser, filled: Site) -> None:
    visitor = browser.visitor(filled, dark=True)
    visitor.sign_in("/runs")
    blank = browser.visitor(filled)
    visitor.page.goto("/runs", wait_until="commit")
    assert brightness(visitor.page.screenshot(), blank.page) < 0.3
    visitor.page.evaluate("() => localStorage.setItem('taskyard.theme', 'light')")
    visitor.page.goto("/runs", wait_until="commit")
    assert brightness(visitor.page.screenshot(), blank.page) > 0.7
    blank.leave()
    visitor.leave()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_16_status_tags_are_readable(browser: Browser, filled: Site, dark: bool) -> None:
    visitor = browser.visitor(filled, dark=dark)
    visitor.sign_in("/runs?limit=100")
    found = contrasts(visitor.page)
    assert {"completed", "failed", "timeout"} <= found.keys()
    visitor.go("/servers")
    found |= contrasts(visitor.page)
    assert {status: ratio for status, ratio in found.items() if ratio < 4.5} == {}
    visitor.leave()


def test_16_by_keyboard_alone(browser: Browser, working: Site) -> None:
    visitor = browser.visitor(working)
    page, keys = visitor.page, visitor.page.keyboard
    page.goto("/runs")
    visitor.tab_to("User name")
    keys.type("admin")
    visitor.tab_to("Password")
    keys.type(working.password)
    visitor.tab_to("Sign in")
    keys.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Runs")
    visitor.settle()

    visitor.tab_to("Status: Any")
    keys.press("Enter")
    visitor.tab_to("failed")
    keys.press("Space")
    page.wait_for_url("**status=failed**")
    keys.press("Escape")
    visitor.rows(FAIL)

    visitor.tab_to("qa.fail")
    keys.press("Enter")
    page.wait_for_url("**/runs/*")
    visitor.tab_to("Retry")
    keys.press("Enter")
    page.wait_for_url("**/tasks/qa/*")
    asked = page.get_by_role("dialog", name="Retry task")
    expect(asked.get_by_role("button", name="Retry")).to_be_focused()
    assert focus_fault(page) == ""
    keys.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Task qa/")).to_be_visible()
    expect(asked).to_have_count(0)
    visitor.leave()
