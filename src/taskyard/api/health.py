"""Health: does this process answer, and can work be done?

Owns the two open addresses that orchestrators ask; they tell no version and nothing of the data.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from taskyard.api.gate import Ask, Entry
from taskyard.api.noun import Noun
from taskyard.core.errors import NotReady
from taskyard.servers import newest_sessions

noun = Noun("health", prefix="")


class Health(BaseModel):
    """This process answers."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """What must be there so that tasks run."""

    status: Literal["ready"]


@noun.get("/healthz", needs=Entry.OPEN, answers=Health)
def is_healthy(ask: Ask) -> dict[str, str]:
    """Whether this process answers."""
    return {"status": "ok"}


@noun.get("/readyz", needs=Entry.OPEN, answers=Readiness, raises=(NotReady,))
def is_ready(ask: Ask) -> dict[str, str]:
    """Whether the database answers and a server takes tasks."""
    try:
        rows = newest_sessions(ask.db)
    except Exception as error:
        if not ask.db.is_away(error):
            raise
        raise NotReady(database=False, server=False) from error
    # Until its application is imported a server takes nothing.
    if not any(row.alive and row.state == "live" and row.handlers for row in rows):
        raise NotReady(database=True, server=False)
    return {"status": "ready"}
