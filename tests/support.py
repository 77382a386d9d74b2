"""Support: the small helpers that tests of every part share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from harness.waiting import wait_until

T = TypeVar("T")


def wait_for(fact: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """Return the first true answer of `fact`; fail when there is none within `timeout` seconds.

    `what` says in words what never came.
    """
    return wait_until(fact, within=timeout, what=what or getattr(fact, "__name__", "the fact"))
