"""`taskyard db`: the schema of the platform's tables.

Owns the words; upgrading is `db/migrate.py`'s, the views of the requirements `runs/views.py`'s.
"""

from __future__ import annotations

from typing import Annotated

import typer

from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, new_app
from taskyard.cli.output import print_fields, print_json, say

app = new_app("The database's schema.")


@app.command()
def upgrade(ctx: typer.Context) -> None:
    """Bring the schema up to date; safe when several servers do it at once."""
    from taskyard.db import migrate

    before = migrate.upgrade(invocation(ctx).database(any_schema=True))
    if before.current:
        say(f"The schema is at {before.needed}; there was nothing to do.")
    else:
        say(f"The schema is at {before.needed} now (before: {before.found or 'none'}).")


@app.command()
def status(
    ctx: typer.Context,
    as_json: AsJson = False,
) -> None:
    """Tell which schema the database has and which one is needed; exit 6 when they differ."""
    from taskyard.db import migrate

    database = invocation(ctx).database(any_schema=True)
    found = migrate.status(database)
    url = database.url.render_as_string(hide_password=True)
    if as_json:
        state = {"found": found.found, "needed": found.needed, "current": found.current}
        print_json({"database_url": url, **state})
    else:
        state_words = "current" if found.current else "run `taskyard db upgrade`"
        print_fields(
            [
                ("database", url),
                ("schema", found.found or "none"),
                ("needed", found.needed),
                ("state", state_words),
            ]
        )
    raise typer.Exit(0 if found.current else 6)


@app.command()
def sql(ctx: typer.Context) -> None:
    """Print the statements that make the schema, for a person who runs them by hand."""
    from taskyard.db import migrate
    from taskyard.db.database import Database

    # Only the kind of database matters, so none has to be there.
    print(migrate.sql(Database(invocation(ctx).settings().database_url)), end="")


@app.command()
def views(
    ctx: typer.Context,
    prefix: Annotated[
        str, typer.Option("--prefix", help="What stands before each name, where one is taken.")
    ] = "",
    drop: Annotated[bool, typer.Option("--drop", help="Take them away.")] = False,
) -> None:
    """Make read-only views for reports: job_runs, task_history, infra_job and infra_job_log.

    They show runs and schedules in the words of other systems; live runs too. Make them again when
    a queue with a new table has come.
    """
    from taskyard.runs.views import drop_views, make_views

    database = invocation(ctx).database()
    done = drop_views(database, prefix) if drop else make_views(database, prefix)
    for name in done:
        print(name)
