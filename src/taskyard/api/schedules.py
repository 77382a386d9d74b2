"""Schedules over HTTP: make, look, change, start, stop, trigger, and what they will do.

The verbs are those of `schedules/`; how a schedule's runs went is `GET runs?schedule_id=`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Path
from pydantic import BaseModel, Field

from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.asked import Parameter
from taskyard.api.fields import Absent, Body, Duration, Moment, lasting, told
from taskyard.api.gate import Ask
from taskyard.api.noun import PREFIX, Noun
from taskyard.api.tasks import Enqueued
from taskyard.core.cronfields import DIALECTS
from taskyard.core.errors import (
    CronInvalid,
    NotNow,
    ParamsInvalid,
    ParamsNotJson,
    PayloadTooLarge,
    QueryInvalid,
    QueueUnknown,
    ScheduleInvalid,
    ScheduleTwice,
    ScheduleUnknown,
)
from taskyard.core.lifecycle import RunStatus
from taskyard.schedules import browse, calendar, manage
from taskyard.schedules.definition import MISFIRES, OVERLAPS, SOURCES

noun = Noun("schedules")

ScheduleId = Annotated[int, Path(ge=1, lt=2**63)]

_DAY = 86_400


class RecentRun(BaseModel):
    """A run of a schedule that has ended."""

    run_id: int
    status: RunStatus
    started_at: datetime
    execution_time: float | None = Field(description="Seconds.")
    attempt: int
    execute_index: int | None = Field(description="The how many-th fire of its schedule.")


class Schedule(BaseModel):
    """A schedule: when it fires, what it then enqueues, and how its last 20 runs went."""

    id: int
    name: str
    task_type: str
    task_params: Any = Field(description="Secrets in it are masked.")
    queue: str | None = Field(description="Null is the handler's.")
    cron_expression: str | None
    interval: float | None = Field(description="Seconds, instead of cron_expression.")
    dialect: str = Field(examples=list(DIALECTS))
    time_zone: str | None
    retry_count: int | None = Field(description="Null is the handler's max_retries.")
    retry_interval: float | None
    monitor_timeout: float | None = Field(description="A longer run is told; it goes on.")
    timeout: float | None = Field(description="A longer run is stopped.")
    misfire: str = Field(examples=list(MISFIRES))
    misfire_window: float | None
    overlap: str = Field(examples=list(OVERLAPS))
    jitter: float
    start_at: datetime | None
    end_at: datetime | None
    tenant_id: str
    status: int = Field(description="1 is started, 0 is stopped.")
    source: str = Field(examples=list(SOURCES))
    problem: str | None = Field(description="Why it cannot fire.")
    next_fire_at: datetime | None
    last_fire_at: datetime | None
    last_lateness: float | None = Field(description="Seconds from its last instant to its fire.")
    last_missed_at: datetime | None
    fired: int
    skipped: int = Field(description="Instants held back by its overlap policy or its tenant.")
    missed: int = Field(description="Instants that came too late for its misfire policy.")
    created_at: datetime
    updated_at: datetime
    state: str = Field(examples=["started", "stopped", "over", "quarantined"])
    words: str | None = Field(description="When it fires, in English.")
    words_zh: str | None = Field(description="When it fires, in Chinese.")
    last_status: RunStatus | None
    success_rate: float | None = Field(description="Of its last 20 runs, 0–1.")
    average_time: float | None = Field(description="Of its last 20 runs, in seconds.")
    recent: list[RecentRun] = Field(description="Its last 20 runs, the newest first.")


class ScheduleInFull(Schedule):
    """A schedule, and whether a server has its handler."""

    handler_known: bool


class Timing(Body):
    """When a schedule fires."""

    cron_expression: Annotated[str | None, told(minLength=1, maxLength=255)] = None
    interval: Annotated[Duration | None, lasting(0.1, 366 * _DAY)] = Field(
        None, description="Instead: every so often."
    )
    dialect: Annotated[str | None, told(enum=[*DIALECTS, None])] = None
    time_zone: str | None = Field(None, description="IANA name; else `default_time_zone`.")
    start_at: Moment | None = Field(
        None, description="Not before this; without an offset, in its time_zone."
    )
    end_at: Moment | None = Field(None, description="Not after this.")


class ScheduleSettings(Timing):
    """What of a schedule can be set; what is left out stays, null takes it away."""

    task_params: dict[str, Any] | None = None
    queue: Annotated[str | None, told(minLength=1, maxLength=100)] = None
    retry_count: Annotated[int | None, told(minimum=0, maximum=1_000_000)] = None
    retry_interval: Annotated[Duration | None, lasting(0, 30 * _DAY)] = None
    monitor_timeout: Annotated[Duration | None, lasting(0.001, 30 * _DAY)] = None
    timeout: Annotated[Duration | None, lasting(0.001, 30 * _DAY)] = None
    misfire: Annotated[str | None, told(enum=[*MISFIRES, None])] = None
    misfire_window: Annotated[Duration | None, lasting(0, 366 * _DAY)] = None
    overlap: Annotated[str | None, told(enum=[*OVERLAPS, None])] = None
    jitter: Annotated[Duration | None, lasting(0, _DAY)] = None
    status: Annotated[int | None, told(minimum=0, maximum=1)] = None


_NAME = told(minLength=1, maxLength=100, pattern=r"^(?!\d+$)[^\s/]([^/]*[^\s/])?$")
_TASK_TYPE = told(minLength=1, maxLength=255)


class NewSchedule(ScheduleSettings):
    """A schedule to be."""

    name: Annotated[str, _NAME]
    task_type: Annotated[str, _TASK_TYPE]
    tenant_id: str | None = Field(
        None, max_length=64, description="Whose it is; by default one's own, or the platform's."
    )


class ScheduleChanges(ScheduleSettings):
    """What is to be otherwise."""

    name: Annotated[str | Absent, _NAME] = None
    task_type: Annotated[str | Absent, _TASK_TYPE] = None


class Trigger(Body):
    """How a schedule is triggered."""

    task_params: dict[str, Any] | None = Field(None, description="Instead of its own, this once.")


class PreviewRequest(Timing):
    """A rule to be looked at before it is anybody's."""

    count: int = Field(10, ge=1, le=browse.MOST_FIRES)
    after: Moment | None = Field(
        None, description="Later than this, not than now; without an offset, in its time_zone."
    )


class Fire(BaseModel):
    """One instant at which a schedule fires."""

    fire_time: datetime = Field(description="With the offset that its zone has then.")


class Fires(BaseModel):
    """The next instants of a schedule."""

    data: list[Fire]


class Preview(Fires):
    """The next instants of a rule, and what it means."""

    words: str = Field(description="In English.", examples=["Every day at 02:00"])
    words_zh: str = Field(description="In Chinese.", examples=["每天 02:00"])


class Hour(BaseModel):
    """What a schedule did in one hour of its zone."""

    hour: datetime = Field(description="Its start.")
    runs: int = Field(description="Those handed back left out.")
    failed: int = Field(description="Failed, timed out or lost.")
    planned: bool = Field(description="Its rule as it is now has an instant in it.")


class Calendar(BaseModel):
    """The hours of some days in which a schedule ran or should have."""

    from_: datetime = Field(alias="from")
    to: datetime
    capped: bool = Field(description=f"Only the newest {calendar.MOST_RUNS:,} runs were counted.")
    data: list[Hour]


_INVALID = (ScheduleInvalid, CronInvalid, ParamsInvalid, ParamsNotJson, PayloadTooLarge)


@noun.get(
    "/schedules",
    needs=Permission.SCHEDULES_READ,
    answers=wire.page_of(Schedule),
    takes=asked.of_list(browse.SCHEDULES),
    raises=(QueryInvalid,),
)
def list_schedules(ask: Ask) -> dict[str, Any]:
    """Schedules by name, with when they fire and how their last runs went."""
    query = asked.query_of(ask.query, browse.SCHEDULES)
    return wire.listed(browse.list_schedules(ask.db, ask.caller, query))


@noun.create(
    "/schedules",
    needs=Permission.SCHEDULES_WRITE,
    audit="schedule.create",
    answers=ScheduleInFull,
    raises=(*_INVALID, ScheduleTwice, QueueUnknown),
)
def create_schedule(ask: Ask, new: NewSchedule) -> wire.Created:
    """Create a schedule; it fires from now on, unless its status is 0."""
    fields = new.model_dump(exclude_unset=True) | {"tenant_id": ask.tenant(new.tenant_id)}
    zone = ask.settings.default_time_zone
    made = manage.create_schedule(ask.db, ask.caller, fields, time_zone=zone)
    return wire.Created(made, f"{PREFIX}/schedules/{made['id']}")


@noun.post(
    "/schedules/preview",
    needs=Permission.SCHEDULES_READ,
    audit="nothing",
    answers=Preview,
    raises=(ScheduleInvalid, CronInvalid),
)
def preview_schedule(ask: Ask, rule: PreviewRequest) -> dict[str, Any]:
    """When a rule would fire, and what it means in words; nothing is made."""
    zone = ask.settings.default_time_zone
    fields = rule.model_dump(exclude_unset=True, exclude={"count", "after"})
    words = browse.describe(fields, time_zone=zone)
    fires = browse.preview(ask.caller, fields, rule.count, time_zone=zone, after=rule.after)
    return {"data": fires, "words": words["en"], "words_zh": words["zh"]}


@noun.get(
    "/schedules/{schedule_id:int}",
    needs=Permission.SCHEDULES_READ,
    answers=ScheduleInFull,
    raises=(ScheduleUnknown,),
)
def show_schedule(ask: Ask, schedule_id: ScheduleId) -> dict[str, Any]:
    """One schedule."""
    return browse.show_schedule(ask.db, ask.caller, schedule_id)


@noun.patch(
    "/schedules/{schedule_id:int}",
    needs=Permission.SCHEDULES_WRITE,
    audit="schedule.update",
    answers=ScheduleInFull,
    raises=(*_INVALID, ScheduleUnknown, ScheduleTwice, QueueUnknown),
)
def update_schedule(ask: Ask, schedule_id: ScheduleId, changes: ScheduleChanges) -> dict[str, Any]:
    """Change fields of a schedule while it goes on; a new rule counts from now on."""
    fields = changes.model_dump(exclude_unset=True)
    zone = ask.settings.default_time_zone
    return manage.update_schedule(ask.db, ask.caller, schedule_id, fields, time_zone=zone)


@noun.delete(
    "/schedules/{schedule_id:int}",
    needs=Permission.SCHEDULES_WRITE,
    audit="schedule.delete",
    raises=(ScheduleUnknown, NotNow),
)
def delete_schedule(ask: Ask, schedule_id: ScheduleId) -> None:
    """Delete a schedule; its tasks and runs stay. One declared in code can only be stopped."""
    manage.delete_schedule(ask.db, ask.caller, schedule_id)


@noun.post(
    "/schedules/{schedule_id:int}/start",
    needs=Permission.SCHEDULES_WRITE,
    audit="schedule.update",
    answers=ScheduleInFull,
    raises=(*_INVALID, ScheduleUnknown),
)
def start_schedule(ask: Ask, schedule_id: ScheduleId) -> dict[str, Any]:
    """Let a schedule fire from now on; what it missed while stopped does not fire."""
    return manage.start_schedule(ask.db, ask.caller, schedule_id)


@noun.post(
    "/schedules/{schedule_id:int}/stop",
    needs=Permission.SCHEDULES_WRITE,
    audit="schedule.update",
    answers=ScheduleInFull,
    raises=(*_INVALID, ScheduleUnknown),
)
def stop_schedule(ask: Ask, schedule_id: ScheduleId) -> dict[str, Any]:
    """Let a schedule fire no more; what it has enqueued goes on."""
    return manage.stop_schedule(ask.db, ask.caller, schedule_id)


@noun.create(
    "/schedules/{schedule_id:int}/trigger",
    needs=Permission.SCHEDULES_TRIGGER,
    audit="schedule.trigger",
    answers=Enqueued,
    raises=(*_INVALID, ScheduleUnknown, NotNow, QueueUnknown),
)
def trigger_schedule(ask: Ask, schedule_id: ScheduleId, how: Trigger | None = None) -> wire.Created:
    """Enqueue a schedule's task now, whether it is started or not."""
    params = (how or Trigger()).task_params
    zone = ask.settings.default_time_zone
    ref = manage.trigger_schedule(ask.db, ask.caller, schedule_id, params, time_zone=zone)
    task_type = browse.show_schedule(ask.db, ask.caller, schedule_id)["task_type"]
    made = {
        "ref": str(ref),
        "id": ref.id,
        "queue": ref.queue,
        "task_table": ref.table,
        "task_type": task_type,
        "status": "pending",
    }
    return wire.Created(made, f"{PREFIX}/queues/{quote(ref.queue, safe='')}/tasks/{ref.id}")


@noun.get(
    "/schedules/{schedule_id:int}/next",
    needs=Permission.SCHEDULES_READ,
    answers=Fires,
    takes=(
        Parameter(
            "count",
            "How many.",
            {"type": "integer", "minimum": 1, "maximum": browse.MOST_FIRES, "default": 10},
        ),
    ),
    raises=(ScheduleUnknown, ScheduleInvalid, CronInvalid, QueryInvalid),
)
def show_next_fires(ask: Ask, schedule_id: ScheduleId) -> dict[str, Any]:
    """When a schedule fires next, in its zone, as if it were started."""
    count = asked.whole(ask.query, "count", 10, least=1, most=browse.MOST_FIRES)
    return {"data": browse.next_fires(ask.db, ask.caller, schedule_id, count)}


@noun.get(
    "/schedules/{schedule_id:int}/calendar",
    needs=Permission.SCHEDULES_READ,
    answers=Calendar,
    takes=(
        Parameter(
            "days",
            "How many, today being the last one.",
            {"type": "integer", "minimum": 1, "maximum": calendar.MOST_DAYS, "default": 14},
        ),
    ),
    raises=(ScheduleUnknown, QueryInvalid),
)
def show_calendar(ask: Ask, schedule_id: ScheduleId) -> dict[str, Any]:
    """Its runs by the hour: how many, how many failed, and where none came although planned."""
    days = asked.whole(ask.query, "days", 14, least=1, most=calendar.MOST_DAYS)
    return calendar.calendar(ask.db, ask.caller, schedule_id, days)
