"""Writes the reference pages that are made from the code: addresses, alerts, commands, errors,
filters, settings.

    python docs/generate.py

A test compares the pages with what this makes, so they cannot lie.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import typer

from taskyard import settings
from taskyard.access.audit import AUDIT
from taskyard.alerts.check import RULES_AT_START
from taskyard.alerts.kinds import KINDS, RuleKind, Setting
from taskyard.api import wire
from taskyard.api.app import NOUNS
from taskyard.api.asked import HELP
from taskyard.api.gate import Entry
from taskyard.api.noun import Endpoint
from taskyard.cli import program
from taskyard.core import errors
from taskyard.core.durations import format_duration
from taskyard.core.errors import TaskyardError, all_errors
from taskyard.db.listing import QueryInvalid
from taskyard.runs.browse import RUNS
from taskyard.schedules.browse import SCHEDULES
from taskyard.settings import Retention, Settings
from taskyard.tasks.browse import TASKS

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py from the code: change it there. -->\n"
WIDTH = 96


def pages() -> dict[str, str]:
    """Each page by its file name."""
    return {
        "cli.md": NOTE + "\n".join(_cli()),
        "errors.md": NOTE + "\n".join(_errors()),
        "filters.md": NOTE + "\n".join(_filters()),
        "addresses.md": NOTE + "\n".join(_http()),
        "settings.md": NOTE + "\n".join(_settings()),
        "alerts.md": NOTE + "\n".join(_alerts()),
    }


# --- commands ------------------------------------------------------------------------------------


def _cli() -> Iterator[str]:
    root: Any = typer.main.get_command(program.app)
    context = root.context_class(
        root, info_name="taskyard", terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield "# The command `taskyard`\n"
    yield (
        "Data goes to stdout, everything else to stderr. On a terminal lists are tables; in a pipe"
        " they are lines of\ntab-separated values under a line of names, with times in ISO 8601;"
        " with `--json` they are arrays. Settings\ncome from options, then `TASKYARD_*`, then"
        " `taskyard.toml` ([settings](settings.md)); errors are a code, a\nsentence and what to do"
        " ([errors](errors.md)).\n"
    )
    yield from _command("taskyard", context, "##")
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        here = command.context_class(command, info_name=name, parent=context)
        yield from _command(f"taskyard {name}", here, "##")
        for sub, part in getattr(command, "commands", {}).items():
            below = part.context_class(part, info_name=sub, parent=here)
            yield from _command(f"taskyard {name} {sub}", below, "###")


def _command(title: str, context: Any, level: str) -> Iterator[str]:
    yield f"{level} {title}\n"
    lines = [line.rstrip() for line in context.get_help().splitlines()]
    yield "```text\n" + "\n".join(lines).strip() + "\n```\n"


# --- alerts --------------------------------------------------------------------------------------


def _alerts() -> Iterator[str]:
    yield "# What alert rules can watch\n"
    yield (
        "[How to be told](../how-to/alerts.md). Lengths of time are seconds or texts like `10m`,"
        " `26h`, `1h30m`. Every rule\ntakes besides: `channels` (ids; left out: all of its"
        " tenant), `remind_every` (default `1d`, `0` never),\n`resolve_after` (for how long it"
        " must have been over), `status` (1 or 0).\n"
    )
    yield "A new installation has these rules:\n"
    yield from (f'- "{name}": `{kind}`' for name, kind in RULES_AT_START)
    yield ""
    for name, kind in KINDS.items():
        yield f"## `{name}`\n"
        over = name is not RuleKind.BATCH_FINISHED
        yield kind.help + (f" An incident is over when {kind.over}.\n" if over else "\n")
        if kind.resolve_after:
            yield f"`resolve_after` is {format_duration(kind.resolve_after)} unless it is given.\n"
        if kind.settings:
            yield "| setting | default | |\n|---|---|---|"
            yield from (_alert_setting(word, one) for word, one in kind.settings.items())
            yield ""
        words = ", ".join(f"`{word}`" for word in kind.filters)
        yield f"Can be narrowed by: {words or 'nothing'}.\n"
        if kind.needs:
            yield f"Must be narrowed by: {', '.join(f'`{word}`' for word in kind.needs)}.\n"
        if kind.platform:
            yield "A rule of the platform, not of a tenant.\n"


def _alert_setting(name: str, setting: Setting) -> str:
    if setting.default is None:
        default = "–" if setting.open else "must be given"
    elif isinstance(setting.default, float):
        default = f"`{format_duration(setting.default)}`"
    else:
        default = f"`{setting.default}`"
    return f"| `{name}` | {default} | {setting.help} |"


# --- errors --------------------------------------------------------------------------------------

SAMPLES: tuple[TaskyardError, ...] = (
    errors.NoConfig(),
    errors.DatabaseUnreachable("postgresql://app:x@db:5432/jobs", "connection refused"),
    errors.SchemaOld("0001", "0002"),
    errors.DatabaseLocked("jobs.db", "pid 812, sqlite3"),
    errors.BadSetting("lease", "input should be greater than or equal to 1", "taskyard.toml"),
    errors.OutcomeUnknown("the task was being added"),
    errors.MissingExtra("postgresql", "postgres"),
    errors.SchemaNewer("0003", "0002"),
    QueryInvalid("filter", 'There is no filter "staus". Did you mean "status"?', "There are: …."),
    errors.HandlerUnknown("mail.sned", ["mail.send"]),
    errors.HandlerImportFailed(
        "handlers.py", "ModuleNotFoundError: No module named 'requests' (handlers.py, line 3)"
    ),
    errors.ParamsInvalid("shop.greet", ['"times" must be an integer, got "two"']),
    errors.ParamsNotJson("task_params of mail_tasks row 42", "unexpected character (char 17)"),
    errors.PayloadTooLarge("task_params of mail.send", 1_400_000, 1_048_576),
    errors.HandlerTwice("mail.send", "handlers.py:8", "handlers.py:31"),
    errors.TableInvalid(
        "report_tasks",
        ["it lacks column schedule_time"],
        ["ALTER TABLE report_tasks ADD COLUMN schedule_time timestamptz NOT NULL DEFAULT now()"],
    ),
    errors.ViewTaken("job_runs"),
    errors.ServerIdTwice("server-001", "b", 2.0),
    errors.QueueUnknown("email", ["email_queue"]),
    errors.QueueInvalid("email_queue", "max_workers", "cannot be -1", "Give 0 to 10000."),
    errors.QueueTwice("email_queue"),
    errors.TaskUnknown("email_queue/42"),
    errors.TableUnknown("mail_tasks"),
    errors.RunUnknown(42),
    errors.ServerUnknown("server-01", ["server-001"]),
    errors.DuplicateTask("invoice-7", "email_queue/42"),
    errors.NotNow("cancel", "task email_queue/42", "completed"),
    errors.CountChanged(12, 14),
    errors.TaskLost("email_queue/42"),
    errors.WaitTimedOut("email_queue/42", 30),
    errors.TaskFailed("email_queue/42", "failed", "ValueError: no"),
    errors.BatchUnknown("7"),
    errors.BatchInvalid("concurrency", "it cannot be 0", "Give 1 to 1,000."),
    errors.ItemUnknown("7", "account-42"),
    errors.TemplateUnknown("nightli", ["nightly"]),
    errors.TemplateTwice("nightly"),
    errors.BatchFailed(7, "failed", "stopped after 10 failed items"),
    errors.BatchRunning("verify_accounts", "acme", 17, "March"),
    errors.ScheduleUnknown("bakcup", ["backup"]),
    errors.ScheduleInvalid("misfire", '"later" is none of skip, one, all', "Choose one of them."),
    errors.CronInvalid("61 * * * *", "minute", "61 is outside 0–59", "Give 0–59."),
    errors.ScheduleTwice("backup"),
    errors.RuleUnknown("failure", ["failures"]),
    errors.ChannelUnknown("opss", ["ops"]),
    errors.IncidentUnknown(42),
    errors.AlertInvalid('Rule "nightly"', "status", "cannot be 3", "Give 1 (on) or 0 (off)."),
    errors.NotSent("mail.example refused the connection"),
    errors.Undeliverable("no such recipient"),
    errors.AddressRefused("localhost", "it is this machine"),
    errors.UserUnknown("ana", ["anna"]),
    errors.TenantUnknown("acmee", ["acme"]),
    errors.TokenUnknown("k3v7q2xa"),
    errors.AccessInvalid(
        'User "anna"', "role", 'role: there is no "admin"', "There are: monitor, operator, …."
    ),
    errors.NameTaken('User "anna"'),
    errors.LastSuperuser("admin"),
    errors.NotAllowed("runs.retry", "monitor"),
    errors.NotSignedIn(),
    errors.SignInFailed(),
    errors.TooManyAttempts(840),
    errors.TokenEnded("k3v7q2xa", "expired"),
    errors.PortInUse("127.0.0.1", 9999, 812),
    errors.ConsoleNotBuilt(),
    errors.UnsafeAddress(
        "0.0.0.0",  # noqa: S104
        "passwords and tokens would pass the network in the clear",
        "Give a certificate (--tls-cert FILE), or say where the proxy is (--behind-proxy CIDR).",
    ),
    errors.RequestInvalid(['"queue_name" is required']),
    errors.NotJson("unexpected end of data (character 2)"),
    errors.WrongContentType('its Content-Type is "text/plain"'),
    errors.BodyTooLarge(16_777_216),
    errors.HostUnknown("jobs.example"),
    errors.CrossSite("http://evil.example"),
    errors.AddressUnknown("/api/v1/job"),
    errors.MethodUnknown("PUT", ["GET", "POST"]),
    errors.KeyReused("order-7"),
    errors.KeyBusy("order-7"),
    errors.NotReady(database=True, server=False),
    errors.TooManyListeners(200),
    errors.Unexpected("c97625ac40bf2a6f"),
)
"""One of each, so that the page shows the very words."""

REASONS = (
    ("TY301", "A queue is paused.", "`taskyard queue resume QUEUE`"),
    ("TY302", "A queue is pinned to a server that is not alive.", "Start it, or move the queue."),
    ("TY303", "No worker is free, or no server is alive.", "Raise `max_workers`, start a server."),
    ("TY304", "A task is not due yet.", "Wait, or set its `schedule_time`."),
    (
        "TY305",
        "A task's exclusive key is held, or its queue's rate is reached.",
        "It waits its turn.",
    ),
    ("TY306", "A machine's clock is off the database's.", "Let both follow NTP."),
    (
        "TY318",
        "A task's last attempt is still being stopped by its server.",
        "Its handler has to end, or to be isolated.",
    ),
    (
        "TY319",
        "A task was set to running by SQL; nobody runs it.",
        "Set its status to 0, or delete it.",
    ),
    ("TY309", "A task's tenant is disabled.", "`taskyard tenant enable ID`"),
)
"""What is no error of a command, but told by `task explain` and `doctor` under a code."""


def _errors() -> Iterator[str]:
    by_kind = {type(sample): sample for sample in SAMPLES}
    yield "# Errors\n"
    yield (
        "Every error has a code, a sentence and a fix, the same in the terminal, the log and Python"
        " (where it is a\nclass of `taskyard.core.errors` with its data as attributes). The exit"
        " code is that of the command line.\n"
    )
    for kind in all_errors():
        sample = by_kind[kind]
        yield f"## {kind.code} {kind.__name__}\n"
        yield " ".join((inspect.getdoc(kind) or "").split()) + f" Exit code {kind.exit_code}.\n"
        yield f"> {sample.text}\n>\n> fix: {sample.fix}\n"
    yield "## Findings\n"
    yield "`taskyard task explain` and `taskyard doctor` tell these under a code of their own:\n"
    for code, text, fix in REASONS:
        yield f"- **{code}** {text} {fix}"
    yield ""


# --- HTTP ----------------------------------------------------------------------------------------


def _http() -> Iterator[str]:
    yield "# The addresses of the HTTP API\n"
    yield (
        "How to ask, and what all answers have in common, stands under [HTTP](http.md); the fields"
        " of bodies and\nanswers are in `/openapi.json`. Below an address stands what may follow"
        " its `?`.\n"
    )
    for noun in NOUNS:
        yield f"## {noun.tag}\n"
        yield "| address | what it does | needs |\n|---|---|---|"
        yield from (_address(endpoint) for endpoint in noun.endpoints if endpoint.shown)
        yield ""
    yield "## Statuses\n"
    yield "| status | codes |\n|---|---|"
    for status, group in groupby(sorted(all_errors(), key=_status), key=_status):
        yield f"| {status} | {', '.join(f'`{error.code}`' for error in group)} |"
    yield ""


def _status(error: type[TaskyardError]) -> int:
    return wire.status_of(error)


def _address(endpoint: Endpoint) -> str:
    told = (inspect.getdoc(endpoint.function) or "").partition("\n")[0]
    names = ", ".join(f"`{parameter.name}`" for parameter in endpoint.takes)
    needs = endpoint.rule.needs
    shown = {Entry.OPEN: "nothing", Entry.SIGNED_IN: "a sign-in"}.get(needs, f"`{needs}`")
    asked = f"<br>{names}" if names else ""
    return f"| `{endpoint.method} {endpoint.path}` | {told}{asked} | {shown} |"


# --- filters -------------------------------------------------------------------------------------


LISTS = (("runs", RUNS), ("tasks", TASKS), ("schedules", SCHEDULES), ("the audit", AUDIT))


def _filters() -> Iterator[str]:
    yield "# What lists may be asked\n"
    yield (
        "The same words behind the `?` of an address and at the command line: `?task_type=report`"
        " is\n`--filter task_type=report`. A time is ISO 8601, a duration seconds or a text like"
        " `5m`. One of a few takes\nseveral with commas; what is left out does not narrow. Runs and"
        " tasks take `params.PATH=VALUE` besides: with\nthis value there in the parameters, like"
        " `params.user.id=42`.\n"
    )
    for title, declared in LISTS:
        yield f"## {title[0].upper()}{title[1:]}\n\n| filter | is |\n|---|---|"
        for name, one in declared.filters.items():
            words = f" One of {', '.join(f'`{word}`' for word in one.words)}." if one.words else ""
            yield f"| `{name}` | {one.help or HELP[one.operator]}{words} |"
        yield ""
        sorts = ", ".join(f"`{name}`" for name in declared.sorts)
        loose = ", ".join(f"`{name}`" for name in declared.loose_sorts)
        yield f"Sorted by {sorts}; by default `{declared.sort}` (`-` is the largest first)."
        if loose:
            yield f"Of the newest rows alone by {loose}: the answer's `searched_to` says how far."
        if declared.large:
            columns = ", ".join(f"`{name}`" for name in declared.large)
            yield f"`include=` gives {columns} as well."
        yield ""


# --- settings ------------------------------------------------------------------------------------


def _settings() -> Iterator[str]:
    yield "# Settings\n"
    yield (
        "A setting comes from an option of the command line, else from the environment"
        " (`TASKYARD_LEASE`,\n`TASKYARD_RETENTION__RUNS_MAX_ROWS`), else from `taskyard.toml` or"
        " `config.json` in the working folder or\nabove it, else it has its default. `taskyard"
        " config show` prints each value and where it came from.\n"
    )
    yield "Durations are seconds, or texts like `90s`, `5m`, `1h30m`, `2d`, `PT5M`.\n"
    yield "| setting | default | what it is |\n|---|---|---|"
    told = _docstrings(settings)
    for name, field in Settings.model_fields.items():
        if name == "retention":
            for part, inner in Retention.model_fields.items():
                yield _row(f"retention.{part}", inner, told["Retention"].get(part, ""))
        else:
            yield _row(name, field, told["Settings"].get(name, ""))
    yield ""
    yield (
        "`config.json` (the file of the table-queue executor) is understood:"
        " `database.host/port/username/password/\ndatabase/charset`, `executor.server_id`,"
        " `queue.enable`, `queue.config_sync_interval`.\n"
    )


def _row(name: str, field: Any, text: str) -> str:
    if field.default_factory is not None:
        default = DEFAULTS[name]
    else:
        default = "none" if field.default is None else f"`{str(field.default).lower()}`"
        if isinstance(field.default, str):
            default = f"`{field.default}`"
    return f"| `{name}` | {default} | {' '.join(text.split())} |"


DEFAULTS = {
    "retention.task_types": "none",
    "server_id": "the host's name",
    "folder": "the folder of the configuration file, else the working one",
    "runners": "one a core",
}
"""Defaults that are found out."""


def _docstrings(module: Any) -> dict[str, dict[str, str]]:
    """The text under each field of each class; Python keeps it in the source only."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            fields = found.setdefault(node.name, {})
            for before, after in zip(node.body, node.body[1:], strict=False):
                text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if text and isinstance(before, ast.AnnAssign):
                    assert isinstance(before.target, ast.Name)
                    fields[before.target.id] = str(after.value.value)  # type: ignore[attr-defined]
    return found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        sys.stderr.write(f"wrote docs/reference/{name}\n")
