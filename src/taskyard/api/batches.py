"""Batches over HTTP: make, look, steer, and what became of each item.

The verbs are those of `batches/`; the runs of a batch are `GET runs?batch_id=`. A body holds as
many items as its limit lets in; more are added to a batch that has not been started.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import Path
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.fields import Body, Duration, told
from taskyard.api.gate import Ask
from taskyard.api.noun import PREFIX, Noun
from taskyard.batches import browse, create, manage, templates
from taskyard.batches.definition import ON_INFLIGHT
from taskyard.batches.row import ITEM_STATUSES, STATUSES
from taskyard.core.errors import (
    AlertInvalid,
    BatchInvalid,
    BatchRunning,
    BatchUnknown,
    HandlerUnknown,
    ItemUnknown,
    NotNow,
    ParamsInvalid,
    ParamsNotJson,
    PayloadTooLarge,
    QueryInvalid,
    TemplateUnknown,
)

noun = Noun("batches")

BatchId = Annotated[int, Path(ge=1, lt=2**63)]
Status = Literal["pending", "running", "paused", "completed", "failed", "cancelled"]
ItemStatus = Literal["pending", "running", "completed", "failed", "skipped"]


class Batch(BaseModel):
    """A batch: what it does, how far it is, and how fast it goes."""

    id: int
    tenant_id: str
    task_type: str
    name: str
    status: Status = Field(examples=list(STATUSES))
    params: Any = Field(description="What each item gets besides itself; secrets are masked.")
    concurrency: int
    rate_limit: float | None = Field(description="Items a second, over all servers.")
    pause: float | None = Field(description="Seconds that each worker waits after an item.")
    max_retries: int
    stop_after: int | None
    on_inflight: str = Field(examples=list(ON_INFLIGHT))
    notify: Any
    template_id: int | None
    total_count: int
    processed_count: int
    success_count: int
    failed_count: int
    skipped_count: int
    rate: float | None = Field(description="Items a second lately; null unless it runs.")
    eta: float | None = Field(description="Seconds that the rest will take at this rate.")
    created_by: str
    error: str | None
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Item(BaseModel):
    """One item of a batch."""

    id: int
    item_id: str
    status: ItemStatus = Field(examples=list(ITEM_STATUSES))
    attempts: int
    crashes: int = Field(description="Attempts that were lost with their worker.")
    run_id: int | None = Field(description="The run that has it, or had it last.")
    duration: float | None = Field(description="Seconds of its last attempt.")
    started_at: datetime | None
    completed_at: datetime | None
    data: Any = Field(None, description="Asked for with `include`; secrets are masked.")
    result: Any = Field(None, description="Asked for with `include`; secrets are masked.")
    error: str | None = Field(None, description="Asked for with `include`.")


class NewItem(Body):
    """An item to be."""

    item_id: str | int
    data: Any = Field(None, description="What its handler gets; its id, unless given.")


class NewBatch(Body):
    """A batch to be; what is left out is the template's, what is null the handler's."""

    task_type: Annotated[str | None, told(minLength=1, maxLength=50)] = None
    items: list[NewItem | str | int] = Field(min_length=1)
    name: str | None = None
    tenant_id: str | None = Field(
        None, max_length=64, description="Whose it is; by default one's own, or the platform's."
    )
    params: dict[str, Any] | None = None
    concurrency: Annotated[int | None, told(minimum=1, maximum=1000)] = None
    rate_limit: Annotated[float | None, told(minimum=1e-6, maximum=1e6)] = None
    pause: Duration | None = None
    max_retries: Annotated[int | None, told(minimum=0, maximum=1000)] = None
    stop_after: Annotated[int | None, told(minimum=1)] = None
    on_inflight: Annotated[str | None, told(enum=[*ON_INFLIGHT, None])] = None
    notify: list[str | int] | dict[str, Any] | None = Field(
        None, description="Channels and addresses that are told of its end."
    )
    template_id: int | None = None
    variables: dict[str, Any] | None = Field(None, description="Of the template.")
    start: bool = Field(True, description="False: more items may come before it is started.")


class MoreItems(Body):
    """Items that are added."""

    items: list[NewItem | str | int] = Field(min_length=1)


class Chosen(Body):
    """Some items of a batch."""

    item_ids: list[str | int] = Field(min_length=1, max_length=manage.MOST_SELECTED)


_INVALID = (BatchInvalid, ParamsInvalid, ParamsNotJson, PayloadTooLarge, AlertInvalid)
_STATE = (BatchUnknown, NotNow)


@noun.get(
    "/batches",
    needs=Permission.BATCHES_READ,
    answers=wire.page_of(Batch),
    takes=asked.of_list(browse.BATCHES),
    raises=(QueryInvalid,),
)
def list_batches(ask: Ask) -> dict[str, Any]:
    """Batches, the newest first, with their counts, their rate and how long they will take."""
    query = asked.query_of(ask.query, browse.BATCHES)
    return wire.listed(browse.list_batches(ask.db, ask.caller, query))


@noun.create(
    "/batches",
    needs=Permission.BATCHES_WRITE,
    audit="batch.create",
    answers=Batch,
    raises=(*_INVALID, BatchRunning, HandlerUnknown, TemplateUnknown),
)
def create_batch(ask: Ask, new: NewBatch) -> wire.Created:
    """Create a batch over items and start it; 409 names the one that its tenant runs already."""
    outside = {"items", "template_id", "variables", "start"}
    fields = new.model_dump(exclude_unset=True, exclude=outside)
    if new.template_id is not None:
        variables = new.variables or {}
        given = (ask.db, ask.caller, new.template_id, fields, variables)
        fields, _ = templates.use_template(*given)
    fields["tenant_id"] = ask.tenant(fields.get("tenant_id"))
    made = create.create_batch(
        ask.db, ask.caller, fields, _plain(new.items), start=new.start, template_id=new.template_id
    )
    return wire.Created(made, f"{PREFIX}/batches/{made['id']}")


@noun.get(
    "/batches/{batch_id:int}",
    needs=Permission.BATCHES_READ,
    answers=Batch,
    raises=(BatchUnknown,),
)
def show_batch(ask: Ask, batch_id: BatchId) -> dict[str, Any]:
    """One batch; what it tells is at most a second old."""
    return browse.show_batch(ask.db, ask.caller, batch_id)


@noun.delete(
    "/batches/{batch_id:int}",
    needs=Permission.BATCHES_WRITE,
    audit="batch.delete",
    raises=(BatchUnknown,),
)
def delete_batch(ask: Ask, batch_id: BatchId) -> None:
    """Delete a batch with its items; one that runs is cancelled. Its runs stay."""
    manage.delete_batch(ask.db, ask.caller, batch_id)


@noun.get(
    "/batches/{batch_id:int}/items",
    needs=Permission.BATCHES_READ,
    answers=wire.page_of(Item),
    takes=asked.of_list(browse.ITEMS),
    raises=(BatchUnknown, QueryInvalid),
)
def list_items(ask: Ask, batch_id: BatchId) -> dict[str, Any]:
    """The items of a batch, in the order in which they were given."""
    query = asked.query_of(ask.query, browse.ITEMS)
    return wire.listed(browse.list_items(ask.db, ask.caller, batch_id, query))


@noun.post(
    "/batches/{batch_id:int}/items",
    needs=Permission.BATCHES_WRITE,
    audit="nothing",
    answers=Batch,
    raises=(BatchInvalid, *_STATE),
)
def add_items(ask: Ask, batch_id: BatchId, more: MoreItems) -> dict[str, Any]:
    """Put more items into a batch that was created with `start: false`."""
    return create.add_items(ask.db, ask.caller, batch_id, _plain(more.items))


@noun.get(
    "/batches/{batch_id:int}/items/export",
    needs=Permission.BATCHES_READ,
    answers=None,
    media=("application/x-ndjson",),
    takes=tuple(p for p in asked.of_list(browse.ITEMS) if p.name in browse.ITEMS.filters),
    raises=(BatchUnknown, QueryInvalid),
)
def export_items(ask: Ask, batch_id: BatchId) -> Response:
    """All items of a batch that the filters let through, as lines of JSON, streamed."""
    found = browse.export_items(ask.db, ask.caller, batch_id, ask.query)
    name = f"batch-{batch_id}-{datetime.now(UTC):%Y%m%d-%H%M%S}.jsonl"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_lines(found), headers=headers, media_type="application/x-ndjson")


@noun.post(
    "/batches/{batch_id:int}/start",
    needs=Permission.BATCHES_WRITE,
    audit="batch.start",
    answers=Batch,
    raises=_STATE,
)
def start_batch(ask: Ask, batch_id: BatchId) -> dict[str, Any]:
    """Start a batch that was created with `start: false`."""
    return create.start_batch(ask.db, ask.caller, batch_id)


@noun.post(
    "/batches/{batch_id:int}/pause",
    needs=Permission.BATCHES_WRITE,
    audit="batch.pause",
    answers=Batch,
    raises=_STATE,
)
def pause_batch(ask: Ask, batch_id: BatchId) -> dict[str, Any]:
    """Let no more items begin; those under way are finished."""
    return manage.pause_batch(ask.db, ask.caller, batch_id)


@noun.post(
    "/batches/{batch_id:int}/resume",
    needs=Permission.BATCHES_WRITE,
    audit="batch.resume",
    answers=Batch,
    raises=(*_STATE, BatchRunning),
)
def resume_batch(ask: Ask, batch_id: BatchId) -> dict[str, Any]:
    """Let a batch that is paused, or has failed, go on with the items that are left."""
    return manage.resume_batch(ask.db, ask.caller, batch_id)


@noun.post(
    "/batches/{batch_id:int}/cancel",
    needs=Permission.BATCHES_WRITE,
    audit="batch.cancel",
    answers=Batch,
    raises=_STATE,
)
def cancel_batch(ask: Ask, batch_id: BatchId) -> dict[str, Any]:
    """End a batch: items that wait are skipped, those under way are finished."""
    return manage.cancel_batch(ask.db, ask.caller, batch_id)


@noun.post(
    "/batches/{batch_id:int}/retry-failed",
    needs=Permission.BATCHES_WRITE,
    audit="batch.retry-failed",
    answers=Batch,
    raises=(*_STATE, BatchRunning),
)
def retry_failed(ask: Ask, batch_id: BatchId) -> dict[str, Any]:
    """Process all failed items of a batch again."""
    return manage.retry_failed(ask.db, ask.caller, batch_id)


@noun.post(
    "/batches/{batch_id:int}/retry",
    needs=Permission.BATCHES_WRITE,
    audit="batch.retry",
    answers=Batch,
    raises=(*_STATE, BatchRunning, ItemUnknown),
)
def retry_items(ask: Ask, batch_id: BatchId, chosen: Chosen) -> dict[str, Any]:
    """Process some items again, which have failed or were skipped."""
    return manage.retry_items(ask.db, ask.caller, batch_id, [str(i) for i in chosen.item_ids])


@noun.post(
    "/batches/{batch_id:int}/skip",
    needs=Permission.BATCHES_WRITE,
    audit="batch.skip",
    answers=Batch,
    raises=(*_STATE, ItemUnknown),
)
def skip_items(ask: Ask, batch_id: BatchId, chosen: Chosen) -> dict[str, Any]:
    """Never process some items, which wait."""
    return manage.skip_items(ask.db, ask.caller, batch_id, [str(i) for i in chosen.item_ids])


def _plain(items: list[Any]) -> Iterator[Any]:
    for item in items:
        yield item.model_dump() if isinstance(item, NewItem) else item


def _lines(found: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for item in found:
        yield orjson.dumps(item, default=str, option=orjson.OPT_APPEND_NEWLINE)
