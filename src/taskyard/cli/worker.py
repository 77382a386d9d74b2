"""`taskyard worker` and `taskyard up`: a server in the foreground.

Owns their options; where the log goes is `logfile.py`'s. The server is `engine/server.py`'s.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from taskyard.cli.invocation import invocation, require_some_config
from taskyard.cli.logfile import start_logging
from taskyard.cli.options import new_app

worker = new_app()
up = new_app()


class LogLevel(StrEnum):
    """How much a server says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Queues = Annotated[
    str | None,
    typer.Option("--queues", metavar="A,B", help="Work these queues only; default: all."),
]
Grace = Annotated[
    str | None,
    typer.Option(
        "--grace",
        metavar="DURATION",
        help="What running tasks get at a stop before they are handed back (TASKYARD_GRACE).",
    ),
]
ServerId = Annotated[
    str | None,
    typer.Option(
        "--server-id",
        metavar="ID",
        help="This server's name, its own in the fleet (TASKYARD_SERVER_ID); default: host name.",
    ),
]
Runners = Annotated[
    int | None,
    typer.Option(
        "--runners", help="Runner processes (TASKYARD_RUNNERS); default: one a core.", min=1
    ),
]
Level = Annotated[LogLevel, typer.Option("--log-level", help="How much is logged to stderr.")]
Reload = Annotated[
    bool, typer.Option(help="Replace the runners when a file of the application changes.")
]


@worker.command("worker")
def run_worker(
    ctx: typer.Context,
    queues: Queues = None,
    grace: Grace = None,
    server_id: ServerId = None,
    runners: Runners = None,
    log_level: Level = LogLevel.INFO,
) -> None:
    """Run a server: take tasks and run their handlers, until SIGTERM or Ctrl-C.

    A first signal lets running tasks finish within the grace, a second one stops at once. A
    database that is away is waited for.

    \b
    Examples:
      taskyard worker
      taskyard --db postgresql://app@db/jobs worker --server-id server-002 --queues mail,sync
    """
    _serve(ctx, queues, log_level, grace=grace, server_id=server_id, runners=runners)


@up.command("up")
def run_up(
    ctx: typer.Context,
    queues: Queues = None,
    grace: Grace = None,
    server_id: ServerId = None,
    runners: Runners = None,
    log_level: Level = LogLevel.INFO,
    reload: Reload = True,
) -> None:
    """Everything in one command, for one machine: the schema (SQLite) and a worker.

    The API and the console are not part of this version yet; they will run here.
    """
    options = {"grace": grace, "server_id": server_id, "runners": runners}
    _serve(ctx, queues, log_level, reload=reload, **options)


def _serve(ctx: typer.Context, queues: str | None, level: LogLevel, **overrides: Any) -> None:
    settings = invocation(ctx).settings(**overrides)
    require_some_config(settings)
    start_logging(level.value, settings.log_dir)
    from taskyard.engine.server import serve

    names = None if queues is None else frozenset(n.strip() for n in queues.split(",") if n.strip())
    serve(settings, only_queues=names)
