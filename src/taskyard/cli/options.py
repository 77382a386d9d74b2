"""Options: what several commands take, said once, and how their values are read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from taskyard.core.durations import parse_duration

if TYPE_CHECKING:
    from taskyard.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="Rows to print.")]
After = Annotated[
    str | None,
    typer.Option("--after", metavar="CURSOR", help="Go on behind an earlier page's end."),
]
Raw = Annotated[bool, typer.Option("--raw", help="With its secrets; that is audited.")]
Filters = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="NAME=VALUE",
        help="Any filter that the HTTP list has, also params.PATH=VALUE; may be repeated.",
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=TEXT | KEY:=JSON]...", show_default=False, help="The handler's parameters."
    ),
]
ParamsFile = Annotated[
    str | None,
    typer.Option(
        "--json",
        "--params-file",
        metavar="FILE",
        help="A JSON object of parameters (- is stdin); those given as KEY=… win.",
    ),
]


def new_app(help_: str = "") -> typer.Typer:
    """An application for a module's commands: plain help, shown when no command is named."""
    return typer.Typer(
        help=help_ or None,
        no_args_is_help=bool(help_),
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )


def read_filters(words: list[str] | None) -> dict[str, str]:
    """What was given by --filter; several of one name are several of its values."""
    found: dict[str, str] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f'"{word}" is not NAME=VALUE', param_hint="--filter")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found


def duration(text: str | None, option: str) -> float | None:
    """Read an option that means a length of time; in seconds."""
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def moment(
    text: str | None, option: str, settings: Settings, zone: str | None = None
) -> datetime | None:
    """Read an option that means a moment; without an offset, in `zone` or `default_time_zone`."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise typer.BadParameter(
            f'"{text}" is not a time; write "2026-01-31 08:00" or "2026-01-31T08:00:00+01:00"',
            param_hint=option,
        ) from None
    if found.tzinfo is None:
        from zoneinfo import ZoneInfo

        found = found.replace(tzinfo=ZoneInfo(zone or settings.default_time_zone))
    return found


def since(text: str | None, option: str) -> datetime | None:
    """Read an option that means a moment so long ago."""
    seconds = duration(text, option)
    if seconds is None:
        return None
    return datetime.now().astimezone() - timedelta(seconds=seconds)
