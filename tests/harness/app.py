"""The application under test: copied as ``handlers.py`` into a server's working directory.

Every handler appends a line at its start and one at its end to ``journal.jsonl`` beside this file,
opened O_APPEND, so the truth of what ran survives whatever happens to database and processes. The
supervisor is named by its pid as seen at import: after its death getppid() says something else.
"""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import sys
import time
from pathlib import Path

from sqlalchemy import text

from taskyard import Context, ItemContext, RefreshNeeded, Yard

yard = Yard()

JOURNAL = os.open(
    Path(__file__).with_name("journal.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
)
SUPERVISOR = os.getppid()
MIB = 1024 * 1024
log = logging.getLogger("app")


def note(event: str, ctx: Context) -> None:
    """One line of the journal, written by one system call."""
    line = {
        "event": event,
        "table": ctx.task_table,
        "id": ctx.task_id,
        "fence": ctx.fence,
        "run": ctx.run_id,
        "supervisor": SUPERVISOR,
        "pid": os.getpid(),
        "at": time.monotonic(),
    }
    os.write(JOURNAL, json.dumps(line).encode() + b"\n")


@yard.handler("work")
async def work(ctx: Context, seconds: float = 0.0) -> dict[str, float]:
    """Sleeps on the loop; a cancellation is noted."""
    note("start", ctx)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note("cancelled", ctx)
        raise
    note("end", ctx)
    return {"slept": seconds}


@yard.handler("work_thread")
def work_thread(ctx: Context, seconds: float = 0.0) -> None:
    """Sleeps in a thread and looks at the cancel flag, as a polite handler does."""
    note("start", ctx)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ctx.cancelled:
            note("cancelled", ctx)
            return
        time.sleep(min(0.05, max(0.0, end - time.monotonic())))
    note("end", ctx)


@yard.handler("work_process", isolation="process")
def work_process(ctx: Context, seconds: float = 0.0) -> None:
    """Sleeps in a process of its own and ignores every hint to stop."""
    note("start", ctx)
    time.sleep(seconds)
    note("end", ctx)


@yard.handler("stubborn")
def stubborn(ctx: Context, seconds: float = 0.0) -> None:
    """Sleeps in a thread and ignores every hint to stop."""
    note("start", ctx)
    time.sleep(seconds)
    note("end", ctx)


@yard.handler("effect")
def effect(ctx: Context, seconds: float = 0.0) -> None:
    """One row in ``effects``, in the same transaction as the completion."""
    note("start", ctx)
    with ctx.transaction() as tx:
        tx.connection.execute(
            text("INSERT INTO effects (task_table, task_id, fence) VALUES (:t, :id, :fence)"),
            {"t": ctx.task_table, "id": ctx.task_id, "fence": ctx.fence},
        )
        time.sleep(seconds)
        tx.result = {"fence": ctx.fence}
    note("end", ctx)


@yard.handler("guarded", isolation="process", on_lost="stop")
def guarded(ctx: Context, seconds: float = 0.0) -> None:
    """Gives a sign of life twenty times a second and ignores every hint to stop."""
    note("start", ctx)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        note("alive", ctx)
        time.sleep(0.05)
    note("end", ctx)


@yard.handler("backup")
def backup(ctx: Context, full: bool = True) -> None:
    """A full backup finds no room, any other does."""
    note("start", ctx)
    if full:
        raise OSError("no room: https://backup:c4n4ry@disk.example")
    note("end", ctx)


@yard.batch("verify", concurrency=2, max_retries=0)
def verify(item: int) -> None:
    """Every third item is none."""
    if item % 3 == 0:
        raise ValueError("no such account")


class Unspeakable(Exception):
    """An exception that can't be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")

    __str__ = __repr__


def exit_now(ctx: Context) -> None:
    note("start", ctx)
    os._exit(7)


def spin(ctx: Context) -> None:
    note("start", ctx)
    while True:
        pass


def hoard(ctx: Context) -> int:
    note("start", ctx)
    return len(bytearray(4096 * MIB))


def unspeakable(ctx: Context) -> None:
    note("start", ctx)
    raise Unspeakable


def leave(ctx: Context) -> None:
    note("start", ctx)
    sys.exit(3)


def segfault(ctx: Context) -> None:
    note("start", ctx)
    ctypes.string_at(0)


def big(ctx: Context) -> str:
    note("start", ctx)
    return "x" * (10 * MIB)


def nan(ctx: Context) -> dict[str, float]:
    note("start", ctx)
    return {"value": float("nan")}


for poison in (exit_now, spin, unspeakable, leave, segfault, big, nan):
    limit = 2 if poison is spin else None
    yard.handler(f"{poison.__name__}_shared", timeout=limit)(poison)
    yard.handler(f"{poison.__name__}_process", timeout=limit, isolation="process")(poison)

yard.handler("hoard_process", isolation="process", memory_limit=256 * MIB)(hoard)


@yard.handler("spin_async_shared", timeout=2)
async def spin_async(ctx: Context) -> None:
    """An endless loop on the event loop itself: every other coroutine there is starved."""
    note("start", ctx)
    while True:
        pass


ITEMS = os.open(
    Path(__file__).with_name("items.log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
)


class Token:
    """Good for so many items."""

    def __init__(self) -> None:
        self.left = 20


@yard.batch("check", concurrency=4, setup=Token)
def check(item: int, ctx: ItemContext, seconds: float = 0.02) -> dict[str, int]:
    """Notes its item when it is through, and asks for another token now and then."""
    if ctx.shared.left == 0:
        raise RefreshNeeded
    ctx.shared.left -= 1
    time.sleep(seconds)
    os.write(ITEMS, f"{item} {ctx.attempt} {time.monotonic()}\n".encode())
    return {"checked": item}


@yard.batch("linger", concurrency=2, timeout=1)
def linger(item: int) -> None:
    """Every fourth item hangs in foreign code."""
    if item % 4 == 0:
        time.sleep(60)


@yard.batch("linger_async", concurrency=2, timeout=1)
async def linger_async(item: int) -> None:
    """Every fourth item hangs, and one of them doesn't even mind being cancelled."""
    if item % 4 == 0:
        ignored = (asyncio.CancelledError,) if item == 0 else ()
        with contextlib.suppress(*ignored):
            await asyncio.sleep(60)
        if item == 0:
            await asyncio.sleep(60)
