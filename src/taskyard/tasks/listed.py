"""Listed: what may be asked of the list of Tasks, and where its rows are found.

Owns the declaration of the list and its sources, the tables of the queues. The verbs are
`browse.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskyard.core.errors import QueueUnknown
from taskyard.core.lifecycle import Origin, TaskStatus
from taskyard.db.database import Tx
from taskyard.db.listing import (
    Filter,
    Listing,
    OneOf,
    Operator,
    Source,
    integer,
    iso_text,
    one_of,
    read_filter,
)
from taskyard.db.search import Way
from taskyard.db.tables import task_tables

TIMES = ("schedule_time", "start_time", "end_time", "created_at", "updated_at")

_WORDS = {status.name.lower(): str(int(status)) for status in TaskStatus}
_NUMBERS = {number: word for word, number in _WORDS.items()}
_WAITING = ("scheduled", "queued", "blocked")
"""What `pending` comes in: due later, due now, held."""


class _Status(OneOf):
    """Reads a state: its word, or its number."""

    def __call__(self, value: Any) -> str:
        text = str(value).strip().lower()
        return super().__call__(_NUMBERS.get(text, text))


TASKS = Listing(
    columns=(
        "id",
        "task_table",
        "task_type",
        "queue",
        "status",
        "schedule_time",
        "start_time",
        "end_time",
        "retry_count",
        "max_retries",
        "server_id",
        "created_at",
        "updated_at",
        "priority",
        "tenant_id",
        "timeout",
        "retry_interval",
        "unique_key",
        "excl_key",
        "hold",
        "crashes",
        "fence",
        "run_id",
        "claimed_at",
        "origin",
    ),
    large=("error_msg", "task_params", "context"),
    filters={
        "status": Filter(
            "status", read=_Status((*_WORDS, *_WAITING)), help="Where it stands; also its number."
        ),
        "task_type": Filter("task_type", help="Its handler."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
        "server_id": Filter("server_id", help="The server that claimed it last."),
        "unique_key": Filter("unique_key", help="With this key."),
        "excl_key": Filter("excl_key", help="With this exclusive key."),
        "origin": Filter("origin", read=one_of(*Origin), help="Where it comes from."),
        "priority": Filter("priority", read=integer, help="Of this priority."),
        "due_after": Filter("schedule_time", Operator.FROM, iso_text, "Due then or later."),
        "due_before": Filter("schedule_time", Operator.TO, iso_text, "Due before then."),
        "error": Filter("error_msg", Operator.CONTAINS, help="With this in its error."),
        "q": Filter("error_msg", Operator.CONTAINS, help="The same, for a search box."),
    },
    # Ids are per table; those of several tables are told apart by the table.
    sorts={"id": "id"},
    sort="-id",
    key="task_table",
    loose_sorts={
        "schedule_time": "by_schedule_time",
        "end_time": "by_end_time",
        "priority": "priority",
        "task_type": "task_type",
        "status": "status",
    },
)
"""What may be asked of the list of Tasks.

Besides, `queue` narrows it to the tables of queues, and `params.PATH` to a value in `task_params`
(`runs/paths.py`).
"""

_FEW = 2_000
"""Tasks of a state that are read all and put in order, instead of walking the table by its ids."""


def queues_of(tx: Tx) -> dict[str, str]:
    """The queues with their tables."""
    return dict(tx.all("SELECT queue_name, table_name FROM queue_configs ORDER BY queue_name"))


def tables_of(tx: Tx, queues: Mapping[str, str], asked: Any) -> list[str]:
    """The tables of the queues that are asked for (one, several), or all. Raises QueueUnknown."""
    if asked is None:
        return task_tables(tx)
    if isinstance(asked, list | tuple):
        names = [str(name) for name in asked]
    else:
        text = str(asked)
        names = [text] if text in queues else [name.strip() for name in text.split(",")]
    unknown = next((name for name in names if name not in queues), None)
    if unknown is not None:
        raise QueueUnknown(unknown, queues)
    return list(dict.fromkeys(queues[name] for name in names))


def way(tx: Tx, tables: Sequence[str], filters: Mapping[str, Any]) -> Way:
    """The tables as sources, each state that has an index by its own."""
    asked = filters.get("status")
    if asked is None:
        return [source_of(tx, number, table) for number, table in enumerate(tables)]
    states = list(dict.fromkeys(read_filter(TASKS, "status", asked)))
    return [
        source
        for number, table in enumerate(tables)
        for source in _sources_of(tx, number, table, states)
    ]


def source_of(tx: Tx, number: int, table: str, **more: Any) -> Source:
    """A task table as a source."""
    dialect = tx.dialect
    columns = {name: dialect.iso(name) for name in TIMES}
    columns |= {
        "task_table": f":_table_{number}",
        "task_params": dialect.as_text("task_params"),
        "context": dialect.as_text("context"),
        "by_schedule_time": f"COALESCE({columns['schedule_time']}, '')",
        "by_end_time": f"COALESCE({columns['end_time']}, '')",
        **more.pop("columns", {}),
    }
    parameters = {f"_table_{number}": table, **more.pop("parameters", {})}
    return Source(table=dialect.quote(table), columns=columns, parameters=parameters, **more)


# --- states --------------------------------------------------------------------------------------


def _sources_of(tx: Tx, number: int, table: str, states: Sequence[str]) -> list[Source]:
    ended = [_WORDS[word] for word in ("completed", "failed", "cancelled") if word in states]
    sources = []
    if ended:
        rest = f"status IN ({', '.join(ended)})"
        sources = [source_of(tx, number, table, rest=rest, settles=_STATUS)]
    for index, condition in _conditions(tx, states):
        found = _few(tx, table, condition) if _is_few(tx, table, index) else {"rest": condition}
        clock = tx.dialect.clock()
        sources.append(source_of(tx, number, table, settles=_STATUS, parameters=clock, **found))
    return sources


def _few(tx: Tx, table: str, condition: str) -> dict[str, Any]:
    """A source of few Tasks: the index gives their ids, and they are put in order.

    `id + 0`, because left to choose SQLite walks the whole table by its ids. The ids alone come
    from the index, because MariaDB (10.11) loses rows when it sorts what it finds by an index that
    has a virtual column, as long as any transaction is open.
    """
    ids = f"SELECT w.id FROM {tx.dialect.quote(table)} AS w WHERE {condition}"
    return {"where": f"id IN ({ids})", "few": True, "columns": {"id": "id + 0"}}


_STATUS = frozenset({"status"})


def _conditions(tx: Tx, states: Sequence[str]) -> list[tuple[str, str]]:
    """The live states that are asked for: the condition of an index, and the whole condition."""
    dialect = tx.dialect
    due, now = dialect.due(), dialect.due_now()
    free = (dialect.pending, dialect.keyed)
    held = "status = 0 AND hold <> 0"
    found: list[tuple[str, str]] = []
    if "pending" in states:
        found = [(index, index) for index in (*free, held)]
    else:
        if "queued" in states:
            found += [(index, f"{index} AND {due} <= {now}") for index in free]
        if "scheduled" in states:
            found += [(index, f"{index} AND {due} > {now}") for index in free]
        if "blocked" in states:
            found.append((held, held))
    if "running" in states:
        found.append(("owner IS NOT NULL", "owner IS NOT NULL AND status = 1"))
    return found


def _is_few(tx: Tx, table: str, index: str) -> bool:
    rows = f"SELECT 1 AS n FROM {tx.dialect.quote(table)} WHERE {index} LIMIT :cap"
    return int(tx.value(f"SELECT COUNT(*) FROM ({rows}) AS c", cap=_FEW + 1)) <= _FEW
