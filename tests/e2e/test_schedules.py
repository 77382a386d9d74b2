"""The page of schedules in a browser: acceptance check 12."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from e2e.browsing import Browser, Visitor
from e2e.site import Site


def make(site: Site, name: str, cron: str) -> int:
    rule = {"task_type": "qa.ok", "task_params": {"n": 1}, "cron_expression": cron}
    return int(site.post("/schedules", {"name": name, **rule})["id"])


def test_12_schedules(worker: Visitor, working: Site) -> None:
    page = worker.page
    worker.go("/schedules?edit=%2B")
    dialog = page.get_by_role("dialog", name="New schedule")
    dialog.get_by_label("Name", exact=True).fill("nightly")
    dialog.get_by_role("combobox", name="Handler").click()
    dialog.get_by_role("option", name="qa.ok").click()
    dialog.get_by_label("Time zone").fill("Asia/Shanghai")
    save = dialog.get_by_role("button", name="Save")
    cron = dialog.get_by_label("Cron expression")

    cron.fill("61 * * * *")
    alert = dialog.get_by_role("alert")
    expect(alert).to_contain_text("minute")
    expect(alert).to_contain_text("0–59")
    expect(save).to_be_disabled()
    assert cron.get_attribute("aria-describedby") == alert.get_attribute("id")

    cron.fill("0 2 * * *")
    preview = dialog.get_by_role("region", name="Next fires")
    expect(preview).to_contain_text("Every day at 02:00")
    fires = preview.get_by_role("listitem")
    expect(fires).to_have_count(10)
    for text in fires.all_inner_texts():
        assert re.fullmatch(r"\d{4}-\d\d-\d\d 02:00 \+08:00", text.strip()), text
    dialog.get_by_role("button", name="Build it from parts").click()
    dialog.get_by_role("tab", name="Hour 2").click()
    dialog.get_by_role("checkbox", name="14", exact=True).check()
    expect(cron).to_have_value("0 2,14 * * *")
    cron.fill("0 2 * * *")
    expect(dialog.get_by_role("checkbox", name="14", exact=True)).not_to_be_checked()
    expect(save).to_be_enabled()
    dialog.get_by_role("textbox", name=re.compile("^n")).fill("7")
    expect(save).to_be_enabled()
    save.click()
    expect(dialog).to_have_count(0)

    row = page.get_by_role("row").filter(has_text="nightly")
    expect(row).to_contain_text("Every day at 02:00")
    row.get_by_role("switch").click()
    expect(row.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    at = [head.strip() for head in page.get_by_role("columnheader").all_inner_texts()]
    expect(row.get_by_role("cell").nth(at.index("Next run"))).to_contain_text("–")

    other = make(working, "other", "0 3 * * *")
    row.get_by_role("link", name="nightly").click()
    page.get_by_role("button", name="Run now", exact=True).click()
    history = page.get_by_role("table", name="History")
    expect(history.get_by_role("row")).to_have_count(2, timeout=20_000)
    expect(history.get_by_role("row").nth(1)).to_contain_text("manual")
    calendar = page.get_by_role("region", name="The last 14 days by the hour").first
    calendar.get_by_role("button", name="Show as table").click()
    expect(calendar.get_by_role("link")).to_have_count(1)
    log = page.get_by_role("region", name="Change log")
    expect(log.get_by_role("deletion")).to_have_text("1")
    expect(log.get_by_role("insertion").filter(has_text=re.compile("^0$"))).to_have_count(1)
    assert worker.axe() == []
    worker.go(f"/schedules/{other}")
    expect(page.get_by_text("It has not run yet")).to_be_visible()


def test_12_schedules_in_chinese(browser: Browser, working: Site) -> None:
    make(working, "chinese", "0 2 * * *")
    visitor = browser.visitor(working, locale="zh-CN")
    visitor.sign_in("/schedules")
    expect(visitor.page.get_by_role("heading", level=1)).to_have_text("定时任务")
    expect(visitor.page.get_by_role("row").filter(has_text="chinese")).to_contain_text("每天 02:00")
    visitor.leave()
