"""Statistics over HTTP, from the roll-ups. The verbs are `runs.stats`'."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from taskyard.access.permissions import Permission
from taskyard.api import asked
from taskyard.api.asked import Parameter
from taskyard.api.fields import DURATION
from taskyard.api.gate import Ask
from taskyard.api.noun import Noun
from taskyard.core.errors import QueryInvalid
from taskyard.core.lifecycle import RunStatus
from taskyard.runs import stats

noun = Noun("stats")


class Times(BaseModel):
    """How long something took, in seconds; null where nothing ran."""

    avg: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    max: float | None


class Figures(BaseModel):
    """The figures of a range."""

    runs: int
    completed: int
    failed: int
    timeout: int
    cancelled: int
    lost: int
    interrupted: int
    success_rate: float | None = Field(
        description="0 to 1, of completed, failed, timeout and lost."
    )
    throughput: float = Field(description="Runs a second.")
    execution_time: Times
    wait_time: Times


class Span(Figures):
    """The figures of a range, and the range."""

    from_: datetime = Field(alias="from")
    to: datetime


class Summary(Span):
    """The figures of a range and of the one before it."""

    previous: Span
    running: int = Field(description="What runs now, up to 10,000.")


class Line(BaseModel):
    """One line of a series."""

    name: str | None
    other: bool = Field(description="All that have no line of their own.")
    values: list[float | None]


class Series(BaseModel):
    """A figure over time."""

    metric: str
    by: str | None
    unit: str
    from_: datetime = Field(alias="from")
    to: datetime
    step: int = Field(description="Seconds.")
    times: list[datetime]
    series: list[Line]


class Top(BaseModel):
    """The figures under each heading, the largest first."""

    data: list[dict[str, Any]]


_RANGE = (
    Parameter("from", "Start of the range; default: a day before its end.", asked.TIME),
    Parameter("to", "End of the range; default: now.", asked.TIME),
)
_HEADINGS = tuple(
    Parameter(
        name,
        "Only with this, or one of these.",
        asked.several(asked.words(RunStatus) if name == "status" else asked.TEXT),
    )
    for name in stats.HEADINGS
)


@noun.get(
    "/stats/summary",
    needs=Permission.RUNS_READ,
    answers=Summary,
    takes=(*_RANGE, *_HEADINGS),
    raises=(QueryInvalid,),
)
def show_summary(ask: Ask) -> dict[str, Any]:
    """How much ran, how well it went and how long it took."""
    return stats.summary(ask.db, ask.caller, *_range(ask), filters=ask.query)


@noun.get(
    "/stats/series",
    needs=Permission.RUNS_READ,
    answers=Series,
    takes=(
        Parameter("metric", "Which figure.", asked.words(stats.METRICS), required=True),
        Parameter("by", "A line for each of these.", asked.words(stats.HEADINGS)),
        *_RANGE,
        Parameter("step", "Seconds, or a text like 5m.", DURATION),
        *_HEADINGS,
    ),
    raises=(QueryInvalid,),
)
def show_series(ask: Ask) -> dict[str, Any]:
    """A figure over time."""
    metric, by, step = (ask.query.pop(name, None) for name in ("metric", "by", "step"))
    from_, to = _range(ask)
    return stats.series(ask.db, ask.caller, metric or "", by, from_, to, step, ask.query)


@noun.get(
    "/stats/top",
    needs=Permission.RUNS_READ,
    answers=Top,
    takes=(
        Parameter("by", "Of which things.", asked.words(stats.HEADINGS)),
        Parameter("order", "By which figure.", asked.words(stats.ORDERS)),
        *_RANGE,
        Parameter("limit", "How many.", {"type": "integer", "minimum": 1, "maximum": 500}),
        *_HEADINGS,
    ),
    raises=(QueryInvalid,),
)
def show_top(ask: Ask) -> dict[str, Any]:
    """The task types (or queues, tenants) with the most runs, failures, or time."""
    by = ask.query.pop("by", "task_type")
    order = ask.query.pop("order", "runs")
    limit = asked.whole(ask.query, "limit", 10, least=1, most=500)
    from_, to = _range(ask)
    return {"data": stats.top(ask.db, ask.caller, by, order, from_, to, ask.query, limit)}


def _range(ask: Ask) -> tuple[str | None, str | None]:
    return ask.query.pop("from", None), ask.query.pop("to", None)
