"""Chunk: a worker's slice of a batch: items one after the other, for a few seconds.

Owns the loop in a runner, for `def` and `async def` handlers, and the time limit of an item. It
takes items ahead only as far as they are quick, settles what is done within 50 ms, and then puts
its slot at the end of the line, so that other batches get their turn. When the database is away it
waits with what it has. What came of an item is judged in `verdict.py`; the transactions are
`exchange.py`'s.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskyard.batches.context import ItemContext
from taskyard.batches.desk import Desk
from taskyard.batches.exchange import Done, Taken
from taskyard.batches.handler import BatchHandler
from taskyard.batches.shared import HookFailed, Shared
from taskyard.batches.verdict import Verdict
from taskyard.context import Context, Limit
from taskyard.core.errors import RefreshNeeded
from taskyard.core.tracebacks import error_text

_NAP = 0.2
"""Seconds between two looks whether it shall stop, while it waits."""

_GRACE = 1.0
"""Seconds that a coroutine has to end in after it was cancelled at its item's limit."""


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
        self._verdict = Verdict(handler, context, self.desk)
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
            with self._limited(0.0):
                try:
                    result = self._handler.function(**self._arguments(item))
                except RefreshNeeded:
                    self._shared.renew()
                    result = self._handler.function(**self._arguments(item))
            return self._verdict.returned(item, result, time.monotonic() - began)
        except HookFailed:
            raise
        except BaseException as error:
            return self._verdict.raised(item, error, time.monotonic() - began)

    async def process_async(self, item: Taken) -> Done:
        """As `process`."""
        began = time.monotonic()
        await self._shared.prepare_async()
        clock = asyncio.timeout(self._handler.timeout)
        try:
            with self._limited(_GRACE):
                async with clock:
                    try:
                        result = await self._handler.function(**self._arguments(item))
                    except RefreshNeeded:
                        await self._shared.renew_async()
                        result = await self._handler.function(**self._arguments(item))
            return self._verdict.returned(item, result, time.monotonic() - began)
        except HookFailed:
            raise
        except CancelledError as error:
            if not self._verdict.is_out_of_time:
                raise
            return self._verdict.raised(item, error, time.monotonic() - began)
        except BaseException as error:
            if clock.expired() and isinstance(error, TimeoutError):
                return self._verdict.timed_out(item, error, time.monotonic() - began)
            return self._verdict.raised(item, error, time.monotonic() - began)

    def rest(self, seconds: float) -> None:
        """Wait, unless told to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._context.stop is None:
            time.sleep(min(left, _NAP))

    @contextmanager
    def _limited(self, grace: float) -> Iterator[None]:
        """The item's time runs; a runner whose item goes on beyond it ends the Run."""
        seconds = self._handler.timeout
        if seconds is not None:
            self._context.part = Limit(time.monotonic() + seconds + grace, seconds)
        try:
            yield
        finally:
            self._context.part = None

    def _arguments(self, item: Taken) -> dict[str, Any]:
        batch = self.desk.batch
        context = ItemContext(self._context, item, self._shared.value, batch.max_retries)
        others = f",{batch.params[1:-1]}" if batch.params else ""
        return self._handler.item_arguments(context, f'{{"item":{item.data}{others}}}')

    def _hook_context(self, shared: Any) -> ItemContext:
        nothing = Taken(0, "", None, 0, 0)
        return ItemContext(self._context, nothing, shared, self.desk.batch.max_retries)
