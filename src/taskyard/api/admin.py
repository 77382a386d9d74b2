"""The platform itself over HTTP: what one may know of it, the audit, the settings, clean-up."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from taskyard.access import audit, seals
from taskyard.access.permissions import Permission, Role
from taskyard.api import asked, wire
from taskyard.api.gate import Ask, Entry
from taskyard.api.noun import Noun
from taskyard.core.errors import QueryInvalid
from taskyard.core.lifecycle import Hold, Origin, RunStatus, TaskStatus
from taskyard.core.payload import PARAMS_LIMIT, RESULT_LIMIT
from taskyard.core.version import VERSION
from taskyard.db import listing
from taskyard.runs import retention, stats
from taskyard.tasks.bulk import MAX_TASKS, Action

noun = Noun("admin")

POLL = {"list": 10, "detail": 5}
"""Seconds after which a console asks again."""


class Meta(BaseModel):
    """What a console has to know before it shows anything."""

    version: str
    time: datetime
    default_time_zone: str
    no_auth: bool = Field(description="Nobody has to sign in.")
    advanced_permissions: bool
    enums: dict[str, list[str]]
    limits: dict[str, int]
    poll: dict[str, int] = Field(description="Seconds after which to ask again.")


class AuditEntry(BaseModel):
    """One change, and who made it."""

    id: int
    at: datetime
    actor: str
    user_id: int | None
    token_id: int | None
    address: str | None
    request_id: str | None
    action: str
    object: str
    tenant_id: str
    before: Any
    after: Any
    seal: str | None


class Verified(BaseModel):
    """What a look through the whole audit found; no problems is good."""

    sealed: int
    waiting: int
    head: list[int | str] | None
    problems: list[str]


class Setting(BaseModel):
    """A setting, its value (secrets masked), and where it came from."""

    name: str
    value: Any
    source: str


class Settings(BaseModel):
    """All settings of the process of the API."""

    data: list[Setting]


class LastPrune(BaseModel):
    """The last clean-up of history."""

    run_id: int
    status: RunStatus
    started_at: datetime
    pruned: dict[str, Any] | None
    error: str | None


class Prune(BaseModel):
    """The last clean-up, if there was one, and what a clean-up would remove now."""

    last: LastPrune | None
    would_remove: dict[str, Any]


@noun.get("/meta", needs=Entry.SIGNED_IN, answers=Meta)
def show_meta(ask: Ask) -> dict[str, Any]:
    """Version, words, limits and intervals."""
    return {
        "version": VERSION,
        "time": datetime.now(UTC),
        "default_time_zone": ask.settings.default_time_zone,
        "no_auth": ask.site.no_auth,
        "advanced_permissions": ask.settings.advanced_permissions,
        "enums": _ENUMS,
        "limits": _LIMITS,
        "poll": POLL,
    }


_ENUMS: dict[str, list[str]] = {
    "task_status": [status.name.lower() for status in TaskStatus],
    "hold": [hold.name.lower() for hold in Hold if hold],
    "run_status": list(RunStatus),
    "origin": list(Origin),
    "role": list(Role),
    "permission": list(Permission),
    "bulk_action": list(Action),
    "metric": list(stats.METRICS),
    "heading": list(stats.HEADINGS),
}

_LIMITS = {
    "page": listing.MAX_LIMIT,
    "offset": listing.MAX_OFFSET,
    "count": listing.COUNT_CAP,
    "task_params": PARAMS_LIMIT,
    "output": RESULT_LIMIT,
    "bulk": MAX_TASKS,
}


@noun.get(
    "/audit",
    needs=Permission.AUDIT_READ,
    answers=wire.page_of(AuditEntry),
    takes=tuple(p for p in asked.of_list(audit.AUDIT) if p.name != "include"),
    raises=(QueryInvalid,),
)
def list_audit(ask: Ask) -> dict[str, Any]:
    """Who changed what, the newest first."""
    query = asked.query_of(ask.query, audit.AUDIT)
    return wire.listed(audit.list_audit(ask.db, ask.caller, query))


@noun.get("/audit/verify", needs=Permission.AUDIT_READ, answers=Verified)
def verify_audit(ask: Ask) -> dict[str, Any]:
    """Look through the whole audit for what was changed afterwards."""
    return asdict(seals.verify(ask.db, ask.caller))


@noun.get("/settings", needs=Permission.SETTINGS_READ, answers=Settings)
def list_settings(ask: Ask) -> dict[str, Any]:
    """The settings in force here, and where each came from."""
    shown = ask.settings.shown()
    return {"data": [{"name": n, "value": _plain(v), "source": s} for n, v, s in shown]}


@noun.get("/prune", needs=Permission.PURGE, answers=Prune)
def show_prune(ask: Ask) -> dict[str, Any]:
    """What the last clean-up removed, and what one would remove now."""
    last = retention.last_prune(ask.db, ask.caller)
    would = retention.prune(ask.db, ask.caller, ask.settings.retention, dry_run=True)
    return {"last": last and asdict(last), "would_remove": would.to_dict()}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {name: _plain(child) for name, child in value.items()}
    return value if isinstance(value, str | int | float | bool | None | tuple) else str(value)
