"""Verdict: what a call for an item means for the item.

Owns the judgement of results and exceptions: done, failed, tried again, skipped, or handed back.
What is written of it is `exchange.py`'s.
"""

from __future__ import annotations

import inspect
import random
from typing import TYPE_CHECKING, Any

from taskyard.batches.exchange import Done, Taken
from taskyard.context import Context
from taskyard.core.durations import format_duration
from taskyard.core.errors import Cancel, RefreshNeeded, Retry, Snooze, TaskyardError
from taskyard.core.lifecycle import Kind
from taskyard.core.payload import cut_error, dump_result, storable
from taskyard.core.tracebacks import error_text

if TYPE_CHECKING:
    from taskyard.batches.desk import Desk
    from taskyard.batches.handler import BatchHandler


class Verdict:
    """The judgement of one Run's items."""

    def __init__(self, handler: BatchHandler[Any], context: Context, desk: Desk) -> None:
        self._handler = handler
        self._context = context
        self._desk = desk

    @property
    def is_out_of_time(self) -> bool:
        """Has the Run been told to stop because of a time limit?"""
        return self._context.stop is not None and self._context.stop.kind == Kind.TIMEOUT

    def returned(self, item: Taken, result: Any, took: float) -> Done:
        """What a result means. Raises what `dump_result` raises."""
        if self._context.noticed:
            return self._stopped(item, None, took)
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("the handler returned a coroutine: is its outermost decorator async?")
        return Done(item, "completed", dump_result(result, "the result"), None, took)

    def raised(self, item: Taken, error: BaseException, took: float) -> Done:
        """What an exception means."""
        if self._context.stop is not None and (self._context.noticed or isinstance(error, Cancel)):
            return self._stopped(item, error, took)
        match error:
            case Cancel():
                return Done(item, "skipped", None, storable(error.reason) or "skipped", took)
            case Snooze():
                why = cut_error(f"snooze: {error.reason}")
                return Done(item, "pending", None, why, took, max(0.05, error.after))
            case RefreshNeeded():
                again, wait = False, None
                text = f"RefreshNeeded: {error or 'raised again with what was just renewed'}"
            case TaskyardError():
                again, wait, text = False, None, f"{error}\n{error.fix}"
            case Retry():
                again, wait = True, error.after
                text = f"retry: {error.reason}" if error.reason else "retry"
            case _:
                again, wait = self._handler.retry_after(error, item.retry_count + 1)
                text = error_text(error)
        return self._failed(item, text, again, wait, took)

    def timed_out(self, item: Taken, error: BaseException | None, took: float) -> Done:
        """The item took too long; where it was is told by the error that has ended it."""
        limit = TimeoutError(f"Timed out after {format_duration(self._handler.timeout or took)}.")
        again, wait = self._handler.retry_after(limit, item.retry_count + 1)
        text = str(limit) if error is None else f"{error_text(error)}\n{limit}"
        return self._failed(item, text, again, wait, took)

    def _stopped(self, item: Taken, error: BaseException | None, took: float) -> Done:
        """The Run was told to stop, and its item did."""
        if self.is_out_of_time:
            return self.timed_out(item, error, took)
        return Done(item, "pending")

    def _failed(self, item: Taken, text: str, again: bool, wait: float | None, took: float) -> Done:
        """An attempt has failed; whether there is another."""
        text = storable(cut_error(text))
        if not again or item.retry_count >= self._desk.batch.max_retries:
            return Done(item, "failed", None, text, took)
        if wait is None:
            wait = self._handler.spec.retry.delay(item.retry_count + 1, random.random)
        return Done(item, "pending", None, text, took, wait, 1)
