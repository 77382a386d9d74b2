"""Polling: how much slower is a server while somebody looks at the console?

Two contenders, measured in turns on two databases: a drain nobody looks at, and one beside
`taskyard web` and a client that does what an open console does, twice as often: the list of runs,
the summary, a series, the queues and the servers every five seconds, and the stream of events all
the time. It has its pages open before the drain begins: what is measured is the looking on, not the
first look. The share of `others` holds the process of the API and the client. A drain of some
seconds (`--tasks 100000`) has a round of questions every five seconds, a short one always one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from statistics import median

import httpx2

from benchmarks import watch
from benchmarks.history import served
from benchmarks.lanes import Lane
from benchmarks.machine import Meter, cpu_of
from benchmarks.options import Options
from benchmarks.processes import Process
from benchmarks.race import Bar, Sample, race, report
from benchmarks.site import Site

EVERY = 5.0  # seconds; a console's lists ask every ten, its details every five
LEAST = 0.9  # of the throughput that is left
ASKED = (
    "/runs",
    "/stats/summary",
    "/stats/series?metric=runs&by=status",
    "/queues",
    "/servers",
)


class WatchedDrain:
    """A drain, with somebody who looks at it or without."""

    def __init__(self, name: str, lane: Lane, tasks: int, *, looked_at: bool) -> None:
        self.name = name
        self.lane = lane
        self.site = Site(lane, max_workers=100)
        self._tasks = tasks
        self._looked_at = looked_at
        self.spent: list[float] = []
        """CPU seconds that the API took in each second of a drain."""

    def measure(self) -> Sample:
        with self.lane.opened() as db, ExitStack() as stack:
            server = self.site.start()
            self.site.warm_up(db)
            api = stack.enter_context(self._looker()) if self._looked_at else None
            load = watch.put(self.lane, db, self.site.table, self._tasks)
            meter, before = Meter([server.pid], self.lane.store), cpu_of(api.pid) if api else 0.0
            seconds = watch.drained(self.lane, db, load)
            sample = Sample(load.tasks, seconds, meter.read())
            if api is not None:
                self.spent.append((cpu_of(api.pid) - before) / seconds)
            self.site.expect_runs(db, load)
            self.site.stop()
        return sample

    @contextmanager
    def _looker(self) -> Iterator[Process]:
        with served(self.lane) as (client, api), looking(client):
            yield api


def main(options: Options) -> None:
    """Both on each lane; `--rounds 10` are ten interleaved pairs."""
    for lane in options.lanes:
        print(f"{lane.title}: {options.tasks:,} tasks")
        drains = [
            WatchedDrain("nobody looks", lane.sibling("0"), options.tasks, looked_at=False),
            WatchedDrain("a console looks", lane.sibling("1"), options.tasks, looked_at=True),
        ]
        with ExitStack() as stack:
            for drain in drains:
                stack.enter_context(drain.site)
            results = race(drains, options.rounds)
        alone, beside = (drain.name for drain in drains)
        report(f"{lane.title}: drain", results, alone, [Bar(beside, alone, LEAST)])
        spent = median(drains[1].spent)
        print(f"the API took {spent:.1%} of a processor while it was asked\n", flush=True)


@contextmanager
def looking(client: httpx2.Client) -> Iterator[None]:
    """Ask as a console does, for the length of a block."""
    over = threading.Event()
    known: dict[str, str] = {}
    _ask(client, known)
    asking = threading.Thread(target=_keep_asking, args=(client, known, over))
    asking.start()
    threading.Thread(target=_listen, args=(client,), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        asking.join()


def _keep_asking(client: httpx2.Client, known: dict[str, str], over: threading.Event) -> None:
    while not over.is_set():
        _ask(client, known)
        over.wait(EVERY)


def _ask(client: httpx2.Client, known: dict[str, str]) -> None:
    for path in ASKED:
        headers = {"If-None-Match": known[path]} if path in known else {}
        answer = client.get(f"/api/v1{path}", headers=headers)
        if answer.status_code not in (200, 304):
            answer.raise_for_status()
        known[path] = answer.headers["etag"]


def _listen(client: httpx2.Client) -> None:
    """Hold the stream until the server ends it, by stopping."""
    url = client.base_url.join("/api/v1/events")
    with (
        suppress(httpx2.TransportError),
        httpx2.stream("GET", url, headers=client.headers, timeout=60) as answer,
    ):
        for _ in answer.iter_lines():
            pass
