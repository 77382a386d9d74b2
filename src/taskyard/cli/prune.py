"""`taskyard prune`: remove old runs and tasks now.

Owns the words; what goes is `runs/retention.py`'s business.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, duration, new_app
from taskyard.cli.output import print_fields, print_json

app = new_app()


@app.command()
def prune(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would go; remove nothing.")
    ] = False,
    runs_max_rows: Annotated[
        int | None,
        typer.Option("--runs-max-rows", min=0, help="Runs to keep, the newest; 0 keeps all."),
    ] = None,
    runs_max_age: Annotated[
        str | None,
        typer.Option("--runs-max-age", metavar="DURATION", help="Age at which a run goes."),
    ] = None,
    tasks_max_age: Annotated[
        str | None,
        typer.Option(
            "--tasks-max-age", metavar="DURATION", help="Age at which an ended task goes."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove old runs and ended tasks, as the retention settings say.

    \b
    Examples:
      taskyard prune --dry-run
      taskyard prune --runs-max-age 90d --tasks-max-age 7d
    """
    from taskyard.runs import retention

    here = invocation(ctx)
    given: dict[str, Any] = {
        "runs_max_rows": runs_max_rows,
        "runs_max_age": duration(runs_max_age, "--runs-max-age"),
        "tasks_max_age": duration(tasks_max_age, "--tasks-max-age"),
    }
    changes = {name: value for name, value in given.items() if value is not None}
    keep = here.settings().retention.model_copy(update=changes)
    done = retention.prune(here.database(), LOCAL, keep, dry_run=dry_run)
    if as_json:
        print_json(done.to_dict())
        return
    verb = "would go" if dry_run else "removed"
    tasks = ", ".join(f"{count:,} of {table}" for table, count in done.tasks.items() if count)
    print_fields(
        [
            (f"runs {verb}", f"{done.runs:,}"),
            (f"log chunks {verb}", f"{done.log_chunks:,}"),
            (f"tasks {verb}", tasks or "0"),
        ]
    )
