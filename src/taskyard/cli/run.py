"""`taskyard run`: the history of what ran, and what runs now.

Owns the words; the lists are `runs/browse.py`'s. Following a log or a run stands in `watching.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli.invocation import invocation
from taskyard.cli.options import (
    After,
    AsJson,
    Filters,
    Limit,
    Raw,
    moment,
    new_app,
    read_filters,
    since,
)
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

app = new_app("The history of what ran, and what runs now.")

COLUMNS = (
    Column("id", "run", formats.number, right=True),
    Column("task_type", "handler"),
    Column("status", show="state"),
    Column("started_at", "started", "ago"),
    Column("execution_time", "took", formats.took, right=True),
    Column("wait_time", "waited", formats.took, right=True),
    Column("memory_usage", "memory", formats.size, right=True),
    Column("attempt", show=formats.number, right=True),
    Column("task"),
    Column("server_id", "server"),
    Column("error", show=formats.last_line, wide=True),
)
"""The columns of `run list`."""

ERROR_COLUMNS = (
    Column("count", show=formats.number, right=True),
    Column("task_type", "handler"),
    Column("last_at", "last", "ago"),
    Column("run_id", "run", formats.number, right=True),
    Column("error", wide=True),
)
"""The columns of `run errors`."""

RunId = Annotated[int, typer.Argument(metavar="ID", help="The run.", min=0)]


@app.command("list")
def list_(
    ctx: typer.Context,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="A,B",
            help="running, completed, failed, timeout, cancelled, lost, interrupted.",
        ),
    ] = None,
    task_type: Annotated[
        str | None, typer.Option("--type", metavar="HANDLER", help="Of this handler.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="Of this queue.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="QUEUE/ID", help="Of this task.")
    ] = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="ID", help="On this server.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="enqueued, scheduled, batch, manual, tracked."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", metavar="ID", help="That worked for this batch.")
    ] = None,
    since_: Annotated[
        str | None,
        typer.Option("--since", metavar="DURATION", help="Started so long ago at most: 24h."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Started at this time or later.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Started before this time.")
    ] = None,
    min_duration: Annotated[
        str | None,
        typer.Option("--min-duration", metavar="DURATION", help="Took so long at least: 5s."),
    ] = None,
    q: Annotated[
        str | None,
        typer.Option("--q", metavar="TEXT", help="With this in the error, among recent runs."),
    ] = None,
    filter_: Filters = None,
    oldest: Annotated[bool, typer.Option("--oldest", help="The oldest first.")] = False,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="WORD", help='By this instead; "-" is the largest first.'),
    ] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List runs, live and finished, the newest first.

    \b
    Examples:
      taskyard run list --status failed,timeout --since 24h
      taskyard run list --type mail.send --min-duration 5s --json
      taskyard run list --filter params.user.id=42 --sort -execution_time
    """
    from taskyard.db.listing import Query
    from taskyard.runs.browse import list_runs

    here = invocation(ctx)
    settings = here.settings()
    filters: dict[str, Any] = {
        "status": status,
        "task_type": task_type,
        "queue": queue,
        "task": task,
        "server_id": server,
        "tenant_id": tenant,
        "origin": origin,
        "batch_id": batch,
        "from": moment(from_, "--from", settings) or since(since_, "--since"),
        "to": moment(to, "--to", settings),
        "min_duration": min_duration,
        "q": q,
    }
    order = sort or ("started_at" if oldest else "-started_at")
    query = Query(filters | read_filters(filter_), order, limit, after, large=("error",))
    page = list_runs(here.database(), LOCAL, query)
    rows = [with_task(row) for row in page.rows]
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty="No runs.")
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(ctx: typer.Context, run_id: RunId, raw: Raw = False, as_json: AsJson = False) -> None:
    """Show a run in full: payload, output, error, times, memory, progress."""
    from taskyard.runs.browse import show_run

    run = with_task(show_run(invocation(ctx).database(), LOCAL, run_id, raw=raw))
    if as_json:
        print_json(run)
    else:
        print_fields([(name, text) for name, text in map(_field, run.items()) if text])


@app.command()
def errors(
    ctx: typer.Context,
    filter_: Filters = None,
    since_: Annotated[
        str | None,
        typer.Option("--since", metavar="DURATION", help="Started so long ago at most: 24h."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the newest failures into groups: those of a handler whose errors are alike.

    
    Examples:
      taskyard run errors --since 24h
      taskyard run errors --filter queue=mail --json
    """
    from dataclasses import asdict

    from taskyard.runs.errors import error_groups

    here = invocation(ctx)
    filters: dict[str, Any] = {"from": since(since_, "--since"), **read_filters(filter_)}
    found = error_groups(here.database(), LOCAL, filters)
    rows = [asdict(group) for group in found.groups]
    print_list(rows, ERROR_COLUMNS, as_json=as_json, color=here.color, empty="No failures.")
    if found.is_capped:
        say(f"These are the newest {found.looked_at:,} failures; there are older ones.")


@app.command()
def export(
    ctx: typer.Context,
    filter_: Filters = None,
    form: Annotated[str, typer.Option("--format", help="csv, json, jsonl.")] = "csv",
    include: Annotated[
        str, typer.Option("--include", metavar="A,B", help="payload, output, error.")
    ] = "",
) -> None:
    """Write all runs of a filter to stdout, the newest first.

    
    Examples:
      taskyard run export --filter status=failed --include error > failed.csv
      taskyard run export --filter from=2026-01-01 --format jsonl
    """
    import sys

    from taskyard.db.listing import Query
    from taskyard.runs.export import Form, export_runs

    if form not in [*Form]:
        raise typer.BadParameter(f'"{form}" is none of {", ".join(Form)}', param_hint="--format")
    large = tuple(filter(None, include.split(",")))
    query = Query(read_filters(filter_), "-started_at", large=large)
    for part in export_runs(invocation(ctx).database(), LOCAL, query, Form(form)):
        sys.stdout.write(part.decode())


@app.command()
def log(
    ctx: typer.Context,
    run_id: RunId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run ends.")
    ] = False,
) -> None:
    """Print what a run logged."""
    from taskyard.cli.watching import follow_log

    follow_log(invocation(ctx).database(), run_id, follow=follow)


@app.command()
def watch(
    ctx: typer.Context,
    run_id: RunId,
    exit_status: Annotated[
        bool, typer.Option("--exit-status", help="Exit 1 unless it completes.")
    ] = False,
) -> None:
    """Follow a run's progress until it ends; prints the status it ends with."""
    from taskyard.cli.watching import watch_run

    status = watch_run(invocation(ctx).database(), run_id)
    print(status)
    raise typer.Exit(1 if exit_status and status != "completed" else 0)


def with_task(run: dict[str, Any]) -> dict[str, Any]:
    """A run with the name of its Task, QUEUE/ID; None for tracked code."""
    ref = None if run["task_id"] is None else f"{run['queue']}/{run['task_id']}"
    return {"id": run["id"], "task": ref, **run}


_UNITS = {
    "execution_time": formats.took,
    "wait_time": formats.took,
    "cpu_time": formats.took,
    "memory_usage": formats.size,
}
_INTERNAL = {"claimed_at", "created_at", "updated_at"}


def _field(item: tuple[str, Any]) -> tuple[str, str]:
    name, value = item
    if value in (None, "") or name in _INTERNAL:
        return name, ""
    if name == "progress":
        return name, progress(value)
    if name in _UNITS:
        return name, _UNITS[name](value)
    return name, value.isoformat() if hasattr(value, "isoformat") else str(value)


def progress(told: dict[str, Any] | None) -> str:
    """How far a run says it is: "30 % (3 of 10), rows copied"."""
    if not told:
        return ""
    done, total = told["done"], told["total"]
    text = formats.number(done)
    if total:
        text = f"{100 * done / total:.0f} % ({formats.number(done)} of {formats.number(total)})"
    return f"{text}, {told['note']}" if told["note"] else text
