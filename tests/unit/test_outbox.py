"""The outbox: what goes to the supervisor, in which order, and how much of it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskyard.context import Call, Context
from taskyard.engine.outbox import Outbox
from taskyard.engine.wire import Channel, Decoder
from taskyard.runs.lines import LOG_CAP, LOG_CHUNK, RunLog


class Supervisor:
    """The other end of an outbox."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.outbox = Outbox(Channel(theirs), lambda context: pytest.fail("not asked"))
        self._decoder = Decoder()
        self.socket.settimeout(10)

    def received(self, count: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        while len(messages) < count:
            messages += self._decoder.feed(self.socket.recv(65536))
        return messages

    def run(self, run_id: int) -> Context:
        return Context(Call(run_id, "t", 1, 1, "job", "q"), self.outbox)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    it = Supervisor()
    yield it
    it.socket.close()
    it.outbox._channel.close()


def row(run_id: int) -> Any:
    return (run_id, "completed", None, None, None, 1.0, 2.0, None, None, 1)


def test_the_last_lines_of_a_run_go_before_its_outcome(supervisor: Supervisor) -> None:
    outbox, one, two = supervisor.outbox, supervisor.run(1), supervisor.run(2)
    outbox.log(one, "last words\n")
    outbox.log(two, "still talking\n")

    outbox.done(one, row(1))
    outbox.flush()

    log, done = supervisor.received(2)
    assert log == {"t": "log", "chunks": [[1, 0, "last words\n"]]}
    assert done["outcomes"][0][0] == 1


def test_what_a_run_says_after_its_outcome_is_dropped(supervisor: Supervisor) -> None:
    outbox, run = supervisor.outbox, supervisor.run(1)
    outbox.done(run, row(1))

    outbox.log(run, "too late\n")
    run.progress(1)
    run.checkpoint.set(1)
    outbox.tick()
    outbox.send({"t": "end"})

    assert [message["t"] for message in supervisor.received(2)] == ["done", "end"]


def test_of_progress_only_the_latest_is_told(supervisor: Supervisor) -> None:
    run = supervisor.run(1)
    for n in range(100):
        run.progress(n, 100, f"step {n}")

    supervisor.outbox.tick()

    assert supervisor.received(1) == [{"t": "progress", "items": [[1, 99, 100, "step 99"]]}]


@pytest.mark.parametrize("done", ["many", None])
def test_progress_that_is_no_number_is_the_handlers_mistake(
    supervisor: Supervisor, done: Any
) -> None:
    with pytest.raises((TypeError, ValueError)):
        supervisor.run(1).progress(done)


def test_odd_numbers_and_notes_of_progress_do_no_harm(supervisor: Supervisor) -> None:
    supervisor.run(1).progress(10**30, float("nan"), "a\ud800\0" + "x" * 10_000)

    supervisor.outbox.tick()

    (items,) = supervisor.received(1)[0]["items"]
    assert items[:3] == [1, 1e30, None]
    assert len(items[3]) == 500


def test_outcomes_of_many_threads_all_arrive(supervisor: Supervisor) -> None:
    def work(first: int) -> None:
        for n in range(first, first + 200):
            supervisor.outbox.done(supervisor.run(n), row(n))
            supervisor.outbox.flush()

    threads = [threading.Thread(target=work, args=(n * 200,)) for n in range(8)]
    for thread in threads:
        thread.start()
    ids: set[int] = set()
    while len(ids) < 1600:
        for message in supervisor.received(1):
            ids |= {outcome[0] for outcome in message["outcomes"]}
    for thread in threads:
        thread.join(10)

    assert ids == set(range(1600))


# --- The log of a run ----------------------------------------------------------------------------


def test_a_log_is_cut_into_whole_lines() -> None:
    log = RunLog()
    for n in range(5000):
        log.write(f"line {n} " + "ü" * 20 + "\n")

    chunks = log.take(9)

    assert [seq for _, seq, _ in chunks] == list(range(len(chunks)))
    assert all(len(text.encode()) <= LOG_CHUNK and text.endswith("\n") for _, _, text in chunks)
    assert "".join(text for _, _, text in chunks).count("\n") == 5000


def test_a_line_longer_than_a_chunk_is_cut_between_characters() -> None:
    log = RunLog()
    log.write("€" * 100_000 + "\n")

    text = "".join(text for _, _, text in log.take(9))

    assert text == "€" * 100_000 + "\n"


def test_a_log_keeps_up_to_its_cap_and_says_so_once() -> None:
    log = RunLog()
    for _ in range(30):
        log.write("x" * 99_999 + "\n")

    text = "".join(text for _, _, text in log.take(9))

    assert LOG_CAP - 100 <= len(text) <= LOG_CAP + 100
    assert text.endswith("… cut: a run keeps 1,048,576 bytes …\n")
    assert log.is_full
    assert log.take(9) == []


def test_a_log_holds_nothing_that_a_database_refuses() -> None:
    log = RunLog()
    log.write("a\0b\ud800c\n")

    assert log.take(1) == [(1, 0, "a\N{REPLACEMENT CHARACTER}b?c\n")]


@pytest.mark.parametrize("busy", ["tick", "send"])
def test_an_outcome_that_comes_while_another_thread_sends_is_not_left_behind(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    """Who ends meanwhile leaves it to the sender, and perhaps no other Run ends for long."""
    outbox, one, two = supervisor.outbox, supervisor.run(1), supervisor.run(2)
    send_frame = outbox._channel.send_frame

    def end_two() -> None:
        outbox.done(two, row(2))
        outbox.flush()

    meanwhile = [threading.Thread(target=end_two)]

    def slow(frame: bytes) -> None:
        for thread in [meanwhile.pop()] if meanwhile else []:
            thread.start()
            thread.join()
        send_frame(frame)

    monkeypatch.setattr(outbox._channel, "send_frame", slow)
    outbox.log(one, "still talking\n")
    if busy == "tick":
        outbox.tick()
    else:
        outbox.send({"t": "checkpoint", "run": 1, "data": None})

    messages = supervisor.received(2)
    assert [m["outcomes"][0][0] for m in messages if m["t"] == "done"] == [2]
