"""Shared: what `setup` gives the items of a slot, a token or a client, kept and renewed.

Owns the values of this process: one a slot, since a slot is worked on by one thread at a time, kept
from one slice to the next, so that a batch of an hour does not sign in every five seconds.
"""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taskyard.context import Context
from taskyard.core.errors import RefreshNeeded

if TYPE_CHECKING:
    from taskyard.batches.handler import BatchHandler

_KEPT = 256

_values: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_lock = threading.Lock()


class HookFailed(Exception):
    """`setup` or `refresh` has raised: no fault of the item's."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Shared:
    """What the items of a slot share."""

    def __init__(
        self, handler: BatchHandler[Any], key: tuple[Any, ...], context: Callable[[Any], Context]
    ) -> None:
        """`context(value)` makes what the hooks get; `key` names the slot in this process."""
        self._setup, self._refresh = handler.setup, handler.refresh
        self._key = key
        self._context = context
        with _lock:
            self._is_set = key in _values
            self.value: Any = _values.get(key)

    def prepare(self) -> None:
        """Make the value, unless it is there. Raises HookFailed."""
        if self._setup is not None and not self._is_set:
            self._keep(_called(self._setup, self._context(None)))

    def renew(self) -> None:
        """Make it anew. Raises HookFailed, and RefreshNeeded where there is no hook."""
        if self._refresh is None:
            raise RefreshNeeded("there is no setup= that could give it anew")
        self._keep(_called(self._refresh, self._context(self.value)))

    async def prepare_async(self) -> None:
        """As `prepare`; a hook may be `async def`."""
        if self._setup is not None and not self._is_set:
            self._keep(await _awaited(self._setup, self._context(None)))

    async def renew_async(self) -> None:
        """As `renew`; a hook may be `async def`."""
        if self._refresh is None:
            raise RefreshNeeded("there is no setup= that could give it anew")
        self._keep(await _awaited(self._refresh, self._context(self.value)))

    def forget(self) -> None:
        """The batch is over: nobody needs the value any more."""
        with _lock:
            _values.pop(self._key, None)

    def _keep(self, value: Any) -> None:
        self.value, self._is_set = value, True
        with _lock:
            _values[self._key] = value
            _values.move_to_end(self._key)
            while len(_values) > _KEPT:
                _values.popitem(last=False)


def _called(hook: Callable[..., Any], context: Context) -> Any:
    try:
        return hook(context) if inspect.signature(hook).parameters else hook()
    except Exception as error:
        raise HookFailed(error) from error


async def _awaited(hook: Callable[..., Any], context: Context) -> Any:
    value = _called(hook, context)
    try:
        return await value if inspect.isawaitable(value) else value
    except Exception as error:
        raise HookFailed(error) from error
