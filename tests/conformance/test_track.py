"""Tracked code: Runs without a Task, on each database."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import wait_for
from taskyard import Yard, servers
from taskyard.access.caller import LOCAL
from taskyard.core.errors import ParamsNotJson
from taskyard.db.listing import Query
from taskyard.runs import browse, logs, record
from taskyard.tasks import track as tracking

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def yard(lane: str) -> Iterator[Yard]:
    yard = Yard(lane, server_id="laptop")
    yield yard
    tracking.forget()
    yard.database.close()


once = pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
"""For what no database does differently."""


def runs(yard: Yard) -> list[dict[str, Any]]:
    query = Query(sort="started_at", large=("payload", "output", "error"))
    return browse.list_runs(yard.database, LOCAL, query).rows


def log(yard: Yard, run_id: int) -> str:
    return "".join(text for _, text in logs.read(yard.database, run_id))


def test_a_tracked_block_is_a_run(yard: Yard) -> None:
    with yard.track("send-pulses", details={"channel": 3, "token": "t0p"}) as run:
        logging.getLogger("mailer").warning("sent %d", 5)
        during = browse.show_run(yard.database, LOCAL, run.run_id or 0)
        run.result = {"sent": 5}

    assert (during["status"], during["origin"]) == ("running", "tracked")
    (row,) = runs(yard)
    assert (row["task_type"], row["status"], row["origin"]) == (
        "send-pulses",
        "completed",
        "tracked",
    )
    assert json.loads(row["payload"]) == {"channel": 3, "token": "***"}
    assert json.loads(row["output"]) == {"sent": 5}
    assert (row["server_id"], row["pid"]) == ("laptop", os.getpid())
    assert row["execution_time"] >= 0 and row["memory_usage"] > 1_000_000
    assert log(yard, row["id"]).endswith("WARNING mailer sent 5\n")


@once
def test_an_exception_is_recorded_and_goes_on(yard: Yard) -> None:
    with pytest.raises(ZeroDivisionError), yard.track("sum"):
        1 / 0  # noqa: B018

    (row,) = runs(yard)
    assert row["status"] == "failed"
    assert row["error"].endswith("ZeroDivisionError: division by zero")
    assert "tasks/track.py" not in row["error"]


@once
@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "cancelled"), (SystemExit, "completed"), (SystemExit(2), "failed")],
)
def test_how_a_program_is_ended_decides_the_status(yard: Yard, error: Any, status: str) -> None:
    with pytest.raises((KeyboardInterrupt, SystemExit)), yard.track("job"):
        raise error

    assert runs(yard)[0]["status"] == status


@once
def test_functions_and_coroutines_can_be_tracked(yard: Yard) -> None:
    @yard.tracked("plain")
    def plain(a: int) -> int:
        return a + 1

    @yard.tracked("later")
    async def later(a: int) -> int:
        await asyncio.sleep(0)
        return a + 2

    assert (plain(1), asyncio.run(later(1)), plain.__name__) == (2, 3, "plain")
    assert [(row["task_type"], row["output"]) for row in runs(yard)] == [
        ("plain", "2"),
        ("later", "3"),
    ]


@once
def test_blocks_at_the_same_time_have_logs_of_their_own(yard: Yard) -> None:
    async def one(name: str) -> None:
        with yard.track(name):
            for _ in range(3):
                await asyncio.sleep(0)
                logging.warning("from %s", name)

    async def both() -> None:
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(both())

    for row in runs(yard):
        lines = log(yard, row["id"]).splitlines()
        assert [line.split(" from ")[1] for line in lines] == [row["task_type"]] * 3


def test_a_tracked_process_that_dies_leaves_a_lost_run(yard: Yard) -> None:
    from taskyard.tasks.rescue import close_lost_tracked

    url = yard.settings.database_url
    code = (
        "import os; from taskyard import Yard\n"
        f"with Yard({url!r}, server_id='dead').track('doomed'): os._exit(1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60)
    (session,) = (s for s in servers.sessions(yard.database) if s.kind == "client")

    servers.certify_gone(yard.database, session.session)
    close_lost_tracked(yard.database)

    assert [(row["task_type"], row["status"]) for row in runs(yard)] == [("doomed", "lost")]


@once
def test_the_session_of_a_process_ends_with_the_process(yard: Yard) -> None:
    url = yard.settings.database_url
    code = f"from taskyard import Yard\nwith Yard({url!r}, server_id='x').track('fine'): pass"
    environment = {**os.environ, "PYTHONPATH": str(SRC)}

    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)

    assert [s for s in servers.sessions(yard.database) if s.kind == "client"] == []


def test_a_long_block_stays_alive_and_its_log_can_be_followed(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FLUSH_EVERY", 0.02)
    quick = Yard(yard.settings.database_url, server_id="laptop", lease=1.0)

    with quick.track("long") as run:
        run.log.warning("alive")
        (session,) = servers.sessions(yard.database)

        wait_for(lambda: "alive" in log(yard, run.run_id or 0), what="a live line")
        wait_for(
            lambda: servers.sessions(yard.database)[0].lease_until > session.lease_until,
            what="a beat",
        )


@once
def test_details_that_are_no_json_are_the_callers_mistake(yard: Yard) -> None:
    with pytest.raises(ParamsNotJson), yard.track("job", details=object()):
        pytest.fail("was entered")


def test_a_database_that_is_away_never_breaks_the_block(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    yard = Yard("postgresql://nobody@127.0.0.1:1/nowhere")

    with yard.track("job") as run:
        done = True

    assert done and run.run_id is None
    assert "could not be recorded" in caplog.text
    tracking.forget()


@once
def test_a_run_whose_start_could_not_be_written_is_written_at_its_end(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(tx: object, run: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(record, "open_tracked", away)
        block = yard.track("job")
        block.__enter__()
    block.__exit__(None, None, None)

    assert [(row["task_type"], row["status"]) for row in runs(yard)] == [("job", "completed")]


@once
def test_what_python_prints_without_handlers_is_printed_in_a_block_too(yard: Yard) -> None:
    url = yard.settings.database_url
    code = (
        "import logging; from taskyard import Yard\n"
        f"with Yard({url!r}).track('job'): logging.getLogger('x').warning('seen')\n"
        "logging.basicConfig(format='configured %(message)s'); logging.warning('later')"
    )
    environment = {**os.environ, "PYTHONPATH": str(SRC)}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, timeout=60, check=True
    )

    assert done.stderr.decode().splitlines() == ["seen", "configured later"]
