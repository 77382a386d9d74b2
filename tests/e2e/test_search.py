"""The search box and the fields beside it are two views of one filter."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from e2e.browsing import Visitor
from e2e.site import FAIL


def test_the_search_box_is_the_filter(reader: Visitor) -> None:
    page = reader.page
    reader.go("/runs")
    box = page.get_by_role("combobox", name="Search", exact=True)
    box.fill("queue:qa status:failed took:<1h ")
    box.press("Enter")
    reader.rows(FAIL)
    assert reader.query() == {"queue": "qa", "status": "failed", "max_duration": "1h"}
    expect(page.get_by_label(re.compile("^Status: failed$"))).to_be_visible()

    reader.choose("Task type", "qa.fail")
    expect(box).to_have_value("task_type:qa.fail queue:qa status:failed took:<1h")

    box.fill("task_type:qa.fail status:fa")
    offered = page.locator(f"#{box.get_attribute('list')} option").first
    expect(offered).to_have_attribute("value", "task_type:qa.fail status:failed")

    asked = reader.query()
    box.fill("colour:red")
    box.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("There is no “colour”. There are: task_type,")
    assert reader.query() == asked
    assert reader.axe() == []

    page.get_by_role("button", name="Clear filters").click()
    expect(box).to_have_value("")
    expect(page.get_by_role("alert")).to_have_count(0)
