"""`taskyard audit`: who changed what, and whether the record was changed afterwards.

Owns the words; the list is `access/audit.py`'s, the chain `access/seals.py`'s.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, moment, new_app, since
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

app = new_app("The audit: who changed what; verify that nothing was changed in it.")

COLUMNS = (
    Column("id", right=True),
    Column("at", "when", "ago"),
    Column("actor"),
    Column("address", "from"),
    Column("action"),
    Column("object"),
    Column("tenant_id", "tenant"),
    Column("change", wide=True),
)
"""The columns of `audit list`."""


@app.command("list")
def list_(
    ctx: typer.Context,
    actor: Annotated[
        str | None,
        typer.Option("--actor", metavar="NAME", help='A user, "local:NAME", "sql", "taskyard".'),
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="A,B", help="Like queue.update.")
    ] = None,
    thing: Annotated[
        str | None, typer.Option("--object", metavar="NOUN/NAME", help="Like queue/mail.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant.")] = None,
    since_: Annotated[
        str | None, typer.Option("--since", metavar="DURATION", help="So long ago at most: 24h.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="At this time or later.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Before this time.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List what was changed, the newest first.

    \b
    Examples:
      taskyard audit list --object queue/mail
      taskyard audit list --action user.sign_in_failed --since 24h
    """
    from taskyard.access.audit import list_audit
    from taskyard.db.listing import Query

    here = invocation(ctx)
    settings = here.settings()
    filters = {
        "actor": actor,
        "action": action,
        "object": thing,
        "tenant_id": tenant,
        "from": moment(from_, "--from", settings) or since(since_, "--since"),
        "to": moment(to, "--to", settings),
    }
    page = list_audit(here.database(), LOCAL, Query(filters, limit=limit, cursor=after))
    rows = page.rows if as_json else [row | {"change": _change(row)} for row in page.rows]
    empty = "Nothing was changed."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Look through the whole audit for rows that were changed, put in or taken out.

    Exits with 1 if there are any. Note the newest seal elsewhere: whoever may rewrite the whole
    table can seal it anew, but not with that seal in that row.
    """
    from taskyard.access.seals import verify as look_through

    found = look_through(invocation(ctx).database(), LOCAL)
    if as_json:
        print_json(found.to_dict())
    else:
        newest = "none" if found.head is None else f"{found.head[1]} (row {found.head[0]})"
        fields = [("sealed", str(found.sealed)), ("not sealed yet", str(found.waiting))]
        print_fields([*fields, ("newest seal", newest)])
        for problem in found.problems:
            print(f"✗ {problem}")
    if found.problems:
        raise typer.Exit(1)


def _change(row: dict[str, Any]) -> str:
    """What became of what, in one line."""
    before, after = row["before"] or {}, row["after"] or {}
    if not before:
        return ", ".join(f"{name}={_short(value)}" for name, value in after.items())
    return ", ".join(
        f"{name}: {_short(value)} → {_short(after[name])}" if name in after else name
        for name, value in before.items()
    )


def _short(value: Any) -> str:
    return orjson.dumps(value).decode()
