"""Tracing: the trace in which a Task was enqueued goes on where it runs.

Owns all that Taskyard says in OpenTelemetry: the trace context in a Task's `context`, and the span
of an attempt. It speaks only where the application has loaded OpenTelemetry's SDK; elsewhere
nothing is imported and a Task costs one look into a dictionary. Which spans are kept and where they
go is the application's to set up.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import orjson

from taskyard.context import Call
from taskyard.core.errors import Steering
from taskyard.core.version import VERSION

_SDK = "opentelemetry.sdk.trace"
_FIELDS = ("traceparent", "tracestate")
_SILENT = nullcontext()


def carried(context: str | None) -> str | None:
    """The `context` of a new Task (JSON), with the trace of the span that is recording, if any.

    A trace that stands in it already stays; what is no JSON object is left as it is.
    """
    if _SDK not in sys.modules:
        return context
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = _object(context)
    if carrier is None or _FIELDS[0] in carrier or not trace.get_current_span().is_recording():
        return context
    TraceContextTextMapPropagator().inject(carrier)
    return orjson.dumps(carrier).decode()


def attempt_span(call: Call) -> AbstractContextManager[None]:
    """The span of one attempt: a child of the span in which its Task was enqueued."""
    return _recorded(call) if _SDK in sys.modules else _SILENT


@contextmanager
def _recorded(call: Call) -> Iterator[None]:
    from opentelemetry import trace

    tracer = trace.get_tracer("taskyard", VERSION)
    with tracer.start_as_current_span(
        f"run {call.task_type}",
        context=_parent(call),
        kind=trace.SpanKind.CONSUMER,
        attributes=_attributes(call),
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Steering:
            raise  # a handler that asks for a retry has not gone wrong
        except BaseException as error:
            span.record_exception(error)
            span.set_status(trace.StatusCode.ERROR, f"{type(error).__name__}: {error}")
            raise


def _parent(call: Call) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # Anybody's SQL can write this column: only texts are for the propagator.
    found = _object(call.context) or {}
    carrier = {name: found[name] for name in _FIELDS if isinstance(found.get(name), str)}
    return TraceContextTextMapPropagator().extract(carrier, Context())


def _attributes(call: Call) -> dict[str, str | int]:
    return {
        "messaging.system": "taskyard",
        "messaging.operation.type": "process",
        "messaging.destination.name": call.queue,
        "messaging.message.id": f"{call.task_table}:{call.task_id}",
        "taskyard.task_type": call.task_type,
        "taskyard.tenant_id": call.tenant_id,
        "taskyard.run_id": call.run_id,
        "taskyard.attempt": call.attempt,
    }


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
