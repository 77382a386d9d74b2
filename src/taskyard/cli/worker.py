"""`taskyard worker` and `taskyard up`: a server in the foreground.

Owns their options; where the log goes is `logfile.py`'s. The server is `engine/server.py`'s, and
beside it `up` keeps the process of the API (`keeper.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard.cli.invocation import invocation, require_some_config
from taskyard.cli.logfile import start_logging
from taskyard.cli.options import new_app
from taskyard.cli.web import BehindProxy, Host, Level, LogLevel, NoAuth, Port, TlsCert, TlsKey

if TYPE_CHECKING:
    from taskyard.settings import Settings

worker = new_app()
up = new_app()


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
    settings = _settings(ctx, grace=grace, server_id=server_id, runners=runners)
    start_logging(log_level.value, settings.log_dir)
    _serve(settings, queues)


@up.command("up")
def run_up(
    ctx: typer.Context,
    queues: Queues = None,
    grace: Grace = None,
    server_id: ServerId = None,
    runners: Runners = None,
    log_level: Level = LogLevel.INFO,
    reload: Reload = True,
    host: Host = None,
    port: Port = None,
    no_auth: NoAuth = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    behind_proxy: BehindProxy = None,
) -> None:
    """Everything in one command, for one machine: the schema (SQLite), a worker and the API.

    At the first start a user is made, and how to sign in is printed once.

    \b
    Examples:
      taskyard up
      taskyard up --no-auth    # everybody on this machine may do everything
    """
    from taskyard.cli.keeper import Keeper

    settings = _settings(
        ctx,
        reload=reload,
        grace=grace,
        server_id=server_id,
        runners=runners,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=behind_proxy,
    )
    keeper = Keeper(settings, no_auth=no_auth, log_level=log_level.value)
    start_logging(log_level.value, settings.log_dir)
    keeper.start()
    try:
        _serve(settings, queues)
    finally:
        keeper.stop()


def _settings(ctx: typer.Context, **overrides: Any) -> Settings:
    settings = invocation(ctx).settings(**overrides)
    require_some_config(settings)
    return settings


def _serve(settings: Settings, queues: str | None) -> None:
    from taskyard.engine.server import serve

    names = None if queues is None else frozenset(n.strip() for n in queues.split(",") if n.strip())
    serve(settings, only_queues=names)
