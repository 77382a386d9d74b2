"""Tracebacks: an exception as text, whatever the exception does.

Owns the form in which errors of user code are kept: readable, within the limit of an error text,
and beginning with the user's own frame.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType, TracebackType

from taskyard.core.payload import cut_error

_OURS = str(Path(__file__).parents[1])


def error_text(error: BaseException) -> str:
    """The traceback of an exception as text of at most 16 KiB, head and tail."""
    try:
        begun = _without_us(error.__traceback__)
        told = traceback.TracebackException(type(error), error, begun, compact=True)
        return cut_error("".join(told.format()).rstrip())
    except BaseException as second:
        # Its class may have a hostile __str__, __cause__ or __dir__; the names are always safe.
        return cut_error(
            f"{type(error).__qualname__} (its traceback can't be shown:"
            f" {type(second).__qualname__} while formatting it)"
        )


def stack_text(frame: FrameType, caller: str) -> str:
    """Where a thread is, as the lines of a traceback, from what file `caller` has called on."""
    frames = traceback.extract_stack(frame)
    files = [one.filename for one in frames]
    start = files.index(caller) if caller in files else 0
    while start < len(files) - 1 and files[start].startswith(_OURS):
        start += 1
    return "".join(traceback.format_list(frames[start:]))


def _without_us(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame on that is not Taskyard's; all of it if none is."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename.startswith(_OURS):
        inner = inner.tb_next
    return inner or trace
