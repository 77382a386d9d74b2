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

app = new_app("Batch templates: add, set, list, show, delete.")

COLUMNS = (
    Column("id", right=True),
    Column("name"),
    Column("task_type", "handler"),
    Column("variables", wide=True),
    Column("tenant_id", "tenant"),
    Column("updated_at", "changed", "ago"),
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The template's name, or its id.")]
Variables = Annotated[
    list[str] | None,
    typer.Option("--var", metavar="NAME[=TEXT]", help="A variable, with its default."),
]


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    handler: Annotated[str, typer.Argument(metavar="HANDLER", help="The batch handler.")],
    fields: Parameters = None,
    var: Variables = None,
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

    given, known = read_params(fields or [], None), _variables(var)
    database = invocation(ctx).database()
    made = create_template(database, LOCAL, name, handler, given, known, tenant_id=tenant)
    print(made["id"])


@app.command("set")
def set_(
    ctx: typer.Context,
    template: Name,
    fields: Parameters = None,
    name: Annotated[str | None, typer.Option("--name", help="What people call it.")] = None,
    handler: Annotated[str | None, typer.Option("--handler", help="The batch handler.")] = None,
    var: Variables = None,
    no_var: Annotated[
        list[str] | None, typer.Option("--no-var", metavar="NAME", help="No variable any more.")
    ] = None,
) -> None:
    """Change a template; what is not named stays, a field that is null is taken out.

    \b
    Example:
      taskyard batch-template set nightly concurrency:=20 pause:=null --var region=us
    """
    from taskyard.batches.templates import show_template, update_template
    from taskyard.cli.params import read_params

    database = invocation(ctx).database()
    known = show_template(database, LOCAL, template)
    given = known["fields"] | read_params(fields or [], None)
    wanted = known["variables"] | _variables(var)
    changes = {
        "name": name,
        "task_type": handler,
        "fields": {field: value for field, value in given.items() if value is not None},
        "variables": {word: wanted[word] for word in wanted if word not in (no_var or [])},
    }
    print(update_template(database, LOCAL, known["id"], changes)["id"])


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


def _variables(words: list[str] | None) -> dict[str, Any]:
    """Variables by name: their defaults, None where one must be given."""
    from taskyard.cli.params import read_params

    given = words or []
    bare: dict[str, Any] = {word: None for word in given if "=" not in word}
    return bare | read_params([word for word in given if "=" in word], None)
