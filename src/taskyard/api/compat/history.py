"""History: the addresses of requirement 3, and of the product that it was taken from.

Owns the words of its queries, its paging and the form of its errors. Who may ask follows from the
permission `monitoring`, which the setting `advanced_permissions` gives to others than superusers.
What the history is, `runs/history.py` says; what the scheduler tells, `jobs.py`.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.asked import Parameter
from taskyard.api.compat import jobs
from taskyard.api.gate import Ask
from taskyard.api.noun import Noun
from taskyard.core.errors import QueryInvalid, RequestInvalid, RunUnknown, TaskyardError
from taskyard.runs import history
from taskyard.runs.history import MOST, SORTS, WINDOW, Wanted
from taskyard.runs.retold import STATUSES

_TEXTS = {
    401: "Unauthenticated",
    403: "You don't have permissions to do that.",
    404: "Not found.",
}
_FIELD = re.compile(r'"(?P<name>[^"]*)": (?P<text>.*)', re.DOTALL)
_PAGE = 50
_DIRECTIONS = ("asc", "desc")


class Texts:
    """Errors as texts; of what was asked wrongly, by the names of the parameters."""

    def tell(self, error: TaskyardError, request_id: str) -> Response:
        headers = wire.headers_of(error)
        if isinstance(error, QueryInvalid | RequestInvalid):
            content = wire.dump({"errors": _faults(error)})
            return Response(content, 400, headers, media_type=wire.JSON)
        status = wire.status_of(type(error))
        return PlainTextResponse(_TEXTS.get(status, wire.detail(error)), status, dict(headers))

    def content(self, status: int) -> dict[str, Any]:
        text = {"text/plain": {"schema": {"type": "string"}}}
        return text | ({wire.JSON: {"schema": Faults.model_json_schema()}} if status == 400 else {})


noun = Noun("as in requirement 3", prefix="/api/task", voice=Texts())


class Faults(BaseModel):
    """What was asked wrongly."""

    errors: dict[str, str]


class HistoryRow(BaseModel):
    """A run in the words of requirement 3."""

    id: int
    task: str
    db_id: None
    started_at: datetime
    ended_at: datetime | None
    duration: int | None = Field(description="Milliseconds.")
    status: Literal["started", "success", "failed", "unknown"]
    task_details: dict[str, Any]
    run_id: None
    logs: list[dict[str, Any]] | None = Field(description="Of one run; null in lists.")


class HistoryPage(BaseModel):
    """A page of the history."""

    total: int = Field(description=f"All that the filters let through, up to {WINDOW:,}.")
    limit: int | None
    offset: int | None
    data: list[HistoryRow]


_UNSIGNED = {"type": "integer", "minimum": 0}
_TAKES = (
    Parameter("status", "Only with this status.", asked.words(STATUSES)),
    Parameter("task", "Only of this name.", {"type": "string", "minLength": 1}),
    Parameter("sort_column", "The order.", asked.words(SORTS) | {"default": "started_at"}),
    Parameter("sort_direction", "Its direction.", asked.words(_DIRECTIONS) | {"default": "desc"}),
    Parameter(
        "limit",
        f"Rows; {_PAGE} with `offset` alone, without both all, up to {MOST:,}.",
        {**_UNSIGNED, "maximum": MOST},
    ),
    Parameter("offset", "Rows to skip.", {**_UNSIGNED, "maximum": 10**15}),
)


@noun.get("", needs=Permission.MONITORING, answers=HistoryPage, takes=_TAKES)
@noun.get("/", needs=Permission.MONITORING, answers=HistoryPage, takes=_TAKES, shown=False)
def list_task_history(ask: Ask) -> dict[str, Any]:
    """The task history: runs of all tenants, the newest first."""
    query = ask.query
    limit, offset = _paging(query)
    wanted = Wanted(
        status=_word(query, "status", STATUSES),
        task=_name(query),
        sort=_word(query, "sort_column", SORTS) or "started_at",
        descending=_word(query, "sort_direction", _DIRECTIONS) != "asc",
        limit=MOST if limit is None else limit,
        offset=offset or 0,
    )
    rows, total = history.list_history(ask.db, ask.caller, wanted)
    return {"total": total, "limit": limit, "offset": offset, "data": rows}


@noun.get("/unique-tasks", needs=Permission.MONITORING, answers=list[str])
def list_task_history_names(ask: Ask) -> list[str]:
    """The names in the task history, sorted."""
    return history.history_names(ask.db, ask.caller)


@noun.get("/info", needs=Permission.MONITORING, answers=jobs.Info)
def show_scheduler(ask: Ask) -> dict[str, Any]:
    """What fires by itself: the scheduler in a few lines, its jobs and their triggers."""
    return jobs.info(ask.db, ask.caller, ask.settings)


@noun.get("/{id}", needs=Permission.MONITORING, answers=HistoryRow, raises=(RunUnknown,))
def show_task_history(
    ask: Ask, run_id: Annotated[int, Path(alias="id", ge=1, lt=2**63)]
) -> dict[str, Any]:
    """One run of the task history, with its log."""
    return history.show_history(ask.db, ask.caller, run_id)


# --- what is asked --------------------------------------------------------------------------------


def _paging(query: dict[str, str]) -> tuple[int | None, int | None]:
    """Limit and offset: the one brings the other with it; both None is everything."""
    limit, offset = _unsigned(query, "limit", MOST), _unsigned(query, "offset", 10**15)
    if limit is None and offset is None:
        return None, None
    return _PAGE if limit is None else limit, offset or 0


def _unsigned(query: dict[str, str], name: str, most: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) > most:
        raise QueryInvalid(name, f"value must be an integer from 0 to {most}.", "")
    return int(text)


def _word(query: dict[str, str], name: str, known: Any) -> str | None:
    word = query.get(name)
    if word is not None and word not in known:
        raise QueryInvalid(name, f"value must be one of {', '.join(known)}.", "")
    return word


def _name(query: dict[str, str]) -> str | None:
    if query.get("task") == "":
        raise QueryInvalid("task", "value must be a non-blank string.", "")
    return query.get("task")


def _faults(error: QueryInvalid | RequestInvalid) -> dict[str, str]:
    if isinstance(error, QueryInvalid):
        return {error.name: wire.detail(error)}
    told = [_FIELD.fullmatch(line) for line in error.problems]
    return {found["name"]: found["text"] for found in told if found} or {"": wire.detail(error)}
