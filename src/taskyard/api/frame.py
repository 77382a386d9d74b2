"""Frame: what every request passes on its way in and every answer on its way out.

Owns the request's id, the names that requests may be for (DNS rebinding), the headers that tell a
browser what our pages may do, and that whatever is raised is answered as a problem.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskyard.api import wire
from taskyard.api.limits import require_small_head
from taskyard.api.voice import PROBLEMS
from taskyard.core.errors import HostUnknown, TaskyardError, Unexpected
from taskyard.settings import Settings

logger = logging.getLogger("taskyard.web")

REQUEST_ID = "X-Request-Id"

PROBES = frozenset({"/healthz", "/readyz"})
"""Asked by orchestrators under any name; they tell nothing."""

_TELL_EVERY = 10.0
_told_at = -_TELL_EVERY

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; object-src 'none';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Frame:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = allowed_hosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        mine = scope["request_id"] = _sane_id(scope)
        begun = False

        async def send_framed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers[REQUEST_ID] = mine
            await send(message)

        try:
            require_small_head(scope)
            self._check_host(scope)
            await self.app(scope, receive, send_framed)
        except Exception as error:
            if begun:
                raise
            await answer_to(error, scope)(scope, receive, send_framed)

    def _check_host(self, scope: Scope) -> None:
        host = Headers(scope=scope).get("host", "")
        if bare(host) not in self.hosts and scope["path"] not in PROBES:
            raise HostUnknown(host)


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The names that requests may be for, without ports."""
    public = urlsplit(settings.public_url or "").hostname or ""
    bound = settings.host if settings.host not in ("0.0.0.0", "::") else ""  # noqa: S104
    names = {"localhost", "127.0.0.1", "::1", bound, public, *settings.allowed_hosts}
    return frozenset(bare(name) for name in names if name)


def bare(host: str) -> str:
    """A Host header's name: in lower case, without its port and brackets."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name if name.count(":") > 1 else name.partition(":")[0]


def request_id(scope: Scope) -> str:
    """The id of a request."""
    found: str = scope["request_id"]
    return found


def answer_to(error: Exception, scope: Scope) -> Response:
    """The answer to an error; one that we did not foresee is told to the log, not to the client."""
    request, voice = request_id(scope), scope.get("voice", PROBLEMS)
    if isinstance(error, TaskyardError):
        _tell_trouble(error)
    else:
        logger.error("request %s failed", request, exc_info=error)
        error = Unexpected(request)
    answer: Response = voice.tell(error, request)
    return answer


def _tell_trouble(error: TaskyardError) -> None:
    """What keeps the database from us is told to the log, now and then: everybody asks again."""
    global _told_at
    if wire.status_of(type(error)) == 503 and time.monotonic() > _told_at + _TELL_EVERY:
        _told_at = time.monotonic()
        logger.warning("%s", error)


def _sane_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
