"""Masking: what of a Task's parameters enters its Run, where a Handler calls some of them secret.

The task table keeps what was put there; the history does not (rulings 1.10).
"""

from __future__ import annotations

import orjson

from taskyard.core.payload import MASK, mask
from taskyard.handlers import HandlerSpec


def masked_payload(spec: HandlerSpec, params: str | None) -> str | None:
    """The parameters with secrets masked, as JSON text; None when there is nothing to mask."""
    if params is None or not spec.secrets:
        return None
    try:
        return orjson.dumps(mask(orjson.loads(params), spec.secrets)).decode()
    except (orjson.JSONDecodeError, TypeError):
        return orjson.dumps(MASK).decode()  # what cannot be read cannot be masked in part
