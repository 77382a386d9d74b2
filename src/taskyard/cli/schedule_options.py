"""Schedule options: the fields of a Schedule as they are written on the command line.

Owns the options that `schedule add` and `schedule set` share, and which fields they give. What a
field may be is `schedules/definition.py`'s: its errors name the field, which is the option's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from taskyard.cli.params import read_params

Handler = Annotated[
    str | None, typer.Option("--task-type", metavar="HANDLER", help="The handler that it runs.")
]
Words = Annotated[
    list[str] | None,
    typer.Option(
        "--param", metavar="KEY=TEXT|KEY:=JSON", help="A parameter, as an option (repeat it)."
    ),
]
ParamsFile = Annotated[
    str | None,
    typer.Option(
        "--params-file",
        metavar="FILE",
        help="A JSON object of parameters (- is stdin); those of --param win.",
    ),
]
Cron = Annotated[
    str | None,
    typer.Option("--cron", "--cron-expression", metavar="CRON", help='When, like "0 2 * * *".'),
]
Interval = Annotated[
    str | None,
    typer.Option("--interval", metavar="DURATION", help="Every so often, instead of --cron."),
]
Dialect = Annotated[
    str | None,
    typer.Option("--dialect", metavar="unix|quartz", help="How --cron is read; default unix."),
]
TimeZone = Annotated[
    str | None,
    typer.Option(
        "--time-zone", metavar="ZONE", help="Like Asia/Shanghai; default: default_time_zone."
    ),
]
Queue = Annotated[
    str | None, typer.Option("--queue", help="The queue of its tasks; default: the handler's.")
]
RetryCount = Annotated[
    str | None,
    typer.Option(
        "--retry-count", metavar="N", help="Attempts after the first; default: the handler's."
    ),
]
RetryInterval = Annotated[
    str | None,
    typer.Option("--retry-interval", metavar="DURATION", help="The wait before a retry."),
]
MonitorTimeout = Annotated[
    str | None,
    typer.Option(
        "--monitor-timeout", metavar="DURATION", help="Alert when a run is longer; it goes on."
    ),
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="DURATION", help="Stop a run that is longer."),
]
Misfire = Annotated[
    str | None,
    typer.Option(
        "--misfire", metavar="skip|one|all", help="What it does about missed fires; default one."
    ),
]
MisfireWindow = Annotated[
    str | None,
    typer.Option("--misfire-window", metavar="DURATION", help="How far back it looks for them."),
]
Overlap = Annotated[
    str | None,
    typer.Option(
        "--overlap",
        metavar="allow|skip|queue|replace",
        help="What it does while its last task goes on; default allow.",
    ),
]
Jitter = Annotated[
    str | None,
    typer.Option("--jitter", metavar="DURATION", help="Start at random up to so much later."),
]
StartAt = Annotated[
    str | None, typer.Option("--start-at", metavar="TIME", help="Not before this, ISO 8601.")
]
EndAt = Annotated[
    str | None, typer.Option("--end-at", metavar="TIME", help="Not after this, ISO 8601.")
]

_OTHERWISE = {"cron": "cron_expression", "tenant": "tenant_id", "rename": "name"}
"""Options that are called otherwise than their field."""

_NO_FIELDS = ("param", "more", "params_file", "as_json", "stopped", "schedule")
_NEVER_NONE = ("name", "rename", "task_type", "tenant")


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a command's options give, by name; "none" takes a field away."""
    fields = {
        _OTHERWISE.get(name, name): None if value == "none" and name not in _NEVER_NONE else value
        for name, value in options.items()
        if value is not None and name not in _NO_FIELDS
    }
    retries = fields.get("retry_count")
    if retries is not None:
        fields["retry_count"] = _whole(retries, "--retry-count")
    words = [*(options.get("param") or ()), *(options.get("more") or ())]
    if words or options.get("params_file"):
        fields["task_params"] = read_params(words, options["params_file"])
    return fields


def _whole(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f'"{text}" is no whole number', param_hint=option) from None
