"""Footprint: what memory and CPU does a server take, idle and busy, and does it grow?"""

from __future__ import annotations

import time

from benchmarks import watch
from benchmarks.lanes import Db, Lane
from benchmarks.machine import Memory, Meter, memory_of
from benchmarks.options import Options
from benchmarks.processes import Process
from benchmarks.site import Site

IDLE = 20.0  # seconds an idle server is watched
SCAN_INTERVAL = 5.0  # seconds; the default of a queue
MIB = 1024 * 1024

MEMORY_BAR = 110  # MiB resident, supervisor and one runner, idle
CPU_BAR = 0.01  # of a core, idle, on PostgreSQL


def main(options: Options) -> None:
    """One server with one runner, then one with as many runners as it starts by itself."""
    for lane in options.lanes:
        print(f"{lane.title}: idle for {IDLE:g} s, then drains of {options.tasks:,}")
        for runners in ("1", ""):
            _measure(lane, runners, options)
        print(flush=True)


def _measure(lane: Lane, runners: str, options: Options) -> None:
    title = f"{runners} runner" if runners else "default runners"
    settings = {"runners": runners} if runners else {}
    with Site(lane, max_workers=100, scan_interval=SCAN_INTERVAL) as site, lane.opened() as db:
        server = site.start(**settings)
        site.warm_up(db)
        time.sleep(2)
        _idle(lane, server, title, bars=bool(runners))
        _busy(lane, db, site, server, title, options)


def _idle(lane: Lane, server: Process, title: str, *, bars: bool) -> None:
    meter = Meter([server.pid], lane.store)
    time.sleep(IDLE)
    usage, memory = meter.read(), memory_of(server.pid)
    share, store = usage.worker / usage.wall, usage.store / usage.wall
    print(f"  {title}, idle: {_text(memory)}; CPU {share:.2%} of a core, database {store:.2%}")
    if bars:
        resident = memory.resident / MIB
        print(f"{_reached(resident <= MEMORY_BAR)}  {resident:.0f} MiB, at most {MEMORY_BAR}")
    if lane.name == "postgres":
        print(f"{_reached(share < CPU_BAR)}  idle CPU {share:.2%}, less than {CPU_BAR:.0%}")


def _busy(lane: Lane, db: Db, site: Site, server: Process, title: str, options: Options) -> None:
    before = memory_of(server.pid)
    for number in range(options.rounds):
        load = watch.put(lane, db, site.table, options.tasks)
        meter = Meter([server.pid], lane.store)
        watch.drained(lane, db, load)
        usage, memory = meter.read(), memory_of(server.pid)
        each = 1e6 * usage.worker / load.tasks
        print(f"  {title}, after {number + 1} drains: {_text(memory)}; CPU {each:.0f} us a task")
    tasks = options.tasks * options.rounds
    growth = (memory.proportional - before.proportional) / MIB
    print(f"  {title}: grew by {growth:.1f} MiB in {tasks:,} tasks", flush=True)


def _text(memory: Memory) -> str:
    resident, proportional = memory.resident / MIB, memory.proportional / MIB
    return f"{resident:.0f} MiB resident, {proportional:.0f} MiB with shared pages counted once"


def _reached(yes: bool) -> str:
    return "reached" if yes else "MISSED "
