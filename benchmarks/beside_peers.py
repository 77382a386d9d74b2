"""Peers: how fast is Taskyard beside the queues people use today, in one run on one database?"""

from __future__ import annotations

from benchmarks.drains import REFERENCE, ReferenceDrain, TaskyardDrain, label
from benchmarks.lanes import Lane
from benchmarks.options import Options
from benchmarks.peers.drain import (
    CELERY,
    HUEY,
    PEERS,
    PGQUEUER,
    PROCRASTINATE,
    PeerDrain,
    make_venv,
)
from benchmarks.race import Bar, race, report

OURS = label(100)
BARS = {
    "postgres": [
        Bar(OURS, PGQUEUER.name, 1.5),
        Bar(OURS, PROCRASTINATE.name, 20),
        Bar(OURS, CELERY.name, 20),
    ],
    "sqlite": [Bar(OURS, HUEY.name, 5)],
}


def main(options: Options) -> None:
    """Everybody who can work on a lane, in turns."""
    make_venv()
    for lane in options.lanes:
        peers = [peer for peer in PEERS if peer.lane == lane.name]
        if not peers:
            print(f"{lane.title}: no peer works on it; its drain is `bench drain`")
            continue
        print(f"{lane.title}: {options.tasks:,} tasks (slow peers fewer)")
        results = race([*_ours(lane, options), *_theirs(lane, options)], options.rounds)
        report(f"{lane.title}: beside the peers", results, REFERENCE, BARS[lane.name])


def _ours(lane: Lane, options: Options) -> list[ReferenceDrain | TaskyardDrain]:
    return [ReferenceDrain(lane, options.tasks), TaskyardDrain(lane, options.tasks, workers=100)]


def _theirs(lane: Lane, options: Options) -> list[PeerDrain]:
    return [PeerDrain(peer, lane, options.tasks) for peer in PEERS if peer.lane == lane.name]
