"""Taskyard: queues, schedules, batches and a complete run history in the database you have."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskyard.core import version

__version__ = version.VERSION

if TYPE_CHECKING:
    from taskyard.batches.context import ItemContext as ItemContext
    from taskyard.batches.handle import BatchHandle as BatchHandle
    from taskyard.context import Context as Context
    from taskyard.context import current as current
    from taskyard.core.errors import BatchFailed as BatchFailed
    from taskyard.core.errors import BatchRunning as BatchRunning
    from taskyard.core.errors import Cancel as Cancel
    from taskyard.core.errors import DuplicateTask as DuplicateTask
    from taskyard.core.errors import NotNow as NotNow
    from taskyard.core.errors import OutcomeUnknown as OutcomeUnknown
    from taskyard.core.errors import ParamsInvalid as ParamsInvalid
    from taskyard.core.errors import RefreshNeeded as RefreshNeeded
    from taskyard.core.errors import Retry as Retry
    from taskyard.core.errors import Snooze as Snooze
    from taskyard.core.errors import TaskFailed as TaskFailed
    from taskyard.core.errors import TaskLost as TaskLost
    from taskyard.core.errors import TaskyardError as TaskyardError
    from taskyard.core.errors import WaitTimedOut as WaitTimedOut
    from taskyard.core.lifecycle import RetryPolicy as RetryPolicy
    from taskyard.core.signature import Secret as Secret
    from taskyard.handlers import Never as Never
    from taskyard.handlers import On as On
    from taskyard.settings import Settings as Settings
    from taskyard.yard import TaskHandle as TaskHandle
    from taskyard.yard import Yard as Yard

# Imported when first asked for: `taskyard --help` needs none of them, and is quick.
_HOMES = {
    # The application, and what its handlers get
    "Yard": "taskyard.yard",
    "TaskHandle": "taskyard.yard",
    "BatchHandle": "taskyard.batches.handle",
    "Context": "taskyard.context",
    "ItemContext": "taskyard.batches.context",
    "current": "taskyard.context",
    "Secret": "taskyard.core.signature",
    "Settings": "taskyard.settings",
    # When to try again
    "RetryPolicy": "taskyard.core.lifecycle",
    "On": "taskyard.handlers",
    "Never": "taskyard.handlers",
    # Steering: what a handler raises to say what becomes of its task
    "Retry": "taskyard.core.errors",
    "Snooze": "taskyard.core.errors",
    "Cancel": "taskyard.core.errors",
    "RefreshNeeded": "taskyard.core.errors",
    # Errors that applications meet; all others are in taskyard.core.errors
    "TaskyardError": "taskyard.core.errors",
    "ParamsInvalid": "taskyard.core.errors",
    "DuplicateTask": "taskyard.core.errors",
    "TaskFailed": "taskyard.core.errors",
    "TaskLost": "taskyard.core.errors",
    "BatchRunning": "taskyard.core.errors",
    "BatchFailed": "taskyard.core.errors",
    "WaitTimedOut": "taskyard.core.errors",
    "OutcomeUnknown": "taskyard.core.errors",
    "NotNow": "taskyard.core.errors",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
