"""The runner: a real process over a socketpair, with handlers that behave and others."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.runner_process import RunnerProcess

Start = Callable[..., RunnerProcess]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Start]:
    """Start a runner with these handlers; it is killed at the end of the test."""
    started: list[RunnerProcess] = []

    def start(handlers: str, isolation: str = "shared", *options: str) -> RunnerProcess:
        started.append(RunnerProcess(tmp_path, handlers, isolation, *options))
        return started[-1]

    yield start
    for process in started:
        process.close()


both = pytest.mark.parametrize("isolation", ["shared", "process"])


# --- Hello ---------------------------------------------------------------------------------------


def test_a_runner_says_which_handlers_it_has(runner: Start) -> None:
    process = runner('@yard.handler("a", timeout="5m")\ndef a(n: int) -> None: "Does a."')

    assert process.hello["pid"] == process.process.pid
    assert process.hello["problems"] == []
    (spec,) = process.own_handlers
    assert (spec["name"], spec["timeout"], spec["doc"]) == ("a", 300.0, "Does a.")
    assert spec["parameters"]["properties"]["n"]["type"] == "integer"


def test_every_runner_has_the_built_in_handlers(runner: Start) -> None:
    names = [spec["name"] for spec in runner("").hello["handlers"]]

    assert sorted(names) == ["taskyard.notify", "taskyard.prune"]


def test_an_application_that_cannot_be_imported_is_told_with_cause_and_line(runner: Start) -> None:
    process = runner("\nimport nowhere_to_be_found")

    (problem,) = process.hello["problems"]
    assert problem["code"] == "TY202"
    assert "ModuleNotFoundError: No module named 'nowhere_to_be_found'" in problem["text"]
    assert "handlers.py, line 6" in problem["text"]
    assert process.own_handlers == []


def test_a_yard_without_handlers_is_told(runner: Start) -> None:
    assert "no handlers" in runner("").hello["problems"][0]["text"]


def test_two_yards_without_a_word_which_are_told(runner: Start) -> None:
    assert "2 Yards" in runner("other = Yard()").hello["problems"][0]["text"]


def test_a_handler_whose_hints_cannot_be_read_does_not_cost_the_others(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("good")
        def good(): pass
        @yard.handler("bad")
        def bad(x: Nowhere): pass
        """
    )

    assert [spec["name"] for spec in process.own_handlers] == ["good"]
    assert "bad" in process.hello["problems"][0]["text"]


def test_a_yard_that_names_another_database_than_the_servers_is_told(
    runner: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TASKYARD_DATABASE_URL", "postgresql+psycopg://app:pw@db/jobs")
    (problem,) = runner('@yard.handler("a")\ndef a(): pass').hello["problems"]

    monkeypatch.setenv("TASKYARD_DATABASE_URL", f"sqlite:///{tmp_path}/never-opened.db")
    same = runner('@yard.handler("a")\ndef a(): pass').hello["problems"]

    assert problem["code"] == "TY105"
    assert "never-opened.db, but this server works in postgresql" in problem["text"]
    assert "pw" not in problem["text"]
    assert same == []


# --- Results -------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("color", ["def", "async def"])
def test_a_result_comes_back_as_json_with_its_measures(
    runner: Start, isolation: str, color: str
) -> None:
    process = runner(
        f'@yard.handler("add")\n{color} add(a: int, b: int = 1): return {{"sum": a + b}}', isolation
    )

    before = time.monotonic()
    outcome = process.run("add", '{"a": 2}')

    assert outcome["kind"] == "completed"
    assert json.loads(outcome["output"]) == {"sum": 3}
    assert before <= outcome["started"] <= outcome["finished"] <= time.monotonic()
    assert outcome["memory"] > 1_000_000
    assert outcome["pid"] == process.process.pid


def test_many_calls_run_at_once_on_the_loop_and_on_threads(runner: Start) -> None:
    process = runner(
        """
        together = threading.Barrier(8, timeout=10)
        arrived = 0
        @yard.handler("thread")
        def thread(): together.wait()
        @yard.handler("loop")
        async def loop():
            global arrived
            arrived += 1
            while arrived < 8: await asyncio.sleep(0.001)
        """
    )

    process.start(*[(n, "thread") for n in range(1, 9)], *[(n, "loop") for n in range(9, 17)])

    assert {process.outcome(n)["kind"] for n in range(1, 17)} == {"completed"}


@both
def test_wrong_parameters_are_rejected_without_a_retry(runner: Start, isolation: str) -> None:
    process = runner('@yard.handler("a")\ndef a(times: int): return 1', isolation)

    invalid, no_json = process.run("a", '{"times": "two"}'), process.run("a", "{")

    assert invalid["kind"] == no_json["kind"] == "rejected"
    assert 'TY203 a: "times" must be an integer, got "two".' in invalid["error"]
    assert "TY204" in no_json["error"]


def test_a_type_that_nobody_handles_is_rejected_with_the_nearest_name(runner: Start) -> None:
    process = runner('@yard.handler("mail.send")\ndef send(): pass')

    outcome = process.run("mail.sned")

    assert outcome["kind"] == "rejected"
    assert outcome["started"] is None
    assert 'Did you mean "mail.send"?' in outcome["error"]


def test_a_handler_steers_its_task(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("steer", retry=[Never(KeyError)])
        async def steer(how: str):
            if how == "retry": raise Retry(after="90s", reason="busy")
            if how == "snooze": raise Snooze(5)
            if how == "cancel": raise Cancel("not needed")
            if how == "never": raise KeyError("x")
            raise ValueError("y")
        """
    )

    ends = {how: process.run("steer", json.dumps({"how": how})) for how in _STEERING}

    assert {how: (end["kind"], end["delay"]) for how, end in ends.items()} == _STEERING
    assert "busy" in ends["retry"]["error"]
    assert "not needed" in ends["cancel"]["error"]


_STEERING = {
    "retry": ("retry", 90.0),
    "snooze": ("snooze", 5.0),
    "cancel": ("cancelled", None),
    "never": ("rejected", None),
    "fail": ("failed", None),
}


# --- Handlers that misbehave ---------------------------------------------------------------------

_POISON = """
class Hostile(Exception):
    def __str__(self): raise RuntimeError("no")
    __repr__ = __str__
class Huge(Exception):
    def __str__(self): return "x" * 10_000_000
def recurse(): return recurse()
circular = []
circular.append(circular)
def poison(how: str):
    if how == "exit": sys.exit(3)
    if how == "interrupt": raise KeyboardInterrupt
    if how == "hostile": raise Hostile()
    if how == "huge": raise Huge()
    if how == "recursion": recurse()
    if how == "unicode": raise ValueError("a\\ud800b\\0c")
    if how == "object": return object()
    if how == "nan": return {"x": float("nan")}
    if how == "circular": return circular
    if how == "big": return "x" * 10_000_000
    if how == "coroutine": return asyncio.sleep(0)
    return "fine"
yard.handler("sync")(poison)
@yard.handler("async")
async def poisoned(how: str): return poison(how)
"""

_POISON_TEXTS = {
    "exit": "SystemExit: 3",
    "interrupt": "KeyboardInterrupt",
    "hostile": "Hostile",
    "huge": "bytes cut",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "unicode": "ValueError: a",
    "object": "of type object, which JSON cannot say",
    "nan": "nan",
    "circular": "circular",
    "big": "the limit is 262,144",
    "coroutine": "returned a coroutine",
}


@both
@pytest.mark.parametrize("handler", ["sync", "async"])
def test_poison_becomes_a_readable_failure_and_the_runner_lives_on(
    runner: Start, isolation: str, handler: str
) -> None:
    process = runner(_POISON, isolation)

    for how, text in _POISON_TEXTS.items():
        outcome = process.run(handler, json.dumps({"how": how}))
        assert outcome["kind"] in ("failed", "rejected"), how
        assert text in outcome["error"], how
        assert len(outcome["error"].encode()) <= 16 * 1024

    assert process.run(handler, '{"how": ""}')["output"] == '"fine"'


def test_a_traceback_shows_the_handler_and_not_the_runner(runner: Start) -> None:
    process = runner('@yard.handler("a")\nasync def a(): 1 / 0')

    error = process.run("a")["error"]

    assert "ZeroDivisionError: division by zero" in error
    assert "handlers.py" in error
    assert "attempt.py" not in error


def test_a_background_task_that_exits_does_not_end_the_runner(runner: Start) -> None:
    process = runner(
        """
        async def leave(): sys.exit(1)
        @yard.handler("a")
        async def a():
            asyncio.ensure_future(leave())
            await asyncio.sleep(0.01)
            return 1
        """
    )

    assert process.run("a")["output"] == "1"
    assert process.run("a")["output"] == "1"


@both
def test_a_handler_that_ends_its_process_ends_the_stream(runner: Start, isolation: str) -> None:
    process = runner('@yard.handler("a")\ndef a(): os._exit(7)', isolation)

    process.start((1, "a"))

    assert process.wait_for_end() == 7
    assert process.outcomes() == {}


# --- Time limits ---------------------------------------------------------------------------------


@both
def test_a_coroutine_is_cancelled_at_its_limit_and_may_tidy_up(
    runner: Start, isolation: str
) -> None:
    process = runner(
        """
        @yard.handler("slow")
        async def slow(ctx: Context):
            try: await asyncio.sleep(60)
            finally: ctx.log.info("tidied up")
        @yard.handler("ok")
        async def ok(): return 1
        """,
        isolation,
    )

    outcome = process.run("slow", timeout=0.3)

    assert outcome["kind"] == "timeout"
    assert outcome["error"].endswith("\nTimed out after 0.3s.")
    assert "asyncio.sleep(60)" in outcome["error"]
    assert 0.3 <= outcome["finished"] - outcome["started"] < 3
    assert "tidied up" in process.log(1)
    assert process.run("ok")["kind"] == "completed"


def test_a_coroutine_that_goes_on_after_its_limit_costs_the_runner(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("deaf")
        async def deaf():
            while True:
                try: await asyncio.sleep(60)
                except asyncio.CancelledError: pass
        """
    )

    outcome = process.run("deaf", timeout=0.1)

    assert outcome["kind"] == "timeout"
    assert "after it was cancelled" in outcome["error"]
    assert "run 1" in process.wait_for("retire")["why"]


def test_a_thread_past_its_limit_is_reported_at_once_and_its_result_dropped(runner: Start) -> None:
    process = runner(
        """
        go_on = threading.Event()
        @yard.handler("slow")
        def slow():
            go_on.wait(60)
            return "too late"
        @yard.handler("release")
        async def release():
            go_on.set()
            await asyncio.sleep(0.2)
        """
    )

    outcome = process.run("slow", timeout=0.2)

    assert outcome["kind"] == "timeout"
    assert "go_on.wait(60)" in outcome["error"]
    process.wait_for("retire")
    assert process.run("release")["kind"] == "completed"
    rows = [row[0] for m in process.messages if m["t"] == "done" for row in m["outcomes"]]
    assert rows.count(1) == 1


def test_a_blocked_loop_is_found_out_and_its_culprit_named(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("block")
        async def block(): time.sleep(60)
        @yard.handler("wait")
        async def wait(): await asyncio.sleep(60)
        """
    )

    process.start((1, "wait"), (2, "block"), timeout=0.3)
    stuck = process.wait_for("stuck")

    assert sorted(stuck["runs"]) == [1, 2]
    assert stuck["by"] == 2
    assert process.outcome(1)["kind"] == process.outcome(2)["kind"] == "timeout"
    assert "time.sleep(60)" in process.outcome(2)["error"]
    assert "run 2 (block)" in process.outcome(1)["error"]


def test_an_isolated_function_past_its_limit_asks_to_be_killed(runner: Start) -> None:
    process = runner('@yard.handler("loop")\ndef loop():\n    while True: pass', "process")

    outcome = process.run("loop", timeout=0.3)

    assert outcome["kind"] == "timeout"
    assert "while True: pass" in outcome["error"]
    assert process.wait_for("stuck")["runs"] == [1]


# --- Cancellation --------------------------------------------------------------------------------


@both
def test_a_cancelled_coroutine_ends_cancelled(runner: Start, isolation: str) -> None:
    process = runner(
        """
        @yard.handler("long")
        async def long(ctx: Context):
            ctx.log.info("begun")
            await asyncio.sleep(60)
        """,
        isolation,
    )
    process.start((1, "long"))
    process.until(lambda: "begun" in process.log(1), 20, "the first line")

    process.send({"t": "cancel", "runs": [1], "why": "no longer wanted"})

    assert process.outcome(1)["kind"] == "cancelled"
    assert process.outcome(1)["error"] == "no longer wanted"


@both
def test_a_function_sees_the_flag_and_counts_as_cancelled_when_it_returns(
    runner: Start, isolation: str
) -> None:
    process = runner(
        """
        @yard.handler("long")
        def long(ctx: Context):
            ctx.log.info("begun")
            while not ctx.cancelled: time.sleep(0.01)
            return "half"
        @yard.handler("deaf")
        def deaf(ctx: Context):
            ctx.log.info("begun")
            time.sleep(0.5)
            return "whole"
        """,
        isolation,
    )
    for run_id, name in enumerate(("long", "deaf"), 1):
        process.start((run_id, name))
        process.until(lambda n=run_id: "begun" in process.log(n), 20, "the first line")  # type: ignore[misc]
        process.send({"t": "cancel", "runs": [run_id], "why": "stop"})

        outcome = process.outcome(run_id)

        assert outcome["kind"] == ("cancelled" if name == "long" else "completed")


def test_a_call_that_is_cancelled_before_its_turn_never_starts(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("first")
        def first(ctx: Context):
            ctx.log.info("begun")
            while not os.path.exists("go"): time.sleep(0.01)
        """,
        "process",
    )
    process.start((1, "first"), (2, "first"))
    process.until(lambda: "begun" in process.log(1), 20, "the first line")

    process.send({"t": "cancel", "runs": [2, 1], "why": "stop"})
    (process.folder / "go").touch()

    assert process.outcome(2)["kind"] == "cancelled"
    assert process.outcome(2)["started"] is None


# --- Logs, output, progress ----------------------------------------------------------------------


@both
def test_log_records_come_in_lines_before_the_outcome(runner: Start, isolation: str) -> None:
    process = runner(
        """
        @yard.handler("talk")
        def talk(ctx: Context, word: str):
            ctx.log.info("via ctx %s", word)
            logging.getLogger("lib").warning("via logging %s", word)
            logging.debug("not kept")
            logging.info("wrong %d", "argument")
            worker = threading.Thread(target=lambda: ctx.log.info("from a thread %s", word))
            worker.start(); worker.join()
        """,
        isolation,
    )

    process.start((1, "talk", '{"word": "one"}'), (2, "talk", '{"word": "two"}'))
    process.outcome(1), process.outcome(2)

    for run_id, word in ((1, "one"), (2, "two")):
        lines = process.log(run_id).splitlines()
        assert [line.split(" ", 1)[1] for line in lines] == [
            f"INFO task.talk via ctx {word}",
            f"WARNING lib via logging {word}",
            "INFO root wrong %d (not formatted: TypeError)",
            f"INFO task.talk from a thread {word}",
        ]
        assert lines[0][:5].isascii() and lines[0][23] == "Z"
    kinds = [message["t"] for message in process.messages]
    assert kinds.index("log") < kinds.index("done")


def test_log_lines_can_be_read_while_the_handler_runs(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("talk")
        async def talk(ctx: Context):
            ctx.log.info("alive")
            await asyncio.sleep(60)
        """
    )

    process.start((1, "talk"))

    process.until(lambda: "alive" in process.log(1), 5, "a live line")


def test_output_of_an_isolated_run_is_captured_below_python(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("say")
        def say(ctx: Context):
            print("printed")
            ctx.log.info("logged")
            os.write(2, b"raw\\n")
            os.system("echo from a program")
            print("no newline", end="")
        @yard.handler("close")
        def close(): os.close(1); os.close(2); sys.stdout.close()
        """,
        "process",
    )

    process.run("say")
    process.run("close")
    process.run("say")

    for run_id in (1, 3):
        said = [line.split(" ", 1)[1] for line in process.log(run_id).splitlines()]
        assert sorted(said) == [
            "INFO task.say logged",
            "OUTPUT - from a program",
            "OUTPUT - no newline",
            "OUTPUT - printed",
            "OUTPUT - raw",
        ]


def test_a_gigabyte_of_output_is_cut_and_costs_no_memory(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("flood")
        def flood():
            block = b"x" * 99 + b"\\n"
            for _ in range(1000): os.write(1, block * 10_000)
        """,
        "process",
    )

    outcome = process.run("flood")

    assert outcome["kind"] == "completed"
    assert len(process.log(1).encode()) < 1024 * 1024 + 200
    assert "… cut: a run keeps 1,048,576 bytes …" in process.log(1)
    assert outcome["memory"] < 200_000_000
    chunks = [c for m in process.messages if m["t"] == "log" for c in m["chunks"]]
    assert [seq for _, seq, _ in chunks] == list(range(len(chunks)))
    assert all(len(text.encode()) <= 64 * 1024 and text.endswith("\n") for _, _, text in chunks)


def test_a_flood_of_log_records_is_cut(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("flood")
        def flood():
            for _ in range(100): logging.info("y" * 50_000)
        """
    )

    process.run("flood")

    assert len(process.log(1).encode()) < 1024 * 1024 + 200
    assert process.log(1).count("… cut:") == 1


def test_progress_and_checkpoints_are_told(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("work")
        async def work(ctx: Context):
            assert ctx.checkpoint.get() == {"at": 3}
            ctx.checkpoint.set({"at": 4})
            for n in range(1000): ctx.progress(n, 1000, "busy")
            await asyncio.sleep(60)
        """
    )

    process.start((1, "work"), checkpoint='{"at": 3}')

    assert json.loads(process.wait_for("checkpoint")["data"]) == {"at": 4}
    assert process.wait_for("progress")["items"] == [[1, 999, 1000, "busy"]]


# --- Memory and CPU ------------------------------------------------------------------------------


def test_an_isolated_run_has_its_own_peak_and_its_own_cpu_time(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("work")
        def work(megabytes: int):
            block = bytearray(megabytes * 1_000_000)
            end = time.process_time() + megabytes / 1000
            while time.process_time() < end: pass
        """,
        "process",
    )

    small, big, again = (process.run("work", json.dumps({"megabytes": n})) for n in (1, 200, 1))

    assert 190e6 < big["memory"] - small["memory"] < 230e6
    assert abs(again["memory"] - small["memory"]) < 30e6
    assert big["cpu"] >= 0.2 > small["cpu"]


def test_memory_beyond_the_limit_is_a_memory_error(runner: Start) -> None:
    process = runner(
        """
        limits = {"isolation": "process", "memory_limit": 100_000_000}
        @yard.handler("take", **limits)
        def take(megabytes: int):
            return len(bytearray(megabytes * 1_000_000))
        @yard.handler("free", isolation="process")
        def free(megabytes: int):
            return len(bytearray(megabytes * 1_000_000))
        @yard.handler("leak", **limits)
        def leak():
            kept = []
            while True: kept.append("x" * 1000 + str(len(kept)))
        """,
        "process",
    )

    for name, params in (("take", '{"megabytes": 4000}'), ("leak", None)):
        outcome = process.run(name, params)
        assert outcome["kind"] == "failed"
        assert "MemoryError" in outcome["error"]

    assert process.run("take", '{"megabytes": 50}')["kind"] == "completed"
    # The limit is the handler's, not its runner's.
    assert process.run("free", '{"megabytes": 400}')["kind"] == "completed"


# --- The process ---------------------------------------------------------------------------------


def test_hooks_run_before_the_first_and_after_the_last_task(runner: Start, tmp_path: Path) -> None:
    process = runner(
        """
        pool = []
        @yard.on_runner_start
        async def open_pool(): pool.append(asyncio.get_running_loop())
        @yard.on_runner_stop
        async def close_pool():
            with open("closed", "w") as file: file.write(str(asyncio.get_running_loop() is pool[0]))
        @yard.handler("use")
        async def use(): return asyncio.get_running_loop() is pool[0]
        """
    )
    assert process.run("use")["output"] == "true"

    process.send({"t": "stop"})

    assert process.wait_for_end() == 0
    assert (tmp_path / "closed").read_text() == "True"


def test_a_start_hook_that_fails_is_told_and_no_handler_offered(runner: Start) -> None:
    process = runner(
        """
        @yard.on_runner_start
        def broken(): raise ConnectionError("no route to pool")
        @yard.handler("a")
        def a(): pass
        """
    )

    assert process.own_handlers == []
    assert "ConnectionError: no route to pool" in process.hello["problems"][0]["text"]


@both
def test_a_runner_ends_at_once_when_its_supervisor_is_gone(runner: Start, isolation: str) -> None:
    process = runner(
        '@yard.handler("loop")\ndef loop(ctx: Context):\n'
        '    ctx.log.info("begun")\n    while True: pass',
        isolation,
    )
    process.start((1, "loop"))
    process.until(lambda: "begun" in process.log(1), 20, "the first line")

    process.socket.close()

    assert process.process.wait(2) == 0


@both
def test_the_signals_of_a_terminal_do_not_stop_a_runner(runner: Start, isolation: str) -> None:
    process = runner('@yard.handler("a")\ndef a(): return 1', isolation)

    process.signal(signal.SIGINT)
    process.signal(signal.SIGTERM)

    assert process.run("a")["kind"] == "completed"


def test_programs_that_a_handler_starts_can_be_stopped_by_signals(runner: Start) -> None:
    process = runner(
        """
        import subprocess
        @yard.handler("a")
        def a():
            child = subprocess.Popen(["sleep", "60"])
            child.terminate()
            return child.wait(10)
        """
    )

    assert process.run("a")["output"] == str(-signal.SIGTERM)


def test_what_a_handler_changes_of_its_process_is_undone(runner: Start) -> None:
    process = runner(
        """
        @yard.handler("change")
        def change():
            os.chdir("/"); os.umask(0o777)
        @yard.handler("look")
        def look():
            mask = os.umask(0); os.umask(mask)
            return [os.getcwd() == "/", mask == 0o777]
        """,
        "process",
    )

    process.run("change")

    assert process.run("look")["output"] == "[false,false]"
