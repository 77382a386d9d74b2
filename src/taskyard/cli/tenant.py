"""`taskyard tenant`: whose data there is.

Owns the words; the verbs are `access/tenants.py`'s.
"""

from __future__ import annotations

from typing import Annotated

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, new_app
from taskyard.cli.output import Column, print_list, say

app = new_app("Tenants: add, list, disable and enable them.")

COLUMNS = (
    Column("tenant_id", "tenant"),
    Column("state", show="state"),
    Column("name"),
    Column("created_at", "created", "ago"),
)
"""The columns of `tenant list`."""

Id = Annotated[str, typer.Argument(metavar="ID", help="The tenant's tenant_id.")]


@app.command()
def add(
    ctx: typer.Context,
    tenant_id: Id,
    name: Annotated[str, typer.Option("--name", help="Its name for people.")] = "",
) -> None:
    """Register a tenant, so that users can be given it. Tasks may name any, registered or not."""
    from taskyard.access.tenants import create_tenant

    create_tenant(invocation(ctx).database(), LOCAL, tenant_id, name=name)
    say(f"Tenant {tenant_id} is there; `taskyard user add NAME --tenant {tenant_id}` adds a user.")


@app.command("list")
def list_(
    ctx: typer.Context, limit: Limit = 50, after: After = None, as_json: AsJson = False
) -> None:
    """List the registered tenants."""
    from taskyard.access.tenants import list_tenants
    from taskyard.db.listing import Query

    here = invocation(ctx)
    page = list_tenants(here.database(), LOCAL, Query(limit=limit, cursor=after))
    rows = [row | {"state": "enabled" if row["status"] == 1 else "disabled"} for row in page.rows]
    empty = "No tenants. `taskyard tenant add ID` registers one."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def disable(ctx: typer.Context, tenant_id: Id) -> None:
    """Hold a tenant's tasks and close it to its users; what runs goes on."""
    from taskyard.access.tenants import update_tenant

    update_tenant(invocation(ctx).database(), LOCAL, tenant_id, status=0)
    say(f"Tenant {tenant_id} is disabled: servers hold its tasks within `config_sync_interval`.")


@app.command()
def enable(ctx: typer.Context, tenant_id: Id) -> None:
    """Let a tenant's tasks run and its users in again."""
    from taskyard.access.tenants import update_tenant

    update_tenant(invocation(ctx).database(), LOCAL, tenant_id, status=1)
    say(f"Tenant {tenant_id} is enabled: its tasks go on within `config_sync_interval`.")
