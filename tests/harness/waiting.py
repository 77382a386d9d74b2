"""Waiting for facts, with a deadline and a sentence that says what never came."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

Size = Callable[[int, int], int]
"""Chooses between a reduced and a full number: the fixture ``size`` of tests/crash."""


def wait_until(
    fact: Callable[[], T],
    within: float,
    what: str,
    every: float = 0.05,
    detail: Callable[[], object] = str,
) -> T:
    """Ask ``fact`` until its answer is true and return that; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = fact()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {within:g} s in vain: {what}; last answer {answer!r} {detail()}"
            )
        time.sleep(every)


def stays_true(fact: Callable[[], object], seconds: float, what: str, every: float = 0.1) -> None:
    """Fail as soon as ``fact`` is false within that time: for things that must *not* happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert fact(), f"did not stay true for {seconds:g} s: {what}"
        time.sleep(every)
