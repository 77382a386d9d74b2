"""Enqueue inside the caller's transaction: it stands or falls with it, and dies with it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from harness.servers import Fleet, environment
from harness.sql import Database, connect, insert_queue, is_adopted
from harness.storm import wait_completed
from harness.waiting import wait_until
from taskyard import Yard

pytestmark = pytest.mark.crash

Opened = tuple[Any, Callable[[], None], Callable[[], None]]


@pytest.fixture
def queue(fleet: Fleet, db: Database) -> Fleet:
    """A fleet with one server at work on the queue ``jobs``."""
    insert_queue(db, "jobs", "jobs", scan_interval=0.2)
    fleet.start("server-001")
    wait_until(lambda: is_adopted(db, "jobs"), 40, "the table is made", detail=fleet.logs)
    return fleet


def open_driver(url: str, engine: sqlalchemy.Engine) -> Opened:
    connection = connect(url, autocommit=False)
    return connection, connection.commit, connection.rollback


def open_connection(url: str, engine: sqlalchemy.Engine) -> Opened:
    connection = engine.connect()
    return connection, connection.commit, connection.rollback


def open_session(url: str, engine: sqlalchemy.Engine) -> Opened:
    session = Session(engine)
    return session, session.commit, session.rollback


@pytest.fixture
def engine(url: str) -> Iterator[sqlalchemy.Engine]:
    made = sqlalchemy.create_engine(driver_url(url))
    yield made
    made.dispose()


def driver_url(url: str) -> str:
    scheme, rest = url.split("://", 1)
    names = {
        "postgresql": "postgresql+psycopg",
        "mysql": "mysql+pymysql",
        "mariadb": "mysql+pymysql",
    }
    return f"{names.get(scheme, scheme)}://{rest}"


@pytest.mark.parametrize("opened", [open_driver, open_connection, open_session])
def test_a_task_enqueued_with_the_callers_connection_goes_with_its_rollback(
    queue: Fleet,
    url: str,
    db: Database,
    engine: sqlalchemy.Engine,
    opened: Callable[[str, sqlalchemy.Engine], Opened],
) -> None:
    yard = Yard(url)

    @yard.handler("work", queue="jobs")
    def work(seconds: float = 0.0) -> None: ...

    connection, commit, rollback = opened(url, engine)
    with closing(connection):
        work.options(connection=connection).enqueue(seconds=0)
        rollback()
        work.options(connection=connection).enqueue(seconds=0)
        commit()

    wait_completed(queue, db, "jobs", 1, within=20)
    assert len(queue.journal.attempts()) == 1


def test_a_task_enqueued_by_a_caller_that_was_killed_before_its_commit_never_was(
    queue: Fleet, url: str, db: Database, tmp_path: Path
) -> None:
    script = tmp_path / "caller.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n"
        "from harness.sql import connect\n"
        "from taskyard import Yard\n"
        f"yard = Yard({url!r})\n"
        f"connection = connect({url!r}, autocommit=False)\n"
        "yard.enqueue('work', {'seconds': 0}, queue='jobs', connection=connection)\n"
        "print('enqueued', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script)], cwd=queue.folder, env=environment(), stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdout is not None
        said = caller.stdout.readline()
        caller.send_signal(signal.SIGKILL)
    assert said == b"enqueued\n"

    Yard(url).enqueue("work", {"seconds": 0}, queue="jobs")
    wait_completed(queue, db, "jobs", 1, within=20)
    assert len(queue.journal.attempts()) == 1
