"""The commands of batches on each database, as a user types them; workers are told when to work."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conformance.batched import Batched
from conformance.spine import Spine
from harness.shell import Shell

HANDLERS = """
from taskyard import Yard

yard = Yard()


@yard.batch("check", concurrency=2)
def check(item: int, factor: int = 1) -> int:
    return item * factor
"""


@pytest.fixture
def shell(
    tmp_path: Path, lane: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    """A shell in a folder with that application."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("handlers", None)
    shell = Shell(lane, capsys)
    yield shell
    shell.close()
    sys.modules.pop("handlers", None)


@pytest.fixture
def batched(shell: Shell) -> Iterator[Batched]:
    """Its workers."""
    spine = Spine(shell.url)
    with closing(spine.db):
        yield Batched(spine)


def fail_odd(item: int) -> None:
    if item % 2:
        raise ValueError(f"{item} is odd")


def create(shell: Shell, ids: str = "1,2,3,4", *options: str) -> str:
    return shell.ok("batch", "create", "check", "--ids", ids, *options).strip()


def statuses(shell: Shell, batch: str, *options: str) -> dict[str, str]:
    found = shell.json("batch", "items", batch, *options)
    return {item["item_id"]: item["status"] for item in found}


def test_a_batch_is_created_listed_and_shown(shell: Shell, batched: Batched) -> None:
    options = ("--name", "March", "--concurrency", "3", "--max-retries", "0", "--pause", "0.01")
    made = shell.json("batch", "create", "check", "--ids", "1,2,3", *options, "factor:=2")
    assert (made["name"], made["concurrency"], made["pause"]) == ("March", 3, 0.01)
    assert (made["params"], made["total_count"]) == ({"factor": 2}, 3)
    [listed] = shell.json("batch", "list", "--status", "running", "--type", "check", "--q", "arc")
    assert listed["id"] == made["id"]
    assert shell.json("batch", "list", "--status", "completed") == []
    assert "March" in shell.ok("batch", "list")
    assert "total_count:" in shell.ok("batch", "show", str(made["id"]))
    batched.act = fail_odd
    batched.work()
    assert shell("batch", "watch", str(made["id"])) == 1  # items have failed
    assert "3/3  2 failed" in shell.err
    assert statuses(shell, str(made["id"]), "--status", "failed", "--q", "3 is") == {"3": "failed"}
    runs = shell.json("run", "list", "--batch", str(made["id"]))
    assert runs and {run["batch_id"] for run in runs} == {made["id"]}
    assert shell.json("run", "list", "--batch", "99") == []


def test_another_of_the_type_is_refused_with_the_name_of_the_one_there_is(
    shell: Shell, batched: Batched
) -> None:
    batch = create(shell, "1,2", "--tenant", "acme", "--name", "the first")
    again = ("batch", "create", "check", "--ids", "9", "--tenant", "acme")
    assert shell(*again) == 5
    assert "TY402" in shell.err
    assert f'"the first" (#{batch})' in shell.err
    assert f"taskyard batch watch {batch}" in shell.err
    create(shell, "9", "--tenant", "globex")
    shell.ok("batch", "cancel", batch)
    assert shell(*again) == 0
    shell.ok("batch", "delete", shell.out.strip(), "--yes")
    assert shell(*again) == 0


def test_items_come_from_files_and_queries_and_go_into_files(
    shell: Shell, batched: Batched, tmp_path: Path
) -> None:
    (tmp_path / "items.jsonl").write_text('1\n{"item_id": "two", "data": 2}\n')
    (tmp_path / "items.csv").write_text("item_id\n3\n4\n")
    assert shell("batch", "create", "check") == 2
    lines = shell.ok("batch", "create", "check", "--items", "items.jsonl").strip()
    batched.act = fail_odd
    batched.work()
    assert statuses(shell, lines) == {"1": "failed", "two": "completed"}
    printed = [json.loads(line) for line in shell.ok("batch", "export", lines).splitlines()]
    assert [item["data"] for item in printed] == [1, 2]
    shell.ok("batch", "export", lines, "--status", "failed", "--to", "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["item_id"], row["status"]) == ("1", "failed")
    query = "SELECT 7 AS item_id UNION ALL SELECT 8"
    rows = shell.ok("batch", "create", "check", "--query", query).strip()
    batched.work()
    assert statuses(shell, rows) == {"7": "failed", "8": "completed"}
    assert shell("batch", "create", "check", "--query", "SELECT nothing FROM nowhere") == 2
    assert "--query-db" in shell.err


def test_it_is_steered(shell: Shell, batched: Batched) -> None:
    batch = create(shell, "1,2,3,4,5,6", "--later", "--max-retries", "0")
    assert shell("batch", "pause", batch) == 5
    assert shell.ok("batch", "start", batch) == f"{batch}\trunning\n"
    assert shell.ok("batch", "pause", batch) == f"{batch}\tpaused\n"
    batched.work()
    assert set(statuses(shell, batch).values()) == {"pending"}
    shell.ok("batch", "skip", batch, "6")
    assert shell.ok("batch", "resume", batch) == f"{batch}\trunning\n"
    batched.act = fail_odd
    batched.work()
    assert statuses(shell, batch, "--status", "failed,skipped").keys() == {"1", "3", "5", "6"}
    batched.act = lambda item: None
    shell.ok("batch", "retry", batch, "1", "6")
    batched.work()
    assert statuses(shell, batch, "--status", "failed").keys() == {"3", "5"}
    shell.ok("batch", "retry-failed", batch)
    batched.work()
    assert shell.json("batch", "show", batch)["success_count"] == 6
    assert shell("batch", "retry", batch, "99") == 3
    assert shell("batch", "show", "99") == 3


def test_what_is_cancelled_skips_what_waits(shell: Shell, batched: Batched) -> None:
    batch = create(shell)
    assert shell.ok("batch", "cancel", batch) == f"{batch}\tcancelled\n"
    assert set(statuses(shell, batch).values()) == {"skipped"}
    assert shell("batch", "watch", batch) == 1


def test_items_go_on_behind_their_cursor(shell: Shell, batched: Batched) -> None:
    batch = create(shell, "1,2,3,4,5")
    shell.ok("batch", "items", batch, "--limit", "3", "--json")
    after = shell.err.strip().rpartition(" ")[2]
    assert statuses(shell, batch, "--limit", "3", "--after", after).keys() == {"4", "5"}


def test_a_template_is_saved_changed_used_and_deleted(shell: Shell, batched: Batched) -> None:
    words: tuple[str, ...] = ("name=check {{who}}", "concurrency:=3")
    words += ('params:={"factor": "{{factor}}"}', "--var", "who=all", "--var", "factor")
    saved = shell.ok("batch-template", "add", "nightly", "check", *words).strip()
    assert shell("batch-template", "add", "nightly", "check") == 5
    assert shell("batch", "create", "--template", "nightly", "--ids", "1") == 2
    assert '"factor" is missing' in shell.err
    changes = ("--name", "weekly", "concurrency:=4", "--var", "who=some")
    assert shell.ok("batch-template", "set", "nightly", *changes) == f"{saved}\n"
    found: dict[str, Any] = shell.json("batch-template", "show", saved)
    assert found["name"] == "weekly"
    assert found["fields"] == {
        "name": "check {{who}}",
        "concurrency": 4,
        "params": {"factor": "{{factor}}"},
    }
    assert found["variables"] == {"who": "some", "factor": None}
    made = shell.json(
        *("batch", "create", "--template", "weekly", "--ids", "1", "--var", "factor:=3")
    )
    assert (made["name"], made["params"]) == ("check some", {"factor": 3})
    shell.ok("batch-template", "delete", "weekly")
    assert shell.json("batch-template", "list") == []
    assert shell("batch-template", "show", "weekly") == 3
