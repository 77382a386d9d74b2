"""Tasks over HTTP: enqueue, look, cancel, retry, run now. The verbs are those of `tasks/`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.asked import Parameter
from taskyard.api.fields import Body, Duration, Moment, not_both
from taskyard.api.gate import Ask
from taskyard.api.noun import PREFIX, Noun
from taskyard.core.errors import (
    DuplicateTask,
    HandlerUnknown,
    NotNow,
    ParamsInvalid,
    ParamsNotJson,
    PayloadTooLarge,
    QueryInvalid,
    QueueUnknown,
    RequestInvalid,
    TaskUnknown,
)
from taskyard.core.lifecycle import Hold, Origin, TaskStatus
from taskyard.tasks import browse, manage
from taskyard.tasks.enqueue import TaskRef, enqueue, enqueue_many, route
from taskyard.tasks.explain import explain
from taskyard.tasks.order import Order, new_task

noun = Noun("tasks")

MANY = 10_000
"""Tasks that one request may enqueue."""

STATUSES = tuple(status.name.lower() for status in TaskStatus)

HOLDS = tuple(hold.name.lower() for hold in Hold if hold)

TaskId = Annotated[int, Path(ge=1, lt=2**63)]


class Task(BaseModel):
    """A task: a row of a queue's table."""

    ref: str = Field(description="QUEUE/ID: its name everywhere.")
    id: int | str = Field(description="Unique in its table; a string beyond 2^53.")
    task_table: str
    task_type: str
    queue: str
    status: str = Field(examples=list(STATUSES))
    schedule_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    retry_count: int | None
    max_retries: int | None
    server_id: str | None
    created_at: datetime | None
    updated_at: datetime | None
    priority: int
    tenant_id: str
    timeout: float | None
    retry_interval: float | None
    unique_key: str | None
    excl_key: str | None
    hold: str | None = Field(description="Why no server may claim it.", examples=list(HOLDS))
    crashes: int
    fence: int
    run_id: int | None
    origin: str | None = Field(examples=list(Origin))
    error_msg: str | None = Field(None, description="In lists with `include=error_msg`.")
    task_params: Any = Field(None, description="In lists with `include=task_params`.")
    context: Any = Field(None, description="In lists with `include=context`.")


class TaskInFull(Task):
    """A task with its progress."""

    progress: dict[str, Any] | None


class Enqueued(BaseModel):
    """Where a task is that was just enqueued."""

    ref: str
    id: int | str
    queue: str
    task_table: str
    task_type: str
    status: Literal["pending"]


class NewTask(Body):
    """A task to be; what is left out is up to its handler, or its queue."""

    model_config = ConfigDict(json_schema_extra=not_both("delay", "schedule_time"))

    task_type: str = Field(min_length=1, max_length=255, description="The handler's name.")
    task_params: dict[str, Any] | None = None
    queue: str | None = Field(None, min_length=1, max_length=100)
    schedule_time: Moment | None = Field(
        None, description="When it is due; without an offset, in `default_time_zone`."
    )
    delay: Duration | None = Field(None, description="Instead: how long until it is due.")
    priority: int = Field(0, ge=-100, le=100, description="Higher goes first.")
    max_retries: int | None = Field(None, ge=0, le=1_000_000)
    timeout: Duration | None = Field(None, description="Time limit of an attempt.")
    retry_interval: Duration | None = Field(None, description="A fixed wait before a retry.")
    unique_key: str | None = Field(
        None, min_length=1, max_length=190, description="No second live task with this key: 409."
    )
    excl_key: str | None = Field(
        None, min_length=1, max_length=190, description="Tasks of one key run one at a time."
    )
    tenant_id: str | None = Field(
        None, max_length=64, description="Whose it is; by default one's own, or the platform's."
    )
    force: bool = Field(
        False, description="Take it unchecked, also where no server knows the task_type."
    )


class NewTasks(Body):
    """Many tasks to be."""

    tasks: list[NewTask] = Field(min_length=1, max_length=MANY)


class Duplicate(BaseModel):
    """A task of a bulk that was not enqueued: a live one has its unique_key."""

    index: int
    unique_key: str
    code: str


class EnqueuedMany(BaseModel):
    """What became of many tasks; `data` is in their order, null for one that was skipped."""

    data: list[Enqueued | None]
    skipped: list[Duplicate]


class Reason(BaseModel):
    """One check of why a task is not running."""

    check: str
    holds: bool = Field(description="Does it keep the task from running?")
    text: str
    code: str
    fix: str
    first: bool = Field(description="The first that does.")


class Reasons(BaseModel):
    """All checks, in their order."""

    data: list[Reason]


class Cancellation(Body):
    """Why a task is cancelled."""

    reason: str = Field("cancelled", max_length=1_000)


class State(BaseModel):
    """Where a task stands after a verb."""

    ref: str
    status: str = Field(examples=list(STATUSES))


_ENQUEUES = (HandlerUnknown, QueueUnknown, ParamsInvalid, ParamsNotJson, PayloadTooLarge)
_ONE = "/queues/{queue_name}/tasks/{task_id}"
_RAW = Parameter("raw", "With its secrets; needs `payload.raw`.", {"type": "boolean"})


# --- enqueue --------------------------------------------------------------------------------------


@noun.create(
    "/tasks",
    needs=Permission.TASKS_WRITE,
    audit="task.enqueue",
    answers=Enqueued,
    raises=(*_ENQUEUES, DuplicateTask),
)
def enqueue_task(ask: Ask, new: NewTask) -> wire.Created:
    """Enqueue a task."""
    task = new_task(ask.site.catalog, order_of(ask, new), ask.settings.default_time_zone)
    ref = enqueue(ask.db, ask.caller, task)
    return wire.Created(_enqueued(ref, new), _address(ref))


@noun.create(
    "/tasks/bulk",
    needs=Permission.TASKS_WRITE,
    audit="task.enqueue",
    answers=EnqueuedMany,
    raises=_ENQUEUES,
)
def enqueue_tasks(ask: Ask, new: NewTasks) -> wire.Created:
    """Enqueue many tasks, all or none; one whose unique_key is taken is skipped and told."""
    zone = ask.settings.default_time_zone
    tasks = [new_task(ask.site.catalog, order_of(ask, one), zone) for one in new.tasks]
    refs = enqueue_many(ask.db, ask.caller, tasks)
    data = [ref and _enqueued(ref, one) for ref, one in zip(refs, new.tasks, strict=True)]
    skipped = [
        {"index": index, "unique_key": new.tasks[index].unique_key, "code": DuplicateTask.code}
        for index, ref in enumerate(refs)
        if ref is None
    ]
    return wire.Created({"data": data, "skipped": skipped}, f"{PREFIX}/tasks")


def order_of(ask: Ask, new: NewTask) -> Order:
    """What a request asks for. Raises RequestInvalid."""
    if new.delay is not None and new.schedule_time is not None:
        raise RequestInvalid(['"delay" and "schedule_time" exclude each other'])
    given = new.model_dump(exclude={"tenant_id"})
    return Order(**given, tenant_id=_tenant(ask, new.tenant_id))


def _tenant(ask: Ask, given: str | None) -> str:
    """Whose a task is: who has one tenant need not name it."""
    if given is not None:
        return given
    own = ask.caller.tenants
    if own is None or "" in own:
        return ""
    if len(own) != 1:
        raise RequestInvalid(['"tenant_id" is required: you have several'])
    return next(iter(own))


def _enqueued(ref: TaskRef, new: NewTask) -> dict[str, Any]:
    return {
        "ref": str(ref),
        "id": ref.id,
        "queue": ref.queue,
        "task_table": ref.table,
        "task_type": new.task_type,
        "status": "pending",
    }


def _address(ref: TaskRef) -> str:
    return f"{PREFIX}/queues/{quote(ref.queue, safe='')}/tasks/{ref.id}"


# --- look -----------------------------------------------------------------------------------------


@noun.get(
    "/tasks",
    needs=Permission.TASKS_READ,
    answers=wire.page_of(Task),
    takes=asked.of_list(
        browse.TASKS, Parameter("queue", "Only those of this queue's table."), asked.PATHS
    ),
    raises=(QueryInvalid, QueueUnknown),
)
def list_tasks(ask: Ask) -> dict[str, Any]:
    """Tasks of one queue or all, those with the largest id first."""
    query = asked.query_of(ask.query, browse.TASKS)
    return wire.listed(browse.list_tasks(ask.db, ask.caller, query), _row)


@noun.get(
    _ONE,
    needs=Permission.TASKS_READ,
    answers=TaskInFull,
    takes=(_RAW,),
    raises=(QueueUnknown, TaskUnknown),
)
def show_task(ask: Ask, queue_name: str, task_id: TaskId) -> dict[str, Any]:
    """One task with its parameters, error and progress."""
    ref = _ref(ask, queue_name, task_id)
    return _row(browse.show_task(ask.db, ask.caller, ref, raw=asked.flag(ask.query, "raw")))


@noun.get(
    f"{_ONE}/explain",
    needs=Permission.TASKS_READ,
    answers=Reasons,
    raises=(QueueUnknown, TaskUnknown),
)
def explain_task(ask: Ask, queue_name: str, task_id: TaskId) -> dict[str, Any]:
    """Why a task is not running: the checks in the order in which things are decided."""
    return {"data": explain(ask.db, ask.caller, _ref(ask, queue_name, task_id))}


def _row(task: dict[str, Any]) -> dict[str, Any]:
    task.pop("claimed_at")
    task["hold"] = Hold(task["hold"]).name.lower() if task["hold"] else None
    return wire.fields(task, "task_params", "context")


# --- change ---------------------------------------------------------------------------------------


@noun.post(
    f"{_ONE}/cancel",
    needs=Permission.TASKS_WRITE,
    audit="task.cancel",
    answers=State,
    raises=(QueueUnknown, TaskUnknown, NotNow),
)
def cancel_task(
    ask: Ask, queue_name: str, task_id: TaskId, why: Cancellation | None = None
) -> dict[str, Any]:
    """Cancel a task: a pending one ends at once, a running one is stopped by its server."""
    ref = _ref(ask, queue_name, task_id)
    reason = (why or Cancellation()).reason
    return _state(ref, manage.cancel(ask.db, ask.caller, ref, reason))


@noun.post(
    f"{_ONE}/retry",
    needs=Permission.TASKS_WRITE,
    audit="task.retry",
    answers=State,
    raises=(QueueUnknown, TaskUnknown, NotNow, DuplicateTask),
)
def retry_task(ask: Ask, queue_name: str, task_id: TaskId) -> dict[str, Any]:
    """Run a task again that has ended, with all its attempts anew."""
    ref = _ref(ask, queue_name, task_id)
    return _state(ref, manage.retry(ask.db, ask.caller, ref))


@noun.post(
    f"{_ONE}/run-now",
    needs=Permission.TASKS_WRITE,
    audit="task.run-now",
    answers=State,
    raises=(QueueUnknown, TaskUnknown, NotNow),
)
def run_task_now(ask: Ask, queue_name: str, task_id: TaskId) -> dict[str, Any]:
    """Make a pending task due, however far off its time is."""
    ref = _ref(ask, queue_name, task_id)
    return _state(ref, manage.run_now(ask.db, ask.caller, ref))


def _ref(ask: Ask, queue_name: str, task_id: int) -> TaskRef:
    return TaskRef(queue_name, route(ask.db, queue_name), task_id)


def _state(ref: TaskRef, state: manage.State) -> dict[str, Any]:
    return {"ref": str(ref), "status": state.status.name.lower()}
