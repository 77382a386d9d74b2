"""Payload: JSON in and out of the database, its limits, and the masking of secrets.

Owns what may be stored as parameters, results and error texts: strict JSON, bounded in size and
depth, so that no payload can harm the server or the console. Leaves to `handlers` whether the
parameters fit a handler, and to the callers what to do with a refusal.

The way in is orjson, and what it passes over in silence is looked for afterwards, only where the
text shows that it could be there: NaN (written as null), big integers (read as floats), depth.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from datetime import date, time
from enum import Enum
from types import NoneType
from typing import Any
from uuid import UUID

import orjson

from taskyard.core.errors import ParamsNotJson, PayloadTooLarge

PARAMS_LIMIT = 1024 * 1024
"""Bytes of UTF-8 that the parameters of a task may have."""
RESULT_LIMIT = 256 * 1024
"""Bytes of UTF-8 that the output of a run may have."""
ERROR_LIMIT = 16 * 1024
"""Bytes of UTF-8 that an error text is cut to."""
DEPTH_LIMIT = 64
"""Levels of arrays and objects that a payload may have."""

MASK = "***"
"""What stands in the place of a masked value."""


def dump_params(value: Any, what: str = "task_params") -> str | None:
    """Return parameters as JSON text, None for None.

    `what` names the payload in messages. Raises ParamsNotJson (naming the place in `value`) or
    PayloadTooLarge.
    """
    return _dump(value, what, PARAMS_LIMIT)


def dump_result(value: Any, what: str = "the result") -> str | None:
    """Return a handler's result as JSON text, None for None; raises as `dump_params`."""
    return _dump(value, what, RESULT_LIMIT)


def load_params(text: str | bytes | None, what: str = "task_params") -> Any:
    """Return the value of a JSON text that anybody may have written, None for None and blanks.

    Raises ParamsNotJson (naming the character) or PayloadTooLarge.
    """
    if text is None or not text.strip():
        return None
    return _load(text, what, PARAMS_LIMIT)


def load_result(text: str | bytes | None, what: str = "the result") -> Any:
    """Return the value of a stored output; None and errors as `load_params`."""
    if text is None:
        return None
    return _load(text, what, RESULT_LIMIT)


def cut_error(text: str, limit: int = ERROR_LIMIT) -> str:
    """Return `text` within `limit` bytes of UTF-8: whole, or its head and its tail.

    The tail gets three quarters: a traceback's last lines say what happened. Characters that no
    database stores (NUL, lone surrogates) are replaced.
    """
    data = storable(text).encode()
    if len(data) <= limit:
        return data.decode("utf-8")
    gap = f"\n… {len(data) - limit:,} bytes cut …\n".encode()
    room = max(0, limit - len(gap))
    head = data[: room // 4].decode("utf-8", "ignore")
    tail = data[len(data) - (room - room // 4) :].decode("utf-8", "ignore")
    return head + gap.decode() + tail


def storable(text: str) -> str:
    """Return `text` with what no database stores (NUL, lone surrogates) replaced."""
    clean = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return clean.encode("utf-8", "replace").decode("utf-8")


def short_forms(text: str) -> tuple[str, ...]:
    """Return what to store of an error where its column refuses it, the longest first.

    The column of an adopted table may be latin1, varchar(255) or varchar(50): its last line, which
    says what happened, in ASCII.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    plain = lines[-1].encode("ascii", "replace").decode().replace("\0", "?") if lines else ""
    return plain[:250], plain[:50]


# --- JSON out ------------------------------------------------------------------------------------


def _dump(value: Any, what: str, limit: int) -> str | None:
    if value is None:
        return None
    try:
        data = orjson.dumps(value, default=_plain)
    except (TypeError, RecursionError) as error:
        # orjson chains the real cause when `default` itself raised.
        raise ParamsNotJson(what, _first_fault(value) or str(error.__cause__ or error)) from None
    if len(data) > limit:
        raise PayloadTooLarge(what, len(data), limit)
    # 65 levels need 65 opening brackets, and a NaN leaves a null: most payloads are not walked.
    if (b"null" in data or _may_be_deep(data)) and (fault := _first_fault(value)):
        raise ParamsNotJson(what, fault)
    return data.decode()


def _plain(value: Any) -> Any:
    """Turn a pydantic model into plain data; what else orjson does not know is refused."""
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise TypeError
    return dump(mode="json")


def _may_be_deep(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") > DEPTH_LIMIT


def _first_fault(value: Any) -> str | None:
    """Return what in `value` is not JSON, with its place ("$.items[3] is nan …"), or None."""
    todo: list[tuple[str, Any, int]] = [("$", value, 0)]
    while todo:
        path, item, depth = todo.pop()
        if fault := _fault(item):
            return f"{path} {fault}"
        if depth == DEPTH_LIMIT and (isinstance(item, dict) or _is_container(item)):
            return f"it is circular, or deeper than {DEPTH_LIMIT} levels"
        todo.extend((path + step, child, depth + 1) for step, child in _inside(item))
    return None


def _fault(item: Any) -> str | None:
    """Return what is wrong with `item` itself, whatever is inside it."""
    if isinstance(item, float):
        return None if math.isfinite(item) else f"is {item}, which JSON cannot say"
    if isinstance(item, int):
        small = -(2**63) <= item < 2**64
        return None if small else "is an integer of more than 64 bits; write it as text"
    if isinstance(item, str):
        return None if _is_text(item) else "is text with a lone surrogate"
    if isinstance(item, dict):
        odd = [key for key in item if not _is_text(key)]
        return f"has the key {odd[0]!r:.80}, which is not text" if odd else None
    if isinstance(item, _ATOMS) or _is_container(item):
        return None
    return f"is of type {type(item).__name__}, which JSON cannot say"


_ATOMS = (NoneType, Enum, date, time, UUID)


def _is_text(item: Any) -> bool:
    try:
        return isinstance(item, str) and bool(item.encode() or True)
    except UnicodeEncodeError:
        return False


def _is_container(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return True
    return not isinstance(item, type) and any(hasattr(item, name) for name in _MODEL_MARKS)


_MODEL_MARKS = ("model_dump", "__dataclass_fields__")


def _inside(item: Any) -> list[tuple[str, Any]]:
    """Return what `item` holds, each with its step of the path."""
    if isinstance(item, Enum):
        return [("", item.value)]
    if isinstance(item, dict):
        return [(f".{key}", child) for key, child in item.items()]
    if isinstance(item, list | tuple):
        return [(f"[{index}]", child) for index, child in enumerate(item)]
    if not _is_container(item):
        return []
    if hasattr(item, "model_dump"):
        return [("", item.model_dump(mode="json"))]
    return [(f".{name}", getattr(item, name)) for name in item.__dataclass_fields__]


# --- JSON in -------------------------------------------------------------------------------------

_LONG_NUMBER = re.compile(rb"[0-9]{19}")


def _load(text: str | bytes, what: str, limit: int) -> Any:
    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if len(data) > limit:
        raise PayloadTooLarge(what, len(data), limit)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ParamsNotJson(what, f"{error.msg} (char {error.pos})") from None
    if _may_be_deep(data) and (fault := _first_fault(value)):
        raise ParamsNotJson(what, fault)
    if _LONG_NUMBER.search(data):
        _refuse_big_integers(data, what)
    return value


def _refuse_big_integers(data: bytes, what: str) -> None:
    # orjson reads 2**64 as the float 1.8446744073709552e19 and says nothing; the stdlib's parser,
    # which would be too slow for every payload, knows which numbers are integers.
    def check(digits: str) -> int:
        if not -(2**63) <= int(digits) < 2**64:
            raise ParamsNotJson(what, f"{digits:.30} is an integer of more than 64 bits")
        return 0

    json.loads(data, parse_int=check)


# --- Secrets -------------------------------------------------------------------------------------

_SECRET_NAME = re.compile(
    "passw(?:or)?d|passphrase|secret|token|authori[sz]ation|cookie|credential|api_?key"
    "|(?:^|_)(?:pwd|keys?|dsn|auth|pin)(?:_|$)",
)
# What a text must have that names a secret, looked for before it is read as JSON.
_MAYBE_SECRET = re.compile(
    r"pass|secret|token|authori|cookie|credential|key|pwd|dsn|auth|pin", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_URL_PASSWORD = re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/?#@:]*):[^\s/?#]*@")


def mask(value: Any, also: Collection[str] = ()) -> Any:
    """Return a copy of JSON data in which each value under a secret's name is `MASK`.

    Secret names are those that look like one (password, token, api_key, …) in any spelling, and
    those in `also` (fields that a handler declares secret), at every level. Passwords inside URLs
    are masked wherever they stand. None stays: that nothing is set is no secret.
    """
    if isinstance(value, dict):
        hidden = {key for key in value if key in also or is_secret(key)}
        return {
            key: MASK if key in hidden and child is not None else mask(child, also)
            for key, child in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask(child, also) for child in value]
    return mask_url(value) if isinstance(value, str) else value


def unmask(value: Any, known: Any, also: Collection[str] = ()) -> Any:
    """Return JSON data that somebody gives back, where what is as `mask` shows it of `known` is
    what it was: who changes one field must not lose the secrets of the others."""
    shown = mask(known, also)
    if not isinstance(value, dict) or not isinstance(known, dict):
        return known if value == shown else value
    return {
        key: known[key]
        if key in known and child == shown[key]
        else unmask(child, known.get(key), also)
        for key, child in value.items()
    }


def mask_json(text: str | None, also: Collection[str] = ()) -> str | None:
    """Return a JSON text as people may see it: as it is, or with the values of secrets masked.

    Secrets are those of `mask`. A text that is no JSON and names one is masked as a whole.
    """
    if not text:
        return text
    named = "\\" in text or _MAYBE_SECRET.search(text) is not None
    named = named or any(name in text for name in also)
    if not (named or "@" in text):
        return text
    try:
        # Not orjson, which would read an integer of more than 64 bits as a float.
        value = json.loads(text)
        masked = mask(value, also)
    except RecursionError:
        return MASK
    except ValueError:
        return MASK if named else mask_url(text)
    return text if masked == value else json.dumps(masked, ensure_ascii=False)


def is_secret(name: str) -> bool:
    """Return whether a field of this name should be taken for a secret."""
    words = _CAMEL.sub("_", name).replace("-", "_").replace(" ", "_").replace(".", "_").lower()
    return _SECRET_NAME.search(words) is not None


def mask_url(text: str) -> str:
    """Return `text` with the password of each URL in it masked ("postgresql://app:***@db/jobs")."""
    return _URL_PASSWORD.sub(rf"\g<head>:{MASK}@", text) if "@" in text else text
