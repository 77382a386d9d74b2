"""App: the HTTP application as a whole: its nouns, its frame, and what becomes of errors.

Owns the table of nouns and that nothing is served which does not say who may ask for it. What a
noun's routes do stands in its own module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from taskyard.api import (
    admin,
    alert_rules,
    batch_templates,
    batches,
    bulk,
    channels,
    docs,
    health,
    incidents,
    live,
    metrics,
    queues,
    runs,
    schedules,
    servers,
    signin,
    stats,
    suggest,
    tasks,
    tokens,
    users,
)
from taskyard.api.compat import admin as compat_admin
from taskyard.api.compat import history as compat_history
from taskyard.api.console import Console
from taskyard.api.frame import Frame, answer_to
from taskyard.api.noun import Noun
from taskyard.api.route import DeclaredRoute, route_of
from taskyard.api.site import Site
from taskyard.core import errors
from taskyard.core.version import VERSION

NOUNS: tuple[Noun, ...] = (
    health.noun,
    signin.noun,
    queues.noun,
    tasks.noun,
    runs.noun,
    schedules.noun,
    batches.noun,
    batch_templates.noun,
    stats.noun,
    servers.noun,
    alert_rules.noun,
    channels.noun,
    incidents.noun,
    bulk.noun,
    suggest.noun,
    live.noun,
    users.noun,
    tokens.noun,
    admin.noun,
    compat_admin.noun,
    compat_history.noun,
)
"""All there is to ask for."""

THREADS = 20
"""Requests that are worked at once: as many as the database's pool has connections."""


class Undeclared(Exception):
    """A route does not say who may ask for it; such an application is not built."""


def build(site: Site, nouns: Iterable[Noun] = NOUNS) -> FastAPI:
    """Build the application. Raises Undeclared."""
    app = FastAPI(
        title="Taskyard",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    every = (*nouns, docs.noun(site.settings), metrics.noun(site.settings))
    app.router.routes.extend(route_of(e, site) for noun in every for e in noun.endpoints)
    require_declared(app.routes)
    app.add_middleware(Console, settings=site.settings)
    app.add_middleware(Frame, settings=site.settings)
    app.add_exception_handler(errors.TaskyardError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    return app


def require_declared(routes: Iterable[BaseRoute]) -> None:
    """Deny by default: raise Undeclared for a route that tells neither its needs nor its audit."""
    for route in routes:
        if not isinstance(route, DeclaredRoute):
            raise Undeclared(f"{getattr(route, 'path', route)} does not say who may ask for it")
        declared = route.declared
        if declared.method != "GET" and not declared.rule.audit:
            raise Undeclared(f"{declared.method} {declared.path} does not say what it changes")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    yield


# --- errors ---------------------------------------------------------------------------------------


async def _on_error(request: Request, error: Exception) -> Response:
    return answer_to(error, request.scope)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return answer_to(_invalid(error), request.scope)


def _invalid(error: RequestValidationError) -> errors.TaskyardError:
    """What does not fit, one line a field, without the values: they may be secrets."""
    lines = []
    for fault in error.errors():
        where, *path = fault["loc"]
        name = ".".join(map(str, path)) or where
        lines.append(f'"{name}": {fault["msg"][:1].lower()}{fault["msg"][1:]}')
    return errors.RequestInvalid(lines)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    ours: Exception = error
    if error.status_code == 404:
        ours = errors.AddressUnknown(request.url.path)
    elif error.status_code == 405:
        ours = errors.MethodUnknown(request.method, _methods(request))
    return answer_to(ours, request.scope)


def _methods(request: Request) -> set[str]:
    """By which methods something is to be had at the request's path."""
    routes: list[BaseRoute] = request.app.routes
    found = [
        r for r in routes if isinstance(r, DeclaredRoute) and r.matches(request.scope)[0].value
    ]
    return {method for route in found for method in route.methods or ()}
