"""Servers and handlers over HTTP: who is alive, what they can run. The verbs are `servers`'."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from taskyard import servers
from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.asked import Parameter
from taskyard.api.gate import Ask
from taskyard.api.noun import Noun
from taskyard.core.errors import HandlerUnknown, ServerUnknown
from taskyard.tasks.catalog import Known

noun = Noun("servers, handlers")


class Server(BaseModel):
    """A server by its newest session."""

    server_id: str
    state: Literal["live", "late", "draining", "dead"]
    host: str
    pid: int
    session: str
    runners: int
    handlers: int = Field(description="How many.")
    started_at: datetime
    beat_age: float = Field(description="Seconds since its last sign of life.")
    lease_left: float = Field(description="Seconds until others take its tasks over.")
    version: str
    problems: str | None = Field(description="What is wrong with its application.")


class Draining(BaseModel):
    """A server that stops when its tasks are done."""

    server_id: str
    state: Literal["draining"]


class RetryPolicy(BaseModel):
    """How long to wait before a retry."""

    kind: str
    base: float
    cap: float
    jitter: bool


class Handler(BaseModel):
    """Code that does tasks of one type, and what it promises."""

    name: str = Field(description="The task_type.")
    queue: str
    max_retries: int
    timeout: float | None
    isolation: str
    memory_limit: int | None
    excl_key: str | None
    delivery: str
    on_lost: str
    retry: RetryPolicy
    doc: str
    location: str
    parameters: dict[str, Any] = Field(description="JSON Schema of task_params.")
    servers: list[str] = Field(description="Those that have it now.")
    differs: bool = Field(description="They do not all promise the same.")


@noun.get(
    "/servers",
    needs=Permission.MONITORING,
    answers=wire.page_of(Server),
    takes=(Parameter("dead", "Also those that are gone.", {"type": "boolean"}),),
)
def list_servers(ask: Ask) -> dict[str, Any]:
    """Servers by name, each by its newest session."""
    dead = asked.flag(ask.query, "dead")
    return wire.whole(row.shown() for row in servers.list_servers(ask.db, ask.caller, dead=dead))


@noun.post(
    "/servers/{server_id}/drain",
    needs=Permission.SERVERS_WRITE,
    audit="server.drain",
    answers=Draining,
    raises=(ServerUnknown,),
)
def drain_server(ask: Ask, server_id: str) -> dict[str, str]:
    """Let a server finish what it runs, take nothing more, and stop."""
    servers.drain(ask.db, ask.caller, server_id)
    return {"server_id": server_id, "state": "draining"}


@noun.get("/handlers", needs=Permission.HANDLERS_READ, answers=wire.page_of(Handler))
def list_handlers(ask: Ask) -> dict[str, Any]:
    """Handlers by name, as the servers told of them, with the schema of their parameters."""
    return wire.whole(_handler(known) for known in ask.site.catalog.all().values())


@noun.get(
    "/handlers/{task_type}",
    needs=Permission.HANDLERS_READ,
    answers=Handler,
    raises=(HandlerUnknown,),
)
def show_handler(ask: Ask, task_type: str) -> dict[str, Any]:
    """One handler."""
    return _handler(ask.site.catalog.get(task_type))


def _handler(known: Known) -> dict[str, Any]:
    return {**asdict(known.spec), "servers": known.servers, "differs": known.differs}
