"""Built-in handlers: what Taskyard runs for itself, as Tasks like all others.

Owns their registration in every runner; what they do is their modules'.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from taskyard.batches.handler import BatchHandler
from taskyard.context import Context
from taskyard.core.errors import MissingExtra, Undeliverable
from taskyard.core.lifecycle import RetryPolicy
from taskyard.handlers import Handler, HandlerOptions, Never, Registry

if TYPE_CHECKING:
    from taskyard.db.database import Database
    from taskyard.settings import Settings


def prune() -> dict[str, Any]:
    """Remove old Runs and Tasks, as the retention settings say, and forget old fires."""
    from taskyard.runs.retention import prune_handler
    from taskyard.schedules.retention import prune_fires

    settings, db = _here()
    return prune_handler(db, settings.retention) | {"fires": prune_fires(db)}


def notify(
    ctx: Context,
    event: str,
    delivery: str,
    channel_id: int | None = None,
    incident_ids: list[int] | None = None,
    batch_id: int | None = None,
) -> dict[str, Any]:
    """Tell people of incidents, or of the end of a batch."""
    from taskyard.alerts.sending import send

    settings, db = _here()
    return send(
        db,
        settings,
        ctx.tenant_id,
        event,
        delivery,
        channel_id=channel_id,
        incident_ids=incident_ids or (),
        batch_id=batch_id,
    )


@cache
def database() -> Database:
    """The database that this Server works in."""
    return _here()[1]


def _here() -> tuple[Settings, Database]:
    from taskyard.db.database import shared
    from taskyard.settings import Settings

    settings = Settings.load()
    return settings, shared(settings.database_url, pooler=settings.pooler)


BUILTIN: dict[str, tuple[Any, HandlerOptions]] = {
    "taskyard.prune": (prune, {"max_retries": 1}),
    "taskyard.notify": (
        notify,
        {
            "max_retries": 12,
            "timeout": 60.0,
            "retry": [Never(Undeliverable, MissingExtra), RetryPolicy(base=5.0)],
        },
    ),
}


def add_to(registry: Registry) -> None:
    """Register the built-in handlers, unless the application has some of these names.

    Its handlers of batches are told where they work: in this Server's database.
    """
    for handler in registry:
        if isinstance(handler, BatchHandler):
            handler.database = database
    for name, (function, options) in BUILTIN.items():
        if registry.find(name) is None:
            registry.add(Handler(function, name, options))
