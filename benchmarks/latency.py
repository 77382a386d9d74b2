"""Latency: how long after an application enqueues a task does an idle server start its handler?

The application is a process of its own and enqueues one task every 50 ms through the Python door;
the handler notes the machine's clock. The unit to hold it against is one bare INSERT with its
commit, measured in the same seconds.
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median, quantiles

from benchmarks.lanes import Db, Lane
from benchmarks.options import Options
from benchmarks.processes import Failed, run
from benchmarks.site import Site

TASKS = 200
PAUSE = 0.05  # seconds between two tasks
SCAN_INTERVAL = 1.0  # seconds; what polling falls back to
PATIENCE = 30.0  # seconds for the last task

# p50 in ms that has to be kept: half a scan where nobody rings.
BARS = {"postgres": 4.0, "sqlite": 5.0, "mariadb": SCAN_INTERVAL * 1000 / 2 + 20}

CLIENT = f"""\
import time

from handlers import stamp

stamp.enqueue(sent=0.0)
time.sleep(2)
for _ in range({TASKS}):
    stamp.enqueue(sent=time.monotonic())
    time.sleep({PAUSE})
"""


def main(options: Options) -> None:
    """p50, p95 and p99 of each round, and of all rounds."""
    for lane in options.lanes:
        print(f"{lane.title}: {TASKS} tasks, one every {PAUSE * 1000:.0f} ms")
        rounds = [_measure(lane) for _ in range(options.rounds)]
        p50 = median(median(delays) for delays, _ in rounds)
        insert = median(bare for _, bare in rounds)
        reached = "reached" if p50 <= BARS[lane.name] else "MISSED "
        print(f"{reached}  {lane.title}: p50 {p50:.1f} ms, at most {BARS[lane.name]:g}; ", end="")
        print(f"{p50 / insert:.1f} x a bare INSERT ({insert:.2f} ms)\n", flush=True)


def _measure(lane: Lane) -> tuple[list[float], float]:
    with Site(lane, max_workers=10, scan_interval=SCAN_INTERVAL) as site, lane.opened() as db:
        site.start()
        site.warm_up(db)
        (site.folder / "client.py").write_text(CLIENT)
        run([sys.executable, "client.py"], cwd=site.folder, env=site.env())
        delays = _delays(site)
        insert = _bare_insert(db)
    cuts = quantiles(delays, n=100)
    print(f"  p50 {cuts[49]:.1f}  p95 {cuts[94]:.1f}  p99 {cuts[98]:.1f} ms", flush=True)
    return delays, insert


def _delays(site: Site) -> list[float]:
    give_up = time.monotonic() + PATIENCE
    while len(lines := (site.folder / "stamps.txt").read_text().splitlines()) < TASKS + 1:
        if time.monotonic() > give_up:
            raise Failed(f"{len(lines)} of {TASKS + 1} tasks ran")
        time.sleep(0.1)
    pairs = [line.split() for line in lines]
    return [(float(started) - float(sent)) * 1000 for sent, started in pairs if float(sent)]


def _bare_insert(db: Db) -> float:
    db.run("CREATE TABLE bare (id integer, body text)")
    body = json.dumps({"sent": time.monotonic()})
    taken = []
    for number in range(TASKS):
        began = time.perf_counter()
        db.run("INSERT INTO bare VALUES (%s, %s)", number, body)
        taken.append((time.perf_counter() - began) * 1000)
        time.sleep(0.005)
    return median(taken)
