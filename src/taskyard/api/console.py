"""Console: the built pages, served beside the API.

Owns which addresses are pages (all answer the one `index.html`, whose script knows the rest), how
long a browser may keep what, the path prefix of a reverse proxy, and the page of a source checkout
whose console was not built. The files are open to all: they hold no data, the API is asked for it.
"""

from __future__ import annotations

import mimetypes
import re
from functools import cached_property
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from taskyard.core.errors import ConsoleNotBuilt
from taskyard.settings import Settings

FILES = Path(__file__).resolve().parents[1] / "console"
"""Where the build puts the console; it is not in the history."""

PAGES = frozenset(
    {
        "",
        "login",
        "runs",
        "alerts",
        "tasks",
        "batches",
        "schedules",
        "queues",
        "handlers",
        "servers",
        "admin",
        "settings",
    }
)
"""The first words of the console's addresses; `web/src/app/pages.ts` has the same."""

_OTHERS = frozenset({"api", "docs", "docs.css", "openapi.json", "metrics", "healthz", "readyz"})
_ONLY_ALONE = frozenset({"", "login", "admin", "settings"})
"""Pages without pages below them; below /admin are addresses of the API."""

_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_HASHED = re.compile(r"assets/[\w.-]+")


class Console:
    """Answers what asks for a page or a file of the console; all else goes on to the API."""

    def __init__(self, app: ASGIApp, settings: Settings, files: Path = FILES) -> None:
        self.app = app
        self.files = files
        self.prefix = prefix_of(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = self._without_prefix(scope)
        answer = self._answer(scope) if scope["method"] in ("GET", "HEAD") else None
        await (answer or self.app)(scope, receive, send)

    def _without_prefix(self, scope: Scope) -> Scope:
        """A proxy may leave the prefix in the path, or take it out: both are fine."""
        path: str = scope["path"]
        if self.prefix and (path + "/").startswith(self.prefix + "/"):
            return {**scope, "path": path.removeprefix(self.prefix) or "/"}
        return scope

    def _answer(self, scope: Scope) -> Response | None:
        path = str(scope["path"]).removeprefix("/")
        first, _, rest = path.partition("/")
        if first == "assets" or path in self._top:
            return self._file(path)
        if first in PAGES and (not rest or first not in _ONLY_ALONE):
            return self._page(200)
        # A person who mistyped an address gets a page, a program the API's problem.
        wants_page = "text/html" in Headers(scope=scope).get("accept", "")
        return self._page(404) if wants_page and first not in _OTHERS | PAGES else None

    def _file(self, path: str) -> Response | None:
        if path not in self._top and not _HASHED.fullmatch(path):
            return None
        file = self.files / path
        if not file.is_file():
            return None
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        keep = _FOR_EVER if path.startswith("assets/") else _ASK_AGAIN
        return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": keep})

    def _page(self, status: int) -> Response:
        index = self.files / "index.html"
        if not index.is_file():
            return Response(_not_built(), 503, media_type="text/html")
        text = index.read_text(encoding="utf-8")
        prefix = escape(self.prefix, quote=True)
        text = text.replace('="./', f'="{prefix}/').replace(
            'name="taskyard-prefix" content=""', f'name="taskyard-prefix" content="{prefix}"'
        )
        return Response(text, status, media_type="text/html", headers={"Cache-Control": _ASK_AGAIN})

    @cached_property
    def _top(self) -> frozenset[str]:
        """Files beside the page, such as its icon."""
        if not self.files.is_dir():
            return frozenset()
        return frozenset(f.name for f in self.files.iterdir() if f.is_file()) - {"index.html"}


def prefix_of(settings: Settings) -> str:
    """The path under which a reverse proxy shows us: that of `public_url`, without a last slash."""
    return urlsplit(settings.public_url or "").path.rstrip("/")


def is_built(files: Path = FILES) -> bool:
    """Is there a console to show?"""
    return (files / "index.html").is_file()


def _not_built() -> str:
    error = ConsoleNotBuilt()
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Taskyard</title>'
        f"<h1>{error.code}: {escape(error.text)}</h1><p>{escape(error.fix)}</p>"
        '<p>The <a href="docs">HTTP API</a> works without it.</p></html>'
    )
