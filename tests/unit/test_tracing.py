"""Tracing: the trace of whoever enqueues goes on in the run; without the SDK nothing is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from taskyard import Retry, Yard, testing
from taskyard.context import Call
from taskyard.testing import Stage
from taskyard.tracing import attempt_span, carried

yard = Yard("sqlite:///:memory:")


@yard.handler("greet")
def greet(name: str) -> str:
    trace.get_current_span().add_event("greeting")
    return f"hello {name}"


@yard.handler("wave")
async def wave(name: str) -> None:
    if name == "nobody":
        raise LookupError("nobody is there")
    raise Retry(after=60)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What an application that has set OpenTelemetry up exports."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


@pytest.fixture
def stage() -> Iterator[Stage]:
    with testing.rehearse(yard) as stage:
        yield stage


def context_of(ref: str) -> str | None:
    table, _, task_id = ref.rpartition("/")
    sql = f"SELECT context FROM {table}_tasks WHERE id = {task_id}"
    found: str | None = yard.database.read(lambda tx: tx.value(sql))
    return found


def test_a_run_is_a_child_of_the_span_that_enqueued_it(
    spans: InMemorySpanExporter, stage: Stage
) -> None:
    with trace.get_tracer("shop").start_as_current_span("order") as order:
        handle = greet.enqueue(name="Ada")
    stage.drain()
    done, run = spans.get_finished_spans()
    assert (done.name, run.name, run.kind) == ("order", "run greet", SpanKind.CONSUMER)
    assert run.parent is not None and run.parent.span_id == order.get_span_context().span_id
    assert run.context.trace_id == order.get_span_context().trace_id
    assert run.attributes is not None
    assert run.attributes["messaging.message.id"] == f"default_tasks:{handle.id}"
    assert run.attributes["taskyard.attempt"] == 1
    # What the handler's own code says belongs to it.
    assert [event.name for event in run.events] == ["greeting"]


def test_what_goes_wrong_is_said_and_a_retry_is_nothing_wrong(
    spans: InMemorySpanExporter, stage: Stage
) -> None:
    wave.enqueue(name="nobody")
    wave.enqueue(name="Ada")
    stage.drain(allow_failures=True)
    failed, retried = (span for span in spans.get_finished_spans() if span.name == "run wave")
    assert (failed.status.status_code, failed.status.description) == (
        StatusCode.ERROR,
        "LookupError: nobody is there",
    )
    assert [event.name for event in failed.events] == ["exception"]
    assert (retried.status.status_code, retried.events) == (StatusCode.UNSET, ())


def test_without_a_span_that_records_nothing_is_written(
    spans: InMemorySpanExporter, stage: Stage
) -> None:
    handle = greet.enqueue(name="Ada")
    assert context_of(handle.ref) is None
    stage.drain()
    [run] = spans.get_finished_spans()
    assert run.parent is None


def test_a_trace_is_added_to_what_the_context_has(spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("shop").start_as_current_span("order"):
        merged = json.loads(carried('{"fire_time": "2026-01-01T00:00:00Z"}') or "")
        kept = carried('{"traceparent": "00-1-2-01"}')
        odd = [carried(text) for text in ("[1]", "not JSON")]
    assert merged["fire_time"] == "2026-01-01T00:00:00Z"
    assert merged["traceparent"].startswith("00-")
    assert kept == '{"traceparent": "00-1-2-01"}'
    assert odd == ["[1]", "not JSON"]


@pytest.mark.parametrize("context", ['{"traceparent": 7}', '{"traceparent": "x"}', "[]", "{", None])
def test_a_context_that_somebody_spoiled_costs_the_trace_only(
    spans: InMemorySpanExporter, context: str | None
) -> None:
    with attempt_span(Call(1, "t", 2, 3, "greet", "default", context=context)):
        pass
    found: tuple[ReadableSpan, ...] = spans.get_finished_spans()
    assert [span.parent for span in found] == [None]


ALONE = """
import sys
from taskyard import Yard, testing
yard = Yard("sqlite:///:memory:")
@yard.handler("greet")
def greet() -> None: ...
with testing.rehearse(yard) as stage:
    greet.enqueue()
    stage.drain()
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_where_nobody_traces_nothing_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
