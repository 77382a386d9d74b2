"""Suggest: words that a search box may offer; a few, and only of what the Caller sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel

from taskyard import queues, servers
from taskyard.access.permissions import Permission
from taskyard.access.tenants import list_tenants
from taskyard.api import asked
from taskyard.api.asked import Parameter
from taskyard.api.gate import Ask, Entry
from taskyard.api.noun import Noun
from taskyard.core.errors import QueryInvalid
from taskyard.core.lifecycle import Origin, RunStatus
from taskyard.db.listing import Query
from taskyard.runs.browse import task_types

noun = Noun("suggest")

MANY = 20


class Suggestions(BaseModel):
    """Words that begin as asked."""

    data: list[str]


def _task_types(ask: Ask) -> Iterable[str]:
    ran = task_types(ask.db, ask.caller) if ask.caller.may(Permission.RUNS_READ) else []
    known = ask.site.catalog.all() if ask.caller.may(Permission.HANDLERS_READ) else {}
    return {*ran, *known}


def _queues(ask: Ask) -> Iterable[str]:
    if not ask.caller.may(Permission.MONITORING):
        return []
    return [queue.queue_name for queue in queues.list_queues(ask.db, ask.caller)]


def _servers(ask: Ask) -> Iterable[str]:
    if not ask.caller.may(Permission.MONITORING):
        return []
    return [row.server_id for row in servers.list_servers(ask.db, ask.caller, dead=True)]


def _tenants(ask: Ask) -> Iterable[str]:
    query = Query(limit=500)
    return [row["tenant_id"] for row in list_tenants(ask.db, ask.caller, query).rows]


FIELDS: dict[str, Callable[[Ask], Iterable[str]]] = {
    "task_type": _task_types,
    "queue": _queues,
    "server_id": _servers,
    "tenant_id": _tenants,
    "status": lambda ask: RunStatus,
    "origin": lambda ask: Origin,
}


@noun.get(
    "/suggest",
    needs=Entry.SIGNED_IN,
    answers=Suggestions,
    takes=(
        Parameter("field", "Of which filter.", asked.words(FIELDS), required=True),
        Parameter("prefix", "How the words begin."),
    ),
    raises=(QueryInvalid,),
)
def suggest(ask: Ask) -> dict[str, Any]:
    """Words for a filter, in alphabetical order, 20 at most."""
    name, prefix = ask.query["field"], ask.query.get("prefix", "").lower()
    if name not in FIELDS:
        raise QueryInvalid("field", f'No words for "{name}".', f"There are: {', '.join(FIELDS)}.")
    found = [word for word in FIELDS[name](ask) if word.lower().startswith(prefix)]
    return {"data": sorted(found)[:MANY]}
