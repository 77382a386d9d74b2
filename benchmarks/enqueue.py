"""Enqueue: how many tasks a second can one application put in, one by one and in bulk, against the
raw driver? And over HTTP?

One by one: a transaction each. Bulk: 1,000 to a call. Over HTTP by one client, and one by one by
eight as well. The reference inserts the same columns into a
table with the same indexes and no checks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.lanes import Db, Lane
from benchmarks.machine import Meter
from benchmarks.options import Options
from benchmarks.posting import Posted
from benchmarks.processes import run
from benchmarks.race import Bar, Sample, race, report
from benchmarks.site import Site

SINGLES = 3_000
MANY = 100_000
CALL = 1_000  # tasks to a bulk call

CLIENT = f"""\
import sys
import time

from handlers import noop, yard

noop.enqueue()
began, worked = time.perf_counter(), time.process_time()
if sys.argv[1] == "one by one":
    for _ in range({SINGLES}):
        noop.enqueue()
else:
    for _ in range({MANY // CALL}):
        yard.enqueue_many([("noop", {{}})] * {CALL})
print(time.perf_counter() - began, time.process_time() - worked)
"""


class YardEnqueue:
    """An application that enqueues through the Yard."""

    def __init__(self, lane: Lane, site: Site, way: str, tasks: int) -> None:
        self.name = f"taskyard, {way}"
        self._lane = lane
        self._site = site
        self._way = way
        self._tasks = tasks

    def measure(self) -> Sample:
        meter = Meter([], self._lane.store)
        command = [sys.executable, "client.py", self._way]
        seconds, cpu = run(command, cwd=self._site.folder, env=self._site.env()).split()
        return Sample(self._tasks, float(seconds), replace(meter.read(), worker=float(cpu)))


class RawEnqueue:
    """The driver alone, into the same table."""

    def __init__(self, lane: Lane, way: str, tasks: int, insert: Callable[[], None]) -> None:
        self.name = f"raw driver, {way}"
        self._lane = lane
        self._tasks = tasks
        self._insert = insert

    def measure(self) -> Sample:
        meter = Meter([], self._lane.store)
        began, worked = time.perf_counter(), time.process_time()
        self._insert()
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
        return Sample(self._tasks, seconds, replace(meter.read(), worker=cpu))


def main(options: Options) -> None:
    """Both ways on each lane, in turns with the raw driver."""
    for lane in options.lanes:
        print(f"{lane.title}: {SINGLES:,} one by one, {MANY:,} in calls of {CALL:,}")
        with Site(lane, max_workers=10) as site, lane.opened() as db:
            site.start()
            site.warm_up(db)
            site.stop()  # a server that drains meanwhile would be measured too
            (site.folder / "client.py").write_text(CLIENT)
            for way, tasks, insert in _ways(lane, db, site.table):
                raw = RawEnqueue(lane, way, tasks, insert)
                yard = YardEnqueue(lane, site, way, tasks)
                results = race([raw, yard, *_posted(lane, site, way, tasks)], options.rounds)
                report(f"{lane.title}: enqueue {way}", results, raw.name, _bars(lane, way))


def _posted(lane: Lane, site: Site, way: str, tasks: int) -> list[Posted]:
    if way == "bulk":
        return [Posted(lane, site.queue, way, tasks, clients=1, size=CALL)]
    return [
        Posted(lane, site.queue, way, tasks, clients=1, size=1),
        Posted(lane, site.queue, f"{way}, 8 clients", tasks, clients=8, size=1),
    ]


def _ways(lane: Lane, db: Db, table: str) -> list[tuple[str, int, Callable[[], None]]]:
    columns = f"INSERT INTO {table} (task_type, task_params, schedule_time)"
    one = f"{columns} VALUES ('noop', %s, {lane.now})"

    def singles() -> None:
        for _ in range(SINGLES):
            db.run(one, "{}")

    def many() -> None:
        for _ in range(MANY // CALL):
            lane.insert_many(db, table, ["{}"] * CALL)

    return [("one by one", SINGLES, singles), ("bulk", MANY, many)]


def _bars(lane: Lane, way: str) -> list[Bar]:
    if lane.name != "postgres":
        return []
    return [Bar(f"taskyard, {way}", "", 3_000 if way == "one by one" else 50_000)]
