"""History: how long do the pages of a console wait for the API, with a million runs behind it?

`taskyard web` in a process of its own, one client that keeps its connection, each question asked
in turn so that a slow moment hits all of them; the database is warm. Cursors of the middle and of
the last page are taken from pages that end there.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from benchmarks.lanes import Lane
from benchmarks.machine import Meter
from benchmarks.options import Options
from benchmarks.past import DAYS, QUEUE, RARE_TENANT, RARE_TYPE, TASK_TYPE, TENANT, load
from benchmarks.processes import Failed, Process, run
from taskyard.access import tokens, users
from taskyard.access.caller import LOCAL
from taskyard.core.errors import NameTaken
from taskyard.db.database import Database

BAR = 150.0  # ms that the p95 of each question may take
REPEAT = 10  # times that each is asked in a round
PATIENCE = 60.0  # seconds until the API answers

Query = dict[str, str]

NARROWED: dict[str, Query] = {
    "all": {},
    "status=failed": {"status": "failed"},
    "status=failed,timeout,lost": {"status": "failed,timeout,lost"},
    "status=completed": {"status": "completed"},
    "task_type, common": {"task_type": TASK_TYPE},
    "task_type, rare": {"task_type": RARE_TYPE},
    "queue": {"queue": QUEUE},
    "tenant, common": {"tenant_id": TENANT},
    "tenant, rare": {"tenant_id": RARE_TENANT},
    "tenant and status": {"tenant_id": TENANT, "status": "failed"},
    "queue and status": {"queue": QUEUE, "status": "failed"},
    "task_type and queue": {"task_type": "work.7", "queue": "slow"},
    "task_type of another queue": {"task_type": "work.7", "queue": QUEUE},
    "error text, common": {"q": "boom 3"},
    "error text, nowhere": {"q": "no such text"},
    "parameter, one run": {"params.n": "4711"},
    "took a minute": {"min_duration": "60"},
    "took an hour (none)": {"min_duration": "3600"},
    "queue, took a minute": {"queue": QUEUE, "min_duration": "60"},
    "server": {"server_id": "bench-1"},
    "one task": {"task_table": "bench_tasks", "task_id": "4711"},
}
"""What lists are narrowed to; of each the first, a middle and the last page are asked for."""

SORTED: dict[str, Query] = {
    "all, longest first": {"sort": "-execution_time"},
    "all, last ended first": {"sort": "-completed_at"},
    "status=failed, longest first": {"status": "failed", "sort": "-execution_time"},
    "queue, longest first": {"queue": QUEUE, "sort": "-execution_time"},
    "tenant, by memory": {"tenant_id": TENANT, "sort": "-memory_usage"},
}


@dataclass
class Question:
    """One address, and the milliseconds that its answers took."""

    name: str
    path: str
    query: Query
    taken: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        return quantiles(self.taken, n=20)[18]


def main(options: Options) -> None:
    """All questions on each lane, in turns."""
    on_filled(options, ask)


def on_filled(options: Options, measure: Callable[[Lane, int], None]) -> None:
    """Fill a database of each lane with runs, measure it in so many rounds, and drop it."""
    for lane in options.lanes:
        print(f"{lane.title}: {options.runs:,} runs", flush=True)
        try:
            lane.make()
            run([sys.executable, "-m", "taskyard", "--db", lane.url, "db", "upgrade"])
            load(lane, options.runs)
            measure(lane, options.rounds)
        finally:
            lane.drop()


def ask(lane: Lane, rounds: int) -> None:
    """Ask a database that is filled, and print what it took."""
    with served(lane) as (client, server):
        questions = [*_lists(client), *_figures(client)]
        for question in questions:
            _answer(client, question)  # once, uncounted: what is read is in memory then
        meter = Meter([server.pid], lane.store)
        for _ in range(rounds * REPEAT):
            for question in questions:
                began = time.perf_counter()
                _answer(client, question)
                question.taken.append((time.perf_counter() - began) * 1000)
        _report(lane, questions, meter.read().others)


@contextmanager
def served(lane: Lane) -> Iterator[tuple[httpx2.Client, Process]]:
    """`taskyard web` on the lane's database, and a client that is signed in to it by a token."""
    words = [sys.executable, "-m", "taskyard", "--db", lane.url]
    headers = {"Authorization": f"Bearer {_token(lane)}"}
    with TemporaryDirectory(prefix="taskyard-bench-") as folder:
        server = Process([*words, "web", "--port", "0"], log=Path(folder) / "web.log")
        try:
            url = _listening(server)
            with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
                yield client, server
        finally:
            server.stop()


def _token(lane: Lane) -> str:
    db = Database(lane.url)
    try:
        with suppress(NameTaken):  # by the round before
            users.add_user(db, LOCAL, "bench", role="superuser")
        return tokens.create_token(db, LOCAL, "bench", username="bench").text
    finally:
        db.close()


def _listening(server: Process) -> str:
    give_up = time.monotonic() + PATIENCE
    while not (found := re.search(r"listening on (\S+)", server.log.read_text())):
        server.check()
        if time.monotonic() > give_up:
            raise Failed(f"no API within {PATIENCE:g} s\n{server.tail()}")
        time.sleep(0.05)
    return found.group(1)


# --- questions ------------------------------------------------------------------------------------


def _lists(client: httpx2.Client) -> Iterator[Question]:
    middle, end = (_before(days) for days in (DAYS / 2, DAYS - 0.02))
    for name, query in NARROWED.items():
        yield Question(f"list, {name}", "/runs", query)
        for place, until in (("middle", middle), ("last pages", end)):
            cursor = _get(client, "/runs", {"to": until, **query, "limit": "1"})["next_cursor"]
            if cursor is not None:
                yield Question(f"list, {name}, {place}", "/runs", {**query, "cursor": cursor})
    for name, query in SORTED.items():
        yield Question(f"list, {name}", "/runs", query)


def _figures(client: httpx2.Client) -> Iterator[Question]:
    day, month = _before(1), _before(DAYS)
    newest = _get(client, "/runs", {"limit": "1"})["data"][0]["id"]
    yield Question("one run", f"/runs/{newest}", {})
    yield Question("one run's neighbours", f"/runs/{newest}/neighbours", {})
    yield Question("groups of errors", "/runs/errors", {})
    yield Question("task types", "/runs/task-types", {})
    yield Question("summary, 24 h", "/stats/summary", {"from": day})
    yield Question("summary, 30 days", "/stats/summary", {"from": month})
    yield Question("summary, 24 h, tenant", "/stats/summary", {"from": day, "tenant_id": TENANT})
    for metric in ("runs", "success_rate", "execution_time_p95"):
        yield Question(f"series, 24 h, {metric}", "/stats/series", {"metric": metric, "from": day})
    by_type = {"metric": "runs", "by": "task_type"}
    yield Question("series, 24 h, by task_type", "/stats/series", {**by_type, "from": day})
    yield Question("series, 30 days, by task_type", "/stats/series", {**by_type, "from": month})
    yield Question("top, 24 h", "/stats/top", {"from": day})


def _before(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def _get(client: httpx2.Client, path: str, query: Query) -> dict[str, Any]:
    answer = client.get(f"/api/v1{path}", params=query)
    if answer.status_code != 200:
        raise Failed(f"{answer.status_code} of {path} {query}: {answer.text[:500]}")
    found: dict[str, Any] = answer.json()
    return found


def _answer(client: httpx2.Client, question: Question) -> None:
    _get(client, question.path, question.query)


def _report(lane: Lane, questions: list[Question], others: float) -> None:
    print(f"\n{lane.title}, ms{'':40}  {'p50':>6} {'p95':>6} {'most':>6}")
    for question in questions:
        figures = (median(question.taken), question.p95, max(question.taken))
        print(f"{question.name:48}", "".join(f" {figure:6.1f}" for figure in figures))
    slow = [question for question in questions if question.p95 > BAR]
    reached = "MISSED " if slow else "reached"
    worst = max(questions, key=lambda question: question.p95)
    print(f"{reached}  {lane.title}: p95 of all {len(questions)} at most {BAR:g} ms; ", end="")
    print(f"slowest: {worst.name} {worst.p95:.0f} ms; others {others:.0%}\n", flush=True)
