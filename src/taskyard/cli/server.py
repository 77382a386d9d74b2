"""`taskyard server`: who is alive, and how to drain one.

Owns the words; the verbs are `servers.py`'s.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard.cli import formats
from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, new_app
from taskyard.cli.output import Column, print_list, say

if TYPE_CHECKING:
    from taskyard.servers import SessionRow

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
    rows = [row_of(session) for session in list_servers(here.database(), dead=everyone)]
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
    servers.drain(database, server_id)
    say(f"Server {server_id} takes nothing more and stops when its tasks are done.")
    while wait and any(row.server_id == server_id for row in servers.list_servers(database)):
        time.sleep(0.5)


def row_of(session: SessionRow) -> dict[str, Any]:
    """A Session as a row of the list."""
    return {
        "server_id": session.server_id,
        "state": session.state if session.alive or session.state == "dead" else "late",
        "host": session.host,
        "pid": session.pid,
        "session": session.session,
        "runners": session.runners,
        "handlers": len(session.specs()),
        "started_at": datetime.fromtimestamp(session.started_at, UTC),
        "beat_age": round(session.beat_age, 3),
        "lease_left": round(session.lease_left, 3),
        "version": session.version,
        "problems": problems_of(session) or None,
    }


def problems_of(session: SessionRow) -> str:
    """What is wrong with a server's application, in one line; '' when nothing is."""
    found = json.loads(session.problems) if session.problems else []
    return "; ".join(str(problem.get("text", problem)) for problem in found)
