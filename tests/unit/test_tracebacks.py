"""Tracebacks: any exception becomes readable text, from the user's own frame on."""

from __future__ import annotations

import sys
import threading

import pytest

from taskyard.core.payload import ERROR_LIMIT
from taskyard.core.tracebacks import error_text, stack_text


def text_of(error: BaseException) -> str:
    try:
        raise error
    except BaseException as raised:
        return error_text(raised)


def test_the_last_line_says_what_happened() -> None:
    assert text_of(ValueError("x")).splitlines()[-1] == "ValueError: x"


@pytest.mark.parametrize("method", ["__str__", "__repr__", "__cause__", "__dir__", "__class__"])
@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, RecursionError])
def test_an_exception_that_defends_itself_is_told_all_the_same(
    method: str, raised: type[BaseException]
) -> None:
    def refuse(self: object) -> str:
        raise raised

    patch = refuse if method in ("__str__", "__repr__", "__dir__") else property(refuse)
    hostile = type("Hostile", (Exception,), {method: patch})

    assert "Hostile" in text_of(hostile())


def test_a_long_text_keeps_its_head_and_its_tail() -> None:
    text = text_of(ValueError("a" * 100_000 + "the end"))

    assert len(text.encode()) <= ERROR_LIMIT
    assert text.startswith("Traceback") and text.endswith("the end")
    assert "bytes cut" in text


def test_an_exception_group_shows_its_members() -> None:
    assert "KeyError" in text_of(ExceptionGroup("both", [ValueError("v"), KeyError("k")]))


def test_a_stack_ends_where_the_thread_is() -> None:
    go_on, ready = threading.Event(), threading.Event()

    def wait_here() -> None:
        ready.set()
        go_on.wait(30)

    thread = threading.Thread(target=wait_here)
    thread.start()
    ready.wait(30)
    assert thread.ident is not None

    frame = sys._current_frames()[thread.ident]
    whole, below = stack_text(frame, "nowhere"), stack_text(frame, __file__)

    go_on.set()
    thread.join()
    assert "in wait_here" in whole and "in _bootstrap" in whole
    assert "in wait_here" in below and "in _bootstrap" not in below
