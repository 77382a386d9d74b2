"""Passwords: hashed with Argon2id, and what a new one must be.

Owns the hashing and checking, at most two at a time: each takes 64 MiB and a tenth of a second, on
purpose. Guessing is slowed by `throttle.py`.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from taskyard.core.errors import AccessInvalid, TooManyAttempts

SHORTEST = 12
_LONGEST = 256
_MOST_WAIT = 10.0

_hasher = PasswordHasher()
_slots = threading.BoundedSemaphore(2)

_KNOWN = ("password", "passw0rd", "123456", "qwerty", "changeme", "letmein", "welcome", "taskyard")


def hash_password(password: str) -> str:
    """The hash to keep of a password."""
    with _slot():
        return _hasher.hash(_bytes(password))


def matches(password: str, stored: str | None) -> bool:
    """Is this the password of the hash? Without one (None) it takes as long to say no.

    Raises TooManyAttempts when so many sign in at once that this one would wait too long.
    """
    with _slot():
        try:
            right = _hasher.verify(stored or _nobodys(), _bytes(password[: _LONGEST + 1]))
        except (VerificationError, InvalidHashError):
            return False
    return right and stored is not None


def renewed(password: str, stored: str) -> str:
    """The hash to keep from now on: the same, unless hashes are made otherwise by now."""
    return hash_password(password) if _hasher.check_needs_rehash(stored) else stored


def check_new(username: str, password: str) -> None:
    """Refuse a password that is easily guessed; raises AccessInvalid."""
    if (why := _weakness(username, password)) is not None:
        raise AccessInvalid(
            f'User "{username}"',
            "password",
            f"the password {why}",
            f"Use at least {SHORTEST} characters, best from a password manager.",
        )


def generate() -> str:
    """A password of 24 characters that nobody guesses."""
    return secrets.token_urlsafe(18)


def _weakness(username: str, password: str) -> str | None:
    bare = password.lower()
    for word in (*_KNOWN, *([username] if len(username) > 3 else [])):
        bare = bare.replace(word, "")
    if len(password) < SHORTEST:
        return f"has fewer than {SHORTEST} characters"
    if len(password) > _LONGEST:
        return f"has more than {_LONGEST} characters"
    if len(set(password)) < 5 or len(bare) < SHORTEST // 2:
        return "is easily guessed"
    return None


def _bytes(password: str) -> bytes:
    # The same key on two keyboards may give "é" as one character or as two.
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


@cache
def _nobodys() -> str:
    return _hasher.hash(generate())


@contextmanager
def _slot() -> Iterator[None]:
    if not _slots.acquire(timeout=_MOST_WAIT):
        raise TooManyAttempts(int(_MOST_WAIT))
    try:
        yield
    finally:
        _slots.release()
