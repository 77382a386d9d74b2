"""Live: the stream of hints by which a page knows at once when to ask again.

Owns what goes over the line (server-sent events) and how long: until the client leaves, the server
stops, or whoever listens may not any more. A hint says what kind of thing changed, never how, so a
client that misses one shows old data until it asks the next time, and nothing worse. When there is
something to hint at is `listeners.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import orjson
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taskyard.api import gate
from taskyard.api.gate import Ask, Entry
from taskyard.api.listeners import Listener
from taskyard.api.noun import Noun
from taskyard.core.errors import NotAllowed, NotSignedIn, TokenEnded, TooManyListeners

noun = Noun("live")

MEDIA = "text/event-stream"

BEAT = 15.0
"""Seconds after which a comment is sent where there is nothing to tell: proxies close what is
silent."""
ASK_AGAIN = 5.0
"""Seconds after which it is looked up again who listens."""
RETRY = 5_000
"""Milliseconds after which a browser that lost the stream comes back."""


@noun.get(
    "/events", needs=Entry.SIGNED_IN, answers=None, media=(MEDIA,), raises=(TooManyListeners,)
)
def events(ask: Ask) -> Response:
    """Hints at what has changed, as server-sent events: `data: {"kind": "run"}`.

    At most one hint a second of each kind (run, task, schedule, batch, incident, queue, server),
    only of what one may see, with an `id` where one thing alone is known to have changed. A hint
    says that a list should be asked for again, and nothing else. The answer begins when everything
    that changes from then on is hinted at; it ends when the token or session does.
    """
    ask.site.listeners.reserve()
    return Stream(ask)


class Stream(Response):
    """The answer that goes on; its seat among the listeners is given back whatever happens."""

    media_type = MEDIA

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listeners = self._ask.site.listeners
        listener = listeners.join(self._ask.caller)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, receive, listener)
                await self._send(listener, send)
                group.cancel_scope.cancel()
        finally:
            listeners.leave(listener)

    async def _send(self, listener: Listener, send: Send) -> None:
        await listener.is_ready.wait()
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        with suppress(OSError):  # the client has gone
            async for text in told(self._ask, listener):
                await send({"type": "http.response.body", "body": text, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def told(ask: Ask, listener: Listener) -> AsyncIterator[bytes]:
    """What goes over the line, until it is over."""
    yield f"retry: {RETRY}\n\n".encode()
    beat = asked = time.monotonic()
    while not listener.is_over:
        with anyio.move_on_after(min(beat + BEAT, asked + ASK_AGAIN) - time.monotonic()):
            await listener.wake.wait()
        if time.monotonic() >= asked + ASK_AGAIN:
            if not await _is_admitted(ask, listener):
                return
            asked = time.monotonic()
        text = b"".join(_hint(kind, thing) for kind, thing in listener.take().items())
        if not text and time.monotonic() >= beat + BEAT:
            text = b": still here\n\n"
        if text:
            beat = time.monotonic()
            yield text


def _hint(kind: str, thing: str | None) -> bytes:
    hint = {"kind": kind} if thing is None else {"kind": kind, "id": thing}
    return b"data: " + orjson.dumps(hint) + b"\n\n"


async def _until_gone(receive: Receive, listener: Listener) -> None:
    """End the stream when the client closes it."""
    while (await receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
    listener.end()


async def _is_admitted(ask: Ask, listener: Listener) -> bool:
    """May they still listen? Then as who they are now; where nobody can say, as before."""
    try:
        listener.caller = await run_in_threadpool(gate.still, ask)
    except (NotSignedIn, TokenEnded, NotAllowed):
        return False
    except Exception as error:
        if not ask.db.is_away(error):
            raise
    return True
