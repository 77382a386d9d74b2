"""Checks: what `taskyard doctor` looks at, in the order in which one fault hides the next.

Owns the list of checks. Each is a function that gives Findings; the first that meets a fault which
makes the rest pointless (no settings, no database, no schema) ends the examination.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from taskyard import servers
from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import Invocation, require_some_config
from taskyard.core.errors import HandlerUnknown, TableInvalid, TaskyardError
from taskyard.db import migrate
from taskyard.db.database import Database, Tx
from taskyard.db.diagnosis import Finding, Level, diagnose
from taskyard.db.tables import check_table_name, columns_of, task_tables
from taskyard.queues import Queue, list_queues
from taskyard.settings import Settings
from taskyard.tasks.browse import backlog

_SAMPLE = 1_000
_LOW_DISK = 512 * 1024 * 1024


def examine(here: Invocation) -> Iterator[Finding]:
    """Look at everything, in order."""
    try:
        settings = here.settings()
        require_some_config(settings)
    except TaskyardError as error:
        yield _fault("config", error)
        return
    yield Finding("config", Level.OK, f"database_url from {settings.source('database_url')}")
    yield from _disk(settings)
    try:
        database = here.database(any_schema=True)
        yield _reachable(database)
        yield from diagnose(database)
    except TaskyardError as error:
        yield _fault("database", error)
        return
    try:
        migrate.require(database)
    except TaskyardError as error:
        yield _fault("schema", error)
        return
    yield Finding("schema", Level.OK, f"current ({migrate.HEAD})")
    yield from _fleet(here, settings, database)


def _fleet(here: Invocation, settings: Settings, database: Database) -> Iterator[Finding]:
    yield from _application(here, settings)
    alive = [row for row in servers.list_servers(database, LOCAL) if row.alive]
    queues = list_queues(database, LOCAL)
    ready = set(database.read(task_tables))
    yield from _tables(database, queues, ready)
    yield from _queues(queues, {row.server_id for row in alive})
    present = [q for q in queues if q.table_name in ready and _is_there(database, q.table_name)]
    yield from _servers(alive, waiting=_waiting(database, present))
    if alive:
        known = {spec["name"] for row in alive for spec in row.specs()}
        yield from _handlers(database, present, known)


# --- where we run --------------------------------------------------------------------------------


def _disk(settings: Settings) -> Iterator[Finding]:
    """Room where we write: the SQLite file, spool and logs."""
    path = settings.database_url.partition(":///")[2]
    sqlite = Path(path).parent if settings.database_url.startswith("sqlite") and path else None
    folders = {sqlite, settings.log_dir, settings.spool_dir, settings.folder} - {None}
    free = {
        folder: shutil.disk_usage(folder).free
        for folder in folders
        if folder is not None and folder.is_dir()
    }
    low = [
        f"{folder} ({count >> 20} MiB free)" for folder, count in free.items() if count < _LOW_DISK
    ]
    if low:
        yield Finding("disk", Level.FAULT, f"Little room in {', '.join(low)}.", "Make room.")
    elif free:
        yield Finding("disk", Level.OK, f"{min(free.values()) >> 20:,} MiB free")


def _application(here: Invocation, settings: Settings) -> Iterator[Finding]:
    """Can the application here be imported? Having none here is fine."""
    try:
        application = here.application(settings)
        if application is not None:
            names = ", ".join(sorted(handler.spec.name for handler in application.registry))
            yield Finding("application", Level.OK, f"handlers here: {names or 'none'}")
    except TaskyardError as error:
        yield _fault("application", error)


def _reachable(database: Database) -> Finding:
    began = time.perf_counter()
    database.check()
    took = (time.perf_counter() - began) * 1000
    url = database.url.render_as_string(hide_password=True)
    return Finding("database", Level.OK, f"{url} answers in {took:.1f} ms")


# --- queues and their tables ---------------------------------------------------------------------


def _tables(database: Database, queues: list[Queue], ready: set[str]) -> Iterator[Finding]:
    missing = False
    for queue in queues:
        if queue.problem is not None or _is_there(database, queue.table_name):
            continue
        missing = True
        seen = "was dropped" if queue.table_name in ready else "is not there yet"
        yield Finding(
            "tables",
            Level.FAULT if queue.table_name in ready else Level.WARNING,
            f"Table {queue.table_name} of queue {queue.queue_name} {seen}.",
            f"`taskyard queue adopt {queue.queue_name}`; a running server does it by itself.",
        )
    if queues and not missing:
        yield Finding("tables", Level.OK, f"{len({q.table_name for q in queues})} task tables")


def _is_there(database: Database, table: str) -> bool:
    try:
        return columns_of(database, check_table_name(table)) is not None
    except TableInvalid:
        return False


def _queues(queues: list[Queue], alive: set[str]) -> Iterator[Finding]:
    bad = list(_bad_queues(queues, alive))
    yield from bad
    if not bad:
        yield Finding("queues", Level.OK, f"{len(queues)} queues, all enabled")


def _bad_queues(queues: list[Queue], alive: set[str]) -> Iterator[Finding]:
    for queue in queues:
        name = queue.queue_name
        if queue.problem is not None:
            text = f"Queue {name} is quarantined: {queue.problem}"
            yield Finding("queues", Level.FAULT, text, "Correct its row in queue_configs.")
        elif queue.status != 1:
            fix = f"`taskyard queue resume {name}`"
            yield Finding("queues", Level.WARNING, f"TY301 Queue {name} is paused.", fix)
        elif queue.server_id and queue.server_id not in alive:
            text = f"TY302 Queue {name} is pinned to {queue.server_id}, which is not alive."
            fix = f"Start that server, or `taskyard queue set {name} --server-id ''`."
            yield Finding("queues", Level.FAULT, text, fix)


# --- servers and handlers ------------------------------------------------------------------------


def _servers(alive: list[servers.SessionRow], *, waiting: int) -> Iterator[Finding]:
    if not alive:
        level = Level.FAULT if waiting else Level.WARNING
        text = f"No server is alive; {waiting or 'no'} tasks wait."
        yield Finding("servers", level, text, "`taskyard worker` starts one.")
        return
    yield Finding("servers", Level.OK, "alive: " + ", ".join(row.server_id for row in alive))
    for row in alive:
        if said := row.trouble():
            text = f"Server {row.server_id}: {said}"
            yield Finding("servers", Level.FAULT, text, "Correct the application on that server.")


def _waiting(database: Database, queues: list[Queue]) -> int:
    return sum(backlog(database, table).waiting for table in {q.table_name for q in queues})


def _handlers(database: Database, queues: list[Queue], known: set[str]) -> Iterator[Finding]:
    """Are there waiting tasks that no living server can run?"""
    unknown: dict[str, str] = {}
    for queue in queues:
        types = database.read(partial(_waiting_types, table=queue.table_name))
        unknown.update(dict.fromkeys(types - known, queue.queue_name))
    for name, queue_name in sorted(unknown.items()):
        error = HandlerUnknown(name, known)
        yield Finding(
            "handlers", Level.FAULT, f"{error} Queue {queue_name} waits for it.", error.fix
        )
    if not unknown:
        yield Finding("handlers", Level.OK, f"all waiting tasks have theirs ({len(known)} known)")


def _waiting_types(tx: Tx, table: str) -> set[str]:
    """The types of some tasks at the head of the line, and of all that are held back."""
    dialect = tx.dialect
    quoted = dialect.quote(table)
    some = (
        f"SELECT DISTINCT task_type FROM"
        f" (SELECT task_type FROM {quoted} WHERE {{}} LIMIT {_SAMPLE}) AS head"
    )
    conditions = (dialect.pending, dialect.keyed, "status = 0 AND hold <> 0")
    return {row[0] for condition in conditions for row in tx.all(some.format(condition))}


def _fault(check: str, error: TaskyardError) -> Finding:
    return Finding(check, Level.FAULT, str(error), error.fix)
