"""Program: the command line as a whole: which commands there are, the options of all of them, and
what happens to errors.

Owns the table of commands, each imported only when it is invoked (`taskyard --help` imports none,
and is quick), the global options, and the exit codes. What a command does stands in its own module.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import taskyard
from taskyard.cli.faults import report
from taskyard.cli.invocation import Invocation


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: where its Typer application is, and its line in the help."""

    place: str
    help: str


SECTIONS: dict[str, dict[str, Entry]] = {
    "Run": {
        "up": Entry("worker:up", "Everything in one command: schema (SQLite), worker and API."),
        "worker": Entry("worker:worker", "Run a server: take tasks and run their handlers."),
        "web": Entry("web:web", "Serve the HTTP API."),
        "demo": Entry("demo:app", "Watch it work in a folder of its own."),
    },
    "Work": {
        "task": Entry("task:app", "Add tasks; list, show, cancel and retry them."),
        "run": Entry("run:app", "The history of what ran: list, show, log, watch."),
        "queue": Entry("queue:app", "Queues: create, change, pause, delete."),
        "schedule": Entry("schedule:app", "Schedules: rules that enqueue tasks when they are due."),
        "batch": Entry("batch:app", "Batches: one operation over many items."),
        "batch-template": Entry("batch_template:app", "Saved forms for batches."),
        "stats": Entry("stats:app", "How much ran, how it went, how long it took."),
        "server": Entry("server:app", "Servers: who is alive; drain one."),
        "handler": Entry("handler:app", "Handlers: list and show them; test one without a queue."),
    },
    "Alerts": {
        "alert": Entry("alert:app", "What the rules saw: list, acknowledge, silence, resolve."),
        "alert-rule": Entry("alert_rule:app", "What to watch: kinds, add, change, preview."),
        "channel": Entry("channel:app", "Where to tell: mail, webhook, chats; test one."),
    },
    "Who may": {
        "user": Entry("user:app", "Users: add, list and change them; set a password."),
        "tenant": Entry("tenant:app", "Tenants: add, list, disable and enable them."),
        "token": Entry("token:app", "API tokens: create, list and revoke them."),
        "audit": Entry("audit:app", "Who changed what; verify that the record is whole."),
    },
    "Set up": {
        "init": Entry("init:app", "Write taskyard.toml, handlers.py and a first test."),
        "db": Entry("db:app", "The database's schema: upgrade, status, SQL."),
        "config": Entry("config:app", "Settings: what holds, and where it came from."),
        "api": Entry("web:api", "The HTTP API: its OpenAPI description."),
        "prune": Entry("prune:app", "Remove old runs and tasks, as the retention settings say."),
        "doctor": Entry("doctor:app", "Look for what is wrong, and say how to mend it."),
        "version": Entry("version:app", "Print the version."),
    },
}

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

EXIT_CODES = """\
Exit codes: 0 done; 1 the work failed; 2 wrong usage; 3 not found; 4 not allowed; 5 conflict;
6 database unreachable or not at the right schema; 7 the wait timed out; 130 interrupted."""


@dataclass(frozen=True, slots=True)
class Global:
    """An option that every command takes, wherever it stands."""

    name: str
    help: str
    value: str = ""
    """What stands for its value in the help; '' is a flag."""


# Read here and not by Typer, which loads pydantic for any option with a value: that alone would
# make `taskyard version` three times as slow (0.45 s of CPU instead of 0.15 s).
GLOBALS = (
    Global("--db", "The database (TASKYARD_DATABASE_URL).", "URL"),
    Global("--app", "Where the Yard is (TASKYARD_APP); default: handlers.py here.", "MODULE:ATTR"),
    Global("--debug", "Show the stack trace of an error."),
    Global("--no-color", "Print without colours (NO_COLOR)."),
)


class Commands(TyperGroup):
    """The table of commands, as Typer wants it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": dict.fromkeys(COMMANDS)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of a command and build it."""
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else load(cmd_name, entry)

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help, quick."""
        return _quick(super().get_help_option(ctx))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """List the global options, which Typer does not know, before its own."""
        with formatter.section("Options of every command, anywhere in it"):
            formatter.write_dl([(f"{g.name} {g.value}".strip(), g.help) for g in GLOBALS])
        super().format_options(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])


def load(name: str, entry: Entry) -> Any:
    """Build the command of an entry."""
    module, _, attribute = entry.place.partition(":")
    application = getattr(import_module(f"taskyard.cli.{module}"), attribute)
    application.rich_markup_mode = None  # otherwise its --help loads rich
    command: Any = typer.main.get_command(application)
    command.name = name
    for each in (command, *getattr(command, "commands", {}).values()):
        make = each.get_help_option
        each.get_help_option = lambda ctx, make=make: _quick(make(ctx))
    return command


def _quick(option: Any) -> Any:
    """Give --help a default that needs no coercion: for its None, Typer loads pydantic."""
    option.default = False
    return option


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"taskyard {taskyard.__version__}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Queues, tasks and a complete run history in the database you have."""


def run(words: Sequence[str] | None = None) -> None:
    """Run the command line of these words (default: the process's own) and exit with its code."""
    try:
        given, rest = take_globals(sys.argv[1:] if words is None else words)
    except UsageFault as fault:
        print(f"Error: {fault}\nTry 'taskyard --help' for help.", file=sys.stderr)
        sys.exit(2)
    invocation = Invocation(
        database_url=given.get("--db"),
        app=given.get("--app"),
        color="--no-color" not in given and not os.environ.get("NO_COLOR"),
    )
    try:
        app(rest, prog_name="taskyard", obj=invocation)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sys.exit(report(error, debug="--debug" in given))


class UsageFault(Exception):
    """A global option without its value."""


def take_globals(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Take the global options out of the words; those behind a `--` are the command's own."""
    given: dict[str, str] = {}
    rest: list[str] = []
    known = {option.name: option for option in GLOBALS}
    todo = list(words)
    while todo and todo[0] != "--":
        word = todo.pop(0)
        name, equals, value = word.partition("=")
        option = known.get(name)
        if option is None or (equals and not option.value):
            rest.append(word)
        elif equals or not option.value:
            given[name] = value
        elif todo:
            given[name] = todo.pop(0)
        else:
            raise UsageFault(f"Option '{name}' requires an argument.")
    return given, rest + todo
