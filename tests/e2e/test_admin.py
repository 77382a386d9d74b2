"""Users, tenants, tokens and the audit in a browser."""

from __future__ import annotations

import httpx2
from playwright.sync_api import expect

from e2e.browsing import Browser
from e2e.site import Site


def test_users_tenants_tokens_audit(browser: Browser, fresh: Site) -> None:
    visitor = browser.visitor(fresh)
    visitor.sign_in("/admin?tab=tenants")
    page = visitor.page
    page.get_by_role("button", name="Add tenant").click()
    page.get_by_label("Tenant id").fill("acme")
    page.get_by_label("Name", exact=True).fill("Acme Ltd")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row").filter(has_text="Acme Ltd")).to_be_visible()

    page.get_by_role("tab", name="Users").click()
    page.get_by_role("button", name="Add user").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("User name").fill("bob smith")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("username")
    dialog.get_by_label("User name").fill("bob")
    dialog.get_by_label("Role", exact=True).select_option("operator")
    visitor.tick("Tenants", "acme")
    dialog.get_by_role("button", name="Save").click()
    row = page.get_by_role("row").filter(has_text="bob")
    expect(row).to_contain_text("Operator")
    expect(row).to_contain_text("acme")

    row.get_by_label("More for bob").click()
    row.get_by_role("button", name="Sign-in link").click()
    page.get_by_role("button", name="Make link").click()
    link = dialog.get_by_role("region", name="Sign-in link").inner_text()
    dialog.get_by_role("button", name="Close").last.click()
    with httpx2.Client(base_url=fresh.url, follow_redirects=True) as bob:
        assert bob.get(link).status_code == 200
        assert bob.get("/api/v1/me").json()["username"] == "bob"

    row.get_by_role("switch").click()
    page.get_by_role("button", name="Disable").click()
    expect(row.get_by_role("switch")).to_have_attribute("aria-checked", "false")

    page.get_by_role("tab", name="API tokens").click()
    page.get_by_role("button", name="New token").click()
    page.get_by_label("Name", exact=True).fill("robot")
    page.get_by_role("button", name="Make token").click()
    text = dialog.get_by_role("region", name="Token", exact=True).inner_text()
    headers = {"Authorization": f"Bearer {text}"}
    me = f"{fresh.url}/api/v1/me"
    assert httpx2.get(me, headers=headers).status_code == 200
    page.get_by_role("button", name="I have copied it").click()
    expect(page.get_by_text(text)).to_have_count(0)
    page.get_by_role("row").filter(has_text="robot").get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row").filter(has_text="robot")).to_contain_text("revoked")
    assert httpx2.get(me, headers=headers).status_code == 401

    page.get_by_role("tab", name="Roles").click()
    expect(page.get_by_role("columnheader", name="Tenant admin")).to_be_visible()

    page.get_by_role("tab", name="Audit").click()
    changed = page.get_by_role("row").filter(has_text="user.update")
    expect(changed).to_contain_text("user/bob")
    expect(changed).to_contain_text("status: 1 → 0")
    page.get_by_role("searchbox", name="Action").fill("tenant.create")
    page.keyboard.press("Enter")
    visitor.rows(1)
    assert visitor.query()["action"] == "tenant.create"
    page.get_by_role("button", name="Show entry").click()
    expect(page.get_by_role("region", name="After")).to_contain_text("Acme Ltd")
    dialog.get_by_role("button", name="Close").click()
    visitor.leave()


def test_who_may_not_is_told_what_lacks(browser: Browser, fresh: Site) -> None:
    new = {"username": "eve", "role": "viewer", "password": "a long enough one"}
    fresh.post("/users", new)
    visitor = browser.visitor(fresh)
    page = visitor.page
    page.goto("/login?next=/admin")
    page.get_by_label("User name").fill("eve")
    page.get_by_label("Password").fill(new["password"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("needs the permission users.write")).to_be_visible()
    page.get_by_role("tab", name="Audit").click()
    expect(page.get_by_text("needs the permission audit.read")).to_be_visible()
    page.get_by_role("tab", name="API tokens").click()
    expect(page.get_by_role("button", name="New token")).to_be_visible()
    visitor.leave()
