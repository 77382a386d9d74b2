"""The program that gives the demo's servers work: a shop whose customers never sleep.

`taskyard demo` copies this file into its folder and runs it there as a process of its own. Half of
its tasks it INSERTs by plain SQL, as a program in any language could; the others it enqueues with
the Python API. It knows the task types by name and imports none of the handlers.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path

from taskyard import BatchRunning, DuplicateTask, Yard

HERE = Path(__file__).parent
NAMES = ("Ada", "Grace", "Linus", "Margaret", "Dennis", "Barbara", "Ken", "Radia")
PINS = cycle(("server-001", "", "server-002"))
yard = Yard()  # its settings are in the taskyard.toml of this folder


def main() -> None:
    """Do everything in its rhythm, for ever."""
    due = dict.fromkeys(range(len(RHYTHM)), 0.0)
    while True:
        for number, (seconds, act) in enumerate(RHYTHM):
            if due[number] <= time.monotonic():
                act()
                due[number] = time.monotonic() + seconds
        time.sleep(0.05)


def sell() -> None:
    """Customers come and buy, and each gets a mail: its task is one INSERT."""
    with _open("shop") as shop, _open("demo") as tasks:
        for name in random.sample(NAMES, random.randint(2, 5)):
            shop.execute(
                "INSERT OR REPLACE INTO users SELECT ?, ?, coalesce(max(version), 0) + 1"
                " FROM users",
                [NAMES.index(name), name],
            )
            order = shop.execute(
                "INSERT INTO orders SELECT NULL, ?, ?, ?, datetime('now'),"
                " coalesce(max(version), 0) + 1 FROM orders",
                [name, random.randint(100, 9_999), random.choice(("paid", "paid", "open"))],
            ).lastrowid
            mail = {
                "to": [f"{name.lower()}@example.com"],
                "subject": f"Your order {order}",
                "content": f"<h1>Thank you, {name}</h1><p>Order {order} is on its way.</p>",
                "type": "html",
            }
            tasks.execute(
                "INSERT INTO email_tasks (task_type, task_params, schedule_time, max_retries)"
                " VALUES ('email', ?, datetime('now'), 3)",
                [json.dumps(mail)],
            )


def sync() -> None:
    """Ask for a sync of both tables, by SQL."""
    params = {"source_db": "shop", "target_db": "warehouse", "sync_type": "incremental"}
    with _open("demo") as tasks:
        for table in ("users", "orders"):
            tasks.execute(
                "INSERT INTO data_sync_tasks (task_type, task_params, schedule_time, max_retries)"
                " VALUES ('data_sync', ?, datetime('now'), 2)",
                [json.dumps({**params, "table_name": table, "batch_size": 1000})],
            )


def move_mails() -> None:
    """Let another server send the mails, while everything runs."""
    with _open("demo") as tasks:
        tasks.execute(
            "UPDATE queue_configs SET server_id = ? WHERE queue_name = 'email_queue'", [next(PINS)]
        )


def report() -> None:
    """Ask for a report, by Python; never for a second one while one is waiting."""
    try:
        params = {"title": "The last hour", "hours": 1}
        yard.enqueue("report", params, queue="report_queue", unique_key="hourly", priority=5)
    except DuplicateTask:
        pass


def back_up() -> None:
    """Ask for a backup, by Python."""
    yard.enqueue("backup", {"database": "shop"}, queue="backup_queue")


def check_partner() -> None:
    """Have all pages of the partner's checked, with a mail at the end; one batch at a time."""
    pages = [f"page/{number}" for number in range(60)]
    try:
        yard.create_batch("check_urls", pages, name="all pages", notify=["ops@example.com"])
    except BatchRunning:
        pass


def trouble() -> None:
    """Put in all that goes wrong, with how often each may be tried again."""
    for task_type, max_retries in (("unsteady", 3), ("crash", 1), ("overrun", 0)):
        yard.enqueue(task_type, queue="trouble_queue", max_retries=max_retries)


RHYTHM: tuple[tuple[float, Callable[[], None]], ...] = (
    (1.0, sell),
    (20.0, trouble),
    (2.0, sync),
    (6.0, report),
    (5.0, back_up),
    (8.0, move_mails),
    (120.0, check_partner),
)


@contextmanager
def _open(database: str) -> Iterator[sqlite3.Connection]:
    """One transaction in a database of this folder."""
    with closing(sqlite3.connect(HERE / f"{database}.db", timeout=10)) as connection, connection:
        yield connection


if __name__ == "__main__":
    main()
