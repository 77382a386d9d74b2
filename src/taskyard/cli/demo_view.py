"""Demo view: the demo's pictures, as a live table on a terminal and as plain lines elsewhere.

Owns how a picture looks. What is in it is `demo/play.py`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from taskyard.cli import formats
from taskyard.cli.invocation import is_terminal
from taskyard.core.lifecycle import TaskStatus

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from taskyard.demo.pictures import Picture

Look: TypeAlias = "Callable[[Picture], None]"

_LINE_EVERY = 1.0


@contextmanager
def view(*, color: bool) -> Iterator[Look]:
    """What shows one picture after the other, for the length of the block."""
    if not is_terminal():
        yield _plain()
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=not color, highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        yield lambda picture: live.update(_screen(picture), refresh=True)


# --- Plain lines ---------------------------------------------------------------------------------


def _plain() -> Look:
    """A line a second, and one for each Run that went wrong."""
    told: set[int] = set()
    next_line = 0.0

    def look(picture: Picture) -> None:
        nonlocal next_line
        for run in reversed(picture.troubles):
            if run["id"] not in told:
                told.add(run["id"])
                print(f"        {_run_line(run)}", flush=True)
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + _LINE_EVERY
            print(f"{picture.elapsed:5.0f} s {_figures(picture)}", flush=True)

    return look


def _figures(picture: Picture) -> str:
    states = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.COMPLETED, TaskStatus.FAILED)
    words = [f"{state.name.lower()} {picture.total(state):3}" for state in states]
    return ", ".join([*words, f"mails {picture.mails:3}"])


def _run_line(run: dict[str, Any]) -> str:
    error = formats.last_line((run["error"] or "").partition("\n\n")[0])
    return f"{run['task_type']} attempt {run['attempt']} {run['status']}: {error}"


# --- The terminal --------------------------------------------------------------------------------


def _screen(picture: Picture) -> RenderableType:
    from rich.console import Group

    return Group(_queues(picture), "", _servers(picture), "", _runs(picture), "", _footer(picture))


def _queues(picture: Picture) -> Table:
    table = _table("queue", "server", "workers>", "waiting>", "running>", "completed>", "failed>")
    for queue in picture.queues:
        counts = picture.counts[queue.queue_name]
        states = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.COMPLETED, TaskStatus.FAILED)
        numbers = [str(counts.get(state, 0)) for state in states]
        table.add_row(queue.queue_name, queue.server_id or "any", str(queue.max_workers), *numbers)
    return table


def _servers(picture: Picture) -> Table:
    table = _table("server", "state", "pid>", "beat>", "runs now>")
    for row in picture.servers:
        busy = sum(
            run["server_id"] == row.server_id and run["status"] == "running" for run in picture.runs
        )
        beat = f"{max(0.0, row.beat_age):.0f} s ago"
        table.add_row(row.server_id, _state(row.state), str(row.pid), beat, str(busy))
    return table


def _runs(picture: Picture) -> Table:
    table = _table("last runs", "status", "attempt>", "server", "took>", "started>", "error*")
    now = datetime.now(UTC)
    for run in picture.runs:
        table.add_row(
            run["task_type"],
            _state(run["status"]),
            str(run["attempt"]),
            run["server_id"],
            formats.took(run["execution_time"]),
            formats.ago(run["started_at"], now),
            formats.last_line((run["error"] or "").partition("\n\n")[0]),
        )
    return table


def _footer(picture: Picture) -> str:
    completed = picture.total(TaskStatus.COMPLETED)
    return f"{picture.elapsed:.0f} s · {completed} tasks completed · {picture.mails} mails · Ctrl-C"


def _state(word: str) -> Any:
    from rich.text import Text

    return Text(*formats.state(word))


def _table(*titles: str) -> Table:
    """A table without lines; a title with ">" is a column of numbers, one with "*" may be cut."""
    from rich.table import Table

    # Of a table that expands, the column with a ratio gets what the others leave.
    table = Table(box=None, pad_edge=False, header_style="bold", expand=titles[-1].endswith("*"))
    for title in titles:
        table.add_column(
            title.rstrip(">*").upper(),
            justify="right" if title.endswith(">") else "left",
            ratio=1 if title.endswith("*") else None,
            no_wrap=True,
            overflow="ellipsis",
        )
    return table
