"""`python -m benchmarks NAME`, from the project's root; `python3 dev.py bench NAME` is the same."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable

from benchmarks import (
    batches,
    beside_peers,
    console,
    drain,
    enqueue,
    footprint,
    history,
    latency,
    polling,
    scale,
    schedules,
    startup,
)
from benchmarks.lanes import LANES
from benchmarks.options import Options

BENCHMARKS: dict[str, Callable[[Options], None]] = {
    "drain": drain.main,
    "peers": beside_peers.main,
    "scale": scale.main,
    "latency": latency.main,
    "enqueue": enqueue.main,
    "footprint": footprint.main,
    "startup": startup.main,
    "schedules": schedules.main,
    "history": history.main,
    "console": console.main,
    "polling": polling.main,
    "batches": batches.main,
}


def main() -> None:
    """Parse, run, leave nothing behind."""
    words = _parser().parse_args()
    # Also ended by a plain `kill` it must drop its databases and stop its servers.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    lanes = [LANES[name]() for name in dict.fromkeys(words.lane or LANES)]
    try:
        options = Options(lanes, words.rounds, words.tasks, words.runs, words.items)
        BENCHMARKS[words.name](options)
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("name", choices=BENCHMARKS, help="what to measure")
    parser.add_argument(
        "--lane",
        choices=LANES,
        action="append",
        help="database to run on; may be repeated (default: all three)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="times each is measured (3)")
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks of a drain (20000)")
    parser.add_argument("--runs", type=int, default=1_000_000, help="runs of a history (1000000)")
    parser.add_argument("--items", type=int, default=1_000_000, help="items of a batch (1000000)")
    return parser


main()
