"""Program: the command line as a whole: which commands there are, the options of all of them, and
what happens to errors.

Owns the table of commands, each imported only when it is invoked (`taskyard --help` imports none,
and is quick), the global options, and the exit codes. What a command does stands in its own module.
"""

from __future__ import annotations

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
        "up": Entry("worker:up", "Everything in one command: schema upgrade (SQLite) and worker."),
        "worker": Entry("worker:worker", "Run a server: take tasks and run their handlers."),
        "demo": Entry("demo:app", "Watch it work in a folder of its own."),
    },
    "Work": {
        "task": Entry("task:app", "Add tasks; list, show, cancel and retry them."),
        "run": Entry("run:app", "The history of what ran: list, show, log, watch."),
        "queue": Entry("queue:app", "Queues: create, change, pause, delete."),
        "server": Entry("server:app", "Servers: who is alive; drain one."),
        "handler": Entry("handler:app", "Handlers: list and show them; test one without a queue."),
    },
    "Set up": {
        "init": Entry("init:app", "Write taskyard.toml, handlers.py and a first test."),
        "db": Entry("db:app", "The database's schema: upgrade, status, SQL."),
        "config": Entry("config:app", "Settings: what holds, and where it came from."),
        "prune": Entry("prune:app", "Remove old runs and tasks, as the retention settings say."),
        "doctor": Entry("doctor:app", "Look for what is wrong, and say how to mend it."),
        "version": Entry("version:app", "Print the version."),
    },
}

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

EXIT_CODES = """\
Exit codes: 0 done; 1 the work failed; 2 wrong usage; 3 not found; 4 not allowed; 5 conflict;
6 database unreachable or not at the right schema; 7 the wait timed out; 130 interrupted."""

_WITH_VALUE = ("--db", "--app")
_FLAGS = ("--debug", "--no-color")


class Commands(TyperGroup):
    """The table of commands, as Typer wants it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": dict.fromkeys(COMMANDS)})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of a command and build it."""
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else load(cmd_name, entry)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        for title, entries in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.help) for name, entry in entries.items()])


def load(name: str, entry: Entry) -> Any:
    """Build the command of an entry."""
    module, _, attribute = entry.place.partition(":")
    application = getattr(import_module(f"taskyard.cli.{module}"), attribute)
    command = typer.main.get_command(application)
    command.name = name
    return command


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"taskyard {taskyard.__version__}")
        raise typer.Exit


@app.callback(epilog=EXIT_CODES)
def root(
    ctx: typer.Context,
    db: Annotated[
        str | None,
        typer.Option("--db", metavar="URL", help="The database (TASKYARD_DATABASE_URL)."),
    ] = None,
    application: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="MODULE:ATTR",
            help="Where the Yard is (TASKYARD_APP); default: handlers.py here.",
        ),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the stack trace of an error.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="Print without colours (NO_COLOR).")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Queues, tasks and a complete run history in the database you have.

    The options below may stand anywhere in a command.
    """
    ctx.obj = Invocation(db, application, color=not no_color)


def run(words: Sequence[str] | None = None) -> None:
    """Run the command line of these words (default: the process's own) and exit with its code."""
    given = hoist(sys.argv[1:] if words is None else words)
    debug = "--debug" in given
    try:
        app(given, prog_name="taskyard")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sys.exit(report(error, debug=debug))


def hoist(words: Sequence[str]) -> list[str]:
    """Move the global options to the front, so that they may stand anywhere."""
    front: list[str] = []
    rest: list[str] = []
    todo = list(words)
    while todo:
        word = todo.pop(0)
        if word == "--":
            rest += [word, *todo]
            break
        if word in _WITH_VALUE and todo:
            front += [word, todo.pop(0)]
        elif word in _FLAGS or word.startswith(tuple(f"{name}=" for name in _WITH_VALUE)):
            front.append(word)
        else:
            rest.append(word)
    return front + rest
