"""`taskyard batch`: one operation over many items.

Owns the words; the verbs are those of `batches/`. Where items come from is `batch_items.py`'s, the
progress bar `batch_watch.py`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, Parameters, duration, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

app = new_app("Batches: create, list, show, watch, pause, resume, cancel, retry; their items.")

COLUMNS = (
    Column("id", right=True),
    Column("name"),
    Column("task_type", "handler"),
    Column("status", show="state"),
    Column("total_count", "items", formats.number, right=True),
    Column("success_count", "ok", formats.number, right=True),
    Column("failed_count", "failed", formats.number, right=True),
    Column("skipped_count", "skipped", formats.number, right=True),
    Column("rate", "per s", formats.number, right=True),
    Column("eta", "left", formats.took, right=True),
    Column("tenant_id", "tenant"),
    Column("created_by", "by"),
    Column("started_at", "started", "ago"),
)
"""The columns of `batch list`."""

ITEMS = (
    Column("item_id", "item"),
    Column("status", show="state"),
    Column("attempts", show=formats.number, right=True),
    Column("duration", "took", formats.took, right=True),
    Column("completed_at", "ended", "ago"),
    Column("result", wide=True),
    Column("error", show=formats.last_line, wide=True),
)
"""The columns of `batch items`."""

Batch = Annotated[int, typer.Argument(metavar="ID", help="The batch.")]
Batches = Annotated[list[int], typer.Argument(metavar="ID...", help="The batches.")]
Items = Annotated[list[str], typer.Argument(metavar="ITEM...", help="The items, by their ids.")]


@app.command()
def create(
    ctx: typer.Context,
    handler: Annotated[
        str | None, typer.Argument(metavar="[HANDLER]", help="The batch handler.")
    ] = None,
    params: Parameters = None,
    params_file: Annotated[
        str | None,
        typer.Option("--params-file", metavar="FILE", help="A JSON object of parameters."),
    ] = None,
    items: Annotated[
        str | None,
        typer.Option(
            "--items",
            metavar="FILE",
            help="CSV with a header, or .jsonl; - is JSON lines on stdin.",
        ),
    ] = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="A,B", help="Items that are their ids alone.")
    ] = None,
    query: Annotated[
        str | None,
        typer.Option("--query", metavar="SQL", help="Items are the rows of this SELECT."),
    ] = None,
    query_db: Annotated[
        str | None, typer.Option("--query-db", metavar="URL", help="… in this database.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What people see.")] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose it is.")] = "",
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Items worked on at once.")
    ] = None,
    rate_limit: Annotated[
        float | None, typer.Option("--rate-limit", metavar="N", help="Items a second.")
    ] = None,
    pause: Annotated[
        str | None,
        typer.Option("--pause", metavar="DURATION", help="How long a worker waits after an item."),
    ] = None,
    max_retries: Annotated[
        int | None,
        typer.Option("--max-retries", min=0, help="Attempts of an item after its first."),
    ] = None,
    stop_after: Annotated[
        int | None, typer.Option("--stop-after", min=1, help="Failed items that end it.")
    ] = None,
    notify: Annotated[
        list[str] | None,
        typer.Option("--notify", metavar="WHO", help="A channel or an address; may be repeated."),
    ] = None,
    template: Annotated[
        str | None, typer.Option("--template", help="Fill in what is not given from this.")
    ] = None,
    var: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="NAME=TEXT", help="A variable of it; NAME:=JSON."),
    ] = None,
    later: Annotated[bool, typer.Option("--later", help="Don't start it yet.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a batch and start it; prints its id. Exit code 5: one of this type is running.

    \b
    Examples:
      taskyard batch create verify_accounts --items accounts.csv --tenant acme --wait
      taskyard batch create verify_accounts --ids 7,8,9 --rate-limit 2 --notify ops@example.com
      taskyard batch create resize --query "SELECT id AS item_id, path FROM images" width:=800
      taskyard batch create --template nightly --var region=eu --items accounts.csv
    """
    from taskyard.batches import templates
    from taskyard.batches.create import create_batch
    from taskyard.cli.adding import application_here, spec_here
    from taskyard.cli.batch_items import open_items
    from taskyard.cli.params import read_params

    here = invocation(ctx)
    database = here.database()
    fields: dict[str, Any] = {
        "task_type": handler,
        "name": name,
        "tenant_id": tenant or None,
        "params": read_params(params or [], params_file) or None,
        "concurrency": concurrency,
        "rate_limit": rate_limit,
        "pause": duration(pause, "--pause"),
        "max_retries": max_retries,
        "stop_after": stop_after,
        "notify": notify or None,
    }
    template_id = None
    if template is not None:
        given = {field: value for field, value in fields.items() if value is not None}
        values = read_params(var or [], None)
        fields, template_id = templates.use_template(database, LOCAL, template, given, values)
    settings = here.settings()
    spec = spec_here(application_here(here, settings), str(fields.get("task_type") or ""))
    with open_items(items, ids, query, query_db or settings.database_url) as source:
        made = create_batch(
            database, LOCAL, fields, source, start=not later, template_id=template_id, spec=spec
        )
    if wait:
        _watch(ctx, made["id"], as_json)
    elif as_json:
        print_json(made)
    else:
        print(made["id"])


@app.command("list")
def list_(
    ctx: typer.Context,
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="A,B",
            help="pending, running, paused, completed, failed, cancelled.",
        ),
    ] = None,
    task_type: Annotated[
        str | None, typer.Option("--type", metavar="HANDLER", help="Of this handler.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")] = None,
    q: Annotated[str | None, typer.Option("--q", metavar="TEXT", help="Of such a name.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List batches, the newest first."""
    from taskyard.batches.browse import list_batches
    from taskyard.db.listing import Query

    here = invocation(ctx)
    filters = {"status": status, "task_type": task_type, "tenant_id": tenant, "q": q}
    page = list_batches(here.database(), LOCAL, Query(filters, limit=limit, cursor=after))
    print_list(page.rows, COLUMNS, as_json=as_json, color=here.color, empty="No batches.")
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(ctx: typer.Context, batch: Batch, as_json: AsJson = False) -> None:
    """Show a batch in full: its counts, its rate, and how long it will take."""
    from taskyard.batches.browse import show_batch

    _print(show_batch(invocation(ctx).database(), LOCAL, batch), as_json)


@app.command()
def watch(ctx: typer.Context, batch: Batch, as_json: AsJson = False) -> None:
    """Watch a batch until its end. Exit code 1: it failed, was cancelled, or items have failed."""
    _watch(ctx, batch, as_json)


@app.command()
def items(
    ctx: typer.Context,
    batch: Batch,
    status: Annotated[
        str | None,
        typer.Option(
            "--status", metavar="A,B", help="pending, running, completed, failed, skipped."
        ),
    ] = None,
    q: Annotated[
        str | None, typer.Option("--q", metavar="TEXT", help="With this in its id or error.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List the items of a batch, in the order in which they were given."""
    from taskyard.batches.browse import list_items
    from taskyard.db.listing import Query

    here = invocation(ctx)
    query = Query(
        {"status": status, "q": q}, limit=limit, cursor=after, large=("data", "result", "error")
    )
    page = list_items(here.database(), LOCAL, batch, query)
    print_list(page.rows, ITEMS, as_json=as_json, color=here.color, empty="No such items.")
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def start(ctx: typer.Context, batches: Batches) -> None:
    """Start batches that were created with --later."""
    from taskyard.batches.create import start_batch

    _each(ctx, batches, start_batch)


@app.command()
def pause(ctx: typer.Context, batches: Batches) -> None:
    """Let no more items begin; those under way are finished."""
    from taskyard.batches.manage import pause_batch

    _each(ctx, batches, pause_batch)


@app.command()
def resume(ctx: typer.Context, batches: Batches) -> None:
    """Let batches that are paused, or have failed, go on with the items that are left."""
    from taskyard.batches.manage import resume_batch

    _each(ctx, batches, resume_batch)


@app.command()
def cancel(ctx: typer.Context, batches: Batches) -> None:
    """End batches: items that wait are skipped, those under way are finished."""
    from taskyard.batches.manage import cancel_batch

    _each(ctx, batches, cancel_batch)


@app.command("retry-failed")
def retry_failed(ctx: typer.Context, batches: Batches) -> None:
    """Process all failed items of batches again."""
    from taskyard.batches import manage

    _each(ctx, batches, manage.retry_failed)


@app.command()
def retry(ctx: typer.Context, batch: Batch, item_ids: Items) -> None:
    """Process these items again, which have failed or were skipped."""
    from taskyard.batches.manage import retry_items

    _line(retry_items(invocation(ctx).database(), LOCAL, batch, item_ids))


@app.command()
def skip(ctx: typer.Context, batch: Batch, item_ids: Items) -> None:
    """Never process these items, which wait."""
    from taskyard.batches.manage import skip_items

    _line(skip_items(invocation(ctx).database(), LOCAL, batch, item_ids))


@app.command()
def delete(
    ctx: typer.Context,
    batch: Batch,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Delete a batch with its items; one that runs is cancelled. Its runs stay."""
    from taskyard.batches.browse import show_batch
    from taskyard.batches.manage import delete_batch

    database = invocation(ctx).database()
    found = show_batch(database, LOCAL, batch)
    if not yes:
        typer.confirm(f'Delete batch {batch} "{found["name"]}"?', abort=True, err=True)
    delete_batch(database, LOCAL, batch)
    say(f"Batch {batch} is deleted.")


@app.command()
def export(
    ctx: typer.Context,
    batch: Batch,
    file: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Into this file, .csv or .jsonl.")
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="A,B", help="Only items that are so.")
    ] = None,
) -> None:
    """Print all items of a batch in full: JSON lines, or CSV into a file that ends so."""
    from taskyard.batches.browse import export_items
    from taskyard.cli.batch_items import write_items

    found = export_items(invocation(ctx).database(), LOCAL, batch, {"status": status})
    count = write_items(found, file)
    if file is not None:
        say(f"{count} items are in {file}.")


def _each(ctx: typer.Context, batches: list[int], verb: Any) -> None:
    database = invocation(ctx).database()
    for batch in batches:
        _line(verb(database, LOCAL, batch))


def _line(batch: dict[str, Any]) -> None:
    print(f"{batch['id']}\t{batch['status']}")


def _print(batch: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(batch)
        return
    shown = {name: value for name, value in batch.items() if value not in (None, "")}
    print_fields([(name, _text(value)) for name, value in shown.items()])


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _watch(ctx: typer.Context, batch: int, as_json: bool) -> None:
    from taskyard.cli.batch_watch import watch_batch

    found = watch_batch(invocation(ctx).database(), batch)
    if as_json:
        print_json(found)
    else:
        _line(found)
    if found["status"] != "completed" or found["failed_count"]:
        raise typer.Exit(1)
