"""Runs over HTTP: the one history. Reading only; the verbs are those of `runs/`."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field
from starlette.responses import Response, StreamingResponse

from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.asked import Parameter
from taskyard.api.gate import Ask
from taskyard.api.noun import Noun
from taskyard.core.errors import QueryInvalid, QueueUnknown, RunUnknown
from taskyard.core.lifecycle import Origin, RunStatus
from taskyard.db.listing import Page
from taskyard.runs import browse
from taskyard.runs.errors import error_groups
from taskyard.runs.export import Form, export_runs
from taskyard.runs.logs import read_log
from taskyard.runs.neighbours import neighbours

noun = Noun("runs")

RunId = Annotated[int, Path(ge=1, lt=2**63)]


class Run(BaseModel):
    """One execution of a handler, or of tracked code."""

    id: int
    task_table: str | None
    task_id: int | str | None = Field(description="A string beyond 2^53.")
    fence: int | None
    attempt: int
    task_type: str
    queue: str | None
    status: RunStatus
    origin: Origin
    tenant_id: str
    schedule_id: int | None
    batch_id: int | None
    execute_index: int | None
    server_id: str | None
    session: str | None
    pid: int | None
    memory_usage: int | None = Field(description="Peak, in bytes.")
    cpu_time: float | None = Field(description="Seconds.")
    wait_time: float | None = Field(description="Seconds that it was due before it started.")
    execution_time: float | None = Field(description="Seconds.")
    started_at: datetime | None
    completed_at: datetime | None
    payload: Any = Field(None, description="In lists with `include=payload`.")
    output: Any = Field(None, description="In lists with `include=output`.")
    error: str | None = Field(None, description="In lists with `include=error`.")


class RunPage(wire.Listed[Run]):
    """One page of runs."""

    searched_to: datetime | None = Field(
        None, description="How far back was looked, where no index helps; `next_cursor` goes on."
    )


class RunInFull(Run):
    """A run with everything about it."""

    created_at: datetime
    updated_at: datetime
    progress: dict[str, Any] | None = Field(description="While it runs, where it told any.")


class LogPart(BaseModel):
    """A part of a run's log."""

    text: str
    after: int = Field(description="What to ask for the next part with.")
    more: bool = Field(description="There is more to be had now.")
    running: bool = Field(description="The run goes on, so there may be more later.")


class ErrorGroup(BaseModel):
    """Failures of one task type with the same error, but for numbers, ids and quoted text."""

    task_type: str
    pattern: str
    error: str
    count: int
    statuses: dict[RunStatus, int]
    first_at: datetime
    last_at: datetime
    run_id: int


class ErrorGroups(BaseModel):
    """The newest failures in groups, the largest first."""

    groups: list[ErrorGroup]
    looked_at: int
    is_capped: bool
    since: datetime | None


class TaskTypes(BaseModel):
    """The task types that there are runs of."""

    data: list[str]


class Neighbour(BaseModel):
    """A run of the same type, in short."""

    id: int
    status: RunStatus
    started_at: datetime | None
    execution_time: float | None


class Neighbours(BaseModel):
    """The runs of the same type around a run."""

    previous: int | None
    next: int | None
    last: list[Neighbour]


_TASK = Parameter("task", "Only those of this task, named QUEUE/ID.", asked.REF)
_LISTED = asked.of_list(browse.RUNS, _TASK, asked.PATHS)
_FILTERS = tuple(p for p in _LISTED if p not in asked.PAGING)
_FORM = Parameter("format", "What the file looks like.", asked.words(Form) | {"default": "csv"})
_RAW = Parameter("raw", "With its secrets; needs `payload.raw`.", {"type": "boolean"})
_ASKED_WRONGLY = (QueryInvalid, QueueUnknown)

_FILES = {Form.CSV: "text/csv", Form.JSON: wire.JSON, Form.JSON_LINES: "application/jsonl"}


@noun.get(
    "/runs",
    needs=Permission.RUNS_READ,
    answers=RunPage,
    takes=_LISTED,
    raises=_ASKED_WRONGLY,
)
def list_runs(ask: Ask) -> dict[str, Any]:
    """Runs, live and finished, the newest first."""
    query = asked.query_of(ask.query, browse.RUNS)
    found = browse.list_runs(ask.db, ask.caller, query)
    return wire.listed(found, _row) | _searched(found)


@noun.get(
    "/runs/export",
    needs=Permission.RUNS_READ,
    answers=None,
    media=tuple(_FILES.values()),
    takes=(*_FILTERS, _FORM),
    raises=_ASKED_WRONGLY,
)
def export(ask: Ask) -> Response:
    """All runs of a filter as a file, streamed."""
    form = _form(ask.query.pop("format", Form.CSV))
    parts = export_runs(ask.db, ask.caller, asked.query_of(ask.query, browse.RUNS), form)
    name = f"runs-{datetime.now(UTC):%Y%m%d-%H%M%S}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parts, headers=headers, media_type=_FILES[form])


@noun.get(
    "/runs/errors",
    needs=Permission.RUNS_READ,
    answers=ErrorGroups,
    takes=tuple(p for p in _FILTERS if p.name not in ("sort", "include", asked.PATHS.name)),
    raises=_ASKED_WRONGLY,
)
def list_error_groups(ask: Ask) -> dict[str, Any]:
    """What went wrong, counted by what it has in common."""
    return asdict(error_groups(ask.db, ask.caller, ask.query))


@noun.get("/runs/task-types", needs=Permission.RUNS_READ, answers=TaskTypes)
def list_task_types(ask: Ask) -> dict[str, Any]:
    """The task types that there are runs of."""
    return {"data": browse.task_types(ask.db, ask.caller)}


@noun.get(
    "/runs/{run_id}",
    needs=Permission.RUNS_READ,
    answers=RunInFull,
    takes=(_RAW,),
    raises=(RunUnknown,),
)
def show_run(ask: Ask, run_id: RunId) -> dict[str, Any]:
    """One run with payload, output, error and progress."""
    return _row(browse.show_run(ask.db, ask.caller, run_id, raw=asked.flag(ask.query, "raw")))


@noun.get(
    "/runs/{run_id}/logs",
    needs=Permission.RUNS_READ,
    answers=LogPart,
    takes=(
        Parameter("after", "From behind this part on.", {"type": "integer", "minimum": -1}),
        Parameter("limit", "Parts of 64 KiB.", {"type": "integer", "minimum": 1, "maximum": 64}),
    ),
    raises=(RunUnknown, QueryInvalid),
)
def show_log(ask: Ask, run_id: RunId) -> dict[str, Any]:
    """What a run logged. While it is `running`, ask again with `after`."""
    after = asked.whole(ask.query, "after", -1, least=-1, most=2**31 - 1)
    limit = asked.whole(ask.query, "limit", 16, least=1, most=64)
    return asdict(read_log(ask.db, ask.caller, run_id, after, limit))


@noun.get(
    "/runs/{run_id}/neighbours",
    needs=Permission.RUNS_READ,
    answers=Neighbours,
    raises=(RunUnknown,),
)
def show_neighbours(ask: Ask, run_id: RunId) -> dict[str, Any]:
    """The runs of the same type before and after a run, and the last ones."""
    return asdict(neighbours(ask.db, ask.caller, run_id))


def _searched(page: Page) -> dict[str, Any]:
    if page.searched_to is None:
        return {}
    return {"searched_to": datetime.fromtimestamp(page.searched_to / 1_000_000, UTC)}


def _row(run: dict[str, Any]) -> dict[str, Any]:
    run.pop("claimed_at")
    return wire.fields(run, "payload", "output")


def _form(word: str) -> Form:
    if word not in list(Form):
        raise QueryInvalid("format", f'"{word}" is no format.', f"There are: {', '.join(Form)}.")
    return Form(word)
