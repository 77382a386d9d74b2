"""Limits: how much of a request is read, and what of it can be stored.

Owns the size of a head and of a body, and how its JSON is read; how deep a payload may be is
`core/payload.py`'s, how many rows a page has `db/listing.py`'s.
"""

from __future__ import annotations

from email.message import Message
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import Scope

from taskyard.core.errors import BodyTooLarge, NotJson, RequestInvalid, WrongContentType

MAX_HEAD = 64 * 1024
"""Bytes that the address and the headers of a request may have."""


def require_small_head(scope: Scope) -> None:
    """Raise RequestInvalid for a request whose address and headers are too large."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    size += sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    if size > MAX_HEAD:
        raise RequestInvalid([f"its address and headers have more than {MAX_HEAD:,} bytes"])


class JsonRequest(Request):
    """A request whose body is read once, within a limit, as JSON."""

    content = b""
    value: Any = None

    async def read(self, limit: int) -> None:
        """Read the body. Raises BodyTooLarge, WrongContentType, NotJson or RequestInvalid."""
        if "\0" in self.url.path or "%00" in self.url.query:
            raise RequestInvalid(["the address has a NUL character"])
        self.content = await self._within(limit)
        if self.content:
            _require_json(self.headers.get("content-type", ""))
            self.value = _loads(self.content)

    async def body(self) -> bytes:
        """The bytes that were read."""
        return self.content

    async def json(self) -> Any:
        """The value that was read."""
        return self.value

    async def _within(self, limit: int) -> bytes:
        # What is announced as too large is refused before it is sent.
        announced = self.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            raise BodyTooLarge(limit)
        parts: list[bytes] = []
        size = 0
        async for part in self.stream():
            size += len(part)
            if size > limit:
                raise BodyTooLarge(limit)
            parts.append(part)
        return b"".join(parts)


def _require_json(header: str) -> None:
    message = Message()
    message["content-type"] = header
    kind = message.get_content_type()
    if not header or not (kind == "application/json" or kind.endswith("+json")):
        # A form or a plain text is what another site's page can send without being asked.
        raise WrongContentType(f'its Content-Type is "{header}"' if header else "it has no type")


def _loads(data: bytes) -> Any:
    try:
        value = orjson.loads(data)  # which refuses more than 1024 levels
    except orjson.JSONDecodeError as error:
        raise NotJson(f"{error.msg} (character {error.pos + 1})") from None
    if b"\\u0000" in data and _has_nul(value):
        raise RequestInvalid(["a text has a NUL character, which no database stores"])
    return value


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in name or _has_nul(item) for name, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))
