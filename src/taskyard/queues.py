"""Queues: the rows of `queue_configs`, read, checked and written.

Owns what a Queue's settings may be, the quarantine of rows that cannot be, and the verbs over them.
Anybody may INSERT and UPDATE these rows by SQL (requirement 5); running Servers read them each
`config_sync_interval`. A bad row is left as it is, with the reason in its `problem` column, and the
other queues go on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from taskyard.access import audit, edits
from taskyard.access.caller import ENGINE, Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import QueueInvalid, QueueTwice, QueueUnknown, TableInvalid
from taskyard.db import tables
from taskyard.db.database import Database, Tx

DEFAULT = "default"
"""The queue of Handlers that name none; its table is `default_tasks`."""

_NAME = re.compile(r"[^\s/\x00-\x1f][^/\x00-\x1f]{0,99}")
_COLUMNS = (
    "id, queue_name, table_name, server_id, max_workers, scan_interval, status, rate_limit,"
    " timeout, problem"
)
_SETTABLE = (
    "table_name",
    "server_id",
    "max_workers",
    "scan_interval",
    "status",
    "rate_limit",
    "timeout",
)


BATCHES = "batches"
"""The Queue of the Tasks that work for batches."""

_ROOMY: dict[str, dict[str, Any]] = {BATCHES: {"max_workers": 20, "scan_interval": 1.0}}

RANGES: dict[str, tuple[float, float]] = {
    "max_workers": (0, 10_000),
    "scan_interval": (0.01, 86_400),
    "status": (0, 1),
    "rate_limit": (1e-6, 1e6),
    "timeout": (1e-3, 30 * 86_400),
}
"""The smallest and the largest number that a setting may be."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A Queue's settings.

    `server_id` pins it to one Server ('' = any), `max_workers` counts per Server, `scan_interval`
    and `timeout` are seconds, `rate_limit` is Tasks a second over all Servers.
    """

    id: int
    queue_name: str
    table_name: str
    server_id: str = ""
    max_workers: int = 5
    scan_interval: float = 5.0
    status: int = 1
    rate_limit: float | None = None
    timeout: float | None = None
    problem: str | None = None

    @property
    def enabled(self) -> bool:
        """Is it switched on and fit to be worked?"""
        return self.status == 1 and self.problem is None

    def to_dict(self) -> dict[str, Any]:
        """The settings by their column names."""
        return asdict(self)


def list_queues(db: Database, caller: Caller) -> list[Queue]:
    """All Queues by name; see `load_queues`. Raises NotAllowed."""
    caller.require(Permission.MONITORING)
    return load_queues(db)


def show_queue(db: Database, caller: Caller, queue_name: str) -> Queue:
    """One Queue; raises QueueUnknown or NotAllowed."""
    caller.require(Permission.MONITORING)
    return get_queue(db, queue_name)


def load_queues(db: Database) -> list[Queue]:
    """All Queues by name, each checked; one that cannot be has its `problem` filled in."""
    rows = db.read(lambda tx: tx.all(f"SELECT {_COLUMNS} FROM queue_configs ORDER BY queue_name"))
    return [_checked(row) for row in rows]


def get_queue(db: Database, name: str) -> Queue:
    """One Queue; raises QueueUnknown with the nearest name."""
    row = db.read(
        lambda tx: tx.one(
            f"SELECT {_COLUMNS} FROM queue_configs WHERE queue_name = :name", name=name
        )
    )
    if row is None:
        raise QueueUnknown(name, [q.queue_name for q in load_queues(db)])
    return _checked(row)


def create_queue(db: Database, caller: Caller, queue_name: str, **settings: Any) -> Queue:
    """Create a Queue, and its task table (`<queue_name>_tasks` unless `table_name` is given).

    `settings` are the fields of `Queue`. Raises QueueInvalid naming the field, TableInvalid or
    NotAllowed.
    """
    caller.require(Permission.QUEUES_WRITE)
    if not _NAME.fullmatch(queue_name):
        raise QueueInvalid(
            queue_name,
            "queue_name",
            "its queue_name is empty, too long, or has a / in it",
            "Use 1–100 characters.",
        )
    settings.setdefault("table_name", default_table(queue_name))
    fields = _valid(queue_name, settings)
    tables.ensure_table(db, fields["table_name"])
    names = ["queue_name", *fields]
    sql = (
        f"INSERT INTO queue_configs ({', '.join(names)})"
        f" VALUES ({', '.join(':' + name for name in names)})"
    )

    def work(tx: Tx) -> None:
        tx.execute(sql, queue_name=queue_name, **fields)
        _audit(tx, caller, "queue.create", queue_name, None, fields)

    try:
        db.run(work, again=False)
    except Exception as error:
        if db.dialect.is_duplicate(error):
            raise QueueTwice(queue_name) from error
        raise
    return get_queue(db, queue_name)


def ensure_queue(db: Database, queue_name: str) -> None:
    """Create a Queue with default settings unless it is there; never alters one (rulings 2.9).

    That of the batches has room for the Tasks of many at once.
    """
    try:
        get_queue(db, queue_name)
    except QueueUnknown:
        try:
            create_queue(db, ENGINE, queue_name, **_ROOMY.get(queue_name, {}))
        except QueueInvalid:
            get_queue(db, queue_name)  # another Server was faster


def update_queue(db: Database, caller: Caller, queue_name: str, **settings: Any) -> Queue:
    """Change settings of a Queue; running Servers follow within `config_sync_interval`."""
    caller.require(Permission.QUEUES_WRITE)
    current = get_queue(db, queue_name)
    fields = _valid(queue_name, settings)
    if not fields:
        return current
    if "table_name" in fields:
        tables.ensure_table(db, fields["table_name"])
    edits.notice_queue_edits(db)
    changes = ", ".join(f"{name} = :{name}" for name in fields)

    def work(tx: Tx) -> None:
        tx.execute(
            f"UPDATE queue_configs SET {changes}, problem = NULL, updated_at = CURRENT_TIMESTAMP"
            " WHERE queue_name = :queue_name",
            queue_name=queue_name,
            **fields,
        )
        before = {name: value for name, value in current.to_dict().items() if name in fields}
        _audit(tx, caller, "queue.update", queue_name, before, fields)

    db.run(work)
    return get_queue(db, queue_name)


def pause_queue(db: Database, caller: Caller, queue_name: str) -> Queue:
    """Take nothing more from a Queue; what runs goes on."""
    return update_queue(db, caller, queue_name, status=0)


def resume_queue(db: Database, caller: Caller, queue_name: str) -> Queue:
    """Work a Queue again."""
    return update_queue(db, caller, queue_name, status=1)


def delete_queue(db: Database, caller: Caller, queue_name: str) -> None:
    """Delete a Queue's row; its table and Tasks stay."""
    caller.require(Permission.QUEUES_WRITE)
    current = get_queue(db, queue_name)
    edits.notice_queue_edits(db)

    def work(tx: Tx) -> None:
        tx.execute("DELETE FROM queue_configs WHERE queue_name = :name", name=queue_name)
        _audit(tx, caller, "queue.delete", queue_name, current.to_dict(), None)

    db.run(work)


def adopt_table(db: Database, caller: Caller, queue_name: str) -> None:
    """Look at a Queue's table anew and make it fit; raises TableInvalid with what is missing."""
    caller.require(Permission.QUEUES_WRITE)
    queue = get_queue(db, queue_name)
    tables.ensure_table(db, queue.table_name)
    set_problem(db, queue_name, None)


def set_problem(db: Database, queue_name: str, problem: str | None) -> None:
    """Quarantine a Queue with a visible reason, or take it out of quarantine."""
    db.run(
        lambda tx: tx.execute(
            "UPDATE queue_configs SET problem = :problem WHERE queue_name = :name"
            " AND coalesce(problem, '') <> coalesce(:problem, '')",
            problem=problem,
            name=queue_name,
        )
    )


def default_table(queue_name: str) -> str:
    """Name of the table of a Queue that names none."""
    stem = re.sub(r"\W", "_", queue_name, flags=re.ASCII)
    return f"{'q_' if not stem[:1].isalpha() else ''}{stem}_tasks"[:60]


def _audit(
    tx: Tx,
    caller: Caller,
    action: str,
    queue_name: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    audit.write(tx, caller, action, f"queue/{queue_name}", before=before, after=after)
    edits.remember(tx, queue_name)


def _checked(row: tuple[Any, ...]) -> Queue:
    names = [name.strip() for name in _COLUMNS.split(",")]
    values = dict(zip(names, row, strict=True))
    stored = values.pop("problem")
    given = {name: values[name] for name in _SETTABLE if values[name] is not None}
    try:
        fields = _valid(str(values["queue_name"]), given)
        tables.check_table_name(fields.get("table_name", ""))
    except (QueueInvalid, TableInvalid) as error:
        return Queue(
            id=int(values["id"]),
            queue_name=str(values["queue_name"]),
            table_name=str(values["table_name"] or ""),
            status=0,
            problem=str(error),
        )
    return Queue(
        id=int(values["id"]), queue_name=str(values["queue_name"]), problem=stored, **fields
    )


def _valid(queue_name: str, settings: dict[str, Any]) -> dict[str, Any]:
    checks = {
        "table_name": _text(100),
        "server_id": _text(50),
        "max_workers": _number(*RANGES["max_workers"], whole=True),
        "scan_interval": _number(*RANGES["scan_interval"]),
        "status": _number(*RANGES["status"], whole=True),
        "rate_limit": _number(*RANGES["rate_limit"], null=True),
        "timeout": _number(*RANGES["timeout"], null=True),
    }
    fields = {}
    for name, value in settings.items():
        if name not in checks:
            raise QueueInvalid(
                queue_name, name, f"there is no setting {name}", f"Settings: {', '.join(checks)}."
            )
        good, result, wanted = checks[name](value)
        if not good:
            raise QueueInvalid(queue_name, name, f"{name} cannot be {value!r}", f"Give {wanted}.")
        fields[name] = result
    if "table_name" in fields:
        tables.check_table_name(fields["table_name"])
    return fields


def _text(longest: int) -> Any:
    def check(value: Any) -> tuple[bool, Any, str]:
        return (
            isinstance(value, str) and len(value) <= longest,
            value,
            f"a text of at most {longest} characters",
        )

    return check


def _number(low: float, high: float, *, whole: bool = False, null: bool = False) -> Any:
    wanted = f"a {'whole ' if whole else ''}number from {low:g} to {high:g}"

    def check(value: Any) -> tuple[bool, Any, str]:
        if value is None:
            return null, None, wanted
        try:
            number = float(value)
        except (TypeError, ValueError):
            return False, None, wanted
        good = math.isfinite(number) and low <= number <= high and not isinstance(value, bool)
        if whole:
            return good and number == int(number), int(number) if good else None, wanted
        return good, number, wanted

    return check
