"""The commands over schedules on each database, as a user types them; no server runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.shell import Shell


@pytest.fixture
def shell(
    lane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    """A shell in an empty folder, on a database with a schema."""
    monkeypatch.chdir(tmp_path)
    shell = Shell(lane, capsys)
    shell.ok("db", "upgrade")
    yield shell
    shell.close()


EXAMPLES = (
    ("数据备份", "DataBackupHandler", "0 2 * * *", "Every day at 02:00"),
    ("周报生成", "WeeklyReportHandler", "0 9 * * 1", "Every Monday at 09:00"),
    ("系统健康检查", "HealthCheckHandler", "0 * * * *", "Every hour on the hour"),
)
"""Requirement 4's."""


@pytest.mark.parametrize(("name", "handler", "cron", "words"), EXAMPLES)
def test_the_examples_of_requirement_4(
    shell: Shell, name: str, handler: str, cron: str, words: str
) -> None:
    limits = ("--retry-count", "3", "--retry-interval", "300", "--monitor-timeout", "1800")
    made = shell.json("schedule", "add", name, handler, "--cron", cron, *limits)
    assert made["words"] == words
    assert (made["retry_count"], made["retry_interval"], made["monitor_timeout"]) == (3, 300, 1800)
    assert [row["name"] for row in shell.json("schedule", "list")] == [name]
    assert name in shell.ok("schedule", "show", name)


def test_every_field_has_its_option(shell: Shell) -> None:
    options = {
        "cron": "0 0 12 ? * MON",
        "dialect": "quartz",
        "time-zone": "Asia/Shanghai",
        "retry-count": "0",
        "retry-interval": "5m",
        "monitor-timeout": "30m",
        "timeout": "1h",
        "misfire": "all",
        "misfire-window": "1d",
        "overlap": "queue",
        "jitter": "10s",
        "start-at": "2030-01-01 00:00",
        "end-at": "2031-01-01T00:00:00+00:00",
        "tenant": "acme",
    }
    words = [part for name, text in options.items() for part in (f"--{name}", text)]
    made = shell.json("schedule", "add", "all", "report", "n:=3", "--param", "to=Ada", *words)
    assert made["task_params"] == {"n": 3, "to": "Ada"}
    assert made["start_at"] == "2029-12-31T16:00:00+00:00"
    wanted = {
        "dialect": "quartz",
        "time_zone": "Asia/Shanghai",
        "retry_count": 0,
        "retry_interval": 300,
        "monitor_timeout": 1800,
        "timeout": 3600,
        "misfire": "all",
        "misfire_window": 86400,
        "overlap": "queue",
        "jitter": 10,
        "end_at": "2031-01-01T00:00:00+00:00",
        "tenant_id": "acme",
        "next_fire_at": "2030-01-07T04:00:00+00:00",
    }
    assert {name: made[name] for name in wanted} == wanted


def test_a_schedule_is_changed_and_none_takes_a_field_away(shell: Shell, tmp_path: Path) -> None:
    shell.ok("schedule", "add", "one", "report", "a=1", "--interval", "90s", "--timeout", "5m")
    params = tmp_path / "params.json"
    params.write_text('{"b": [1]}')
    words = ("--timeout", "none", "--cron", "@daily", "--name", "two", "--task-type", "mail")
    made = shell.json("schedule", "set", "one", "c=2", "--params-file", str(params), *words)
    assert (made["timeout"], made["interval"], made["cron_expression"]) == (None, None, "@daily")
    assert (made["name"], made["task_type"]) == ("two", "mail")
    assert made["task_params"] == {"b": [1], "c": "2"}
    assert shell("schedule", "set", "two") == 2
    assert "at least one" in shell.err
    assert shell("schedule", "set", "two", "--retry-count", "many") == 2
    assert "--retry-count" in shell.err


def test_schedules_are_started_and_stopped_several_at_once(shell: Shell) -> None:
    shell.ok("schedule", "add", "one", "report", "--interval", "90s", "--stopped")
    shell.ok("schedule", "add", "two", "report", "--interval", "90s")
    assert shell.ok("schedule", "start", "one", "two") == "one\tstarted\ntwo\tstarted\n"
    assert shell.ok("schedule", "stop", "two") == "two\tstopped\n"
    assert [row["name"] for row in shell.json("schedule", "list", "--started")] == ["one"]
    assert [row["name"] for row in shell.json("schedule", "list", "--stopped")] == ["two"]


def test_a_stopped_one_is_triggered_with_other_parameters(shell: Shell) -> None:
    shell.ok("schedule", "add", "one", "report", "a=1", "--interval", "90s", "--stopped")
    first = shell.ok("schedule", "trigger", "one").strip()
    again = shell.json("schedule", "trigger", "one", "a:=2")["ref"]
    shown = [shell.json("task", "show", ref)["task_params"] for ref in (first, again)]
    assert [json.loads(text) for text in shown] == [{"a": "1"}, {"a": 2}]


def test_next_fires_are_told_in_the_schedules_zone(shell: Shell) -> None:
    words = ("--cron", "0 2 * * *", "--time-zone", "Asia/Shanghai")
    shell.ok("schedule", "add", "one", "report", *words)
    fires = shell.json("schedule", "next", "one", "--count", "3")
    assert [fire["fire_time"][10:] for fire in fires] == ["T02:00:00+08:00"] * 3
    lines = shell.ok("schedule", "next", "one", "--count", "3").splitlines()
    assert lines == ["fire_time", *(fire["fire_time"] for fire in fires)]


def test_a_preview_goes_through_both_changes_of_clocks(shell: Shell) -> None:
    words = ("--time-zone", "America/New_York", "--count", "3", "--after")
    spring = shell.json("schedule", "preview", "30 2 * * *", *words, "2026-03-07")
    assert "Every day at 02:30 (America/New_York)" in shell.err
    assert [fire["fire_time"] for fire in spring] == [
        "2026-03-07T02:30:00-05:00",
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]
    autumn = shell.json("schedule", "preview", "30 1 * * *", *words, "2026-10-31T12:00")
    assert [fire["fire_time"] for fire in autumn] == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
        "2026-11-03T01:30:00-05:00",
    ]
    assert shell.ok("schedule", "preview", "0 0 12 1 1 ? 2020", "--dialect", "quartz") == ""
    assert "fires no more" in shell.err


def test_a_deleted_one_is_unknown(shell: Shell) -> None:
    shell.ok("schedule", "add", "one", "report", "--interval", "90s")
    shell.ok("schedule", "delete", "one")
    assert shell("schedule", "show", "one") == 3
    assert "`taskyard schedule list` lists them." in shell.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--cron", "61 * * * *"), 2, "minute: 61 is outside 0–59"),
        (("--cron", "0 2 * * *", "--interval", "5s"), 2, "cron_expression: an interval is there"),
        (("--cron", "0 2 * * *", "--time-zone", "Asia/Shangai"), 2, "Asia/Shanghai"),
        (("--cron", "0 2 * * *", "--overlap", "both"), 2, "allow, skip, queue, replace"),
        (("--cron", "0 2 * * *", "--queue", "nowhere"), 3, "nowhere"),
        (("--cron", "0 2 * * *", "no-word"), 2, "key=text"),
    ],
)
def test_what_cannot_be_names_its_field(
    shell: Shell, words: tuple[str, ...], code: int, told: str
) -> None:
    assert shell("schedule", "add", "one", "report", *words) == code
    assert told in shell.err
    assert json.loads(shell.ok("schedule", "list", "--json")) == []


def test_a_second_one_of_a_name_is_a_conflict(shell: Shell) -> None:
    shell.ok("schedule", "add", "one", "report", "--interval", "90s")
    assert shell("schedule", "add", "one", "report", "--interval", "90s") == 5
