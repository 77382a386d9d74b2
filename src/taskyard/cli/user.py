"""`taskyard user`: who may sign in.

Owns the words, and how a password comes in without standing in an argument; the verbs are
`access/users.py`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, new_app
from taskyard.cli.output import Column, print_fields, print_list, say

if TYPE_CHECKING:
    from taskyard.access.user import User

app = new_app("Users: add, list and change them; set a password.")

COLUMNS = (
    Column("username", "user"),
    Column("state", show="state"),
    Column("role"),
    Column("tenants"),
    Column("grants"),
    Column("last_login_at", "last sign-in", "ago"),
    Column("created_at", "created", "ago"),
)
"""The columns of `user list`."""

ROLES = "viewer, operator, tenant_admin, monitor or superuser."

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user.")]
Tenants = Annotated[
    list[str] | None,
    typer.Option("--tenant", metavar="ID", help="A tenant they see (repeat it); '' is none's."),
]
Grants = Annotated[
    list[str] | None,
    typer.Option("--grant", help="monitoring or payload.raw, beside the role (repeat it)."),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin; else ask for it.")
]


@app.command()
def add(
    ctx: typer.Context,
    name: Name,
    role: Annotated[str, typer.Option("--role", help=ROLES)] = "viewer",
    tenant: Tenants = None,
    grant: Grants = None,
    password_stdin: PasswordStdin = False,
) -> None:
    """Add a user.

    \b
    Examples:
      taskyard user add anna --role operator --tenant acme
      pass show taskyard/ci | taskyard user add ci --role operator --password-stdin
    """
    from taskyard.access.users import add_user

    database = invocation(ctx).database()
    _print_user(
        add_user(
            database,
            LOCAL,
            name,
            role=role,
            tenants=tenant or (),
            grants=grant or (),
            password=_password(password_stdin),
        )
    )


@app.command("list")
def list_(
    ctx: typer.Context,
    role: Annotated[str | None, typer.Option("--role", help=ROLES)] = None,
    q: Annotated[
        str | None, typer.Option("--q", metavar="TEXT", help="With this in their name.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List users by name."""
    from taskyard.access.users import list_users
    from taskyard.db.listing import Query

    here = invocation(ctx)
    query = Query({"role": role, "q": q}, limit=limit, cursor=after)
    page = list_users(here.database(), LOCAL, query)
    rows = [row | {"state": _state(row["status"])} for row in page.rows]
    if not as_json:
        rows = [row | {"tenants": _sees(row), "grants": ", ".join(row["grants"])} for row in rows]
    empty = "No users. `taskyard user add NAME --role superuser` makes one."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command("set")
def set_(
    ctx: typer.Context,
    name: Name,
    role: Annotated[str | None, typer.Option("--role", help=ROLES)] = None,
    tenant: Tenants = None,
    grant: Annotated[
        list[str] | None,
        typer.Option("--grant", help="monitoring, payload.raw (repeat it), or none."),
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="May they sign in?")
    ] = None,
) -> None:
    """Change what a user is; in force at their next request.

    \b
    Examples:
      taskyard user set anna --tenant acme --tenant beta
      taskyard user set anna --disable
    """
    from taskyard.access.users import update_user

    changes: dict[str, Any] = {
        "role": role,
        "tenants": tenant or None,
        "grants": [] if grant == ["none"] else grant or None,
        "status": None if enabled is None else int(enabled),
    }
    if all(value is None for value in changes.values()):
        raise typer.BadParameter("name at least one thing to change")
    _print_user(update_user(invocation(ctx).database(), LOCAL, name, **changes))


@app.command()
def passwd(ctx: typer.Context, name: Name, password_stdin: PasswordStdin = False) -> None:
    """Set a user's password and sign them out everywhere."""
    from taskyard.access.users import set_password, show_user

    database = invocation(ctx).database()
    user = show_user(database, LOCAL, name)
    set_password(database, LOCAL, user.username, _password(password_stdin))
    say(f"User {user.username} has another password and is signed out everywhere.")


@app.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Remove a user with their tokens; the audit keeps the name."""
    from taskyard.access.users import delete_user

    delete_user(invocation(ctx).database(), LOCAL, name)
    say(f"User {name} is removed, and so are their tokens.")


def _password(stdin: bool) -> str:
    """A password from stdin or from the keyboard: an argument would be seen in lists of
    processes."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody to ask for a password; give it by --password-stdin")
    entered: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return entered


def _sees(user: Mapping[str, Any]) -> str:
    """Whose things a user sees, in words."""
    from taskyard.access.permissions import EVERYWHERE

    if user["role"] in EVERYWHERE:
        return "all"
    return ", ".join(tenant or "the platform's" for tenant in user["tenants"] or [""])


def _state(status: int) -> str:
    return "enabled" if status == 1 else "disabled"


def _print_user(user: User) -> None:
    fields = {
        "username": user.username,
        "state": _state(user.status),
        "role": user.role.value,
        "tenants": _sees(user.to_dict()),
        "grants": ", ".join(user.grants),
    }
    print_fields([(key, value) for key, value in fields.items() if value])
