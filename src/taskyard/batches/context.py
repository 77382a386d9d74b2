"""Context: what the handler of an item knows, and may say.

Owns `ItemContext`, a Context of the Run that works through the items, narrowed to one of them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from taskyard.batches.exchange import Taken
from taskyard.context import Context, Stop, Transaction
from taskyard.core.errors import NotNow


class ItemContext(Context):
    """The Run and the item that a batch handler works for: a parameter `ctx: Context` gets it."""

    __slots__ = ("_chunk", "_item", "_most", "shared")

    def __init__(self, chunk: Context, item: Taken, shared: Any, max_retries: int) -> None:
        super().__init__(chunk.call, chunk._reporter)
        self._chunk = chunk
        self._item = item
        self._most = max_retries
        self.shared = shared
        """What the handler's `setup` has given: a token, a client."""

    @property
    def deadline(self) -> datetime | None:
        """When the time limit of the item is reached (UTC); None without one."""
        part = self._chunk.part
        return (
            None
            if part is None
            else datetime.now(UTC) + timedelta(seconds=part.until - monotonic())
        )

    @property
    def batch_id(self) -> int:
        """The id of the batch."""
        return int(self.data["batch_id"])

    @property
    def item_id(self) -> str:
        """The id of the item in its batch."""
        return self._item.item_id

    @property
    def attempt(self) -> int:
        """1 for the first attempt of the item; those that were lost don't count."""
        return self._item.retry_count + 1

    @property
    def max_retries(self) -> int:
        """How many attempts of an item may follow its first."""
        return self._most

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt of this item, and for no other: "batch:7:account-42"."""
        return f"batch:{self.batch_id}:{self.item_id}"

    @property
    def fence(self) -> int:
        """Rises with each attempt of the item: pass it on to what must refuse a stale one."""
        return self._item.attempts + 1

    @property
    def cancelled(self) -> bool:
        """Whether the Run shall stop; an item that ends after seeing True is processed again."""
        return self._chunk.cancelled

    def raise_if_cancelled(self) -> None:
        """Raise Cancel if the Run shall stop."""
        self._chunk.raise_if_cancelled()

    @property
    def stop(self) -> Stop | None:
        """Why the Run was told to stop, without counting as having looked."""
        return self._chunk.stop

    @property
    def noticed(self) -> bool:
        """Whether the handler has seen that it shall stop."""
        return self._chunk.noticed

    @property
    def ended(self) -> bool:
        """Whether the Run is over."""
        return self._chunk.ended

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Not for items: their ends are written many at a time. Raises NotNow."""
        fix = "Write with a connection of your own; ctx.idempotency_key tells attempts together."
        raise NotNow("open a transaction", f"item {self.item_id}", "an item of a batch", fix)
