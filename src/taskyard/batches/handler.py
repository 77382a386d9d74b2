"""Handler: code that processes the items of batches, one at a time.

Owns `BatchHandler`, the options of `@yard.batch`, and its two ways to be called: a Task of a batch
works through items (`chunk.py`), any other Task is one plain call. Importing it must stay cheap:
runners whose application has no batches import it too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from taskyard.batches.definition import PROMISES, Definition, read
from taskyard.context import Context
from taskyard.core.durations import Duration, parse_duration
from taskyard.core.errors import HandlerImportFailed
from taskyard.core.lifecycle import Origin
from taskyard.handlers import Handler, HandlerOptions, HandlerSpec, RetryRules

if TYPE_CHECKING:
    from taskyard.db.database import Database

R = TypeVar("R")

QUEUE = "batches"


class BatchOptions(TypedDict, total=False):
    """What `@yard.batch(name, …)` takes; a batch may have its own of the first five."""

    concurrency: int
    """How many items are worked on at once, over all servers; default 5."""
    rate_limit: float | None
    """Items a second over all servers; default no limit."""
    pause: float | None
    """Seconds that each worker waits after an item; default none."""
    max_retries: int
    """How many attempts of an item may follow its first; default 0."""
    on_inflight: str
    """What becomes of an item whose worker died while it had it: "retry" (default), or
    "mark_unknown": it has failed, and people decide."""
    setup: Callable[..., Any]
    """Called before a worker's first item; what it returns is `ctx.shared`. It may take `ctx`."""
    refresh: Callable[..., Any]
    """Called instead of `setup` when an item has raised RefreshNeeded; `ctx.shared` is the old."""
    timeout: Duration | None
    """How long an item may take, like 30 or "5m"; then it has failed, or is tried again. A `def`
    handler cannot be stopped: its runner is replaced. Default no limit."""
    retry: RetryRules
    """When an item is tried again, and after which errors never; see `On` and `Never`."""


class BatchHandler(Handler[..., R]):
    """A function that processes an item. Calling it is a plain call of the function.

    It takes `item`, a Context if it wants one, and the parameters of the batch by their names.
    """

    def __init__(
        self, function: Callable[..., R], name: str, options: BatchOptions, database: Any
    ) -> None:
        """`database()` gives the database to work in, unless a runner knows better."""
        known = BatchOptions.__annotations__.keys()
        if unknown := options.keys() - known:
            raise TypeError(f"{name}: a batch handler has no option {', '.join(sorted(unknown))}")
        self.setup = options.get("setup")
        self.refresh = options.get("refresh") or self.setup
        if options.get("refresh") and self.setup is None:
            raise TypeError(f"{name}: refresh= renews what setup= has given, which is missing")
        limit = options.get("timeout")
        self.timeout = None if limit is None else parse_duration(limit)
        """Seconds that an item may take."""
        if self.timeout == 0:
            raise ValueError(f"{name}: timeout must be more than 0; leave it out for no limit")
        spine: HandlerOptions = {"queue": QUEUE}
        if "retry" in options:
            spine["retry"] = options["retry"]
        super().__init__(function, name, spine)
        self.database: Callable[[], Database] = database
        self.batch = _promised(name, options)
        self._check_hooks()

    @property
    def spec(self) -> HandlerSpec:
        """What it promises, as data. Raises HandlerImportFailed, also where it takes no `item`."""
        if "item" not in self.signature.names:
            raise HandlerImportFailed(
                f"Handler {self.name} ({self.signature.location})",
                "a batch handler takes a parameter `item`",
            )
        return super().spec

    def body(self, context: Context) -> Callable[..., Any]:
        """What is called for a Run: for a batch's Task the work through its items."""
        if not is_chunk(context):
            return self.function
        from taskyard.batches import chunk

        return chunk.work_async if self.is_async else chunk.work

    def arguments(self, context: Context, params: str | None) -> dict[str, Any]:
        """As `Handler.arguments`."""
        if is_chunk(context):
            return {"handler": self, "context": context}
        return super().arguments(context, params)

    def item_arguments(self, context: Context, params: str) -> dict[str, Any]:
        """The keyword arguments of a call for an item."""
        return super().arguments(context, params)

    def _check_hooks(self) -> None:
        for hook in (self.setup, self.refresh):
            if inspect.iscoroutinefunction(hook) and not self.is_async:
                raise TypeError(f"{self.name}: an async hook needs an `async def` handler")


def is_chunk(context: Context) -> bool:
    """Is this the Run of a Task that works for a batch?"""
    return context.origin == Origin.BATCH and "batch_id" in context.data


def _promised(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are defaults of batches, checked. Raises BatchInvalid."""
    made: Definition = read({"task_type": name, **{n: options.get(n) for n in PROMISES}})
    return {field: getattr(made, field) for field in PROMISES}
