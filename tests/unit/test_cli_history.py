"""`taskyard run` and `task` over a history: what is found, told and written."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.past import Past
from harness.shell import Shell
from taskyard.db.database import Database


@pytest.fixture
def shell(
    lane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    monkeypatch.chdir(tmp_path)
    past = Past(lane)
    for n in range(1, 7):
        failed: dict[str, Any] = {"status": "failed", "error": f"Traceback\nValueError: boom {n}"}
        past.run(
            n,
            second=n,
            payload=json.dumps({"user": {"id": n}, "password": "pw-canary"}),
            **(failed if n % 2 else {}),
        )
    past.task(schedule_time="2099-01-01 00:00:00")
    past.db.close()
    shell = Shell(lane, capsys)
    yield shell
    shell.close()


def test_any_filter_of_the_list_is_one_of_the_command(shell: Shell) -> None:
    def ids(*words: str) -> list[int]:
        return [run["id"] for run in json.loads(shell.ok("run", "list", "--json", *words))]

    assert ids("--filter", "params.user.id=4") == [4]
    assert ids("--filter", "status=failed", "--filter", "to=2026-03-01T12:00:04+00:00") == [3, 1]
    assert ids("--filter", "min_duration=2s") == []
    assert ids("--sort", "started_at", "--limit", "2") == [1, 2]


def test_failures_that_are_alike_are_one_group(shell: Shell) -> None:
    [group] = json.loads(shell.ok("run", "errors", "--json"))
    assert (group["count"], group["task_type"], group["run_id"]) == (3, "mail", 5)
    assert "ValueError: boom 5" in shell.ok("run", "errors")
    assert json.loads(shell.ok("run", "errors", "--filter", "task_type=x", "--json")) == []


def test_an_export_is_the_list(shell: Shell) -> None:
    text = shell.ok("run", "export", "--filter", "status=failed", "--include", "error")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["id"]) for row in rows] == [5, 3, 1]
    assert all("boom" in row["error"] for row in rows)
    lines = shell.ok("run", "export", "--format", "jsonl", "--include", "payload").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [6, 5, 4, 3, 2, 1]
    assert "pw-canary" not in "".join(lines)


def test_secrets_are_shown_when_asked_for_and_that_is_audited(shell: Shell) -> None:
    assert "pw-canary" not in shell.ok("run", "show", "3")
    assert "pw-canary" in shell.ok("run", "show", "3", "--raw")
    assert [row["object"] for row in json.loads(shell.ok("audit", "list", "--json"))] == ["run/3"]


def test_a_task_of_2099_runs_now(shell: Shell, lane: str) -> None:
    [task] = json.loads(shell.ok("task", "list", "--json", "--filter", "status=scheduled"))
    assert shell.ok("task", "run-now", task["ref"]).split() == [task["ref"], "pending"]
    assert json.loads(shell.ok("task", "list", "--json", "--filter", "status=scheduled")) == []
    db = Database(lane)
    due = db.read(lambda tx: tx.value("SELECT schedule_time FROM default_tasks"))
    db.close()
    assert "2099" not in str(due)
