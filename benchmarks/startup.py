"""Startup: how long from the command until a server runs its first task?

A task waits; the clock runs from just before the command is started to the first line of the
handler. The unit to hold it against is the bare start of the interpreter, measured in turns with
it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.lanes import Db, Lane
from benchmarks.options import Options
from benchmarks.processes import Failed, run
from benchmarks.site import Site

REPEAT = 3  # starts in a round
PATIENCE = 30.0  # seconds
BAR = 1.0  # seconds


def main(options: Options) -> None:
    """Median and spread of all starts."""
    for lane in options.lanes:
        with Site(lane, max_workers=10) as site, lane.opened() as db:
            site.start()
            site.warm_up(db)
            site.stop()
            bare, taken = [], []
            for _ in range(options.rounds * REPEAT):
                bare.append(_bare())
                taken.append(_first_task(lane, site, db))
        reached = "reached" if median(taken) <= BAR else "MISSED "
        print(f"{reached}  {lane.title}: {_text(taken)}, at most {BAR:g} s; ", end="")
        print(f"{median(taken) / median(bare):.0f} x a bare interpreter ({median(bare):.3f} s)")


def _first_task(lane: Lane, site: Site, db: Db) -> float:
    stamps = site.folder / "stamps.txt"
    stamps.unlink(missing_ok=True)
    sent = time.monotonic()
    db.run(
        f"INSERT INTO {site.table} (task_type, task_params, schedule_time) "
        f"VALUES ('stamp', %s, {lane.now})",
        json.dumps({"sent": sent}),
    )
    began = time.monotonic()
    server = site.start()
    while not (stamps.exists() and stamps.read_text().endswith("\n")):
        server.check()
        if time.monotonic() - began > PATIENCE:
            raise Failed(f"no task within {PATIENCE:g} s\n{server.tail()}")
        time.sleep(0.005)
    started = _started(stamps)
    site.stop()
    return started - began


def _started(stamps: Path) -> float:
    return float(stamps.read_text().split()[1])


def _bare() -> float:
    began = time.monotonic()
    run([sys.executable, "-c", ""])
    return time.monotonic() - began


def _text(seconds: list[float]) -> str:
    return f"{median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"
