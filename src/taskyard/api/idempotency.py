"""Idempotency: a request that makes something may be sent again without making it twice.

Owns `ty_idempotency`. A key is good for one caller and one request; its answer is kept for a day.
It is taken before the request is worked: of two at the same time one works, the other is told so.
Where the answer was never written (the process died) the key stays taken, because nobody knows
whether the thing was made.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from starlette.responses import Response

from taskyard.api import wire
from taskyard.api.gate import Ask
from taskyard.core.errors import KeyBusy, KeyReused, OutcomeUnknown, RequestInvalid
from taskyard.db.database import Database, Tx

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"

HEADER_IN_OPENAPI = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Send the same key again, and the thing is not made twice: the answer is the"
    " first one's. Remembered for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}

_REMEMBERED = 86_400.0
_FORGET_EVERY = 3_600.0

_TAKE = """
INSERT INTO ty_idempotency (key_hash, request_hash, created_at)
VALUES (:key_hash, :request_hash, {now})
"""

_LOOK = "SELECT request_hash, status, body FROM ty_idempotency WHERE key_hash = :key_hash"

_KEEP = "UPDATE ty_idempotency SET status = :status, body = :body WHERE key_hash = :key_hash"

_LEAVE = "DELETE FROM ty_idempotency WHERE key_hash = :key_hash AND status IS NULL"

_FORGET = "DELETE FROM ty_idempotency WHERE created_at < {before}"

_forgot_at = 0.0


def once(ask: Ask, answer: Callable[[], Response]) -> Response:
    """Answer a request, or give the answer that it had before.

    Raises RequestInvalid, KeyReused (another request) or KeyBusy (the first has no answer yet).
    """
    key = ask.request.headers.get(HEADER)
    if key is None:
        return answer()
    if not 0 < len(key) <= 255 or not key.isprintable():
        raise RequestInvalid([f"{HEADER} has no, or more than 255, characters"])
    key_hash, request_hash = _hashes(ask, key)
    _forget_old(ask.db)
    if not _take(ask.db, key_hash, request_hash):
        return _again(ask.db, key, key_hash, request_hash)
    try:
        response = answer()
    except OutcomeUnknown:
        raise
    except Exception:
        ask.db.run(lambda tx: tx.execute(_LEAVE, key_hash=key_hash))
        raise
    body = _kept(response)
    ask.db.run(
        lambda tx: tx.execute(_KEEP, status=response.status_code, body=body, key_hash=key_hash)
    )
    return response


def _hashes(ask: Ask, key: str) -> tuple[str, str]:
    """Whose key it is, and what is asked for."""
    caller = ask.caller
    whose = f"{caller.user_id}\0{caller.name}\0{key}"
    what = f"{ask.request.method} {ask.request.url.path}?{ask.request.url.query}\0".encode()
    return hashlib.sha256(whose.encode()).hexdigest(), hashlib.sha256(what + ask.body).hexdigest()


def _take(db: Database, key_hash: str, request_hash: str) -> bool:
    def work(tx: Tx) -> None:
        tx.execute(
            _TAKE.format(now=tx.dialect.utc_now), key_hash=key_hash, request_hash=request_hash
        )

    try:
        db.run(work)
    except Exception as error:
        if not db.dialect.is_duplicate(error):
            raise
        return False
    return True


def _again(db: Database, key: str, key_hash: str, request_hash: str) -> Response:
    row = db.read(lambda tx: tx.one(_LOOK, key_hash=key_hash))
    if row is None or (row[1] is None and row[0] == request_hash):
        raise KeyBusy(key)
    if row[0] != request_hash:
        raise KeyReused(key)
    location, _, body = row[2].rpartition("\n")
    headers = {REPLAYED: "true", **({"Location": location} if location else {})}
    return Response(body, row[1], headers, media_type=wire.JSON)


def _kept(response: Response) -> str:
    """An answer as it is kept: where the thing is, if it has an address, then the body's line."""
    location = response.headers.get("location", "")
    body = bytes(response.body).decode()
    return f"{location}\n{body}"


def _forget_old(db: Database) -> None:
    """Once an hour, remove what is older than a day."""
    global _forgot_at
    if time.monotonic() < _forgot_at + _FORGET_EVERY and _forgot_at:
        return
    _forgot_at = time.monotonic()
    db.run(
        lambda tx: tx.execute(
            _FORGET.format(before=tx.dialect.utc_after("-(:seconds)")), seconds=_REMEMBERED
        )
    )
