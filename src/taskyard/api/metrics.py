"""Metrics: what Prometheus and its like are told.

Owns the names, and that there are never many: labels are queues, task types (200 by name, the
others together), statuses and states. Everything is read from the database when it is asked for,
so every process of the API tells the same: ask one of them. The figures are `tasks/depth.py`'s and
`runs/counters.py`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.responses import Response

from taskyard import servers
from taskyard.access.caller import ENGINE, Caller
from taskyard.access.permissions import Permission
from taskyard.api.gate import Ask, Entry
from taskyard.api.noun import Noun
from taskyard.core.lifecycle import RunStatus
from taskyard.core.version import VERSION
from taskyard.db.database import Database
from taskyard.engine import spool
from taskyard.runs.counters import Timed, counters
from taskyard.runs.rollups import MEASURES
from taskyard.settings import Settings
from taskyard.tasks.depth import depths

STATES = ("live", "draining", "late", "dead")
"""What a Server can be; always told, so that an alert sees a zero."""

_LAST_BINS = range(0, 48, 4)
"""The bins (`core/histogram.py`) at whose ends a bucket ends: 1 ms, 4 ms, 16 ms … 70 min."""


def noun(settings: Settings) -> Noun:
    """The address of the metrics; open to all only where a setting says so."""
    metrics = Noun("metrics", prefix="")
    needs = Entry.OPEN if settings.open_metrics else Permission.MONITORING

    @metrics.get(
        "/metrics",
        needs=needs,
        answers=None,
        media=("text/plain", "application/openmetrics-text"),
    )
    def show_metrics(ask: Ask) -> Response:
        """Queues, runs and servers in numbers, for Prometheus."""
        caller = ENGINE if settings.open_metrics else ask.caller
        registry = CollectorRegistry()
        registry.register(Figures(ask.db, caller, ask.settings))
        encode, media_type = choose_encoder(ask.request.headers.get("accept", ""))
        return Response(encode(registry), media_type=media_type)

    return metrics


class Figures(Collector):
    """All metrics, read when they are collected."""

    def __init__(self, db: Database, caller: Caller, settings: Settings) -> None:
        self._db = db
        self._caller = caller
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        """The metrics. Raises NotAllowed."""
        yield InfoMetricFamily("taskyard_build", "The version.", {"version": VERSION})
        yield from self._of_queues()
        yield from self._of_runs()
        yield self._servers()
        yield GaugeMetricFamily(
            "taskyard_spool_bytes",
            "Results on this machine that wait for the database.",
            spool.size(self._settings),
        )

    def _of_queues(self) -> Iterator[Metric]:
        names = ("queue", "table")
        tasks = GaugeMetricFamily(
            "taskyard_queue_tasks", "Tasks by state, counted to 100000.", labels=(*names, "state")
        )
        wait = GaugeMetricFamily(
            "taskyard_queue_oldest_wait_seconds",
            "For how long the oldest task that is due has waited.",
            labels=names,
        )
        found = depths(self._db, self._caller)
        for depth in found:
            # Queues that share a table share its tasks: told once, or sums would be wrong.
            labels = (",".join(depth.queues), depth.table)
            tasks.add_metric((*labels, "pending"), depth.pending)
            tasks.add_metric((*labels, "held"), depth.held)
            tasks.add_metric((*labels, "running"), depth.running)
            wait.add_metric(labels, depth.oldest_wait)
        yield tasks
        yield wait
        yield GaugeMetricFamily(
            "taskyard_oldest_orphan_seconds",
            "For how long a task has been running whose server is not alive; 0 is none.",
            max((depth.oldest_orphan for depth in found), default=0.0),
        )

    def _of_runs(self) -> Iterator[Metric]:
        found = counters(self._db, self._caller)
        ended = CounterMetricFamily(
            "taskyard_runs", "Runs that ended this month.", labels=("task_type", "status")
        )
        for (task_type, status), count in sorted(found.ended.items()):
            ended.add_metric((task_type, status), count)
        yield ended
        lost = sum(n for (_, status), n in found.ended.items() if status == RunStatus.LOST)
        yield CounterMetricFamily(
            "taskyard_rescues", "Runs this month whose server or runner died under them.", lost
        )
        yield _histogram(
            "taskyard_run_duration_seconds", "How long runs took.", "task_type", found.took
        )
        yield _histogram(
            "taskyard_run_wait_seconds",
            "How long tasks were due before they started.",
            "queue",
            found.waited,
        )

    def _servers(self) -> Metric:
        metric = GaugeMetricFamily("taskyard_servers", "Servers by state.", labels=("state",))
        rows = servers.list_servers(self._db, self._caller, dead=True)
        count = Counter(str(row.shown()["state"]) for row in rows)
        for state in STATES:
            metric.add_metric((state,), count[state])
        return metric


def _histogram(name: str, text: str, label: str, found: Mapping[str, Timed]) -> Metric:
    metric = HistogramMetricFamily(name, text, labels=(label,))
    for word, timed in sorted(found.items()):
        metric.add_metric((word,), buckets=_buckets(timed), sum_value=timed.total)
    return metric


def _buckets(timed: Timed) -> list[tuple[str, float]]:
    """How many took at most so many seconds, for each end of a bucket."""
    ends = [(repr(MEASURES["run"] * 2.0 ** (last / 2)), last) for last in _LAST_BINS]
    return [
        *((end, sum(n for b, n in timed.by_bin.items() if b <= last)) for end, last in ends),
        ("+Inf", sum(timed.by_bin.values())),
    ]
