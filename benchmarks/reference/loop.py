"""The reference's loop: claim, run, settle; the next claim and the last settling overlap a run.

The statements belong to one module a database.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

BATCH = 200
SLOTS = 100
IDLE = 0.02  # seconds between two looks at an empty table

Job = tuple[int, int, str, str | None]  # id, fence, task_type, task_params
Ended = tuple[int, int, float, float]  # id, fence, started, ended


class Store(Protocol):
    """Two connections of one database: one claims, one settles."""

    def claim(self, limit: int) -> list[Job]: ...

    def settle(self, ended: list[Ended]) -> None: ...


async def overlap(store: Store) -> None:
    """Work for ever with claims and settlings each on a thread of its own."""
    loop = asyncio.get_running_loop()
    claimer, settler = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    settling = loop.run_in_executor(settler, store.settle, [])
    claiming = loop.run_in_executor(claimer, store.claim, BATCH)
    while True:
        jobs = await claiming
        if not jobs:
            await asyncio.sleep(IDLE)
        claiming = loop.run_in_executor(claimer, store.claim, BATCH)
        if jobs:
            ended = await run(jobs)
            await settling
            settling = loop.run_in_executor(settler, store.settle, ended)


async def run(jobs: list[Job]) -> list[Ended]:
    """One coroutine per job, at most SLOTS at once."""
    slots = asyncio.Semaphore(SLOTS)
    return await asyncio.gather(*(_call(job, slots) for job in jobs))


async def _call(job: Job, slots: asyncio.Semaphore) -> Ended:
    id_, fence, task_type, params = job
    async with slots:
        started = time.time()
        await HANDLERS[task_type](**json.loads(params or "{}"))
        return id_, fence, started, time.time()


async def noop() -> None:
    """The job."""


HANDLERS: dict[str, Callable[..., Awaitable[None]]] = {"noop": noop}
