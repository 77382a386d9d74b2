"""`taskyard stats`: how much ran, how it went and how long it took, from the roll-ups.

Owns the words; the figures are `runs/stats.py`'s.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, new_app, since
from taskyard.cli.output import Column, print_fields, print_json, print_list

app = new_app()


class By(StrEnum):
    """What the figures are told apart by."""

    TASK_TYPE = "task_type"
    QUEUE = "queue"
    TENANT_ID = "tenant_id"


COLUMNS = (
    Column("name"),
    Column("runs", show=formats.number, right=True),
    Column("completed", show=formats.number, right=True),
    Column("failed", show=formats.number, right=True),
    Column("timeout", show=formats.number, right=True),
    Column("lost", show=formats.number, right=True),
    Column("success_rate", "success", formats.share, right=True),
    Column("p50", show=formats.took, right=True),
    Column("p95", show=formats.took, right=True),
)
"""The columns of `stats --by`."""


@app.command("stats")
def stats(
    ctx: typer.Context,
    since_: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="From then on: 24h, 7d, or a time.")
    ] = "24h",
    by: Annotated[
        By | None, typer.Option(help="A line for each, those that ran most first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What ran since then: how many, how it went, how long it took and how long it waited.

    \b
    Examples:
      taskyard stats
      taskyard stats --since 7d --by task_type
    """
    from taskyard.runs.stats import summary, top

    here = invocation(ctx)
    start = since(since_, "--since")
    if by is not None:
        found = top(here.database(), LOCAL, by.value, from_=start)
        rows = [{"name": row[by.value], **row, **row["execution_time"]} for row in found]
        print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty="Nothing ran.")
        return
    figures = summary(here.database(), LOCAL, start)
    if as_json:
        print_json(figures)
    else:
        print_fields(_lines(figures))


def _lines(figures: dict[str, Any]) -> list[tuple[str, str]]:
    counts = ("runs", "completed", "failed", "timeout", "lost", "cancelled", "interrupted")
    return [
        ("from", figures["from"].isoformat()),
        ("to", figures["to"].isoformat()),
        *((name, formats.number(figures[name])) for name in counts),
        ("success rate", formats.share(figures["success_rate"])),
        ("took", _times(figures["execution_time"])),
        ("waited", _times(figures["wait_time"])),
        ("running now", formats.number(figures["running"])),
    ]


def _times(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name} {formats.took(figures[name])}" for name in ("p50", "p95", "p99"))
