"""Alerts over HTTP: rules that are tried before they are made, channels that keep their secrets,
incidents that people look after."""

from __future__ import annotations

from typing import Any

from api.house import Client, House
from api.town import Town, add_incident

CANARY = "c4n4ry"
RULE = {"name": "Backups", "kind": "run_failed", "filters": {"task_type": "backup"}}


def hook(**settings: str) -> dict[str, Any]:
    url = f"https://hooks.example/{CANARY}?token={CANARY}"
    return {"name": "hook", "kind": "webhook", "settings": {"url": url, **settings}}


def test_a_rule_is_tried_made_changed_and_removed(root: Client) -> None:
    draft = {name: RULE[name] for name in ("kind", "filters")}
    tried = root.post("/alert-rules/preview", draft)
    assert (tried["fired"], tried["times"], tried["note"]) == (0, [], None)
    assert root.get("/alert-rules")["data"] == []
    made = root.post("/alert-rules", RULE, 201)
    assert (made["filters"], made["settings"]) == ({"task_type": ["backup"]}, {"attempts": "last"})
    assert (made["channels"], made["status"], made["resolve_after"]) == (None, 1, 600)
    one = f"/alert-rules/{made['id']}"
    assert root.get(f"{one}/preview")["fired"] == 0
    changed = root.patch(one, {"remind_every": "4h", "channels": []})
    assert (changed["remind_every"], changed["channels"]) == (14_400, [])
    assert root.post(f"{one}/silence", {"for": "2h"})["silenced_until"] is not None
    assert root.post(f"{one}/silence", {"for": 0})["silenced_until"] is None
    assert root.get("/alert-rules", kind="run_failed", q="ackup")["total"] == 1
    root.delete(one)
    assert root.get(one, 404)["code"] == "TY350"


def test_what_a_rule_cannot_be_is_named(root: Client) -> None:
    problem = root.post("/alert-rules", RULE | {"filters": {"colour": "red"}}, 422)
    assert problem["params"]["field"] == "filters" and "task_type" in problem["detail"]
    problem = root.post("/alert-rules", RULE | {"kind": "failures", "settings": {"count": 0}}, 422)
    assert problem["params"]["field"] == "count" and "from 1 to" in problem["detail"]
    problem = root.post("/alert-rules", RULE | {"channels": [7]}, 422)
    assert problem["params"]["field"] == "channels"
    problem = root.post("/alert-rules", RULE | {"kind": "earthquake"}, 422)
    assert '"kind"' in problem["detail"] and "run_failed" in problem["detail"]
    root.post("/alert-rules", RULE, 201)
    root.post("/alert-rules", RULE, 409)


def test_the_kinds_say_what_they_take(root: Client) -> None:
    kinds = {one["kind"]: one for one in root.get("/alert-rules/kinds")["data"]}
    settings = {one["name"]: one for one in kinds["failures"]["settings"]}
    assert settings["count"]["required"] and settings["window"]["default"] is None
    assert kinds["no_success"]["needs"] == ["task_type"]
    assert kinds["server_lost"]["platform"] and not kinds["batch_finished"]["platform"]


def test_the_secret_of_a_webhook_is_shown_once(house: House, root: Client) -> None:
    made = root.post("/channels", hook(), 201, headers={"Idempotency-Key": "one"})
    secret = made["secret"]
    assert secret.startswith("whsec_")
    assert made["settings"] == {"url": "https://hooks.example/***", "secret": "***"}
    one = f"/channels/{made['id']}"
    same = root.patch(one, {"name": "renamed", "settings": made["settings"]})
    sent = root.post(f"{one}/test")
    ref = f"/queues/alerts/tasks/{sent['id']}"
    told = [
        same,
        sent,
        root.get(one),
        root.get("/channels"),
        root.get("/audit"),
        root.get(ref),
        root.get(ref, raw="true"),
        root.post("/channels", hook(), 201),
        root.patch(one, {"settings": {"secret": CANARY}}, 422),
        root.patch(one, {"settings": {"url": f"ftp://{CANARY}"}}, 422),
    ]
    for answer in told:
        assert CANARY not in str(answer) and secret not in str(answer), answer
    kept = house.value("SELECT settings FROM ty_channels WHERE id = :id", id=made["id"])
    assert CANARY in kept and secret in kept
    for table in ("ty_audit", "ty_idempotency", "alerts_tasks"):
        rows = house.db.read(lambda tx, t=table: tx.rows(f"SELECT * FROM {t}"))  # type: ignore[misc]
        assert CANARY not in str(rows) and secret not in str(rows), table


def test_a_channel_leads_out_only(root: Client) -> None:
    for url in ("http://127.0.0.1:9999/", "http://169.254.169.254/", "http://[::1]/", "http://0/"):
        problem = root.post("/channels", hook(url=url), 422)
        assert problem["code"] == "TY356", url
    assert root.get("/channels")["total"] == 0


def test_a_channel_that_a_rule_names_stays(root: Client) -> None:
    made = root.post("/channels", hook(), 201)
    rule = root.post("/alert-rules", RULE | {"channels": [made["id"]]}, 201)
    assert root.delete(f"/channels/{made['id']}", 409)["code"] == "TY316"
    root.delete(f"/alert-rules/{rule['id']}")
    root.delete(f"/channels/{made['id']}")


def test_incidents_are_looked_after(town_url: str) -> None:
    town = Town(town_url)
    root: Client = town.callers["root"]
    number = add_incident(town, "", "boom")
    one = f"/incidents/{number}"
    [listed] = root.get("/incidents", state="open", q="boom")["data"]
    assert listed == root.get(one)
    assert (listed["state"], listed["details"]) == ("open", {"word": "boom"})
    assert root.post(f"{one}/ack")["acknowledged_by"] == "root"
    assert root.post(f"{one}/ack", None, 409)["code"] == "TY316"
    assert root.post(f"{one}/silence", {"for": "1h"})["silenced_until"] is not None
    assert root.post(f"{one}/silence", {"for": "soon"}, 422)["code"] == "TY504"
    assert root.post(f"{one}/resolve")["resolved_by"] == "root"
    assert root.get("/incidents", state="open,acknowledged")["total"] == 0
    town.close()
