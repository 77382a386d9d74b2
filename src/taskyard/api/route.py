"""Route: the way of a request through an endpoint: let in, read, verb, rendered.

Owns that nothing is read before the gate has let it in, that a route's function runs on a worker
thread, and that what a client has already is not sent again.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Scope

from taskyard.access.permissions import Permission
from taskyard.api import asked, gate, idempotency, told, wire
from taskyard.api.gate import Ask
from taskyard.api.limits import JsonRequest
from taskyard.api.noun import Endpoint
from taskyard.api.site import Site
from taskyard.core import errors
from taskyard.core.errors import TaskyardError


def route_of(endpoint: Endpoint, site: Site) -> APIRoute:
    """The route that serves an endpoint."""
    return DeclaredRoute(
        endpoint.pattern,
        _callable(endpoint),
        declared=endpoint,
        site=site,
        methods=[endpoint.method],
        status_code=endpoint.status,
        response_model=endpoint.answers,
        response_class=Response if endpoint.media else JSONResponse,
        responses=told.responses(endpoint),
        operation_id=endpoint.operation_id,
        tags=[endpoint.tag],
        description=told.description(endpoint),
        summary=told.summary(endpoint),
        openapi_extra=told.besides(endpoint),
        include_in_schema=endpoint.shown,
    )


class DeclaredRoute(APIRoute):
    """A route that lets in before it reads anything, and that always answers JSON."""

    def __init__(self, *args: Any, declared: Endpoint, site: Site, **options: Any) -> None:
        self.declared = declared
        self.site = site
        super().__init__(*args, **options)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether a request is for this route; whatever goes wrong then is told by its voice."""
        match, found = super().matches(scope)
        return match, {**found, "voice": self.declared.voice}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler behind our gate."""
        handle = super().get_route_handler()
        declared, site = self.declared, self.site

        async def admitted(request: Request) -> Response:
            ask = await run_in_threadpool(gate.admit, site, request, declared.rule)
            ask.query = asked.read(request, declared.takes)
            reader = JsonRequest(request.scope, request.receive)
            await reader.read(site.settings.max_body)
            ask.body = reader.content
            request.scope["ask"] = ask
            try:
                return await handle(reader)
            except Exception as error:
                raise _as_told(ask, error) from error

        return admitted


def _as_told(ask: Ask, error: Exception) -> Exception:
    """An error as this Caller may know it."""
    if isinstance(error, errors.QueueUnknown) and not ask.caller.may(Permission.MONITORING):
        return errors.QueueUnknown(error.queue)
    if isinstance(error, TaskyardError) or not ask.db.is_away(error):
        return error
    return errors.DatabaseUnreachable(str(ask.db.url), str(error))


def _callable(endpoint: Endpoint) -> Callable[..., Response]:
    """The function as the framework calls it: with the request, and giving an answer's bytes."""
    declared = inspect.signature(endpoint.function, eval_str=True)
    first, *others = declared.parameters.values()

    def call(request: Request, **given: Any) -> Response:
        ask: Ask = request.scope["ask"]

        def answer() -> Response:
            return render(ask, endpoint, endpoint.function(ask, **given))

        return idempotency.once(ask, answer) if endpoint.once else answer()

    request = first.replace(name="request", annotation=Request)
    call.__signature__ = declared.replace(  # type: ignore[attr-defined]
        parameters=[request, *others], return_annotation=Response
    )
    return call


def render(ask: Ask, endpoint: Endpoint, value: Any) -> Response:
    """The answer of a route; what was read is not sent again to a client that has it."""
    if isinstance(value, Response):
        response = value
    elif endpoint.status == 204:
        response = Response(status_code=204)
    else:
        if isinstance(value, wire.Created):
            ask.headers.append(("Location", value.location))
            value = value.value
        response = Response(wire.dump(value), endpoint.status, media_type=wire.JSON)
    for name, text in ask.headers:
        response.headers.append(name, text)
    return _if_changed(ask, response) if endpoint.method == "GET" else _not_kept(response)


def _if_changed(ask: Ask, response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if response.status_code != 200 or "content-length" not in response.headers:
        return response  # what is sent part by part is not kept to be compared
    tag = f'"{hashlib.blake2b(response.body, digest_size=12).hexdigest()}"'
    known = ask.request.headers.get("if-none-match", "")
    if tag in {part.strip().removeprefix("W/") for part in known.split(",")} or known == "*":
        response = Response(status_code=304, headers={"Cache-Control": "private, no-cache"})
    response.headers["ETag"] = tag
    return response


def _not_kept(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    return response
