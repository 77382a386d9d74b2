"""Order: makes a Task to be of what somebody asks for who has not the handler's code.

Owns what holds where the request leaves something open: the promises of the handler, as the Servers
told them. How the Task enters its table is `enqueue.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from taskyard import queues
from taskyard.core.errors import HandlerUnknown, ParamsInvalid
from taskyard.core.payload import dump_params
from taskyard.core.shape import problems
from taskyard.handlers import HandlerSpec
from taskyard.tasks.catalog import Catalog
from taskyard.tasks.enqueue import NewTask


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for; None leaves it to the handler, or to the queue.

    `schedule_time` without an offset is in the default time zone; `delay`, `timeout` and
    `retry_interval` are seconds. `force` takes it unchecked, and where no Server knows its type.
    """

    task_type: str
    task_params: Mapping[str, Any] | None = None
    queue: str | None = None
    schedule_time: datetime | None = None
    delay: float | None = None
    priority: int = 0
    max_retries: int | None = None
    timeout: float | None = None
    retry_interval: float | None = None
    unique_key: str | None = None
    excl_key: str | None = None
    tenant_id: str = ""
    force: bool = False


def new_task(catalog: Catalog, order: Order, time_zone: str) -> NewTask:
    """The Task that an order asks for.

    Raises HandlerUnknown (there are Servers, and none of them knows the task_type), ParamsInvalid
    with a line a field, ParamsNotJson or PayloadTooLarge.
    """
    spec = _spec(catalog, order)
    params = order.task_params or {}
    if spec is not None and not order.force:
        _check(spec, params)
    key = order.excl_key
    if key is None and spec is not None:
        key = spec.exclusive_key(params)
    return NewTask(
        task_type=order.task_type,
        task_params=dump_params(order.task_params, f"task_params of {order.task_type[:50]}"),
        queue=order.queue or (spec.queue if spec else queues.DEFAULT),
        at=_instant(order.schedule_time, time_zone),
        delay=order.delay,
        priority=order.priority,
        max_retries=_first(order.max_retries, spec.max_retries if spec else 3),
        timeout=order.timeout if order.timeout is not None else (spec.timeout if spec else None),
        retry_interval=order.retry_interval,
        unique_key=order.unique_key,
        excl_key=key,
        tenant_id=order.tenant_id,
    )


def _spec(catalog: Catalog, order: Order) -> HandlerSpec | None:
    known = catalog.all(order.task_type)
    if order.task_type in known:
        return known[order.task_type].spec
    if known and not order.force:
        raise HandlerUnknown(order.task_type, known)
    return None


def _check(spec: HandlerSpec, params: Mapping[str, Any]) -> None:
    faults = problems(spec.parameters, dict(params), shown=not spec.secrets)
    if faults:
        raise ParamsInvalid(spec.name, faults)


def _first(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _instant(when: datetime | None, time_zone: str) -> float | None:
    if when is None:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=ZoneInfo(time_zone))).timestamp()
