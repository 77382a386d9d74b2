"""`taskyard web` and `taskyard api`: the HTTP API in the foreground, and its description.

Owns their options, which `up` takes as well. The process of the API is `api/serve.py`'s.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from taskyard.cli.invocation import invocation, require_some_config
from taskyard.cli.logfile import start_logging
from taskyard.cli.options import new_app
from taskyard.cli.output import print_json

web = new_app()
api = new_app("The HTTP API: its OpenAPI description.")


class LogLevel(StrEnum):
    """How much a server says."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


Level = Annotated[LogLevel, typer.Option("--log-level", help="How much is logged to stderr.")]
Host = Annotated[
    str | None,
    typer.Option("--host", help="Listen on this address (TASKYARD_HOST); default: 127.0.0.1."),
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=0, max=65_535, help="The port (TASKYARD_PORT); default: 9999."),
]
NoAuth = Annotated[
    bool,
    typer.Option("--no-auth", help="Let everybody on this machine do everything; loopback only."),
]
TlsCert = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="FILE", help="Speak HTTPS with this certificate (PEM)."),
]
TlsKey = Annotated[
    Path | None,
    typer.Option("--tls-key", metavar="FILE", help="Its key, unless it is in the same file."),
]
BehindProxy = Annotated[
    str | None,
    typer.Option(
        "--behind-proxy",
        metavar="CIDR,...",
        help="Networks of the reverse proxies that end TLS; what they say of clients is believed.",
    ),
]


@web.command("web")
def run_web(
    ctx: typer.Context,
    host: Host = None,
    port: Port = None,
    no_auth: NoAuth = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    behind_proxy: BehindProxy = None,
    log_level: Level = LogLevel.INFO,
) -> None:
    """Serve the HTTP API until SIGTERM or Ctrl-C.

    Beyond this machine it listens only with TLS: its own (--tls-cert) or a reverse proxy's
    (--behind-proxy). A database that is away is waited for; requests get a 503 meanwhile.

    \b
    Examples:
      taskyard web --port 8080
      taskyard web --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
      taskyard web --host 0.0.0.0 --behind-proxy 10.0.0.0/8
    """
    from taskyard.api.serve import serve

    settings = invocation(ctx).settings(
        host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, behind_proxy=behind_proxy
    )
    require_some_config(settings)
    start_logging(log_level.value, settings.log_dir)
    serve(settings, no_auth=no_auth)


@api.command()
def schema(ctx: typer.Context) -> None:
    """Print the OpenAPI description of the API, for making clients."""
    from taskyard.api.app import build
    from taskyard.api.docs import openapi
    from taskyard.api.site import Site, open_database

    settings = invocation(ctx).settings()
    print_json(openapi(build(Site(settings, open_database(settings)))))
