"""Options: what the command line lets one say about every benchmark."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.lanes import Lane


@dataclass(frozen=True)
class Options:
    """The databases to run on, how often each thing is measured, how many tasks a drain has, how
    many runs a history, and how many items a batch."""

    lanes: list[Lane]
    rounds: int
    tasks: int
    runs: int = 1_000_000
    items: int = 1_000_000
