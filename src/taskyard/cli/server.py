"""`taskyard server`: who is alive, and how to drain one.

Owns the words; the verbs are `servers.py`'s.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, new_app
from taskyard.cli.output import Column, print_list, say

app = new_app("Servers: who is alive; drain one.")

COLUMNS = (
    Column("server_id", "server"),
    Column("state", show="state"),
    Column("host"),
    Column("pid", show=formats.number, right=True),
    Column("runners", show=formats.number, right=True),
    Column("handlers", show=formats.number, right=True),
    Column("started_at", "started", "ago"),
    Column("beat_age", "last beat", lambda age: f"{formats.took(age)} ago", right=True),
    Column("version"),
    Column("problems", wide=True),
)
"""The columns of `server list`."""


@app.command("list")
def list_(
    ctx: typer.Context,
    everyone: Annotated[
        bool, typer.Option("--all", help="Also those that are gone, as long as they are known.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List servers: the newest session of each."""
    from taskyard.servers import list_servers

    here = invocation(ctx)
    rows = [session.shown() for session in list_servers(here.database(), LOCAL, dead=everyone)]
    empty = "No server is alive. `taskyard worker` starts one."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)


@app.command()
def drain(
    ctx: typer.Context,
    server_id: Annotated[str, typer.Argument(metavar="ID", help="The server's server_id.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has stopped.")] = False,
) -> None:
    """Let a server finish what it runs, take nothing more, and stop."""
    from taskyard import servers

    database = invocation(ctx).database()
    servers.drain(database, LOCAL, server_id)
    say(f"Server {server_id} takes nothing more and stops when its tasks are done.")
    while wait and any(row.server_id == server_id for row in servers.list_servers(database, LOCAL)):
        time.sleep(0.5)
