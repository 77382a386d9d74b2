"""The command line as a whole: quick help, global options anywhere, errors and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import taskyard
from taskyard.cli import faults, program
from taskyard.core.errors import (
    BadSetting,
    DatabaseUnreachable,
    DuplicateTask,
    HandlerUnknown,
    NotAllowed,
    TaskFailed,
    TaskyardError,
    WaitTimedOut,
)

HEAVY = {"pydantic", "sqlalchemy", "rich", "alembic", "psycopg", "pymysql", "taskyard.settings"}


@pytest.mark.parametrize(
    "words",
    [["--help"], ["version"], ["version", "--json"], *([c, "--help"] for c in program.COMMANDS)],
    ids=" ".join,
)
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from taskyard.cli.program import run\n"
        "try: run(sys.argv[1:])\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "print('LOADED', *sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    ).stdout
    loaded = out.rpartition("LOADED")[2].split()
    assert "typer" in loaded
    assert HEAVY & set(loaded) == set()


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        program.run(words)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert [name for name in program.COMMANDS if f"  {name} " not in shown] == []
    assert [option.name for option in program.GLOBALS if option.name not in shown] == []
    assert "130 interrupted" in shown


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("version") == 0
    assert run("--version") == 0
    assert capsys.readouterr().out == f"taskyard {taskyard.__version__}\n" * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vresion"], "No such command 'vresion'. Did you mean 'version'?"),
        (["task", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["task", "list", "--qeue", "x"], "--queue"),
        (["task", "list", "--db"], "Option '--db' requires an argument."),
        (["task", "show"], "Missing argument 'QUEUE/ID'."),
        (["task", "add", "x", "nope"], '"nope": write key=text, or key:=json'),
        (["task", "add", "x", "--delay", "soon"], '"soon" is not a duration'),
        (["run", "list", "--from", "soon"], '"soon" is not a time'),
        (["run", "show", "x"], "ID"),
        (["run", "list", "--limit", "501"], "less than or equal to 500"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_right(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


def test_global_options_may_stand_anywhere() -> None:
    given, rest = program.take_globals(
        ["task", "--db", "u", "list", "--debug", "--app=a:b", "--queue", "q"]
    )
    assert given == {"--db": "u", "--debug": "", "--app": "a:b"}
    assert rest == ["task", "list", "--queue", "q"]


def test_behind_two_dashes_everything_is_the_commands_own() -> None:
    given, rest = program.take_globals(["task", "add", "h", "--", "--db", "x"])
    assert (given, rest) == ({}, ["task", "add", "h", "--", "--db", "x"])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadSetting("lease", "bad"), 2),
        (HandlerUnknown("x"), 3),
        (NotAllowed("runs.retry", "monitor"), 4),
        (DuplicateTask("k", "q/1"), 5),
        (DatabaseUnreachable("postgresql://a:pw@h/d", "refused"), 6),
        (WaitTimedOut("q/1", 2), 7),
        (TaskFailed("q/1", "failed"), 1),
    ],
)
def test_an_error_of_ours_is_a_sentence_and_a_fix_with_its_exit_code(
    error: TaskyardError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faults.report(error) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"{error}\nfix: {error.fix}\n"


def test_a_cause_is_told_unless_the_sentence_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    error = BadSetting("lease", "bad")
    error.__cause__ = ValueError("not a number\nsecond line")
    faults.report(error)
    assert "\ncause: ValueError: not a number\n" in capsys.readouterr().err
    error.__cause__ = ValueError("bad")
    faults.report(error)
    assert "cause" not in capsys.readouterr().err


def test_a_failed_task_shows_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    faults.report(TaskFailed("q/1", "failed", "Traceback …\n  line\nValueError: no"))
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback …\n  line\nValueError: no\nTY322 Task q/1 failed")


def test_an_unexpected_error_is_one_line_and_a_stack_with_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert faults.report(RuntimeError("odd")) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("TY000 RuntimeError: odd\nfix: ")
    assert "Traceback" not in shown
    faults.report(RuntimeError("odd"), debug=True)
    assert "RuntimeError: odd" in capsys.readouterr().err


def test_ctrl_c_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*words: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "app", interrupted)
    assert run("task", "list") == 130


def test_python_m_taskyard_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskyard", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"taskyard {taskyard.__version__}\n"
