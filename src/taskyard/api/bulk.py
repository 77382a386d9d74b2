"""One verb over many things. For Tasks the verb is `tasks.bulk`'s."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from taskyard.access.permissions import Permission
from taskyard.api.fields import Absent, Body, OneOf, told
from taskyard.api.gate import Ask
from taskyard.api.noun import Noun
from taskyard.core.errors import CountChanged, QueryInvalid, QueueUnknown
from taskyard.tasks import bulk
from taskyard.tasks.browse import TASKS
from taskyard.tasks.bulk import MAX_TASKS, Action

noun = Noun("bulk")

Ref = Annotated[str, told(pattern="^[^/]+/[0-9]{1,18}$")]


class BulkRequest(Body):
    """What to do to which things: those named in `ids`, or all that `filter` lets through."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["ids"], "properties": {"filter": False}},
                {"required": ["filter", "expected_count"], "properties": {"ids": False}},
            ]
        },
    )

    noun: Literal["tasks"] = "tasks"
    action: OneOf[Action]
    ids: Annotated[list[Ref], Field(min_length=1, max_length=MAX_TASKS)] | Absent = Field(
        None, description="Tasks as QUEUE/ID."
    )
    filter: dict[str, str | int | list[str | int]] | Absent = Field(
        None,
        description="The words of `GET tasks`; needs expected_count.",
        json_schema_extra={"propertyNames": {"enum": ["queue", *TASKS.filters]}},
    )
    expected_count: Annotated[int, Field(ge=0)] | Absent = Field(
        None, description="How many you saw; else 409."
    )
    reason: str = Field("cancelled", max_length=1_000, description="For cancel.")
    priority: int = Field(0, ge=-100, le=100, description="For priority.")

    @model_validator(mode="after")
    def one_way(self) -> BulkRequest:
        """Either ids or a filter."""
        if (self.ids is None) == (self.filter is None):
            raise ValueError("give either ids or filter")
        if self.filter is not None and self.expected_count is None:
            raise ValueError("a filter needs expected_count")
        return self


class Skipped(BaseModel):
    """One that was left as it is, and why."""

    ref: str
    code: str
    why: str


class BulkResult(BaseModel):
    """What became of all of them."""

    action: Action
    count: int = Field(description="How many there were.")
    done: int = Field(description="How many were changed.")
    skipped: list[Skipped]


@noun.post(
    "/bulk",
    needs=Permission.TASKS_WRITE,
    audit="task.bulk",
    answers=BulkResult,
    raises=(CountChanged, QueryInvalid, QueueUnknown),
)
def do_bulk(ask: Ask, what: BulkRequest) -> dict[str, Any]:
    """Cancel, retry, run now, change the priority of, or delete many tasks."""
    done = bulk.bulk(
        ask.db,
        ask.caller,
        what.action,
        refs=what.ids,
        filters=what.filter,
        expected_count=what.expected_count,
        why=what.reason,
        priority=what.priority,
    )
    return asdict(done)
