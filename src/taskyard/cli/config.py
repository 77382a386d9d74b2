"""`taskyard config`: which settings hold, and where each came from."""

from __future__ import annotations

import typer

from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, new_app
from taskyard.cli.output import Column, print_list

app = new_app("Settings: what holds, and where it came from.")

COLUMNS = (
    Column("name", "setting"),
    Column("value", wide=True),
    Column("source", wide=True),
)


@app.callback()
def config() -> None:
    """Settings: what holds, and where it came from."""


@app.command()
def show(
    ctx: typer.Context,
    as_json: AsJson = False,
) -> None:
    """Print each setting, its value and where it came from; secrets are masked."""
    here = invocation(ctx)
    rows = [
        {"name": name, "value": value, "source": source}
        for name, value, source in here.settings().shown()
    ]
    print_list(rows, COLUMNS, as_json=as_json, color=here.color)
