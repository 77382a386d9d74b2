"""Built-in handlers: what Taskyard runs for itself, as Tasks like all others.

Owns their registration in every runner; what they do is their modules'.
"""

from __future__ import annotations

from typing import Any

from taskyard.handlers import Handler, Registry


def prune() -> dict[str, Any]:
    """Remove old Runs and Tasks, as the retention settings say."""
    from taskyard.db.database import shared
    from taskyard.runs.retention import prune_handler
    from taskyard.settings import Settings

    settings = Settings.load()
    db = shared(settings.database_url, pooler=settings.pooler)
    return prune_handler(db, settings.retention)


def add_to(registry: Registry) -> None:
    """Register the built-in handlers, unless the application has some of these names."""
    if registry.find("taskyard.prune") is None:
        registry.add(Handler(prune, "taskyard.prune", {"max_retries": 1}))
