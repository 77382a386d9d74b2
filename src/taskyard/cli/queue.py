"""`taskyard queue`: queues, as rows of queue_configs.

Owns the words; the verbs are `queues.py`'s, and everything here can be done by SQL as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, duration, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

if TYPE_CHECKING:
    from taskyard.db.database import Database
    from taskyard.queues import Queue as QueueRow

app = new_app("Queues: list, create, change, pause, resume, delete, adopt; the SQL to use them.")

COLUMNS = (
    Column("queue_name", "queue"),
    Column("table_name", "table"),
    Column("state", show="state"),
    Column("waiting", right=True),
    Column("running", show=formats.number, right=True),
    Column("max_workers", "workers", formats.number, right=True),
    Column("scan_interval", "scan", formats.took, right=True),
    Column("server_id", "server"),
    Column("rate_limit", "rate/s", formats.number, right=True),
    Column("timeout", show=formats.took, right=True),
    Column("problem", wide=True),
)
"""The columns of `queue list`."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The queue.")]
Table = Annotated[
    str | None, typer.Option("--table", help="Its table; created, or adopted if it is there.")
]
MaxWorkers = Annotated[
    int | None, typer.Option("--max-workers", help="Tasks that a server runs at once.")
]
ScanInterval = Annotated[
    str | None,
    typer.Option("--scan-interval", metavar="DURATION", help="How often the table is looked at."),
]
ServerId = Annotated[
    str | None,
    typer.Option("--server-id", metavar="ID", help="Pin it to one server; '' is any server."),
]
RateLimit = Annotated[
    str | None,
    typer.Option("--rate-limit", metavar="N", help="Tasks a second over all servers, or none."),
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="Time limit of an attempt, or none."),
]


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List queues with their settings and how many tasks wait and run."""
    from taskyard.queues import list_queues

    here = invocation(ctx)
    database = here.database()
    rows = [_row(database, queue) for queue in list_queues(database, LOCAL)]
    print_list(
        rows,
        COLUMNS,
        as_json=as_json,
        color=here.color,
        empty="No queues. `taskyard queue create NAME` makes one; a worker makes those it needs.",
    )


@app.command()
def create(
    ctx: typer.Context,
    name: Name,
    table: Table = None,
    max_workers: MaxWorkers = None,
    scan_interval: ScanInterval = None,
    server_id: ServerId = None,
    rate_limit: RateLimit = None,
    timeout: Timeout = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Create it paused.")] = False,
) -> None:
    """Create a queue and its table.

    \b
    Example:
      taskyard queue create email_queue --table email_tasks --max-workers 10 --scan-interval 2
    """
    from taskyard.queues import create_queue

    settings = _settings(table, max_workers, scan_interval, server_id, rate_limit, timeout)
    if disabled:
        settings["status"] = 0
    queue = create_queue(invocation(ctx).database(), LOCAL, name, **settings)
    _print_queue(queue)
    say("Running servers work it within `config_sync_interval` (10 s unless set otherwise).")


@app.command("set")
def set_(
    ctx: typer.Context,
    name: Name,
    table: Table = None,
    max_workers: MaxWorkers = None,
    scan_interval: ScanInterval = None,
    server_id: ServerId = None,
    rate_limit: RateLimit = None,
    timeout: Timeout = None,
) -> None:
    """Change settings of a queue; running servers follow within `config_sync_interval`.

    \b
    Examples:
      taskyard queue set email_queue --max-workers 20
      taskyard queue set email_queue --server-id server-002 --rate-limit none
    """
    from taskyard.queues import update_queue

    settings = _settings(table, max_workers, scan_interval, server_id, rate_limit, timeout)
    if not settings:
        raise typer.BadParameter("name at least one setting to change")
    _print_queue(update_queue(invocation(ctx).database(), LOCAL, name, **settings))


@app.command()
def pause(ctx: typer.Context, name: Name) -> None:
    """Take nothing more from a queue; what runs goes on."""
    from taskyard.queues import pause_queue

    _print_queue(pause_queue(invocation(ctx).database(), LOCAL, name))


@app.command()
def resume(ctx: typer.Context, name: Name) -> None:
    """Work a queue again."""
    from taskyard.queues import resume_queue

    _print_queue(resume_queue(invocation(ctx).database(), LOCAL, name))


@app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Delete a queue; its table and tasks stay."""
    from taskyard.queues import delete_queue, get_queue

    database = invocation(ctx).database()
    table = get_queue(database, name).table_name
    delete_queue(database, LOCAL, name)
    say(f"Queue {name} is deleted; table {table} and its tasks are still there.")


@app.command()
def adopt(ctx: typer.Context, name: Name) -> None:
    """Make a queue's existing table fit, and take the queue out of quarantine."""
    from taskyard.queues import adopt_table, get_queue

    database = invocation(ctx).database()
    adopt_table(database, LOCAL, name)
    say(f"Table {get_queue(database, name).table_name} is ready.")


@app.command()
def sql(ctx: typer.Context, name: Name) -> None:
    """Print the INSERT that puts a task into a queue, in this database's words."""
    from taskyard.cli.inserts import insert_statements

    print(insert_statements(invocation(ctx), name), end="")


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a queue's settings and how many tasks wait and run."""
    from taskyard.queues import get_queue

    database = invocation(ctx).database()
    row = _row(database, get_queue(database, name))
    if as_json:
        print_json(row)
    else:
        print_fields([(key, str(item)) for key, item in row.items() if item not in (None, "")])


def _settings(
    table: str | None,
    max_workers: int | None,
    scan_interval: str | None,
    server_id: str | None,
    rate_limit: str | None,
    timeout: str | None,
) -> dict[str, Any]:
    """The settings that were given; "none" takes a limit away."""
    settings: dict[str, Any] = {
        "table_name": table,
        "max_workers": max_workers,
        "scan_interval": duration(scan_interval, "--scan-interval"),
        "server_id": server_id,
        "rate_limit": rate_limit,
        "timeout": timeout if timeout == "none" else duration(timeout, "--timeout"),
    }
    given = {name: value for name, value in settings.items() if value is not None}
    return {name: None if value == "none" else value for name, value in given.items()}


def _row(database: Database, queue: QueueRow) -> dict[str, Any]:
    from taskyard.db.listing import COUNT_CAP
    from taskyard.tasks.browse import backlog

    row = queue.to_dict() | {"state": _state(queue), "waiting": None, "running": None}
    try:
        found = backlog(database, queue.table_name)
    except Exception as error:
        if not database.dialect.is_table_missing(error):
            raise
        return row  # not created or adopted yet
    capped = found.waiting > COUNT_CAP
    return row | {
        "waiting": f"{COUNT_CAP}+" if capped else found.waiting,
        "running": found.running,
    }


def _state(queue: QueueRow) -> str:
    if queue.problem is not None:
        return "quarantined"
    return "enabled" if queue.status == 1 else "paused"


def _print_queue(queue: QueueRow) -> None:
    fields = queue.to_dict() | {"state": _state(queue)}
    print_fields([(key, str(item)) for key, item in fields.items() if item not in (None, "")])
