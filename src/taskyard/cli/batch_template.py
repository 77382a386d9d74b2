"""`taskyard batch-template`: saved forms for batches.

Owns the words; the verbs are those of `batches/templates.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, Parameters, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

app = new_app("Batch templates: add, list, show, delete.")

COLUMNS = (
    Column("id", right=True),
    Column("name"),
    Column("task_type", "handler"),
    Column("variables", wide=True),
    Column("tenant_id", "tenant"),
    Column("updated_at", "changed", "ago"),
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The template's name, or its id.")]


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    handler: Annotated[str, typer.Argument(metavar="HANDLER", help="The batch handler.")],
    fields: Parameters = None,
    var: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="NAME[=TEXT]", help="A variable, with its default."),
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", help="Whose it is.")] = "",
) -> None:
    """Save a template: the fields of a batch, with {{variables}} in their texts; prints its id.

    \b
    Example:
      taskyard batch-template add nightly verify_accounts "name=check {{region}} {{today}}" \\
        concurrency:=10 params:='{"region": "{{region}}"}' --var region=eu
    """
    from taskyard.batches.templates import create_template
    from taskyard.cli.params import read_params

    known: dict[str, Any] = {word: None for word in var or [] if "=" not in word} | read_params(
        [word for word in var or [] if "=" in word], None
    )
    given = read_params(fields or [], None)
    database = invocation(ctx).database()
    made = create_template(database, LOCAL, name, handler, given, known, tenant_id=tenant)
    print(made["id"])


@app.command("list")
def list_(
    ctx: typer.Context, limit: Limit = 50, after: After = None, as_json: AsJson = False
) -> None:
    """List templates by name."""
    from taskyard.batches.templates import list_templates
    from taskyard.db.listing import Query

    here = invocation(ctx)
    page = list_templates(here.database(), LOCAL, Query(limit=limit, cursor=after))
    print_list(page.rows, COLUMNS, as_json=as_json, color=here.color, empty="No templates.")
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(ctx: typer.Context, template: Name, as_json: AsJson = False) -> None:
    """Show a template in full."""
    from taskyard.batches.templates import show_template

    found = show_template(invocation(ctx).database(), LOCAL, template)
    if as_json:
        print_json(found)
    else:
        print_fields([(name, str(value)) for name, value in found.items()])


@app.command()
def delete(ctx: typer.Context, template: Name) -> None:
    """Delete a template; batches made from it stay."""
    from taskyard.batches.templates import delete_template

    delete_template(invocation(ctx).database(), LOCAL, template)
    say(f"Template {template} is deleted.")
