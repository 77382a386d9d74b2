"""Batches: how fast are items created and processed, and what does it cost to look?

A worker with two runners, one batch of no-op items. Printed are the seconds and the memory of the
creation, items a second, and the p95 of a page of items, of a search that finds nothing, and of the
batch itself while it runs. Figures hold for a machine that does nothing else.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.options import Options

HANDLERS = """
from taskyard import Yard
yard = Yard()

@yard.batch("noop", concurrency=4)
def noop(item: int) -> None:
    pass
"""


def main(options: Options) -> None:
    """One batch on each database."""
    for lane in options.lanes:
        lane.make()
        try:
            print(lane.title)
            _run(lane.url, options.items)
        finally:
            lane.drop()


def _run(url: str, items: int) -> None:
    """Create, process and watch one batch."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "handlers.py").write_text(HANDLERS)
        environment = {**os.environ, "TASKYARD_DATABASE_URL": url, "TASKYARD_RUNNERS": "2"}
        taskyard = [sys.executable, "-m", "taskyard"]
        subprocess.run([*taskyard, "db", "upgrade"], cwd=folder, env=environment, check=True)
        worker = subprocess.Popen([*taskyard, "worker"], cwd=folder, env=environment)
        try:
            _measure(url, Path(folder), items)
        finally:
            worker.terminate()
            worker.wait(40)


def _measure(url: str, folder: Path, items: int) -> None:
    from taskyard.access.caller import LOCAL
    from taskyard.batches import browse
    from taskyard.db.listing import Query
    from taskyard.yard import Yard

    yard = Yard(url)
    scope: dict[str, Any] = {}
    exec(compile((folder / "handlers.py").read_text(), "handlers.py", "exec"), scope)
    handler = scope["yard"].registry.get("noop")
    yard.registry.add(handler)
    before, began = _memory(), time.monotonic()
    batch = yard.create_batch("noop", range(items))
    created = time.monotonic()
    print(f"created {items:,} items in {created - began:.1f} s, {_memory() - before:.0f} MiB more")
    pages: list[float] = []
    searches: list[float] = []
    shows: list[float] = []
    while batch.status() == "running":
        for query in (Query(limit=50), Query({"status": "completed"})):
            at = time.monotonic()
            browse.list_items(yard.database, LOCAL, batch.id, query)
            pages.append(time.monotonic() - at)
        at = time.monotonic()
        browse.list_items(yard.database, LOCAL, batch.id, Query({"q": "nowhere"}))
        searches.append(time.monotonic() - at)
        at = time.monotonic()
        batch.show()
        shows.append(time.monotonic() - at)
        time.sleep(0.5)
    seconds = time.monotonic() - created
    print(f"processed {items / seconds:,.0f} items/s ({seconds:.1f} s)")
    looks = {"a page of items": pages, "a search": searches, "the batch": shows}
    for name, times in looks.items():
        slow = quantiles([*times, 0.0], n=20)[18] * 1000
        print(f"{name}: p95 {slow:.1f} ms of {len(times)} looks")


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
