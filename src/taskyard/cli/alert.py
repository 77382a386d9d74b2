"""`taskyard alert`: what the alert rules have seen.

Owns the words; the verbs are `alerts/incidents.py`'s.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

app = new_app("Alerts: list and show incidents; acknowledge, silence and resolve them.")

COLUMNS = (
    Column("id", right=True),
    Column("state", show="state"),
    Column("summary", wide=True),
    Column("count", "times", str, right=True),
    Column("first_at", "since", "ago"),
    Column("last_at", "last", "ago"),
    Column("run_id", "run"),
    Column("rule_name", "rule"),
)
"""The columns of `alert list`."""

Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="Incidents, by their ids.")]


@app.command("list")
def list_(
    ctx: typer.Context,
    state: Annotated[
        str | None,
        typer.Option("--state", help="open, acknowledged, resolved, or several with commas."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are resolved.")
    ] = False,
    kind: Annotated[str | None, typer.Option("--kind", help="What their rules watch.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List incidents, the newest first; those that are resolved only when asked for."""
    from taskyard.alerts.incidents import list_incidents
    from taskyard.db.listing import Query

    here = invocation(ctx)
    states = state or (None if everything else "open,acknowledged")
    query = Query({"state": states, "kind": kind}, limit=limit, cursor=after)
    page = list_incidents(here.database(), LOCAL, query)
    empty = "Nothing is wrong, as far as the alert rules can see."
    print_list(page.rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(
    ctx: typer.Context,
    incident_id: Annotated[int, typer.Argument(metavar="ID", help="The incident's id.")],
    as_json: AsJson = False,
) -> None:
    """Show one incident."""
    from taskyard.alerts.incidents import show_incident

    found = show_incident(invocation(ctx).database(), LOCAL, incident_id).to_dict()
    if as_json:
        print_json(found)
        return
    details: dict[str, Any] = found.pop("details")
    print_fields([(name, str(item)) for name, item in found.items() if item not in (None, "")])
    print_fields([(f"  {name}", str(item)) for name, item in details.items() if item is not None])


@app.command()
def ack(ctx: typer.Context, ids: Ids) -> None:
    """Look after incidents: nobody is reminded any more, all are told when they are over."""
    from taskyard.alerts.incidents import acknowledge

    database = invocation(ctx).database()
    for incident_id in ids:
        found = acknowledge(database, LOCAL, incident_id)
        print(f"{found.id}\t{found.state}")


@app.command()
def resolve(ctx: typer.Context, ids: Ids) -> None:
    """Say that incidents are over. What still holds opens no other before it was over."""
    from taskyard.alerts.incidents import resolve as resolve_incident

    database = invocation(ctx).database()
    for incident_id in ids:
        found = resolve_incident(database, LOCAL, incident_id)
        print(f"{found.id}\t{found.state}")


@app.command()
def silence(
    ctx: typer.Context,
    ids: Ids,
    length: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long; 0 ends a silence.")
    ],
) -> None:
    """Tell nobody of incidents for so long.

    \b
    Example:
      taskyard alert silence 12 --for 2h
    """
    from taskyard.alerts.incidents import silence as silence_incident

    database = invocation(ctx).database()
    for incident_id in ids:
        found = silence_incident(database, LOCAL, incident_id, length)
        until = found.silenced_until
        print(f"{found.id}\t{found.state}\t{until.isoformat() if until else ''}")
