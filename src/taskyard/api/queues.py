"""Queues over HTTP. The verbs are `taskyard.queues`'; the same can be done by SQL."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from taskyard import queues
from taskyard.access.permissions import Permission
from taskyard.api import wire
from taskyard.api.fields import Absent, Body, told
from taskyard.api.gate import Ask
from taskyard.api.noun import PREFIX, Noun
from taskyard.core.errors import QueueInvalid, QueueTwice, QueueUnknown, TableInvalid
from taskyard.tasks.browse import backlog
from taskyard.tasks.depth import oldest_wait

noun = Noun("queues")


TABLE_NAME = "^[A-Za-z_][A-Za-z0-9_]{0,62}$"


def _within(setting: str) -> Any:
    """The range of a setting, for OpenAPI."""
    least, most = queues.RANGES[setting]
    return told(minimum=least, maximum=most)


class Queue(BaseModel):
    """A queue: a row of queue_configs."""

    id: int
    queue_name: str
    table_name: str
    server_id: str
    max_workers: int
    scan_interval: float
    status: int
    rate_limit: float | None
    timeout: float | None
    problem: str | None


class QueueInFull(Queue):
    """A queue and how long its line is; each at most 10,001."""

    waiting: int | None = Field(description="Due or not; null where its table is missing.")
    running: int | None
    oldest_wait: float | None = Field(
        description="Seconds since the oldest that could run now was due; 0 where none waits."
    )


class QueueSettings(Body):
    """What of a queue can be set; what is left out stays, or has its default."""

    table_name: Annotated[str | Absent, told(pattern=TABLE_NAME)] = None
    server_id: Annotated[str | Absent, told(maxLength=50)] = None
    max_workers: Annotated[int | Absent, _within("max_workers")] = None
    scan_interval: Annotated[float | Absent, _within("scan_interval")] = None
    status: Annotated[int | Absent, _within("status")] = None
    rate_limit: Annotated[float | None, _within("rate_limit")] = None
    timeout: Annotated[float | None, _within("timeout")] = None


class NewQueue(QueueSettings):
    """A queue to be."""

    queue_name: Annotated[str, told(pattern=r"^[^\s/\x00-\x1f][^/\x00-\x1f]{0,99}$")]


@noun.get(
    "/queues",
    needs=Permission.MONITORING,
    answers=wire.page_of(QueueInFull),
)
def list_queues(ask: Ask) -> dict[str, Any]:
    """All queues by name, and how many of their tasks wait and run."""
    found = queues.list_queues(ask.db, ask.caller)
    return wire.whole(_in_full(ask, queue) for queue in found)


@noun.create(
    "/queues",
    needs=Permission.QUEUES_WRITE,
    audit="queue.create",
    answers=Queue,
    raises=(QueueInvalid, QueueTwice, TableInvalid),
)
def create_queue(ask: Ask, new: NewQueue) -> wire.Created:
    """Create a queue and its table."""
    made = queues.create_queue(ask.db, ask.caller, **new.model_dump(exclude_unset=True))
    return wire.Created(made.to_dict(), f"{PREFIX}/queues/{quote(made.queue_name, safe='')}")


@noun.get(
    "/queues/{queue_name}", needs=Permission.MONITORING, answers=QueueInFull, raises=(QueueUnknown,)
)
def show_queue(ask: Ask, queue_name: str) -> dict[str, Any]:
    """One queue, and how many of its tasks wait and run."""
    return _in_full(ask, queues.show_queue(ask.db, ask.caller, queue_name))


@noun.patch(
    "/queues/{queue_name}",
    needs=Permission.QUEUES_WRITE,
    audit="queue.update",
    answers=Queue,
    raises=(QueueUnknown, QueueInvalid, TableInvalid),
)
def update_queue(ask: Ask, queue_name: str, changes: QueueSettings) -> dict[str, Any]:
    """Change settings of a queue; servers follow within `config_sync_interval`."""
    fields = changes.model_dump(exclude_unset=True)
    return queues.update_queue(ask.db, ask.caller, queue_name, **fields).to_dict()


@noun.delete(
    "/queues/{queue_name}",
    needs=Permission.QUEUES_WRITE,
    audit="queue.delete",
    raises=(QueueUnknown,),
)
def delete_queue(ask: Ask, queue_name: str) -> None:
    """Delete a queue; its table and its tasks stay."""
    queues.delete_queue(ask.db, ask.caller, queue_name)


@noun.post(
    "/queues/{queue_name}/pause",
    needs=Permission.QUEUES_WRITE,
    audit="queue.update",
    answers=Queue,
    raises=(QueueUnknown,),
)
def pause_queue(ask: Ask, queue_name: str) -> dict[str, Any]:
    """Take nothing more from a queue; what runs goes on."""
    return queues.pause_queue(ask.db, ask.caller, queue_name).to_dict()


@noun.post(
    "/queues/{queue_name}/resume",
    needs=Permission.QUEUES_WRITE,
    audit="queue.update",
    answers=Queue,
    raises=(QueueUnknown,),
)
def resume_queue(ask: Ask, queue_name: str) -> dict[str, Any]:
    """Work a queue again."""
    return queues.resume_queue(ask.db, ask.caller, queue_name).to_dict()


def _in_full(ask: Ask, queue: queues.Queue) -> dict[str, Any]:
    line: dict[str, float | None] = {"waiting": None, "running": None, "oldest_wait": None}
    try:
        line |= asdict(backlog(ask.db, queue.table_name))
        line["oldest_wait"] = ask.db.read(partial(oldest_wait, table=queue.table_name))
    except Exception as error:
        if not ask.db.dialect.is_table_missing(error):
            raise
    return queue.to_dict() | line
