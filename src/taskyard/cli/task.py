"""`taskyard task`: add tasks, look at them, cancel and retry them.

Owns the words; the verbs are those of `tasks/`.
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
    Parameters,
    ParamsFile,
    Raw,
    duration,
    moment,
    new_app,
    read_filters,
)
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

app = new_app("Add tasks; list, show, cancel and retry them. A task is named QUEUE/ID.")

COLUMNS = (
    Column("ref", "task"),
    Column("task_type", "handler"),
    Column("status", show="state"),
    Column("schedule_time", "due", "ago"),
    Column("retry_count", "retries", formats.number, right=True),
    Column("priority", show=formats.number, right=True),
    Column("server_id", "server"),
    Column("tenant_id", "tenant"),
    Column("error_msg", "error", formats.last_line, wide=True),
)
"""The columns of `task list`."""

Ref = Annotated[str, typer.Argument(metavar="QUEUE/ID", help="The task.")]
Refs = Annotated[list[str], typer.Argument(metavar="QUEUE/ID...", help="The tasks.")]


@app.command()
def add(
    ctx: typer.Context,
    handler: Annotated[str, typer.Argument(metavar="HANDLER", help="The handler's name.")],
    params: Parameters = None,
    params_file: ParamsFile = None,
    queue: Annotated[
        str | None, typer.Option("--queue", help="The queue; default is the handler's.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="When it is due, ISO 8601.")
    ] = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="How long until it is due.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=-100, max=100, help="Higher goes first.")
    ] = None,
    max_retries: Annotated[
        int | None,
        typer.Option("--max-retries", min=0, help="Attempts after the first; default: handler's."),
    ] = None,
    retry_interval: Annotated[
        str | None,
        typer.Option("--retry-interval", metavar="DURATION", help="A fixed wait before a retry."),
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", metavar="DURATION", help="Time limit of an attempt."),
    ] = None,
    unique_key: Annotated[
        str | None,
        typer.Option("--unique-key", metavar="KEY", help="Refuse a second live task of this key."),
    ] = None,
    excl_key: Annotated[
        str | None,
        typer.Option("--excl-key", metavar="KEY", help="Tasks of one key run one at a time."),
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose task it is.")] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end and print its output as JSON.")
    ] = False,
    wait_timeout: Annotated[
        str | None,
        typer.Option("--wait-timeout", metavar="DURATION", help="How long to wait; then exit 7."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Add it although nobody knows the handler.")
    ] = False,
) -> None:
    """Add a task; prints its name, QUEUE/ID.

    Parameters are checked here when the application is here. With --wait the task's output is
    printed and nothing else; when it fails, its error goes to stderr and the exit code is 1.

    \b
    Examples:
      taskyard task add shop.greet name=Ada times:=3 --wait
      taskyard task add report --json params.json --queue reports --at "2026-12-01 06:00"
      taskyard task add mail.send to:='["ada@example.com"]' subject=Hello --delay 5m
    """
    from taskyard.cli.adding import add_task
    from taskyard.cli.params import read_params

    here = invocation(ctx)
    options: dict[str, Any] = {
        "queue": queue,
        "schedule_time": moment(at, "--at", here.settings()),
        "delay": duration(delay, "--delay"),
        "priority": priority,
        "max_retries": max_retries,
        "retry_interval": duration(retry_interval, "--retry-interval"),
        "timeout": duration(timeout, "--timeout"),
        "unique_key": unique_key,
        "excl_key": excl_key,
        "tenant_id": tenant or None,
    }
    patience = duration(wait_timeout, "--wait-timeout")
    given = {name: value for name, value in options.items() if value is not None}
    handle = add_task(here, handler, read_params(params or [], params_file), given, force=force)
    if wait or patience is not None:
        print_json(handle.wait(patience))
    else:
        print(handle.ref)


@app.command("list")
def list_(
    ctx: typer.Context,
    queue: Annotated[str | None, typer.Option("--queue", help="Of this queue.")] = None,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", metavar="A,B", help="pending, running, completed, failed, cancelled."
        ),
    ] = None,
    task_type: Annotated[
        str | None, typer.Option("--type", metavar="HANDLER", help="Of this handler.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")] = None,
    server: Annotated[
        str | None, typer.Option("--server", metavar="ID", help="Claimed last by this server.")
    ] = None,
    unique_key: Annotated[
        str | None, typer.Option("--unique-key", metavar="KEY", help="With this key.")
    ] = None,
    filter_: Filters = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List tasks, the newest first.

    \b
    Examples:
      taskyard task list --status failed
      taskyard task list --queue email_queue --json | jq -r '.[].ref'
    """
    from taskyard.db.listing import Query
    from taskyard.tasks.browse import list_tasks

    here = invocation(ctx)
    filters = {
        "queue": queue,
        "status": status,
        "task_type": task_type,
        "tenant_id": tenant,
        "server_id": server,
        "unique_key": unique_key,
    }
    asked = filters | read_filters(filter_)
    query = Query(asked, limit=limit, cursor=after, large=("error_msg",))
    page = list_tasks(here.database(), LOCAL, query)
    print_list(page.rows, COLUMNS, as_json=as_json, color=here.color, empty="No tasks.")
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(ctx: typer.Context, ref: Ref, raw: Raw = False, as_json: AsJson = False) -> None:
    """Show a task in full, with its runs."""
    from taskyard.cli.run import COLUMNS as RUN_COLUMNS
    from taskyard.cli.run import with_task
    from taskyard.db.listing import Query
    from taskyard.runs.browse import list_runs
    from taskyard.tasks.browse import show_task
    from taskyard.tasks.manage import parse_ref

    here = invocation(ctx)
    database = here.database()
    task = show_task(database, LOCAL, parse_ref(database, ref), raw=raw)
    page = list_runs(database, LOCAL, Query({"task": ref}, large=("error",)))
    runs = [with_task(run) for run in page.rows]
    if as_json:
        print_json(task | {"runs": runs})
        return
    print_fields([(name, _shown(value)) for name, value in task.items() if value not in (None, "")])
    if runs:
        print()
        print_list(runs, RUN_COLUMNS, as_json=False, color=here.color)


@app.command()
def explain(ctx: typer.Context, ref: Ref, as_json: AsJson = False) -> None:
    """Tell why a task is not running, check by check."""
    from taskyard.cli.doctor import print_finding
    from taskyard.tasks.explain import explain as ask
    from taskyard.tasks.manage import parse_ref

    here = invocation(ctx)
    database = here.database()
    reasons = ask(database, LOCAL, parse_ref(database, ref))
    if as_json:
        print_json(reasons)
        return
    for reason in reasons:
        text = f"{reason.code} {reason.text}" if reason.holds and reason.code else reason.text
        level = "fault" if reason.holds else "ok"
        print_finding(reason.check, level, text, reason.fix, color=here.color)
    if reasons[0].check != "state" and not any(reason.holds for reason in reasons):
        say("Nothing holds it: a server takes it at its next look, within the scan_interval.")


@app.command()
def cancel(
    ctx: typer.Context,
    refs: Refs,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; it stands in the task's error_msg.")
    ] = "cancelled",
) -> None:
    """Cancel tasks: a pending one ends at once, a running one is stopped by its server."""
    from taskyard.tasks import manage

    database = invocation(ctx).database()
    for text in refs:
        ref = manage.parse_ref(database, text)
        state = manage.cancel(database, LOCAL, ref, reason)
        print(f"{ref}\t{state.status.name.lower()}")


@app.command()
def retry(ctx: typer.Context, refs: Refs) -> None:
    """Run tasks again that have ended, with all their attempts anew."""
    from taskyard.tasks import manage

    database = invocation(ctx).database()
    for text in refs:
        ref = manage.parse_ref(database, text)
        state = manage.retry(database, LOCAL, ref)
        print(f"{ref}\t{state.status.name.lower()}")


@app.command("run-now")
def run_now(ctx: typer.Context, refs: Refs) -> None:
    """Let pending tasks run now, whenever they are due."""
    from taskyard.tasks import manage

    database = invocation(ctx).database()
    for text in refs:
        ref = manage.parse_ref(database, text)
        state = manage.run_now(database, LOCAL, ref)
        print(f"{ref}\t{state.status.name.lower()}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {_shown(part)}" for name, part in value.items() if part is not None
        )
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
