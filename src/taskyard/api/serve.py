"""Serve: the process of the API, from its start to its end.

Owns uvicorn and how it is set up, the first user of a fresh database, and that a database which is
away is waited for while the API answers 503. Where it may listen is `posture.py`'s; how `up` keeps
such a process beside its supervisor is `keeper.py`'s.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from taskyard.access.logins import FirstUser, first_user
from taskyard.api import app, posture
from taskyard.api.console import is_built
from taskyard.api.intake import Intake
from taskyard.api.signin import link_path
from taskyard.api.site import Site, open_database
from taskyard.core.errors import ConsoleNotBuilt, DatabaseUnreachable
from taskyard.db import migrate
from taskyard.settings import Settings

logger = logging.getLogger("taskyard.web")

GRACE = 5
"""Seconds that requests under way get at a stop."""


def serve(settings: Settings, *, no_auth: bool, listener: socket.socket | None = None) -> None:
    """Answer requests until SIGTERM or SIGINT.

    `listener` is a socket that listens already. Raises UnsafeAddress, PortInUse, BadSetting,
    SchemaOld, SchemaNewer, and DatabaseUnreachable when the database refuses us.
    """
    posture.require_safe(settings, no_auth=no_auth)
    bound = listener or posture.bind(settings.host, settings.port)
    site = Site(settings, open_database(settings), no_auth=no_auth)
    url = posture.url_of(settings, bound)
    opening = Opening(site, url)
    opening.begin()
    logger.info("listening on %s", url)
    if not is_built():
        logger.warning("%s", ConsoleNotBuilt())
    if no_auth:
        logger.warning("nobody has to sign in: whoever reaches this machine may do everything")
    try:
        Server(site).run(sockets=[bound])
    finally:
        opening.stop()
        site.db.close()


class Opening:
    """What the database needs before the first request; waited for where it is away."""

    def __init__(self, site: Site, url: str) -> None:
        self._site = site
        self._url = url
        self._stopped = threading.Event()

    def begin(self) -> None:
        """Do it now; where the database is away, go on trying in the background."""
        try:
            self._open()
        except Exception as error:
            refused = isinstance(error, DatabaseUnreachable) and error.refused
            if refused or not self._site.db.is_away(error):
                raise
            logger.warning("%s Waiting for it.", error)
            threading.Thread(target=self._keep_trying, name="opening", daemon=True).start()

    def stop(self) -> None:
        """Stop trying."""
        self._stopped.set()

    def _open(self) -> None:
        migrate.require(self._site.db)
        user = None if self._site.no_auth else first_user(self._site.db)
        if user is not None:
            _introduce(user, self._url)

    def _keep_trying(self) -> None:
        told = ""
        while not self._stopped.wait(1.0):
            try:
                self._open()
                return
            except Exception as error:  # such as a schema that somebody has to upgrade first
                if not self._site.db.is_away(error) and str(error) != told:
                    told = str(error)
                    logger.error("%s", told)


class Server(uvicorn.Server):
    """uvicorn, which ends with code 0 where it was asked to end, and waits for no listener."""

    def __init__(self, site: Site) -> None:
        super().__init__(config(site))
        self._site = site

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what would go on for ever, then wait for the requests under way."""
        self._site.listeners.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """SIGTERM and SIGINT stop the server; uvicorn would raise them anew at the end."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.handle_exit(number, frame)

        before = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def config(site: Site) -> uvicorn.Config:
    """How uvicorn serves a site. A client's address is its peer's, or what a trusted proxy says."""
    settings = site.settings
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    return uvicorn.Config(
        app.build(site),
        http=Intake,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        proxy_headers=bool(settings.behind_proxy),
        forwarded_allow_ips=list(settings.behind_proxy),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=GRACE,
    )


def _introduce(user: FirstUser, url: str) -> None:
    """Tell the terminal, and no log, how to sign in for the first time."""
    lines = (
        "",
        "  A first user was made. This is shown once:",
        f"    user      {user.username}",
        f"    password  {user.password}",
        f"    sign in   {url}{link_path(user.link)}   (once, within 10 minutes)",
        "",
    )
    print("\n".join(lines), flush=True)  # noqa: T201
