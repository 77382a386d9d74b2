"""Drain: how fast are no-op tasks run, with their history, against the least a raw driver needs?"""

from __future__ import annotations

from benchmarks.drains import REFERENCE, ReferenceDrain, TaskyardDrain, label
from benchmarks.lanes import Lane
from benchmarks.options import Options
from benchmarks.race import Bar, Contender, race, report

# The bars of the first release, tasks/s; set on a machine with 2 cores that also ran the database.
RATES = {"sqlite": 15_000, "postgres": 12_000, "mariadb": 8_000}


def main(options: Options) -> None:
    """One server with 100 and with 10 workers, and two servers, beside the reference."""
    for lane in options.lanes:
        contenders: list[Contender] = [
            ReferenceDrain(lane, options.tasks),
            TaskyardDrain(lane, options.tasks, workers=100),
            TaskyardDrain(lane, options.tasks, workers=10),
            TaskyardDrain(lane, options.tasks, workers=100, servers=2),
        ]
        print(f"{lane.title}: {options.tasks:,} tasks")
        results = race(contenders, options.rounds)
        report(f"{lane.title}: drain of {options.tasks:,}", results, REFERENCE, bars(lane))


def bars(lane: Lane) -> list[Bar]:
    """What has to be reached on this lane."""
    found = [Bar(label(100), REFERENCE, 0.6), Bar(label(100), "", RATES[lane.name])]
    if lane.name == "postgres":
        found += [Bar(label(10), "", 6_000), Bar(label(100, servers=2), label(100), 1.0)]
    return found
