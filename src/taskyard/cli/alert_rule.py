"""`taskyard alert-rule`: what to watch.

Owns the words; the verbs are `alerts/rules.py`'s, the kinds and their settings `alerts/kinds.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli import formats
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

if TYPE_CHECKING:
    from taskyard.alerts.rule import Rule
    from taskyard.db.database import Database

app = new_app("Alert rules: kinds, add, list, show, set, preview, silence, remove.")


def _pairs(item: Any) -> str:
    parts = [f"{n}={','.join(map(str, v)) if isinstance(v, list) else v}" for n, v in item.items()]
    return " ".join(parts)


def _channels(item: Any) -> str:
    return "all" if item is None else ", ".join(map(str, item)) or "none"


COLUMNS = (
    Column("id", right=True),
    Column("state", show="state"),
    Column("name"),
    Column("kind"),
    Column("settings", show=_pairs),
    Column("filters", "only", _pairs),
    Column("channels", show=_channels),
    Column("tenant_id", "tenant"),
    Column("problem", wide=True),
)
"""The columns of `alert-rule list`."""

KIND_COLUMNS = (
    Column("name", "kind"),
    Column("settings"),
    Column("filters", "can be narrowed by"),
    Column("help", "watches", wide=True),
)
"""The columns of `alert-rule kinds`."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The rule's name, or its id.")]
NewName = Annotated[str, typer.Argument(metavar="NAME", help="What people call it.")]
Kind = Annotated[str, typer.Argument(metavar="KIND", help="See `taskyard alert-rule kinds`.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SETTING=VALUE]...", show_default=False, help="The kind's settings."),
]
TaskType = Annotated[
    list[str] | None, typer.Option("--task-type", help="Only of this type (repeat it).")
]
Queue = Annotated[list[str] | None, typer.Option("--queue", help="Only of this queue (repeat it).")]
Schedule = Annotated[
    list[int] | None,
    typer.Option("--schedule-id", metavar="ID", help="Only of this schedule (repeat it)."),
]
Server = Annotated[
    list[str] | None, typer.Option("--server-id", metavar="ID", help="Only this server.")
]
OfTenant = Annotated[
    list[str] | None,
    typer.Option("--of-tenant", metavar="ID", help="Only what is this tenant's (repeat it)."),
]
Channels = Annotated[
    list[str] | None,
    typer.Option("--channel", metavar="NAME", help="Tell this channel (repeat it); all, or none."),
]
Remind = Annotated[
    str | None,
    typer.Option("--remind-every", metavar="DURATION", help="Tell again; 0 never. Default 1d."),
]
Resolve = Annotated[
    str | None,
    typer.Option(
        "--resolve-after", metavar="DURATION", help="For how long it must have been over."
    ),
]
Tenant = Annotated[
    str, typer.Option("--tenant", metavar="ID", help="Whose rule it is; default: the platform's.")
]


@app.command()
def kinds(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List what can be watched, with the settings of each kind (those in brackets may be left
    out)."""
    from taskyard.alerts.kinds import KINDS

    rows = [
        {
            "name": name.value,
            "settings": " ".join(
                setting if one.default is None and not one.open else f"[{setting}]"
                for setting, one in kind.settings.items()
            ),
            "filters": ", ".join(kind.filters),
            "help": kind.help,
        }
        for name, kind in KINDS.items()
    ]
    print_list(rows, KIND_COLUMNS, as_json=as_json, color=invocation(ctx).color)


@app.command()
def add(
    ctx: typer.Context,
    name: NewName,
    kind: Kind,
    words: Words = None,
    task_type: TaskType = None,
    queue: Queue = None,
    schedule_id: Schedule = None,
    server_id: Server = None,
    of_tenant: OfTenant = None,
    channel: Channels = None,
    remind_every: Remind = None,
    resolve_after: Resolve = None,
    tenant: Tenant = "",
    disabled: Annotated[
        bool, typer.Option("--disabled", help="Make it, but do not watch.")
    ] = False,
) -> None:
    """Make a rule, and say how often it would have fired in the last seven days.

    \b
    Examples:
      taskyard alert-rule add "Backup fails" run_failed --task-type backup --channel ops
      taskyard alert-rule add "Mails fail" failure_rate rate=0.2 window=15m --queue email_queue
      taskyard alert-rule add "No backup" no_success window=26h --task-type backup
    """
    from taskyard.alerts.rules import create_rule

    database = invocation(ctx).database()
    filters = _filters(task_type, queue, schedule_id, server_id, of_tenant)
    fields = _fields(database, words, filters, channel, remind_every, resolve_after)
    status = 0 if disabled else 1
    made = create_rule(database, LOCAL, name, kind, tenant_id=tenant, status=status, **fields)
    _print_rule(made)
    _say_preview(database, made)


@app.command("list")
def list_(
    ctx: typer.Context,
    kind: Annotated[str | None, typer.Option("--kind", help="Only of this kind.")] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List rules by name."""
    from taskyard.alerts.rules import list_rules
    from taskyard.db.listing import Query

    here = invocation(ctx)
    page = list_rules(here.database(), LOCAL, Query({"kind": kind}, limit=limit, cursor=after))
    rows = [row | {"state": _state(row)} for row in page.rows]
    empty = "No rules. A running server makes the first ones; `taskyard alert-rule add` others."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one rule."""
    from taskyard.alerts.rules import find_rule

    found = find_rule(invocation(ctx).database(), LOCAL, name)
    if as_json:
        print_json(found.to_dict())
    else:
        _print_rule(found)


@app.command("set")
def set_(
    ctx: typer.Context,
    name: Name,
    words: Words = None,
    rename: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    task_type: TaskType = None,
    queue: Queue = None,
    schedule_id: Schedule = None,
    server_id: Server = None,
    of_tenant: OfTenant = None,
    channel: Channels = None,
    remind_every: Remind = None,
    resolve_after: Resolve = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Switch it on or off.")
    ] = None,
) -> None:
    """Change a rule. Settings that are not named stay; a filter replaces all its filters.

    \b
    Examples:
      taskyard alert-rule set "No backup" window=30h
      taskyard alert-rule set "Failed tasks" --channel ops --remind-every 4h
    """
    from taskyard.alerts.rules import find_rule, update_rule

    database = invocation(ctx).database()
    found = find_rule(database, LOCAL, name)
    filters = _filters(task_type, queue, schedule_id, server_id, of_tenant)
    fields = _fields(database, words, filters, channel, remind_every, resolve_after)
    if "settings" in fields:
        fields["settings"] = found.settings | fields["settings"]
    given = {"name": rename, "status": None if enabled is None else int(enabled)}
    fields |= {field: value for field, value in given.items() if value is not None}
    if not fields:
        raise typer.BadParameter("name at least one thing to change")
    _print_rule(update_rule(database, LOCAL, found.id, **fields))


@app.command()
def preview(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A rule, by its name or id.")],
    as_json: AsJson = False,
) -> None:
    """Say how often a rule would have fired in the last seven days, and when."""
    from taskyard.alerts.rules import find_rule

    database = invocation(ctx).database()
    found = find_rule(database, LOCAL, name)
    looked = _preview(database, found)
    if as_json:
        print_json(looked)
        return
    for moment in looked["times"]:
        print(moment.isoformat())
    _say_preview(database, found)


@app.command()
def silence(
    ctx: typer.Context,
    name: Name,
    length: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long; 0 ends a silence.")
    ],
) -> None:
    """Tell nobody of a rule's incidents for so long; they are opened and counted all the same."""
    from taskyard.alerts.rules import find_rule, silence_rule

    database = invocation(ctx).database()
    _print_rule(silence_rule(database, LOCAL, find_rule(database, LOCAL, name).id, length))


@app.command()
def remove(ctx: typer.Context, name: Name) -> None:
    """Delete a rule; its incidents are resolved and stay."""
    from taskyard.alerts.rules import delete_rule, find_rule

    database = invocation(ctx).database()
    found = find_rule(database, LOCAL, name)
    delete_rule(database, LOCAL, found.id)
    say(f'Alert rule "{found.name}" is removed; its incidents are resolved.')


# --- below ----------------------------------------------------------------------------------------


def _filters(
    task_type: Sequence[str] | None,
    queue: Sequence[str] | None,
    schedule_id: Sequence[int] | None,
    server_id: Sequence[str] | None,
    of_tenant: Sequence[str] | None,
) -> dict[str, list[Any]]:
    given: dict[str, Sequence[Any] | None] = {
        "task_type": task_type,
        "queue": queue,
        "schedule_id": schedule_id,
        "server_id": server_id,
        "tenant_id": of_tenant,
    }
    return {name: list(words) for name, words in given.items() if words}


def _fields(
    database: Database,
    words: Sequence[str] | None,
    filters: Mapping[str, Any],
    channel: Sequence[str] | None,
    remind_every: str | None,
    resolve_after: str | None,
) -> dict[str, Any]:
    """The fields of a rule that were given."""
    fields: dict[str, Any] = {}
    if words:
        fields["settings"] = dict(map(_setting, words))
    if filters:
        fields["filters"] = dict(filters)
    if channel:
        fields["channels"] = _channel_ids(database, channel)
    given = {"remind_every": remind_every, "resolve_after": resolve_after}
    return fields | {name: value for name, value in given.items() if value is not None}


def _setting(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise typer.BadParameter(f'"{word}": write setting=value, like window=15m')
    return name, value


def _channel_ids(database: Database, words: Sequence[str]) -> list[int] | None:
    from taskyard.alerts.channels import find_channel

    if list(words) == ["all"]:
        return None
    if list(words) == ["none"]:
        return []
    return [find_channel(database, LOCAL, word).id for word in words]


def _preview(database: Database, rule: Rule) -> dict[str, Any]:
    from taskyard.alerts.preview import preview_saved

    return preview_saved(database, LOCAL, rule.id).to_dict()


def _say_preview(database: Database, rule: Rule) -> None:
    looked = _preview(database, rule)
    if looked["fired"] is not None:
        times = "once" if looked["fired"] == 1 else f"{looked['fired']} times"
        say(f"In the last 7 days it would have fired {times}.")
    if looked["note"]:
        say(looked["note"])


def _state(row: Mapping[str, Any]) -> str:
    if row["problem"] is not None:
        return "quarantined"
    return "enabled" if row["status"] == 1 else "disabled"


def _print_rule(rule: Rule) -> None:
    fields = {
        "id": str(rule.id),
        "name": rule.name,
        "state": _state(rule.to_dict()),
        "watches": f"{rule.kind} {_pairs(rule.settings)}".strip(),
        "only": _pairs(rule.filters),
        "channels": _channels(rule.channels),
        "remind every": formats.took(rule.remind_every) if rule.remind_every else "never",
        "resolve after": formats.took(rule.resolve_after) if rule.resolve_after else "at once",
        "silenced until": rule.silenced_until.isoformat() if rule.silenced_until else "",
        "tenant": rule.tenant_id,
        "problem": rule.problem or "",
    }
    print_fields([(name, item) for name, item in fields.items() if item])
