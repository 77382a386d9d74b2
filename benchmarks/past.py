"""Past: a history of years, made in a minute: Runs by SQL, counted as a server counts them.

Twenty task types in four queues, most of them of the platform, the others of nine tenants; one in
twenty went wrong; a few took minutes. They lie evenly over thirty days up to now. What a Run is
like follows from its number alone, so every database holds the same. In the statistics is the
newest million: of ten millions the last three days.
"""

from __future__ import annotations

import time

from benchmarks.lanes import Db, Lane
from taskyard.db.database import Database
from taskyard.runs.grains import GRAINS
from taskyard.runs.rollups import count_ended

DAYS = 30
CHUNK = 250_000  # runs made in one transaction
COUNTED = 1_000_000
NOTE = 2_000  # runs that are counted at once; a server counts no more

TASK_TYPE = "report.daily"
RARE_TYPE = "report.yearly"
QUEUE = "mail"
TENANT = "tenant-3"
RARE_TENANT = "tenant-rare"

_MOMENT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', {0}, 'unixepoch') || '000'",
    "postgres": "to_timestamp({0})",
    "mariadb": "TIMESTAMP('1970-01-01') + INTERVAL CAST(({0}) * 1000000 AS SIGNED) MICROSECOND",
}
_TEXT = {"sqlite": "CAST({0} AS TEXT)", "postgres": "({0})::text", "mariadb": "CAST({0} AS CHAR)"}
_WHOLE = {"sqlite": "BIGINT", "postgres": "bigint", "mariadb": "SIGNED"}


def load(lane: Lane, runs: int) -> None:
    """Fill the history of a database with our schema, and its statistics."""
    began = time.monotonic()
    with lane.opened() as db:
        first = time.time() - DAYS * 86_400
        for offset in range(0, runs, CHUNK):
            _make(lane, db, offset, min(CHUNK, runs - offset), first, DAYS * 86_400 / runs)
        lane.settle_down(db, "ty_runs")
        made = time.monotonic()
        print(f"  {runs:,} runs in {made - began:.0f} s", flush=True)
        for low in range(max(1, runs - COUNTED + 1), runs + 1, NOTE):
            ids = ",".join(map(str, range(low, min(low + NOTE, runs + 1))))
            db.run("INSERT INTO ty_uncounted (run_ids) VALUES (%s)", ids)
        counted = Database(lane.url)
        while db.value("SELECT COUNT(*) FROM ty_uncounted"):
            count_ended(counted)
        counted.close()
        for grain, kept in GRAINS.items():
            db.run(f"DELETE FROM ty_stats WHERE grain = {grain} AND start < {time.time() - kept}")
        lane.settle_down(db, "ty_stats")
    print(f"  counted in {time.monotonic() - made:.0f} s", flush=True)


def _make(lane: Lane, db: Db, offset: int, runs: int, first: float, step: float) -> None:
    """Runs `offset` + 1 and so on, each `step` seconds after the one before."""
    moment, text = _MOMENT[lane.name].format, _TEXT[lane.name].format
    number = f"({offset} + s.n)"
    dice = f"({number} % 10007 * 7919 % 10007)"  # 0 to 10,006, without order
    started = f"({first!r} + {number} * {step!r})"
    took = f"(CASE WHEN {dice} % 5000 = 17 THEN 90.0 ELSE 0.01 + {dice} % 100 * 0.02 END)"
    status = (
        f"CASE WHEN {dice} % 100 < 4 THEN 'failed' WHEN {dice} % 1000 = 500 THEN 'timeout'"
        f" WHEN {dice} % 1000 = 501 THEN 'lost' ELSE 'completed' END"
    )
    tenant = (
        f"CASE WHEN {number} % 50000 = 7 THEN '{RARE_TENANT}'"
        f" WHEN {dice} % 10 < 7 THEN '' ELSE {_concat(lane, 'tenant-', text(f'{dice} % 8'))} END"
    )
    task_type = (
        f"CASE WHEN {number} % 100000 = 11 THEN '{RARE_TYPE}'"
        f" WHEN {dice} % 20 = 0 THEN '{TASK_TYPE}'"
        f" ELSE {_concat(lane, 'work.', text(f'{dice} % 20'))} END"
    )
    queue = (
        f"CASE {dice} % 4 WHEN 0 THEN '{QUEUE}' WHEN 1 THEN 'web' WHEN 2 THEN 'slow'"
        " ELSE 'default' END"
    )
    values = {
        "id": number,
        "task_table": "'bench_tasks'",
        "task_id": number,
        "fence": "1",
        "attempt": "1",
        "task_type": task_type,
        "queue": queue,
        "status": status,
        "origin": "'enqueued'",
        "tenant_id": tenant,
        "server_id": "'bench-1'",
        "session": "'bench'",
        "pid": "4711",
        "payload": _concat(lane, '{"n": ', text(number), f', "note": "{"x" * 80}"}}'),
        "output": "'{\"ok\": true}'",
        "error": f"CASE WHEN {dice} % 100 < 4 THEN"
        f" {_concat(lane, 'ValueError: boom ', text(f'{dice} % 7'))} END",
        "memory_usage": f"50000000 + {dice} * 1000",
        "cpu_time": "0.01",
        "wait_time": f"{dice} % 50 * 0.01",
        "execution_time": took,
        "started_at": moment(started),
        "completed_at": moment(f"{started} + {took}"),
        "claimed_at": f"CAST({started} * 1000000 AS {_WHOLE[lane.name]})",
        "created_at": moment(started),
        "updated_at": moment(started),
    }
    db.run(
        f"INSERT INTO ty_runs ({', '.join(values)}) SELECT {', '.join(values.values())}"
        f" FROM {lane.series(runs)}"
    )


def _concat(lane: Lane, *parts: str) -> str:
    """Texts put together; those at even places are literals."""
    words = [f"'{part}'" if number % 2 == 0 else part for number, part in enumerate(parts)]
    return f"CONCAT({', '.join(words)})" if lane.name == "mariadb" else f"({' || '.join(words)})"
