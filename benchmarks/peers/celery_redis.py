"""Celery on Redis: prefork, results kept in Redis, all else as it comes. SLOTS: processes."""

from __future__ import annotations

import os
from collections.abc import Callable

import redis
from celery import Celery

from benchmarks.peers.script import Stamp, main

# Two numbered databases of one Redis, emptied before and after.
SERVER = os.environ.get("TASKYARD_BENCH_REDIS", "redis://127.0.0.1:6379")
BROKER, RESULTS = f"{SERVER}/14", f"{SERVER}/15"
app = Celery("celery_redis", broker=BROKER, backend=RESULTS)
app.conf.broker_connection_retry_on_startup = True
stamp = Stamp()


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> None:
    """Do nothing."""
    stamp()


def fill(url: str, tasks: int) -> None:
    """One by one: it has no bulk call."""
    clear()
    for _ in range(tasks):
        noop.delay()


def work(url: str, slots: int) -> None:
    """One worker."""
    app.worker_main(["worker", "--pool=prefork", f"--concurrency={slots}", "--loglevel=WARNING"])


def done(url: str, tasks: int) -> Callable[[], bool]:
    """One key a result."""
    results = redis.Redis.from_url(RESULTS)
    return lambda: results.dbsize() >= tasks


def clear() -> None:
    """Leave nothing in Redis."""
    for url in (BROKER, RESULTS):
        redis.Redis.from_url(url).flushdb()


if __name__ == "__main__":
    main(fill, work, done, clear)
