"""Script: the words every peer's module understands when it is run.

fill URL TASKS         make its tables and enqueue that many no-op jobs
work URL SLOTS STAMP   run a worker until ended; the first job writes the time into the file STAMP
watch URL TASKS        wait until all are done and recorded, then print the time
clear URL TASKS        leave nothing behind outside the database at URL
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

LOOK = 0.02  # seconds between two looks, as benchmarks.watch


class Stamp:
    """Called by every job; the first call of a process notes the time."""

    def __init__(self) -> None:
        self._file = sys.argv[4] if sys.argv[1] == "work" else ""

    def __call__(self) -> None:
        if self._file:
            with open(self._file, "a") as out:
                out.write(f"{time.time()}\n")
            self._file = ""


def main(
    fill: Callable[[str, int], None],
    work: Callable[[str, int], None],
    done: Callable[[str, int], Callable[[], bool]],
    clear: Callable[[], None] = lambda: None,
) -> None:
    """Carry out one of the words; `done` makes a cheap question: is nothing left?"""
    word, url, number = sys.argv[1:4]
    if word == "fill":
        fill(url, int(number))
    elif word == "work":
        work(url, int(number))
    elif word == "watch":
        is_done = done(url, int(number))
        print("ready", flush=True)
        while not is_done():
            time.sleep(LOOK)
        print(f"done {time.time()}", flush=True)
    elif word == "clear":
        clear()
