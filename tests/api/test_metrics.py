"""Metrics: what Prometheus reads parses, is complete, and is for those who may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from api.house import Client, House
from conformance.spine import Spine, ended
from taskyard.core.lifecycle import Kind
from taskyard.engine import spool
from taskyard.runs import rollups

Labels = frozenset[tuple[str, str]]
Found = dict[tuple[str, Labels], float]


def read(client: Client, accept: str = "*/*") -> Found:
    """Every sample by its name and labels, as the parser of the client library reads it."""
    answer = client.ask("GET", "/metrics", headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    parse = text_string_to_metric_families
    if "openmetrics" in answer.headers["content-type"]:
        parse = openmetrics.text_string_to_metric_families
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


def at(found: Found, name: str, **labels: str) -> float:
    return found[f"taskyard_{name}", frozenset(labels.items())]


@pytest.fixture
def busy(lane: str, tmp_path: Path) -> Iterator[House]:
    """Two runs that completed, one that failed, one lost; one task waits and one runs."""
    spine = Spine(lane)
    spine.put_many(3, delay=-60)
    kinds = (Kind.COMPLETED, Kind.COMPLETED, Kind.REJECTED)
    for row, kind in zip(spine.claim(3), kinds, strict=True):
        spine.settle(ended(row, kind, duration=0.03, wait=60.0))
    spine.put("work")
    [row] = spine.claim(1)
    spine.settle(ended(row, run_status="lost", duration=None))
    spine.put_many(2, delay=-600)
    spine.claim(1)
    rollups.count_ended(spine.db)
    spine.db.close()
    house = House(lane, spool_dir=tmp_path)
    yield house
    house.close()


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text; version=1.0.0"])
def test_the_figures_parse_and_are_right(busy: House, accept: str) -> None:
    found = read(busy.user("root"), accept)
    queue = {"queue": "default", "table": "default_tasks"}
    assert at(found, "queue_tasks", **queue, state="pending") == 1
    assert at(found, "queue_tasks", **queue, state="held") == 0
    assert at(found, "queue_tasks", **queue, state="running") == 1
    assert 599 < at(found, "queue_oldest_wait_seconds", **queue) < 660
    assert at(found, "oldest_orphan_seconds") == 0
    assert at(found, "runs_total", task_type="work", status="completed") == 2
    assert at(found, "runs_total", task_type="work", status="failed") == 1
    assert at(found, "rescues_total") == 1
    assert [at(found, "servers", state=s) for s in ("live", "draining", "late", "dead")] == [
        *(1, 0, 0, 0)
    ]
    assert at(found, "spool_bytes") == 0


def test_buckets_hold_what_took_no_longer(busy: House) -> None:
    found = read(busy.user("root"))
    by_end = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "taskyard_run_duration_seconds_bucket"
    }
    # Those that took 30 ms; of the lost one nobody knows.
    assert [by_end[end] for end in ("0.004", "0.016", "0.064", "0.256", "+Inf")] == [0, 0, 3, 3, 3]
    assert at(found, "run_duration_seconds_count", task_type="work") == 3
    assert at(found, "run_duration_seconds_sum", task_type="work") == pytest.approx(0.09)
    assert at(found, "run_wait_seconds_bucket", queue="default", le="65.536") >= 3


def test_servers_that_are_gone_are_told_by_their_state(house: House) -> None:
    for name, lease in (("a", 60.0), ("b", -5.0), ("c", 60.0)):
        house.server(name, lease=lease)
    house.db.run(lambda tx: tx.execute("UPDATE ty_servers SET state='dead' WHERE session='c'"))
    found = read(house.user("root"))
    assert [at(found, "servers", state=s) for s in ("live", "draining", "late", "dead")] == [
        *(1, 0, 1, 1)
    ]


def test_what_waits_on_this_machine_for_the_database_is_told(house: House) -> None:
    (spool.folder(house.settings) / "spool-server-1-abc.jsonl").write_text("12345")
    assert at(read(house.user("root")), "spool_bytes") == 5


def test_they_are_for_those_who_monitor_unless_they_are_opened(fresh: str, house: House) -> None:
    assert house.anon.ask("GET", "/metrics").status_code == 401
    assert house.user("vera", "viewer").ask("GET", "/metrics").status_code == 403
    opened = House(fresh, open_metrics=True)
    assert at(read(opened.anon), "oldest_orphan_seconds") == 0
    opened.close()
