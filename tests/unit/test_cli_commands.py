"""The commands on each database, as a user types them; no server runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from conformance.past import Past
from harness.shell import Shell
from harness.sql import CREATE_TASKS, family_of
from taskyard import servers
from taskyard.cli import program
from taskyard.db.database import Tx

HANDLERS = '''
from taskyard import Cancel, Context, Retry, Yard

yard = Yard()
print("imported")


@yard.handler("shop.greet", max_retries=1, timeout=30)
def greet(ctx: Context, name: str, times: int = 1) -> dict:
    """Greet somebody.

    More words.
    """
    print("hello")
    ctx.log.info("greeting %s", name)
    ctx.progress(1, 2, "half")
    return {"text": f"Hello {name}! " * times}


@yard.handler("mail", queue="mail")
async def mail(to: list[str], subject: str = "it's") -> None:
    raise ValueError("no server")


@yard.handler("later")
def later() -> None:
    raise Retry(after=5)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working directory is one with handlers.py."""
    (tmp_path / "handlers.py").write_text(HANDLERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("handlers", None)
    yield
    sys.modules.pop("handlers", None)


@pytest.fixture
def bare(folder: None, empty_lane: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell in that folder, on an empty database."""
    shell = Shell(empty_lane, capsys)
    yield shell
    shell.close()


@pytest.fixture
def shell(folder: None, lane: str, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """The same with a schema."""
    shell = Shell(lane, capsys)
    yield shell
    shell.close()


@pytest.fixture
def past(shell: Shell) -> Iterator[Past]:
    """Rows for the shell's database."""
    past = Past(shell.url)
    yield past
    past.db.close()


def execute(past: Past, sql: str) -> None:
    """Run statements as a stranger does, by the bare cursor."""
    for statement in sql.split(";\n")[:-1]:
        past.db.run(partial(_execute, statement=statement))


def _execute(tx: Tx, statement: str) -> None:
    tx.cursor.execute(statement)


# --- the database --------------------------------------------------------------------------------


def test_the_schema_is_made_and_told(bare: Shell) -> None:
    assert bare("db", "status") == 6
    assert bare("db", "status", "--json") == 6
    assert json.loads(bare.out)["current"] is False
    bare.ok("db", "upgrade")
    assert "before: none" in bare.err
    bare.ok("db", "upgrade")
    assert "nothing to do" in bare.err
    assert bare.json("db", "status")["current"] is True


def test_a_command_on_an_old_schema_says_what_to_do(bare: Shell) -> None:
    if bare.url.startswith("sqlite"):
        assert bare.json("task", "list") == []  # a file upgrades itself
        return
    assert bare("task", "list") == 6
    assert bare.err.startswith("TY103 Database has no Taskyard schema")
    assert "fix: Run `taskyard db upgrade`" in bare.err


def test_the_schemas_sql_is_printed_without_touching_the_database(bare: Shell) -> None:
    assert "CREATE TABLE ty_runs" in bare.ok("db", "sql")
    assert bare("db", "status") == 6


# --- tasks ---------------------------------------------------------------------------------------


def test_a_task_is_added_listed_and_shown(shell: Shell) -> None:
    assert shell.ok("task", "add", "shop.greet", "name=Ada", "times:=2") == "default/1\n"
    (task,) = shell.json("task", "list")
    assert (task["ref"], task["status"], task["max_retries"]) == ("default/1", "pending", 1)
    shown = shell.json("task", "show", "default/1")
    assert json.loads(shown["task_params"]) == {"name": "Ada", "times": 2}
    assert shown["runs"] == []
    assert "task_type:     shop.greet" in shell.ok("task", "show", "default/1")


def test_a_task_goes_to_its_handlers_queue_with_the_options_given(shell: Shell) -> None:
    options = ["--priority", "7", "--max-retries", "0", "--timeout", "1m", "--tenant", "acme"]
    keys = ["--unique-key", "u", "--excl-key", "x", "--retry-interval", "5s", "--delay", "1h"]
    added = shell.ok("task", "add", "mail", 'to:=["a@b"]', *options, *keys)
    assert added == "mail/1\n"
    task = shell.json("task", "show", "mail/1")
    assert (task["priority"], task["max_retries"], task["timeout"]) == (7, 0, 60)
    assert (task["tenant_id"], task["unique_key"], task["excl_key"]) == ("acme", "u", "x")
    assert task["retry_interval"] == 5
    assert task["schedule_time"] > task["created_at"]


def test_a_time_without_an_offset_is_in_the_default_zone(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_DEFAULT_TIME_ZONE", "Asia/Shanghai")
    shell.ok("task", "add", "shop.greet", "name=x", "--at", "2031-01-01 08:00")
    shell.ok("task", "add", "shop.greet", "name=x", "--at", "2031-01-01T08:00+01:00")
    later, first = shell.json("task", "list")
    assert first["schedule_time"].startswith("2031-01-01T00:00:00")
    assert later["schedule_time"].startswith("2031-01-01T07:00:00")


def test_parameters_that_do_not_fit_are_refused_at_the_door(shell: Shell) -> None:
    assert shell("task", "add", "shop.greet", "name=Ada", "times=two") == 2
    assert shell.err.startswith(
        'imported\nTY203 shop.greet: "times" must be an integer, got "two".\nfix: '
    )
    assert shell("task", "add", "shop.greet") == 2
    assert '"name" is required' in shell.err
    assert shell.json("task", "list") == []


def test_an_unknown_handler_is_refused_with_the_nearest_name(shell: Shell) -> None:
    assert shell("task", "add", "shop.gret", "name=x") == 3
    assert 'TY201 No handler "shop.gret" is registered. Did you mean "shop.greet"?' in shell.err
    assert shell.json("task", "list") == []
    assert shell.ok("task", "add", "shop.gret", "name=x", "--force") == "default/1\n"


def test_a_handler_of_a_live_server_is_known_with_its_promises(shell: Shell, past: Past) -> None:
    spec = {"name": "report", "queue": "default", "max_retries": 9, "timeout": 5.0}
    spec |= {"excl_key": "r-{year}", "retry": {"kind": "fixed"}}
    servers.register(past.db, "s1", "server-1", lease=60, runners=1)
    servers.publish(past.db, "s1", [spec], [])
    shell.ok("task", "add", "report", "year:=2026")
    (task,) = shell.json("task", "list")
    assert (task["max_retries"], task["timeout"], task["excl_key"]) == (9, 5, "r-2026")
    servers.certify_gone(past.db, "s1")
    assert shell("task", "add", "report", "year:=2027") == 3


def test_a_broken_application_is_said_and_a_servers_word_counts(shell: Shell, past: Past) -> None:
    Path("handlers.py").write_text("import nowhere_to_be_found\n")
    assert shell("task", "add", "mail") == 3
    assert "TY202 handlers.py could not be imported: ModuleNotFoundError" in shell.err
    servers.register(past.db, "s1", "server-1", lease=60, runners=1)
    servers.publish(past.db, "s1", [{"name": "mail", "retry": {"kind": "fixed"}}], [])
    assert shell.ok("task", "add", "mail") == "default/1\n"
    assert "TY202" in shell.err


def test_an_unknown_queue_is_an_error_with_its_exit_code(shell: Shell) -> None:
    assert shell("task", "add", "shop.greet", "name=x", "--queue", "nope") == 3
    assert 'TY310 No queue "nope".' in shell.err
    assert shell("task", "list", "--queue", "nope") == 3
    assert shell("task", "show", "nope/1") == 3
    assert shell("task", "show", "default") == 3


def test_a_second_live_task_of_a_unique_key_is_a_conflict(shell: Shell) -> None:
    shell.ok("task", "add", "shop.greet", "name=x", "--unique-key", "k")
    assert shell("task", "add", "shop.greet", "name=y", "--unique-key", "k") == 5
    assert 'TY315 Task default/1 already has unique_key "k"' in shell.err


def test_waiting_has_an_end(shell: Shell) -> None:
    assert shell("task", "add", "shop.greet", "name=x", "--wait-timeout", "0.1s") == 7
    assert "TY321 Task default/1 has not ended after 0.1 s." in shell.err
    assert shell.out == ""


def test_why_a_task_waits_is_explained(shell: Shell) -> None:
    shell.ok("task", "add", "shop.greet", "name=x")
    assert "✗ server        TY303 No server is alive." in shell.ok("task", "explain", "default/1")
    reasons = {row["check"]: row["holds"] for row in shell.json("task", "explain", "default/1")}
    assert reasons == {"due": False, "queue": False, "server": True, "line": False}
    assert shell("task", "explain", "default/9") == 3


def test_tasks_are_cancelled_and_retried(shell: Shell) -> None:
    for name in "ab":
        shell.ok("task", "add", "shop.greet", f"name={name}")
    out = shell.ok("task", "cancel", "default/1", "default/2", "--reason", "not today")
    assert out == "default/1\tcancelled\ndefault/2\tcancelled\n"
    assert shell.json("task", "show", "default/1")["error_msg"] == "not today"
    assert shell("task", "cancel", "default/1") == 5
    assert "TY316 Cannot cancel task default/1: it is cancelled." in shell.err
    assert shell.ok("task", "retry", "default/1") == "default/1\tpending\n"
    assert [t["status"] for t in shell.json("task", "list")] == ["cancelled", "pending"]
    assert [t["ref"] for t in shell.json("task", "list", "--status", "pending")] == ["default/1"]


def test_pages_are_followed_with_the_cursor_that_is_told(shell: Shell) -> None:
    for n in range(3):
        shell.ok("task", "add", "shop.greet", f"name={n}")
    assert [t["id"] for t in shell.json("task", "list", "-n", "2")] == [3, 2]
    cursor = shell.err.split("--after ")[1].strip()
    assert [t["id"] for t in shell.json("task", "list", "-n", "2", "--after", cursor)] == [1]
    assert shell("task", "list", "--after", "x") == 2


# --- runs ----------------------------------------------------------------------------------------


def test_runs_are_listed_as_lines_and_as_json(shell: Shell, past: Past) -> None:
    past.run(7, second=1, status="failed", error="Traceback …\nValueError: no", execution_time=2)
    past.run(8, second=2, memory_usage=2048)
    lines = shell.ok("run", "list").splitlines()
    assert lines[0].startswith("id\ttask_type\tstatus\t")
    assert [line.split("\t")[0] for line in lines[1:]] == ["8", "7"]
    runs = shell.json("run", "list", "--status", "failed,timeout")
    assert [run["id"] for run in runs] == [7]
    assert runs[0]["task"] == "default/1"
    assert runs[0]["started_at"] == "2026-03-01T12:00:01.250000+00:00"
    filters = ["--type", "mail", "--queue", "default", "--min-duration", "2s", "--q", "valueerror"]
    assert [run["id"] for run in shell.json("run", "list", *filters)] == [7]
    assert [run["id"] for run in shell.json("run", "list", "--oldest")] == [7, 8]
    assert shell.json("run", "list", "--since", "1h") == []
    assert [r["id"] for r in shell.json("run", "list", "--to", "2026-03-01T12:00:02Z")] == [7]
    assert shell("run", "list", "--status", "filed") == 2
    assert 'Did you mean "failed"?' in shell.err


def test_a_run_is_shown_in_full(shell: Shell, past: Past) -> None:
    past.run(7, status="failed", error="Traceback …\nValueError: no", memory_usage=2048)
    assert shell.json("run", "show", "7")["error"] == "Traceback …\nValueError: no"
    shown = shell.ok("run", "show", "7")
    assert "memory_usage:   2.0 KiB" in shown
    assert "error:\n  Traceback …\n  ValueError: no\n" in shown
    assert shell("run", "show", "404") == 3
    assert shell.err.startswith("TY313 No run 404.")


def test_a_runs_log_is_printed_whole(shell: Shell, past: Past) -> None:
    past.run(7)
    past.log(7, "one\ntwo\n", "three")
    assert shell.ok("run", "log", "7") == "one\ntwo\nthree\n"
    assert shell.ok("run", "log", "7", "-f") == "one\ntwo\nthree\n"
    assert shell("run", "log", "404") == 3


def test_watching_tells_the_status_at_the_end(shell: Shell, past: Past) -> None:
    past.run(7, status="failed", error="ValueError: no")
    past.run(8)
    assert shell("run", "watch", "7") == 0
    assert (shell.out, shell.err) == ("failed\n", "ValueError: no\n")
    assert shell("run", "watch", "7", "--exit-status") == 1
    assert shell("run", "watch", "8", "--exit-status") == 0


# --- queues --------------------------------------------------------------------------------------


def test_a_queue_is_created_changed_and_deleted(shell: Shell) -> None:
    limits = ["--max-workers", "10", "--scan-interval", "2", "--server-id", "server-001"]
    shell.ok("queue", "create", "email_queue", "--table", "email_tasks", *limits)
    (queue,) = shell.json("queue", "list")
    assert (queue["queue_name"], queue["table_name"]) == ("email_queue", "email_tasks")
    assert (queue["max_workers"], queue["scan_interval"]) == (10, 2)
    assert (queue["state"], queue["server_id"], queue["waiting"]) == ("enabled", "server-001", 0)
    changes = ["--max-workers", "20", "--server-id", "", "--rate-limit", "5", "--timeout", "1m"]
    shell.ok("queue", "set", "email_queue", *changes)
    queue = shell.json("queue", "show", "email_queue")
    assert (queue["max_workers"], queue["server_id"]) == (20, "")
    assert (queue["rate_limit"], queue["timeout"]) == (5, 60)
    shell.ok("queue", "set", "email_queue", "--rate-limit", "none", "--timeout", "none")
    queue = shell.json("queue", "show", "email_queue")
    assert (queue["rate_limit"], queue["timeout"]) == (None, None)
    shell.ok("queue", "pause", "email_queue")
    assert shell.json("queue", "show", "email_queue")["state"] == "paused"
    shell.ok("queue", "resume", "email_queue")
    shell.ok("queue", "delete", "email_queue")
    assert shell.json("queue", "list") == []


def test_wrong_settings_of_a_queue_name_the_field(shell: Shell) -> None:
    assert shell("queue", "create", "q", "--max-workers", "-1") == 2
    assert "max_workers" in shell.err
    assert shell("queue", "create", "q", "--table", "users; --") == 2
    assert shell.err.startswith("TY307")
    assert shell("queue", "set", "nope", "--max-workers", "1") == 3
    assert shell("queue", "set", "nope") == 2
    assert shell("queue", "pause", "nope") == 3


def test_a_backlog_is_shown_and_a_bad_row_is_quarantined(shell: Shell, past: Past) -> None:
    shell.ok("task", "add", "shop.greet", "name=x")
    past.insert("queue_configs", {"queue_name": "bad", "table_name": "x; DROP TABLE y"})
    bad, default = shell.json("queue", "list")
    assert (default["waiting"], default["running"]) == (1, 0)
    assert (bad["state"], bad["waiting"]) == ("quarantined", None)
    assert "x; DROP TABLE y" in bad["problem"]


def test_the_sql_of_a_queue_is_an_insert_that_works(shell: Shell, past: Past) -> None:
    shell.ok("queue", "create", "mail")
    sql = shell.ok("queue", "sql", "mail")
    execute(past, sql)
    second, first = shell.json("task", "list", "--queue", "mail")
    assert first["task_type"] == second["task_type"] == "mail"
    assert (second["priority"], second["max_retries"]) == (10, 1)
    assert second["schedule_time"] > second["created_at"]
    shown = shell.json("task", "show", first["ref"])
    assert json.loads(shown["task_params"]) == {"to": []}


def test_an_adopted_table_gets_what_its_insert_needs(shell: Shell, past: Past) -> None:
    execute(past, CREATE_TASKS[family_of(shell.url)].format(table="old") + ";\n")
    shell.ok("queue", "create", "old", "--table", "old")
    shell.ok("queue", "adopt", "old")
    execute(past, shell.ok("queue", "sql", "old"))
    assert len(shell.json("task", "list", "--queue", "old")) == 2


# --- servers and handlers ------------------------------------------------------------------------


def test_servers_are_listed_and_drained(shell: Shell, past: Past) -> None:
    assert shell.json("server", "list") == []
    servers.register(past.db, "s1", "server-1", lease=60, runners=3)
    servers.publish(past.db, "s1", [], [{"code": "TY202", "text": "handlers.py is broken"}])
    (server,) = shell.json("server", "list")
    assert (server["server_id"], server["state"], server["runners"]) == ("server-1", "live", 3)
    assert server["problems"] == "handlers.py is broken"
    shell.ok("server", "drain", "server-1")
    assert shell.json("server", "list")[0]["state"] == "draining"
    assert shell("server", "drain", "server-2") == 3
    assert 'Did you mean "server-1"?' in shell.err
    servers.certify_gone(past.db, "s1")
    assert shell.json("server", "list") == []
    assert shell.json("server", "list", "--all")[0]["state"] == "dead"


def test_handlers_are_listed_and_shown(shell: Shell) -> None:
    handlers = {row["name"]: row for row in shell.json("handler", "list")}
    assert set(handlers) == {"later", "mail", "shop.greet"}
    assert handlers["shop.greet"]["doc"] == "Greet somebody."
    assert handlers["mail"]["queue"] == "mail"
    shown = shell.json("handler", "show", "shop.greet")
    assert shown["parameters"]["required"] == ["name"]
    assert "times\tinteger\t\t1" in shell.ok("handler", "show", "shop.greet")
    assert shell("handler", "show", "shop") == 3


def test_a_handler_is_tried_without_a_queue(bare: Shell) -> None:
    bare.url = "sqlite:///never.db"
    assert json.loads(bare.ok("handler", "test", "shop.greet", "name=Ada", "times:=2")) == {
        "text": "Hello Ada! Hello Ada! "
    }
    assert "progress: 50 % (1 of 2), half" in bare.err
    assert "hello" in bare.err
    assert bare("handler", "test", "mail", 'to:=["x"]') == 1
    assert "ValueError: no server" in bare.err
    assert "mail: failed" in bare.err
    assert bare("handler", "test", "later") == 1
    assert "later: retry" in bare.err
    assert bare("handler", "test", "mail") == 2
    assert bare("handler", "test", "nope") == 3
    assert not Path("never.db").exists()


# --- set up --------------------------------------------------------------------------------------


def test_prune_counts_first_and_then_removes(shell: Shell, past: Past) -> None:
    for n in range(1, 6):
        past.run(n, second=n)
    would = shell.json("prune", "--dry-run", "--runs-max-rows", "2")
    assert (would["runs"], would["dry_run"]) == (3, True)
    assert len(shell.json("run", "list")) == 5
    assert "runs removed:" in shell.ok("prune", "--runs-max-rows", "2")
    assert [run["id"] for run in shell.json("run", "list")] == [5, 4]
    shell.ok("prune", "--runs-max-age", "1d")
    assert shell.json("run", "list") == []


def test_doctor_is_content_with_a_healthy_fleet(shell: Shell, past: Past) -> None:
    shell.ok("task", "add", "shop.greet", "name=x")
    servers.register(past.db, "s1", "server-1", lease=60, runners=1)
    servers.publish(past.db, "s1", [{"name": "shop.greet", "retry": {"kind": "fixed"}}], [])
    levels = {row["check"]: row["level"] for row in shell.json("doctor")}
    assert set(levels.values()) == {"ok"}
    assert {"config", "disk", "database", "version", "clock", "schema", "tables"} <= set(levels)
    assert {"queues", "servers", "handlers"} <= set(levels)


def test_doctor_finds_what_is_wrong_and_says_how_to_mend_it(shell: Shell, past: Past) -> None:
    past.queue("pinned", "pinned_tasks")
    past.queue("gone", "gone_tasks")
    shell.ok("queue", "set", "pinned", "--server-id", "server-9")
    shell.ok("queue", "pause", "default")
    past.insert("queue_configs", {"queue_name": "bad", "table_name": "ty_runs"})
    past.task(task_type="nobody knows")
    past.db.run(lambda tx: tx.execute("DROP TABLE gone_tasks"))
    assert shell("doctor") == 1
    assert "TY302 Queue pinned is pinned to server-9, which is not alive." in shell.out
    assert "TY301 Queue default is paused." in shell.out
    assert "Queue bad is quarantined: TY307 Table ty_runs" in shell.out
    assert "Table gone_tasks of queue gone was dropped." in shell.out
    assert "No server is alive; 1 tasks wait." in shell.out
    servers.register(past.db, "s1", "server-9", lease=60, runners=1)
    servers.publish(past.db, "s1", [], [{"code": "TY202", "text": "handlers.py is broken"}])
    assert shell("doctor", "--json") == 1
    texts = [row["text"] for row in json.loads(shell.out) if row["level"] == "fault"]
    assert "Server server-9: handlers.py is broken" in texts
    assert any(text.startswith('TY201 No handler "nobody knows"') for text in texts)
    assert not any("pinned to" in text for text in texts)


def test_doctor_stops_at_the_first_thing_that_hides_the_rest(bare: Shell) -> None:
    Path("handlers.py").unlink()
    if not bare.url.startswith("sqlite"):
        assert bare("doctor", "--json") == 1
        assert json.loads(bare.out)[-1]["check"] == "schema"
    bare.url = "postgresql://nobody:hidden@127.0.0.1:1/x"
    assert bare("doctor") == 1
    assert "TY102 Cannot reach" in bare.out
    assert "hidden" not in bare.out + bare.err


def test_an_unreachable_database_exits_6_and_keeps_the_password(bare: Shell) -> None:
    for scheme in ("postgresql", "mysql"):
        bare.url = f"{scheme}://nobody:hidden@127.0.0.1:1/x"
        for words in (["task", "list"], ["task", "add", "later"], ["db", "upgrade"], ["prune"]):
            assert bare(*words) == 6
            assert "TY102 Cannot reach" in bare.err
            assert "hidden" not in bare.err


def test_the_settings_are_shown_with_their_source(bare: Shell) -> None:
    rows = {row["name"]: row for row in bare.json("config", "show")}
    assert rows["database_url"]["source"] == "argument"
    assert rows["lease"] == {"name": "lease", "value": 30.0, "source": "default"}


def test_init_writes_files_that_work_and_keeps_those_that_are_there(
    bare: Shell, tmp_path: Path
) -> None:
    bare.ok("init", "new")
    assert {p.name for p in Path("new").rglob("*") if p.is_file()} == {
        "taskyard.toml",
        "handlers.py",
        "test_handlers.py",
    }
    assert "taskyard task add shop.greet name=Ada --wait" in bare.err
    Path("new/handlers.py").write_text("# mine\n")
    bare.ok("init", "new")
    assert Path("new/handlers.py").read_text() == "# mine\n"


def test_without_any_configuration_that_is_what_is_said(
    bare: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    for words in (["task", "list"], ["worker"], ["db", "upgrade"], ["doctor"]):
        with pytest.raises(SystemExit) as end:
            program.run(words)
        assert end.value.code == (1 if words == ["doctor"] else 2)
        shown = capsys.readouterr()
        assert "TY101 No taskyard.toml here or above." in shown.out + shown.err
    assert list(Path().iterdir()) == []
