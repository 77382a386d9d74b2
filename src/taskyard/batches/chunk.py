"""Chunk: a worker's slice of a batch: items one after the other, for a few seconds.

Owns the loop in a runner, for `def` and `async def` handlers, and what an item's result or
exception means. It takes items ahead only as far as they are quick, settles what is done within
50 ms, and then puts its slot at the end of the line, so that other batches get their turn. When the
database is away it waits with what it has. The transactions are `exchange.py`'s.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from asyncio import CancelledError
from typing import Any

from taskyard.batches.context import ItemContext
from taskyard.batches.desk import Desk
from taskyard.batches.exchange import Done, Taken
from taskyard.batches.handler import BatchHandler
from taskyard.batches.shared import HookFailed, Shared
from taskyard.context import Context
from taskyard.core.errors import Cancel, RefreshNeeded, Retry, Snooze, TaskyardError
from taskyard.core.payload import cut_error, dump_result, storable
from taskyard.core.tracebacks import error_text

_NAP = 0.2
"""Seconds between two looks whether it shall stop, while it waits."""


def work(handler: BatchHandler[Any], context: Context) -> dict[str, Any]:
    """Work through items of a batch for one slice; returns how many came to what."""
    chunk = _Chunk(handler, context)
    desk = chunk.desk
    try:
        while desk.exchange():
            chunk.rest(desk.wait)
            while (item := desk.next()) is not None:
                desk.done(chunk.process(item))
                chunk.rest(desk.batch.pause)
    except BaseException as error:
        raise chunk.broken_off(error) from None
    chunk.close()
    return desk.told()


async def work_async(handler: BatchHandler[Any], context: Context) -> dict[str, Any]:
    """As `work`, for `async def` handlers, on the loop."""
    chunk = _Chunk(handler, context)
    desk = chunk.desk
    try:
        while await asyncio.to_thread(desk.exchange):
            await asyncio.sleep(desk.wait)
            while (item := desk.next()) is not None:
                desk.done(await chunk.process_async(item))
                await asyncio.sleep(desk.batch.pause)
    except BaseException as error:
        raise await asyncio.to_thread(chunk.broken_off, error) from None
    chunk.close()
    return desk.told()


class _Chunk:
    """One slice."""

    def __init__(self, handler: BatchHandler[Any], context: Context) -> None:
        self._handler = handler
        self._context = context
        self.desk = Desk(handler, context)
        worker = self.desk.worker
        key = (str(self.desk.db.url), handler.name, worker.batch_id, worker.slot)
        self._shared = Shared(handler, key, self._hook_context)

    def close(self) -> None:
        """The slice is over."""
        self.desk.close()
        if self.desk.batch.over:
            self._shared.forget()

    def broken_off(self, error: BaseException) -> BaseException:
        """Leave things in order after an error that is no item's; what the Run raises."""
        self.desk.close()
        self.desk.settle_now()
        if not isinstance(error, HookFailed):
            return error
        again, _ = self._handler.retry_after(error.error, self._context.attempt)
        if not again or self._context.attempt > self._context.max_retries:
            why = error_text(error.error).strip().splitlines()[-1]
            self.desk.fail(f"its setup failed: {why}")
        return error.error

    # --- an item ----------------------------------------------------------------------------------

    def process(self, item: Taken) -> Done:
        """Process one item; what it came to. Raises what its hooks raise."""
        began = time.monotonic()
        self._shared.prepare()
        try:
            try:
                result = self._handler.function(**self._arguments(item))
            except RefreshNeeded:
                self._shared.renew()
                result = self._handler.function(**self._arguments(item))
            return self._returned(item, result, began)
        except HookFailed:
            raise
        except BaseException as error:
            return self._raised(item, error, began)

    async def process_async(self, item: Taken) -> Done:
        """As `process`."""
        began = time.monotonic()
        await self._shared.prepare_async()
        try:
            try:
                result = await self._handler.function(**self._arguments(item))
            except RefreshNeeded:
                await self._shared.renew_async()
                result = await self._handler.function(**self._arguments(item))
            return self._returned(item, result, began)
        except (CancelledError, HookFailed):
            raise
        except BaseException as error:
            return self._raised(item, error, began)

    def rest(self, seconds: float) -> None:
        """Wait, unless told to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._context.stop is None:
            time.sleep(min(left, _NAP))

    def _arguments(self, item: Taken) -> dict[str, Any]:
        batch = self.desk.batch
        context = ItemContext(self._context, item, self._shared.value, batch.max_retries)
        others = f",{batch.params[1:-1]}" if batch.params else ""
        return self._handler.item_arguments(context, f'{{"item":{item.data}{others}}}')

    def _hook_context(self, shared: Any) -> ItemContext:
        nothing = Taken(0, "", None, 0, 0)
        return ItemContext(self._context, nothing, shared, self.desk.batch.max_retries)

    def _returned(self, item: Taken, result: Any, began: float) -> Done:
        took = time.monotonic() - began
        if self._context.noticed:
            return Done(item, "pending")
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("the handler returned a coroutine: is its outermost decorator async?")
        return Done(item, "completed", dump_result(result, "the result"), None, took)

    def _raised(self, item: Taken, error: BaseException, began: float) -> Done:
        """What an exception means for the item."""
        took = time.monotonic() - began
        if self._context.stop is not None and (self._context.noticed or isinstance(error, Cancel)):
            return Done(item, "pending")
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
        text = storable(cut_error(text))
        if not again or item.retry_count >= self.desk.batch.max_retries:
            return Done(item, "failed", None, text, took)
        if wait is None:
            wait = self._handler.spec.retry.delay(item.retry_count + 1, random.random)
        return Done(item, "pending", None, text, took, wait, 1)
