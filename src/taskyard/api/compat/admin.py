"""Admin: the addresses of requirement 5: queues, servers, and new tasks by the name of a table.

Owns the form of its answers, `{"code": 0, "message": "ok", "data": …}`, and of its errors, whose
code is the number of ours. The verbs are those of `/api/v1`. Times without an offset are the
database's, as in the table.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field
from starlette.responses import Response

from taskyard import queues, servers
from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.asked import Parameter
from taskyard.api.fields import Body, Moment
from taskyard.api.gate import Ask
from taskyard.api.noun import Noun
from taskyard.api.queues import NewQueue, Queue, QueueSettings
from taskyard.api.servers import Server
from taskyard.api.tasks import NewTask, order_of
from taskyard.core.errors import (
    HandlerUnknown,
    ParamsInvalid,
    ParamsNotJson,
    PayloadTooLarge,
    QueryInvalid,
    QueueInvalid,
    QueueTwice,
    QueueUnknown,
    TableInvalid,
    TableUnknown,
    TaskyardError,
)
from taskyard.db import tables
from taskyard.tasks.enqueue import enqueue
from taskyard.tasks.order import new_task

Data = TypeVar("Data")


class Done(BaseModel, Generic[Data]):
    """It was done."""

    code: Literal[0]
    message: Literal["ok"]
    data: Data


class Failed(BaseModel):
    """It was not."""

    code: int = Field(description="The number of the error, never 0.", examples=[310])
    message: str = Field(description="What happened, and what to do.")
    data: None


class Envelopes:
    """Errors in the form of the answers."""

    def tell(self, error: TaskyardError, request_id: str) -> Response:
        content = {
            "code": int(error.code.removeprefix("TY")),
            "message": wire.detail(error),
            "data": None,
        }
        status = wire.status_of(type(error))
        return Response(wire.dump(content), status, wire.headers_of(error), media_type=wire.JSON)

    def content(self, status: int) -> dict[str, Any]:
        return {wire.JSON: {"schema": Failed.model_json_schema()}}


noun = Noun("as in requirement 5", prefix="/admin", voice=Envelopes())


class Made(BaseModel):
    """What was made, changed or deleted."""

    id: int | str = Field(description="A string beyond 2^53.")


class AdminServer(Server):
    """A server by its newest session."""

    status: Literal[0, 1] = Field(description="1 while it is alive.")


class NewRow(Body):
    """A task to be."""

    task_type: str = Field(min_length=1, max_length=255)
    task_params: dict[str, Any] | None = None
    schedule_time: Moment | None = Field(
        None, description="When it is due; without an offset, in the database's own time."
    )
    max_retries: int | None = Field(None, ge=0, le=1_000_000)


_ID = Parameter(
    "id", "The id of the queue.", {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, True
)
_TABLE = Parameter("table", "The table of a queue.", required=True)


def _done(data: Any) -> dict[str, Any]:
    return {"code": 0, "message": "ok", "data": data}


# --- queues ---------------------------------------------------------------------------------------


@noun.post(
    "/queue/create",
    needs=Permission.QUEUES_WRITE,
    audit="queue.create",
    answers=Done[Made],
    raises=(QueueInvalid, QueueTwice, TableInvalid),
)
def admin_create_queue(ask: Ask, new: NewQueue) -> dict[str, Any]:
    """Create a queue and its table."""
    made = queues.create_queue(ask.db, ask.caller, **new.model_dump(exclude_unset=True))
    return _done({"id": made.id})


@noun.get("/queue/list", needs=Permission.MONITORING, answers=Done[list[Queue]])
def admin_list_queues(ask: Ask) -> dict[str, Any]:
    """All queues, by name."""
    return _done([queue.to_dict() for queue in queues.list_queues(ask.db, ask.caller)])


@noun.put(
    "/queue/update",
    needs=Permission.QUEUES_WRITE,
    audit="queue.update",
    answers=Done[Made],
    takes=(_ID,),
    raises=(QueryInvalid, QueueUnknown, QueueInvalid, TableInvalid),
)
def admin_update_queue(ask: Ask, changes: QueueSettings) -> dict[str, Any]:
    """Change settings of a queue; servers follow within `config_sync_interval`."""
    queue = _queue(ask)
    fields = changes.model_dump(exclude_unset=True)
    queues.update_queue(ask.db, ask.caller, queue.queue_name, **fields)
    return _done({"id": queue.id})


@noun.delete(
    "/queue/delete",
    needs=Permission.QUEUES_WRITE,
    audit="queue.delete",
    answers=Done[Made],
    takes=(_ID,),
    raises=(QueryInvalid, QueueUnknown),
)
def admin_delete_queue(ask: Ask) -> dict[str, Any]:
    """Delete a queue; its table and its tasks stay."""
    queue = _queue(ask)
    queues.delete_queue(ask.db, ask.caller, queue.queue_name)
    return _done({"id": queue.id})


def _queue(ask: Ask) -> queues.Queue:
    """The queue that `?id=` names."""
    number = asked.whole(ask.query, "id", 0, least=1, most=2**63 - 1)
    found = [queue for queue in queues.load_queues(ask.db) if queue.id == number]
    if not found:
        raise QueueUnknown(f"id {number}")
    return found[0]


# --- servers --------------------------------------------------------------------------------------


@noun.get("/server/list", needs=Permission.MONITORING, answers=Done[list[AdminServer]])
def admin_list_servers(ask: Ask) -> dict[str, Any]:
    """All servers, also those that are gone."""
    rows = servers.list_servers(ask.db, ask.caller, dead=True)
    return _done([row.shown() | {"status": int(row.alive)} for row in rows])


# --- tasks ----------------------------------------------------------------------------------------


@noun.post(
    "/task/create",
    needs=Permission.TASKS_WRITE,
    audit="task.enqueue",
    answers=Done[Made],
    takes=(_TABLE,),
    raises=(
        TableUnknown,
        HandlerUnknown,
        ParamsInvalid,
        ParamsNotJson,
        PayloadTooLarge,
        QueryInvalid,
    ),
)
def admin_create_task(ask: Ask, new: NewRow) -> dict[str, Any]:
    """Enqueue a task into the table of a queue."""
    given = new.model_dump() | {"schedule_time": _instant(ask, new.schedule_time)}
    order = order_of(ask, NewTask(**given, queue=_queue_with(ask, ask.query["table"])))
    task = new_task(ask.site.catalog, order, ask.settings.default_time_zone)
    return _done({"id": enqueue(ask.db, ask.caller, task).id})


def _queue_with(ask: Ask, table: str) -> str:
    """A queue that has this table; of several, one that is enabled."""
    found = [queue for queue in queues.load_queues(ask.db) if queue.table_name == table]
    if not found:
        raise TableUnknown(table)
    return max(found, key=lambda queue: queue.enabled).queue_name


def _instant(ask: Ask, when: datetime | None) -> datetime | None:
    if when is None or when.tzinfo is not None:
        return when
    return ask.db.read(lambda tx: tables.instant(tx, when))
