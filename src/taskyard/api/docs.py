"""Docs: the API's description of itself: OpenAPI for programs, one plain page for people.

Owns what both say besides the routes. The page needs no script and nothing from other sites.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from taskyard.api import wire
from taskyard.api.gate import COOKIE, Ask, Entry
from taskyard.api.noun import Noun
from taskyard.settings import Settings

_SECURITY = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "ty_…"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}

_ABOUT = (
    "Queues, tasks and a complete run history in the database you have."
    " Errors are problems (RFC 9457) with a stable `code`. Lists come in pages: follow"
    " `next_cursor`. Reads carry an `ETag`; send it as `If-None-Match` and what is unchanged is a"
    " 304. What creates honours an `Idempotency-Key`. Times are ISO 8601 with their offset."
)

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color-scheme: light dark; }
code { font-size: 0.95em; } dt { margin-top: 0.8rem; } h2 { margin-top: 2rem; }
"""


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of an application, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, routes=app.routes, description=_ABOUT
        )
        parts = schema.setdefault("components", {})
        schemas = parts.setdefault("schemas", {})
        schemas["Problem"] = wire.Problem.model_json_schema()
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        parts["securitySchemes"] = _SECURITY
        app.openapi_schema = schema
    return app.openapi_schema


def noun(settings: Settings) -> Noun:
    """The addresses of the description; open to all only where a setting says so."""
    needs = Entry.OPEN if settings.open_docs else Entry.SIGNED_IN
    docs = Noun("docs", prefix="")

    @docs.get("/openapi.json", needs=needs, answers=None, shown=False)
    def show_openapi(ask: Ask) -> dict[str, Any]:
        """The OpenAPI description."""
        return openapi(ask.request.app)

    @docs.get("/docs", needs=needs, answers=None, shown=False)
    def show_docs(ask: Ask) -> Response:
        """The description as a page."""
        return Response(page(openapi(ask.request.app)), media_type="text/html")

    @docs.get("/docs.css", needs=needs, answers=None, shown=False)
    def show_style(ask: Ask) -> Response:
        """How the page looks."""
        return Response(_STYLE, media_type="text/css")

    return docs


def page(schema: dict[str, Any]) -> str:
    """An OpenAPI description as HTML."""
    return "\n".join(_lines(schema))


def _lines(schema: dict[str, Any]) -> Iterator[str]:
    title = escape(f"{schema['info']['title']} {schema['info']['version']}: HTTP API")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield '<link rel="stylesheet" href="/docs.css">'
    yield f"<h1>{title}</h1><p>{escape(schema['info']['description'])}</p>"
    yield '<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>'
    tag = ""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] != tag:
                yield "</dl>" if tag else ""
                tag = operation["tags"][0]
                yield f"<h2>{escape(tag)}</h2><dl>"
            yield from _operation(method, path, operation)
    yield "</dl></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    names = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
    yield f"<dt><code><b>{method.upper()}</b> {escape(path)}</code></dt>"
    yield f"<dd>{escape(operation['summary'])}. {escape(operation['description'])}"
    if names:
        yield "<br>" + " ".join(f"<code>{escape(name)}</code>" for name in names)
    yield "</dd>"
