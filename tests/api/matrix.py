"""Matrix: who is answered what, written down by hand; nothing here is taken from the code.

A block of addresses is followed by lines: whose thing is asked for, and the status that each caller
gets. `test_matrix.py` asks every one of these questions. A route that is not here fails it.

`own` is a thing of the callers' tenant, `other` of another one, `platform` of none, `self` the
caller himself; `missing` is nowhere. `-` stands where the address names no thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from api.town import OTHER, PASSWORD, TENANTS, Town

CALLERS = (
    "nobody",
    "viewer",
    "operator",
    "tenant_admin",
    "trusted",  # a tenant_admin with the grant payload.raw
    "monitor",  # while the setting advanced_permissions is off
    "monitor on",  # while it is on
    "granted on",  # a viewer with the grant monitoring, while it is on
    "limited",  # a superuser's token for one tenant
    "narrow",  # a superuser's token for one permission that nothing here asks for
    "root",
)
"""The columns of the table, from left to right."""

LIKE_NOBODY = ("unknown", "expired", "revoked", "disabled")
"""Who shows a token that is none, or no more: answered like nobody everywhere."""

TABLE = """
                        nobody view  op    admin trust mon   MON   grant limit narrw root

GET /healthz
GET /readyz
    -                   200   200   200   200   200   200   200   200   200   200   200

GET /docs
GET /docs.css
GET /openapi.json
GET /api/v1/me
GET /api/v1/meta
GET /api/v1/roles
GET /api/v1/tenants
GET /api/v1/tokens
GET /api/v1/suggest?field=task_type
GET /api/v1/events
    -                   401   200   200   200   200   200   200   200   200   200   200

POST /api/v1/login
    -                   200   200   200   200   200   200   200   200   200   200   200
POST /api/v1/logout
    -                   204   204   204   204   204   204   204   204   204   204   204
GET /api/v1/login/{link}
    -                   303   303   303   303   303   303   303   303   303   303   303
    missing             401   401   401   401   401   401   401   401   401   401   401

GET /metrics
GET /api/v1/queues
GET /api/v1/servers
    -                   401   403   403   403   403   403   200   200   403   403   200
GET /api/v1/queues/{queue_name}
    -                   401   403   403   403   403   403   200   200   403   403   200
    missing             401   403   403   403   403   403   404   404   403   403   404
POST /api/v1/queues
    -                   401   403   403   403   403   403   403   403   403   403   201
PATCH /api/v1/queues/{queue_name}
POST /api/v1/queues/{queue_name}/pause
POST /api/v1/queues/{queue_name}/resume
POST /api/v1/servers/{server_id}/drain
    -                   401   403   403   403   403   403   403   403   403   403   200
    missing             401   403   403   403   403   403   403   403   403   403   404
DELETE /api/v1/queues/{queue_name}
    -                   401   403   403   403   403   403   403   403   403   403   204
    missing             401   403   403   403   403   403   403   403   403   403   404

GET /api/v1/tasks
GET /api/v1/tasks?queue=mail
    -                   401   200   200   200   200   403   403   200   200   403   200
GET /api/v1/queues/{queue_name}/tasks/{task_id}
GET /api/v1/queues/{queue_name}/tasks/{task_id}/explain
    own                 401   200   200   200   200   403   403   200   200   403   200
    other               401   404   404   404   404   403   403   404   404   403   200
    platform            401   404   404   404   404   403   403   404   404   403   200
    missing             401   404   404   404   404   403   403   404   404   403   404
GET /api/v1/queues/{queue_name}/tasks/{task_id}?raw=true
    own                 401   403   403   403   200   403   403   403   200   403   200
    other               401   404   404   404   404   403   403   404   404   403   200
    missing             401   404   404   404   404   403   403   404   404   403   404
POST /api/v1/queues/{queue_name}/tasks/{task_id}/cancel
POST /api/v1/queues/{queue_name}/tasks/{task_id}/retry
POST /api/v1/queues/{queue_name}/tasks/{task_id}/run-now
    own                 401   403   200   200   200   403   403   403   200   403   200
    other               401   403   404   404   404   403   403   403   404   403   200
    platform            401   403   404   404   404   403   403   403   404   403   200
    missing             401   403   404   404   404   403   403   403   404   403   404
POST /api/v1/tasks
POST /api/v1/tasks/bulk
    own                 401   403   201   201   201   403   403   403   201   403   201
    other               401   403   403   403   403   403   403   403   403   403   201
    platform            401   403   403   403   403   403   403   403   403   403   201
    missing             401   403   403   403   403   403   403   403   403   403   201
POST /api/v1/bulk
    own                 401   403   200   200   200   403   403   403   200   403   200
    other               401   403   200   200   200   403   403   403   200   403   200
    missing             401   403   200   200   200   403   403   403   200   403   200

GET /api/v1/runs
GET /api/v1/runs/export
GET /api/v1/runs/errors
GET /api/v1/runs/task-types
GET /api/v1/stats/summary
GET /api/v1/stats/series?metric=runs
GET /api/v1/stats/top
    -                   401   200   200   200   200   403   200   200   200   403   200
GET /api/v1/runs/{run_id}
GET /api/v1/runs/{run_id}/logs
GET /api/v1/runs/{run_id}/neighbours
    own                 401   200   200   200   200   403   200   200   200   403   200
    other               401   404   404   404   404   403   200   404   404   403   200
    platform            401   404   404   404   404   403   200   404   404   403   200
    missing             401   404   404   404   404   403   404   404   404   403   404
GET /api/v1/runs/{run_id}?raw=true
    own                 401   403   403   403   200   403   403   403   200   403   200
    other               401   404   404   404   404   403   403   404   404   403   200
    missing             401   404   404   404   404   403   404   404   404   403   404

GET /api/v1/handlers
    -                   401   200   200   200   200   403   200   200   200   403   200
GET /api/v1/handlers/{task_type}
    -                   401   200   200   200   200   403   200   200   200   403   200
    missing             401   404   404   404   404   403   404   404   404   403   404

GET /api/v1/schedules
POST /api/v1/schedules/preview
    -                   401   200   200   200   200   403   403   200   200   403   200
GET /api/v1/schedules/{schedule_id}
GET /api/v1/schedules/{schedule_id}/calendar
GET /api/v1/schedules/{schedule_id}/next
    own                 401   200   200   200   200   403   403   200   200   403   200
    other               401   404   404   404   404   403   403   404   404   403   200
    platform            401   404   404   404   404   403   403   404   404   403   200
    missing             401   404   404   404   404   403   403   404   404   403   404
POST /api/v1/schedules
    own                 401   403   403   201   201   403   403   403   201   403   201
    other               401   403   403   403   403   403   403   403   403   403   201
    platform            401   403   403   403   403   403   403   403   403   403   201
PATCH /api/v1/schedules/{schedule_id}
POST /api/v1/schedules/{schedule_id}/start
POST /api/v1/schedules/{schedule_id}/stop
    own                 401   403   403   200   200   403   403   403   200   403   200
    other               401   403   403   404   404   403   403   403   404   403   200
    platform            401   403   403   404   404   403   403   403   404   403   200
    missing             401   403   403   404   404   403   403   403   404   403   404
DELETE /api/v1/schedules/{schedule_id}
    own                 401   403   403   204   204   403   403   403   204   403   204
    other               401   403   403   404   404   403   403   403   404   403   204
    platform            401   403   403   404   404   403   403   403   404   403   204
    missing             401   403   403   404   404   403   403   403   404   403   404
POST /api/v1/schedules/{schedule_id}/trigger
    own                 401   403   201   201   201   403   403   403   201   403   201
    other               401   403   404   404   404   403   403   403   404   403   201
    platform            401   403   404   404   404   403   403   403   404   403   201
    missing             401   403   404   404   404   403   403   403   404   403   404

GET /api/v1/batches
GET /api/v1/batch-templates
    -                   401   200   200   200   200   403   403   200   200   403   200
GET /api/v1/batches/{batch_id}
GET /api/v1/batches/{batch_id}/items
GET /api/v1/batches/{batch_id}/items/export
GET /api/v1/batch-templates/{template_id}
    own                 401   200   200   200   200   403   403   200   200   403   200
    other               401   404   404   404   404   403   403   404   404   403   200
    platform            401   404   404   404   404   403   403   404   404   403   200
    missing             401   404   404   404   404   403   403   404   404   403   404
POST /api/v1/batches
    own                 401   403   201   201   201   403   403   403   201   403   201
    other               401   403   403   403   403   403   403   403   403   403   201
    platform            401   403   403   403   403   403   403   403   403   403   201
POST /api/v1/batches/{batch_id}/items
POST /api/v1/batches/{batch_id}/start
POST /api/v1/batches/{batch_id}/pause
POST /api/v1/batches/{batch_id}/resume
POST /api/v1/batches/{batch_id}/cancel
POST /api/v1/batches/{batch_id}/retry-failed
POST /api/v1/batches/{batch_id}/retry
POST /api/v1/batches/{batch_id}/skip
    own                 401   403   200   200   200   403   403   403   200   403   200
    other               401   403   404   404   404   403   403   403   404   403   200
    platform            401   403   404   404   404   403   403   403   404   403   200
    missing             401   403   404   404   404   403   403   403   404   403   404
DELETE /api/v1/batches/{batch_id}
    own                 401   403   204   204   204   403   403   403   204   403   204
    other               401   403   404   404   404   403   403   403   404   403   204
    platform            401   403   404   404   404   403   403   403   404   403   204
    missing             401   403   404   404   404   403   403   403   404   403   404
POST /api/v1/batch-templates
    own                 401   403   403   201   201   403   403   403   201   201   201
    other               401   403   403   403   403   403   403   403   403   201   201
    platform            401   403   403   403   403   403   403   403   403   201   201
PATCH /api/v1/batch-templates/{template_id}
    own                 401   403   403   200   200   403   403   403   200   200   200
    other               401   403   403   404   404   403   403   403   404   200   200
    platform            401   403   403   404   404   403   403   403   404   200   200
    missing             401   403   403   404   404   403   403   403   404   404   404
DELETE /api/v1/batch-templates/{template_id}
    own                 401   403   403   204   204   403   403   403   204   204   204
    other               401   403   403   404   404   403   403   403   404   204   204
    platform            401   403   403   404   404   403   403   403   404   204   204
    missing             401   403   403   404   404   403   403   403   404   404   404

GET /api/v1/users
GET /api/v1/audit
GET /api/v1/audit/verify
GET /api/v1/settings
GET /api/v1/prune
    -                   401   403   403   403   403   403   403   403   403   403   200
POST /api/v1/users
POST /api/v1/tenants
    -                   401   403   403   403   403   403   403   403   403   403   201
GET /api/v1/users/{username}
    self                401   200   200   200   200   200   200   200   200   200   200
    own                 401   403   403   403   403   403   403   403   403   403   200
    other               401   403   403   403   403   403   403   403   403   403   200
    missing             401   403   403   403   403   403   403   403   403   403   404
PATCH /api/v1/users/{username}
POST /api/v1/users/{username}/sign-in-link
    own                 401   403   403   403   403   403   403   403   403   403   200
    other               401   403   403   403   403   403   403   403   403   403   200
    missing             401   403   403   403   403   403   403   403   403   403   404
DELETE /api/v1/users/{username}
POST /api/v1/users/{username}/password
    own                 401   403   403   403   403   403   403   403   403   403   204
    other               401   403   403   403   403   403   403   403   403   403   204
    missing             401   403   403   403   403   403   403   403   403   403   404

GET /api/v1/tenants/{tenant_id}
    own                 401   200   200   200   200   404   200   200   200   404   200
    other               401   404   404   404   404   404   200   404   404   404   200
    missing             401   404   404   404   404   404   404   404   404   404   404
PATCH /api/v1/tenants/{tenant_id}
    own                 401   403   403   403   403   403   403   403   403   403   200
    other               401   403   403   403   403   403   403   403   403   403   200
    missing             401   403   403   403   403   403   403   403   403   403   404

POST /api/v1/tokens
    self                401   403   403   201   201   403   403   403   201   403   201
    own                 401   403   403   201   201   403   403   403   201   403   201
    other               401   403   403   404   404   403   403   403   404   403   201
    missing             401   403   403   404   404   403   403   403   404   403   404
DELETE /api/v1/tokens/{public_id}
    self                401   204   204   204   204   204   204   204   204   204   204
    own                 401   404   404   204   204   404   404   404   204   404   204
    other               401   404   404   404   404   404   404   404   404   404   204
    platform            401   404   404   404   404   404   404   404   404   404   204
    missing             401   404   404   404   404   404   404   404   404   404   404

GET /api/v1/alert-rules
GET /api/v1/alert-rules/kinds
GET /api/v1/channels
GET /api/v1/incidents
    -                   401   200   200   200   200   403   403   200   200   403   200
GET /api/v1/alert-rules/{rule_id}
GET /api/v1/alert-rules/{rule_id}/preview
GET /api/v1/channels/{channel_id}
GET /api/v1/incidents/{incident_id}
    own                 401   200   200   200   200   403   403   200   200   403   200
    other               401   404   404   404   404   403   403   404   404   403   200
    platform            401   404   404   404   404   403   403   404   404   403   200
    missing             401   404   404   404   404   403   403   404   404   403   404
POST /api/v1/alert-rules/preview
    own                 401   200   200   200   200   403   403   200   200   403   200
    other               401   403   403   403   403   403   403   403   403   403   200
    platform            401   403   403   403   403   403   403   403   403   403   200
POST /api/v1/alert-rules
POST /api/v1/channels
    own                 401   403   403   201   201   403   403   403   201   403   201
    other               401   403   403   403   403   403   403   403   403   403   201
    platform            401   403   403   403   403   403   403   403   403   403   201
    missing             401   403   403   403   403   403   403   403   403   403   404
PATCH /api/v1/alert-rules/{rule_id}
POST /api/v1/alert-rules/{rule_id}/silence
PATCH /api/v1/channels/{channel_id}
POST /api/v1/channels/{channel_id}/test
POST /api/v1/incidents/{incident_id}/ack
POST /api/v1/incidents/{incident_id}/resolve
POST /api/v1/incidents/{incident_id}/silence
    own                 401   403   403   200   200   403   403   403   200   403   200
    other               401   403   403   404   404   403   403   403   404   403   200
    platform            401   403   403   404   404   403   403   403   404   403   200
    missing             401   403   403   404   404   403   403   403   404   403   404
DELETE /api/v1/alert-rules/{rule_id}
DELETE /api/v1/channels/{channel_id}
    own                 401   403   403   204   204   403   403   403   204   403   204
    other               401   403   403   404   404   403   403   403   404   403   204
    platform            401   403   403   404   404   403   403   403   404   403   204
    missing             401   403   403   404   404   403   403   403   404   403   404

GET /admin/queue/list
GET /admin/server/list
GET /api/task
GET /api/task/
GET /api/task/info
GET /api/task/unique-tasks
    -                   401   403   403   403   403   403   200   200   403   403   200
GET /api/task/{id}
    own                 401   403   403   403   403   403   200   200   403   403   200
    other               401   403   403   403   403   403   200   200   403   403   200
    missing             401   403   403   403   403   403   404   404   403   403   404
POST /admin/queue/create
    -                   401   403   403   403   403   403   403   403   403   403   200
PUT /admin/queue/update?id={queue_id}
DELETE /admin/queue/delete?id={queue_id}
    -                   401   403   403   403   403   403   403   403   403   403   200
    missing             401   403   403   403   403   403   403   403   403   403   404
POST /admin/task/create?table={table}
    -                   401   403   200   200   200   403   403   403   200   403   200
    missing             401   403   404   404   404   403   403   403   404   403   404
"""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@dataclass(frozen=True)
class Row:
    """One line of the table for one address."""

    method: str
    path: str
    whose: str
    answers: dict[str, int]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.whose}"

    @property
    def route(self) -> tuple[str, str]:
        """The method and the path without what stands behind the `?`."""
        return self.method, self.path.partition("?")[0]

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "HEAD", "OPTIONS")

    def body(self, town: Town, who: str) -> Any:
        """What is sent with it."""
        make = _BODIES.get(f"{self.method} {self.route[1]}")
        return None if make is None else make(town, self.whose, who)


def rows() -> Iterator[Row]:
    """The table, a row an address and line."""
    addresses: list[list[str]] = []
    answered = False
    for line in filter(str.strip, TABLE.splitlines()[2:]):
        words = line.split()
        if line.startswith(" "):
            answered = True
            answers = dict(zip(CALLERS, map(int, words[1:]), strict=True))
            yield from (Row(method, path, words[0], answers) for method, path in addresses)
        else:
            addresses = [words] if answered else [*addresses, words]
            answered = False


# --- what is sent ---------------------------------------------------------------------------------


def _task(town: Town, whose: str, who: str) -> dict[str, Any]:
    return {"task_type": "report", "tenant_id": TENANTS.get(whose, "nowhere")}


def _tasks(town: Town, whose: str, who: str) -> dict[str, Any]:
    return {"tasks": [_task(town, whose, who)]}


def _bulk(town: Town, whose: str, who: str) -> dict[str, Any]:
    number = 987654321
    if whose != "missing":
        number = town.spine.put("report", queue="mail", tenant_id=TENANTS[whose])
    return {"action": "cancel", "ids": [f"mail/{number}"]}


def _token(town: Town, whose: str, who: str) -> dict[str, Any]:
    users = {"own": "pat", "other": "nell", "missing": "noone"}
    return {"name": "spare", "username": users.get(whose) or town.whose.get(who, "root")}


def _queue(town: Town, whose: str, who: str) -> dict[str, Any]:
    return {"queue_name": town.new_name("queue"), "table_name": "mail_tasks"}


def _schedule(town: Town, whose: str, who: str) -> dict[str, Any]:
    made = {"task_type": "report", "cron_expression": "@daily", "tenant_id": TENANTS[whose]}
    return {"name": town.new_name("schedule"), **made}


def _batch(town: Town, whose: str, who: str) -> dict[str, Any]:
    # A tenant has one live batch of a type.
    free = "UPDATE ty_batches SET status = 'cancelled', active_key = NULL"
    town.db.run(lambda tx: tx.execute(free))
    return {"task_type": "check", "items": [1, {"item_id": "b"}], "tenant_id": TENANTS[whose]}


def _template(town: Town, whose: str, who: str) -> dict[str, Any]:
    made = {"task_type": "check", "tenant_id": TENANTS[whose]}
    return {"name": town.new_name("template"), **made}


def _rule(town: Town, whose: str, who: str) -> dict[str, Any]:
    return {**_draft(town, whose, who), "name": town.new_name("rule")}


def _draft(town: Town, whose: str, who: str) -> dict[str, Any]:
    return {"kind": "run_failed", "tenant_id": TENANTS.get(whose, "nowhere")}


def _channel(town: Town, whose: str, who: str) -> dict[str, Any]:
    return {
        "name": town.new_name("channel"),
        "kind": "mail",
        "settings": {"to": ["ops@example.com"]},
        "tenant_id": TENANTS.get(whose, "nowhere"),
    }


_BODIES = {
    "POST /admin/queue/create": _queue,
    "PUT /admin/queue/update": lambda *_: {"max_workers": 7},
    "POST /admin/task/create": lambda *_: {"task_type": "report"},
    "POST /api/v1/login": lambda *_: {"username": "pat", "password": PASSWORD},
    "POST /api/v1/queues": _queue,
    "PATCH /api/v1/queues/{queue_name}": lambda *_: {"max_workers": 7},
    "POST /api/v1/tasks": _task,
    "POST /api/v1/tasks/bulk": _tasks,
    "POST /api/v1/bulk": _bulk,
    "POST /api/v1/schedules": _schedule,
    "POST /api/v1/schedules/preview": lambda *_: {"cron_expression": "0 2 * * *"},
    "PATCH /api/v1/schedules/{schedule_id}": lambda *_: {"timeout": 60},
    "POST /api/v1/batches": _batch,
    "POST /api/v1/batches/{batch_id}/items": lambda *_: {"items": ["more"]},
    "POST /api/v1/batches/{batch_id}/retry": lambda *_: {"item_ids": ["a"]},
    "POST /api/v1/batches/{batch_id}/skip": lambda *_: {"item_ids": ["b"]},
    "POST /api/v1/batch-templates": _template,
    "PATCH /api/v1/batch-templates/{template_id}": lambda *_: {"variables": {"who": "all"}},
    "POST /api/v1/users": lambda town, *_: {"username": town.new_name("user"), "tenants": [OTHER]},
    "PATCH /api/v1/users/{username}": lambda *_: {"role": "operator"},
    "POST /api/v1/users/{username}/password": lambda *_: {"password": PASSWORD},
    "POST /api/v1/tenants": lambda town, *_: {"tenant_id": town.new_name("tenant")},
    "PATCH /api/v1/tenants/{tenant_id}": lambda *_: {"name": "Another"},
    "POST /api/v1/tokens": _token,
    "POST /api/v1/alert-rules": _rule,
    "POST /api/v1/alert-rules/preview": _draft,
    "PATCH /api/v1/alert-rules/{rule_id}": lambda *_: {"remind_every": "4h"},
    "POST /api/v1/alert-rules/{rule_id}/silence": lambda *_: {"for": "2h"},
    "POST /api/v1/channels": _channel,
    "PATCH /api/v1/channels/{channel_id}": lambda *_: {"settings": {"to": ["it@example.com"]}},
    "POST /api/v1/incidents/{incident_id}/silence": lambda *_: {"for": "2h"},
}
