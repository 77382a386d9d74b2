"""Batches in a browser: new ones from templates, and what is done with items that are selected.

In a template what is cleared stays so, and variables are filled in.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from e2e.browsing import Browser, Visitor
from e2e.site import Site
from harness.waiting import wait_until

TEMPLATE = {
    "name": "nightly",
    "task_type": "qa.each",
    "fields": {
        "name": "check {{region}}",
        "params": {"factor": "{{factor}}"},
        "pause": "0.01",
        "stop_after": 7,
        "rate_limit": 500,
    },
    "variables": {"region": "eu", "factor": None},
}


@pytest.fixture
def visitor(browser: Browser, fresh: Site) -> Iterator[Visitor]:
    visitor = browser.visitor(fresh)
    visitor.sign_in()
    yield visitor
    visitor.leave()


def wait_for(site: Site, handler: str) -> None:
    """Wait until a server has told of a handler."""
    wait_until(
        lambda: handler in [row["name"] for row in site.get("/handlers")["data"]], 30, handler
    )


def open_form(visitor: Visitor, template: str) -> Locator:
    """The form of a new batch, filled in from a template."""
    visitor.go("/batches?new=1")
    dialog = visitor.page.get_by_role("dialog", name="New batch")
    choice = dialog.get_by_label("From template")
    expect(choice.get_by_role("option", name=template)).to_be_attached()
    choice.select_option(template)
    return dialog


def test_a_batch_from_a_template_and_the_template_itself(visitor: Visitor, fresh: Site) -> None:
    page = visitor.page
    wait_for(fresh, "qa.each")
    saved = fresh.post("/batch-templates", TEMPLATE)

    dialog = open_form(visitor, "nightly")
    expect(dialog.get_by_label("Name", exact=True)).to_have_value("check {{region}}")
    dialog.get_by_label("Items", exact=True).fill("1 2 3")
    dialog.get_by_label("Pause between items").fill("")
    variables = dialog.get_by_role("group", name="Variables")
    expect(variables.get_by_label("region")).to_have_value("eu")
    variables.get_by_label("region").fill("us")
    variables.get_by_label("factor").fill("3")
    dialog.get_by_role("button", name="Create and start").click()
    expect(dialog).to_be_hidden()
    [made] = fresh.get("/batches")["data"]
    assert (made["name"], made["params"]) == ("check us", {"factor": 3})
    assert (made["pause"], made["stop_after"], made["rate_limit"]) == (None, 7, 500)

    dialog = open_form(visitor, "nightly")
    dialog.get_by_label("Stop after failures").fill("")
    dialog.get_by_role("button", name="Save changes to it").click()
    expect(page.get_by_text("Template nightly is saved.")).to_be_visible()
    changed = fresh.get(f"/batch-templates/{saved['id']}")
    assert "stop_after" not in changed["fields"]
    assert (changed["fields"]["rate_limit"], changed["variables"]) == (500, TEMPLATE["variables"])

    dialog.get_by_role("button", name="Delete it").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("Template nightly is deleted.")).to_be_visible()
    assert fresh.get("/batch-templates")["data"] == []


def select(visitor: Visitor, *items: str) -> None:
    """Tick the rows of items."""
    for item in items:
        visitor.page.get_by_role("checkbox", name=f"Select {item}", exact=True).check()


def do_with_selected(visitor: Visitor, verb: str, title: str) -> None:
    """Press a button of the bar over the selection, and say yes to the question."""
    visitor.page.get_by_role("button", name=verb, exact=True).click()
    dialog = visitor.page.get_by_role("dialog", name=title)
    dialog.get_by_role("button", name=verb, exact=True).click()
    expect(dialog).to_be_hidden()


def statuses(site: Site, batch: int) -> dict[str, str]:
    found = site.get(f"/batches/{batch}/items")["data"]
    return {item["item_id"]: item["status"] for item in found}


def test_selected_items_are_skipped_and_retried(visitor: Visitor, fresh: Site) -> None:
    page = visitor.page
    wait_for(fresh, "qa.sevenths")
    wanted = {"task_type": "qa.sevenths", "name": "picked", "start": False}
    batch = fresh.post("/batches", {**wanted, "items": [1, 2, 7, 14]})["id"]

    visitor.go(f"/batches/{batch}")
    select(visitor, "2")
    expect(page.get_by_role("button", name="Retry selected")).to_have_count(0)
    do_with_selected(visitor, "Skip", "Skip 1 item of picked?")
    expect(page.get_by_text("1 item is skipped.")).to_be_visible()
    expect(page.locator(".bulk")).to_have_count(0)
    fresh.post(f"/batches/{batch}/start", {})
    ended = {"1": "completed", "2": "skipped", "7": "failed", "14": "failed"}
    wait_until(lambda: statuses(fresh, batch) == ended, 30, "the end")

    visitor.go(f"/batches/{batch}")
    select(visitor, "1")
    expect(page.get_by_text("None of these can be retried or skipped")).to_be_visible()
    select(visitor, "7")
    (fresh.folder / "fixed").touch()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.get_by_text("1 other selected item is left alone.")).to_be_visible()
    page.keyboard.press("Escape")
    do_with_selected(visitor, "Retry selected", "Retry 1 item of picked?")
    expect(page.get_by_text("1 item is processed again.")).to_be_visible()
    wait_until(lambda: statuses(fresh, batch) == {**ended, "7": "completed"}, 30, "the retry")
    expect(page.locator('tr[data-key="7"]').get_by_text("Completed")).to_be_visible()
    calls = (fresh.folder / "calls").read_text().split()
    assert sorted(calls) == ["1", "14", "7", "7"]


def test_a_skip_that_comes_too_late_shows_the_items_anew(visitor: Visitor, fresh: Site) -> None:
    page = visitor.page
    wait_for(fresh, "qa.sevenths")
    wanted = {"task_type": "qa.sevenths", "name": "late", "start": False}
    batch = fresh.post("/batches", {**wanted, "items": [1, 2]})["id"]
    visitor.go(f"/batches/{batch}")
    select(visitor, "2")
    fresh.post(f"/batches/{batch}/skip", {"item_ids": ["2"]})
    do_with_selected(visitor, "Skip", "Skip 1 item of late?")
    expect(page.locator(".bulk")).to_have_count(0)
    expect(page.locator('tr[data-key="2"]').get_by_text("skipped", exact=True)).to_be_visible()
