"""`taskyard schedule`: rules that enqueue tasks when they are due.

Owns the words; the verbs are those of `schedules/`. The options of a schedule's fields are
`schedule_options.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli import schedule_options as field
from taskyard.cli.invocation import invocation, is_terminal
from taskyard.cli.options import After, AsJson, Limit, Parameters, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say
from taskyard.cli.output import value as plain

app = new_app("Schedules: add, list, show, set, start, stop, trigger, next, preview, delete.")

COLUMNS = (
    Column("id", right=True),
    Column("name"),
    Column("state", show="state"),
    Column("task_type", "handler"),
    Column("words", "when"),
    Column("time_zone", "zone"),
    Column("next_fire_at", "next", "ago"),
    Column("last_fire_at", "last", "ago"),
    Column("last_status", "result", "state"),
    Column("success_rate", "success", formats.share, right=True),
    Column("average_time", "took", formats.took, right=True),
    Column("tenant_id", "tenant"),
    Column("problem", wide=True),
)
"""The columns of `schedule list`."""

FIRES = (Column("fire_time", "fires at", plain), Column("left", "that is", "ago"))
"""The columns of `schedule next` and `schedule preview`."""

NewName = Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name, or its id.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, or ids.")]
Count = Annotated[int, typer.Option("--count", "-n", min=1, max=500, help="How many.")]


@app.command()
def add(
    ctx: typer.Context,
    name: NewName,
    task_type: Annotated[str, typer.Argument(metavar="HANDLER", help="What it runs.")],
    param: Parameters = None,
    more: field.Words = None,
    params_file: field.ParamsFile = None,
    cron: field.Cron = None,
    interval: field.Interval = None,
    dialect: field.Dialect = None,
    time_zone: field.TimeZone = None,
    queue: field.Queue = None,
    retry_count: field.RetryCount = None,
    retry_interval: field.RetryInterval = None,
    monitor_timeout: field.MonitorTimeout = None,
    timeout: field.Timeout = None,
    misfire: field.Misfire = None,
    misfire_window: field.MisfireWindow = None,
    overlap: field.Overlap = None,
    jitter: field.Jitter = None,
    start_at: field.StartAt = None,
    end_at: field.EndAt = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose it is.")] = "",
    stopped: Annotated[bool, typer.Option("--stopped", help="Make it, but fire nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a schedule; it fires from now on.

    The handler need not be there yet: the tasks wait for a server that has it.

    \b
    Examples:
      taskyard schedule add backup DataBackupHandler --cron "0 2 * * *" --retry-count 3 \\
        --retry-interval 300 --monitor-timeout 1800 --time-zone Asia/Shanghai
      taskyard schedule add weekly WeeklyReportHandler --cron "0 9 * * 1" to=boss@example.com
      taskyard schedule add poll sync.orders --interval 90s --overlap skip limit:=500
    """
    from taskyard.schedules.manage import create_schedule

    here = invocation(ctx)
    fields = field.given(ctx.params)
    if stopped:
        fields["status"] = 0
    zone = here.settings().default_time_zone
    _print(create_schedule(here.database(), LOCAL, fields, time_zone=zone), as_json)


@app.command("list")
def list_(
    ctx: typer.Context,
    q: Annotated[str | None, typer.Option("--q", metavar="TEXT", help="Of such a name.")] = None,
    started: Annotated[
        bool | None, typer.Option("--started/--stopped", help="Only those that are so.")
    ] = None,
    task_type: Annotated[
        str | None, typer.Option("--type", metavar="HANDLER", help="Of this handler.")
    ] = None,
    queue: Annotated[str | None, typer.Option("--queue", help="Of this queue.")] = None,
    source: Annotated[
        str | None, typer.Option("--source", metavar="A,B", help="api, code, sql, system.")
    ] = None,
    last_status: Annotated[
        str | None,
        typer.Option("--last-status", metavar="A,B", help="Whose last run ended so."),
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")] = None,
    sort: Annotated[
        str, typer.Option("--sort", help="name, id, next_fire_at, fired; -… is downwards.")
    ] = "name",
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List schedules: when they fire, and how their last runs went.

    \b
    Examples:
      taskyard schedule list --sort next_fire_at
      taskyard schedule list --last-status failed,timeout --json
    """
    from taskyard.db.listing import Query
    from taskyard.schedules.browse import list_schedules

    here = invocation(ctx)
    filters = {
        "q": q,
        "status": None if started is None else int(started),
        "task_type": task_type,
        "queue": queue,
        "source": source,
        "last_status": last_status,
        "tenant_id": tenant,
    }
    query = Query(filters, sort=sort, limit=limit, cursor=after)
    page = list_schedules(here.database(), LOCAL, query)
    empty = "No schedules. `taskyard schedule add NAME HANDLER --cron …` makes one."
    print_list(page.rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(ctx: typer.Context, schedule: Name, as_json: AsJson = False) -> None:
    """Show a schedule in full, with its last runs."""
    from taskyard.schedules.browse import show_schedule

    _print(show_schedule(invocation(ctx).database(), LOCAL, schedule), as_json)


@app.command("set")
def set_(
    ctx: typer.Context,
    schedule: Name,
    rename: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    task_type: field.Handler = None,
    param: Parameters = None,
    more: field.Words = None,
    params_file: field.ParamsFile = None,
    cron: field.Cron = None,
    interval: field.Interval = None,
    dialect: field.Dialect = None,
    time_zone: field.TimeZone = None,
    queue: field.Queue = None,
    retry_count: field.RetryCount = None,
    retry_interval: field.RetryInterval = None,
    monitor_timeout: field.MonitorTimeout = None,
    timeout: field.Timeout = None,
    misfire: field.Misfire = None,
    misfire_window: field.MisfireWindow = None,
    overlap: field.Overlap = None,
    jitter: field.Jitter = None,
    start_at: field.StartAt = None,
    end_at: field.EndAt = None,
    as_json: AsJson = False,
) -> None:
    """Change a schedule while it goes on; "none" takes a field away.

    Parameters that are given take the place of all it had. A new rule counts from now on.

    \b
    Examples:
      taskyard schedule set backup --cron "30 3 * * *" --retry-count 5
      taskyard schedule set backup path=/data --timeout none
    """
    from taskyard.schedules.manage import update_schedule

    here = invocation(ctx)
    changes = field.given(ctx.params)
    if not changes:
        raise typer.BadParameter("name at least one thing to change")
    zone = here.settings().default_time_zone
    _print(update_schedule(here.database(), LOCAL, schedule, changes, time_zone=zone), as_json)


@app.command()
def start(ctx: typer.Context, schedules: Names, as_json: AsJson = False) -> None:
    """Let schedules fire from now on; what they missed while stopped does not fire."""
    from taskyard.schedules.manage import start_schedule

    database = invocation(ctx).database()
    _print_states([start_schedule(database, LOCAL, name) for name in schedules], as_json)


@app.command()
def stop(ctx: typer.Context, schedules: Names, as_json: AsJson = False) -> None:
    """Let schedules fire no more; what they have enqueued goes on."""
    from taskyard.schedules.manage import stop_schedule

    database = invocation(ctx).database()
    _print_states([stop_schedule(database, LOCAL, name) for name in schedules], as_json)


@app.command()
def trigger(
    ctx: typer.Context,
    schedule: Name,
    param: Parameters = None,
    more: field.Words = None,
    params_file: field.ParamsFile = None,
    as_json: AsJson = False,
) -> None:
    """Enqueue a schedule's task now, whether it is started or not; prints the task, QUEUE/ID.

    Parameters that are given take the place of all that the schedule has, this once.

    \b
    Examples:
      taskyard schedule trigger backup
      taskyard schedule trigger weekly to=me@example.com
    """
    from taskyard.schedules.manage import trigger_schedule

    here = invocation(ctx)
    params = field.given(ctx.params).get("task_params")
    zone = here.settings().default_time_zone
    ref = trigger_schedule(here.database(), LOCAL, schedule, params, time_zone=zone)
    if as_json:
        print_json({"queue": ref.queue, "id": ref.id, "task_table": ref.table, "ref": str(ref)})
    else:
        print(ref)


@app.command("next")
def next_(ctx: typer.Context, schedule: Name, count: Count = 10, as_json: AsJson = False) -> None:
    """Tell when a schedule fires next, in its zone, as if it were started."""
    from taskyard.schedules.browse import next_fires

    here = invocation(ctx)
    fires = next_fires(here.database(), LOCAL, schedule, count)
    _print_fires(fires, as_json, here.color)


@app.command()
def preview(
    ctx: typer.Context,
    cron: Annotated[str, typer.Argument(metavar="CRON", help='Like "0 2 * * *" or "@daily".')],
    count: Count = 10,
    dialect: field.Dialect = None,
    time_zone: field.TimeZone = None,
    start_at: field.StartAt = None,
    end_at: field.EndAt = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="TIME", help="Later than this, not than now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a cron expression means and when it fires, without making anything.

    \b
    Examples:
      taskyard schedule preview "30 2 * * *" --time-zone America/New_York --after 2026-03-07
      taskyard schedule preview "0 0 12 L * ?" --dialect quartz --count 3
    """
    from taskyard.cli.options import moment
    from taskyard.schedules.browse import describe
    from taskyard.schedules.browse import preview as look

    here = invocation(ctx)
    settings = here.settings()
    zone = time_zone or settings.default_time_zone
    given = {"cron": cron, "dialect": dialect, "start_at": start_at, "end_at": end_at}
    fields = field.given(given) | {"time_zone": zone}
    words = describe(fields)["en"]
    start = moment(after, "--after", settings, zone)
    fires = look(LOCAL, fields, count, time_zone=zone, after=start)
    say(f"{words} ({zone})")
    _print_fires(fires, as_json, here.color)


@app.command()
def delete(ctx: typer.Context, schedules: Names) -> None:
    """Delete schedules; their tasks and runs stay."""
    from taskyard.schedules.manage import delete_schedule

    database = invocation(ctx).database()
    for name in schedules:
        delete_schedule(database, LOCAL, name)
        say(f"Schedule {name} is deleted; its tasks and runs are still there.")


# --- below ----------------------------------------------------------------------------------------

_LISTED = ("status", "recent", "words_zh")
"""What `schedule show` tells otherwise."""

_RECENT = (
    Column("run_id", "run", right=True),
    Column("execute_index", "fire", formats.number, right=True),
    Column("attempt", show=formats.number, right=True),
    Column("status", show="state"),
    Column("started_at", "started", "ago"),
    Column("execution_time", "took", formats.took, right=True),
)


def _print(schedule: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(schedule)
        return
    shown = {name: item for name, item in schedule.items() if name not in _LISTED}
    print_fields([(name, _text(item)) for name, item in shown.items() if item not in (None, "")])
    if schedule["recent"]:
        print()
        print_list(schedule["recent"], _RECENT, as_json=False)


def _text(item: Any) -> str:
    import orjson

    return orjson.dumps(item).decode() if isinstance(item, dict | list) else plain(item)


def _print_states(schedules: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    found = list(schedules)
    if as_json:
        print_json(found)
        return
    for schedule in found:
        print(f"{schedule['name']}\t{schedule['state']}")


def _print_fires(fires: Iterable[Mapping[str, Any]], as_json: bool, color: bool) -> None:
    found = list(fires)
    if as_json or not found:
        print_json(found) if as_json else say("It fires no more.")
        return
    rows = [{**fire, "left": fire["fire_time"]} for fire in found]
    columns = FIRES if is_terminal() else FIRES[:1]
    print_list(rows, columns, as_json=False, color=color)
