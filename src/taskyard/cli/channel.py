"""`taskyard channel`: where people are told.

Owns the words, and how an address that is a secret comes in without standing in an argument; the
verbs are `alerts/channels.py`'s.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, duration, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

if TYPE_CHECKING:
    from taskyard.alerts.channel import Channel

app = new_app("Channels of alerts: add, list, show, set, test, remove.")


def _pairs(item: Any) -> str:
    parts = [f"{n}={', '.join(v) if isinstance(v, list) else v}" for n, v in item.items()]
    return " ".join(parts)


COLUMNS = (
    Column("id", right=True),
    Column("state", show="state"),
    Column("name"),
    Column("kind"),
    Column("settings", show=_pairs),
    Column("tenant_id", "tenant"),
    Column("last_sent_at", "last sent", "ago"),
    Column("last_error", "last error", wide=True),
)
"""The columns of `channel list`."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The channel's name, or its id.")]
To = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="ADDRESS", help="Who gets the mails (repeat it)."),
]
Stdin = Annotated[
    bool,
    typer.Option(
        "--stdin",
        help="Read the address from stdin; else ask for it. For a webhook a second line may be its"
        " secret.",
    ),
]


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")],
    kind: Annotated[str, typer.Argument(metavar="KIND", help="mail, webhook or apprise.")],
    to: To = None,
    stdin: Stdin = False,
    tenant: Annotated[
        str,
        typer.Option("--tenant", metavar="ID", help="Whose it is; default: the platform's."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a channel. Addresses of webhooks and services are secrets: they are asked for, or come
    from stdin.

    \b
    Examples:
      taskyard channel add ops mail --to ops@example.com
      taskyard channel add hook webhook
      pass show dingtalk | taskyard channel add team apprise --stdin
    """
    from taskyard.alerts.channels import create_channel

    here = invocation(ctx)
    made = create_channel(
        here.database(),
        LOCAL,
        name,
        kind,
        {"to": to} if kind == "mail" else _secrets(stdin, kind),
        tenant_id=tenant,
        alert_hosts=here.settings().alert_hosts,
    )
    if as_json:
        print_json(made.channel.shown() | {"secret": made.secret})
        return
    _print_channel(made.channel)
    if made.secret is not None:
        print(made.secret)
        say("Its messages are signed with this secret, which is shown this once.")
    say(f"`taskyard channel test {made.channel.id}` sends a message.")


@app.command("list")
def list_(
    ctx: typer.Context, limit: Limit = 50, after: After = None, as_json: AsJson = False
) -> None:
    """List channels by name, never with their secrets."""
    from taskyard.alerts.channels import list_channels
    from taskyard.db.listing import Query

    here = invocation(ctx)
    page = list_channels(here.database(), LOCAL, Query(limit=limit, cursor=after))
    rows = [row | {"state": _state(row["status"])} for row in page.rows]
    empty = "No channels: nobody is told. `taskyard channel add NAME mail --to ADDRESS` makes one."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one channel, without its secrets."""
    from taskyard.alerts.channels import find_channel

    found = find_channel(invocation(ctx).database(), LOCAL, name)
    if as_json:
        print_json(found.shown())
    else:
        _print_channel(found)


@app.command("set")
def set_(
    ctx: typer.Context,
    name: Name,
    rename: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    to: To = None,
    stdin: Stdin = False,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Is anything sent by it?")
    ] = None,
) -> None:
    """Change a channel. With --stdin its address (and secret) are replaced.

    \b
    Examples:
      taskyard channel set ops --to ops@example.com --to lead@example.com
      taskyard channel set team --disable
    """
    from taskyard.alerts.channels import find_channel, update_channel

    here = invocation(ctx)
    database = here.database()
    found = find_channel(database, LOCAL, name)
    settings = {"to": to} if to else _secrets(stdin, found.kind) if stdin else None
    changes: dict[str, Any] = {
        "name": rename,
        "settings": settings,
        "status": None if enabled is None else int(enabled),
    }
    if all(value is None for value in changes.values()):
        raise typer.BadParameter("name at least one thing to change")
    hosts = here.settings().alert_hosts
    _print_channel(update_channel(database, LOCAL, found.id, **changes, alert_hosts=hosts))


@app.command("test")
def check(
    ctx: typer.Context,
    name: Name,
    wait_timeout: Annotated[
        str,
        typer.Option("--wait-timeout", metavar="DURATION", help="How long to wait; then exit 7."),
    ] = "1m",
) -> None:
    """Have a server send a test message, and wait for what becomes of it."""
    from taskyard.alerts.channels import check_channel, find_channel
    from taskyard.tasks import manage

    database = invocation(ctx).database()
    found = find_channel(database, LOCAL, name)
    ref = check_channel(database, LOCAL, found.id)
    say(f"Task {ref} sends it.")
    print_json(manage.wait(database, ref, duration(wait_timeout, "--wait-timeout")))


@app.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Delete a channel that no rule names."""
    from taskyard.alerts.channels import delete_channel, find_channel

    database = invocation(ctx).database()
    found = find_channel(database, LOCAL, name)
    delete_channel(database, LOCAL, found.id)
    say(f'Channel "{found.name}" is removed.')


def _secrets(stdin: bool, kind: str) -> dict[str, str]:
    """An address, and perhaps a secret, from stdin or from the keyboard: an argument would be seen
    in lists of processes."""
    if stdin:
        lines = [line for line in sys.stdin.read().split() if line]
    elif sys.stdin.isatty():
        lines = [typer.prompt("Address", hide_input=True, err=True)]
    else:
        raise typer.BadParameter("nobody to ask for its address; give it by --stdin")
    names = ("url", "secret") if kind == "webhook" else ("url",)
    if not 1 <= len(lines) <= len(names):
        raise typer.BadParameter(f"{len(names)} lines at most, the first one the address")
    return dict(zip(names, lines, strict=False))


def _state(status: int) -> str:
    return "enabled" if status == 1 else "disabled"


def _print_channel(channel: Channel) -> None:
    shown = channel.shown()
    fields = {
        "id": str(channel.id),
        "name": channel.name,
        "state": _state(channel.status),
        "kind": channel.kind.value,
        "settings": _pairs(shown["settings"]),
        "tenant": channel.tenant_id,
        "last sent": channel.last_sent_at.isoformat() if channel.last_sent_at else "",
        "last error": channel.last_error or "",
    }
    print_fields([(name, item) for name, item in fields.items() if item])
