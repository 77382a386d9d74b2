"""Rows: what goes into the hot statements and what comes out of them.

Owns the values that the spine and the dialects hand to each other: a claim asked for, a Task as it
was claimed, the end of an attempt, a new Task's time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

When = tuple[float | None, float | None]
"""When a new Task is due: seconds since 1970, or seconds from now; neither is now."""


MAKERS = ("schedule_id", "batch_id", "execute_index")
"""What a Task's context says of what made it: columns of its Runs."""


class ClaimedRow(NamedTuple):
    """A Task as it comes out of a claim: what a Runner and the judge need of it.

    `waited` is the time in seconds from when it could have started to its claim.
    """

    id: int
    fence: int
    run_id: int
    task_type: str
    task_params: str | None
    params_bytes: int
    retry_count: int
    max_retries: int
    crashes: int
    retry_interval: float | None
    timeout: float | None
    tenant_id: str
    origin: str
    context: str | None
    excl_key: str | None
    waited: float
    suspect: int = 0
    """1 when it was in a Runner that died with others in it: it runs alone."""


class Head(NamedTuple):
    """A Task that could be claimed next; `due` is whatever the dialect orders times by."""

    id: int
    priority: int
    due: Any
    task_type: str


class Ending(NamedTuple):
    """The end of one attempt, as settle writes it to the Task and to its Run.

    `age` is seconds from the handler's start to now (None: it never started), `duration` the
    seconds it ran, `delay` the seconds until the next attempt is due. `payload` overrides the copy
    of `task_params` in the Run (masked secrets); None copies inside the database.
    """

    id: int
    fence: int
    run_id: int
    attempt: int
    task_status: int
    retry_count: int
    crashes: int
    delay: float | None
    error_msg: str | None
    run_status: str
    output: str | None
    error: str | None
    payload: str | None
    age: float | None
    duration: float | None
    wait: float | None
    cpu_time: float | None
    memory: int | None
    pid: int | None
    suspect: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim asks for: who claims, from which table, under which priority, how many."""

    table: str
    owner: str
    server_id: str
    queue: str
    limit: int
    first_run_id: int
    task_types: tuple[str, ...]
    """The types this Server can run; others are left for others."""
    max_params: int
    priority: int = 0
    ids: tuple[int, ...] | None = None
    """Claim exactly these rows (where exclusive keys mix in) instead of the next due ones."""
    closed: tuple[str, ...] = ()
    """Tenants whose Tasks are not taken."""

    def of_open_tenants(self) -> tuple[str, dict[str, str]]:
        """Condition, with its parameters, that leaves the closed tenants out; '' where none is."""
        names = {f"closed_{n}": tenant_id for n, tenant_id in enumerate(self.closed)}
        marks = ", ".join(f":{name}" for name in names)
        return (f" AND tenant_id NOT IN ({marks})" if names else ""), names


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a settle writes: the endings of Tasks of one table, all owned by one Session."""

    table: str
    owner: str
    server_id: str
    queue: str
    endings: Sequence[Ending]


class ItemEnd(NamedTuple):
    """What an item of a batch came to; `result` is JSON text, `duration` in seconds."""

    id: int
    result: str | None
    error: str | None
    duration: float | None
