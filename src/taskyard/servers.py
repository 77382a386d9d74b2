"""Servers: the machines' supervisors, their Sessions, and who of them lives.

Owns `ty_servers`: registering a Session, its beats, draining, and the certificate that a Session is
dead, which is irrevocable. What happens to a dead Session's Tasks is `tasks/rescue.py`'s.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import ServerUnknown
from taskyard.core.version import VERSION
from taskyard.db.database import Database, Tx

_REGISTER = """
INSERT INTO ty_servers (session, server_id, kind, host, pid, boot_id, pid_namespace,
                        process_started, version, state, lease_until, beat_at, started_at, runners)
VALUES (:session, :server_id, :kind, :host, :pid, :boot_id, :pid_namespace, :process_started,
        :version, 'live', {until}, {now}, {now}, :runners)
"""

_BEAT = """
UPDATE ty_servers SET lease_until = {until}, beat_at = {now}
 WHERE session = :session AND state IN ('live', 'draining')
"""

_CERTIFY = """
UPDATE ty_servers SET state = 'dead'
 WHERE session = :session AND state <> 'dead' AND lease_until < {now}
"""

_CERTIFY_GONE = "UPDATE ty_servers SET state = 'dead' WHERE session = :session AND state <> 'dead'"

_LIST = """
SELECT session, server_id, kind, host, pid, boot_id, pid_namespace, process_started, version, state,
       {until} AS lease_until, {beat} AS beat_at, {started} AS started_at,
       {until} - {now} AS lease_left, {now} - {beat} AS beat_age, runners, handlers, problems
  FROM ty_servers
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which process on which machine: enough to tell later whether it is gone."""

    host: str
    pid: int
    boot_id: str
    pid_namespace: str
    process_started: str


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A row of `ty_servers`; times are seconds since 1970, lease_left and beat_age seconds."""

    session: str
    server_id: str
    kind: str
    host: str
    pid: int
    boot_id: str
    pid_namespace: str
    process_started: str
    version: str
    state: str
    lease_until: float
    beat_at: float
    started_at: float
    lease_left: float
    beat_age: float
    runners: int
    handlers: str | None
    problems: str | None

    @property
    def alive(self) -> bool:
        """Is it live or draining, with a lease that has not ended?"""
        return self.state != "dead" and self.lease_left > 0

    def specs(self) -> list[dict[str, Any]]:
        """Its Handlers, as data."""
        found: list[dict[str, Any]] = json.loads(self.handlers) if self.handlers else []
        return found

    def trouble(self) -> str:
        """What is wrong with its application, in one line; '' when nothing is."""
        found = json.loads(self.problems) if self.problems else []
        return "; ".join(str(problem.get("text", problem)) for problem in found)

    def shown(self) -> dict[str, Any]:
        """What people see of it; "late" is a state of those that are silent beyond their lease."""
        return {
            "server_id": self.server_id,
            "state": self.state if self.alive or self.state == "dead" else "late",
            "host": self.host,
            "pid": self.pid,
            "session": self.session,
            "runners": self.runners,
            "handlers": len(self.specs()),
            "started_at": datetime.fromtimestamp(self.started_at, UTC),
            "beat_age": round(self.beat_age, 3),
            "lease_left": round(self.lease_left, 3),
            "version": self.version,
            "problems": self.trouble() or None,
        }


def new_session() -> str:
    """A Session's id: random, never reused."""
    return secrets.token_hex(12)


@cache
def identity() -> Identity:
    """This process on this machine."""
    pid = os.getpid()
    return Identity(
        host=socket.gethostname(),
        pid=pid,
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        pid_namespace=_pid_namespace(),
        process_started=_process_started(pid),
    )


def register(
    db: Database, session: str, server_id: str, *, lease: float, runners: int, kind: str = "server"
) -> None:
    """Open a Session with a lease of `lease` seconds."""
    me = identity()

    def work(tx: Tx) -> None:
        tx.execute(
            _REGISTER.format(now=tx.dialect.utc_now, until=tx.dialect.utc_after(":lease")),
            session=session,
            server_id=server_id,
            kind=kind,
            host=me.host,
            pid=me.pid,
            boot_id=me.boot_id,
            pid_namespace=me.pid_namespace,
            process_started=me.process_started,
            version=VERSION,
            lease=lease,
            runners=runners,
        )

    db.run(work)


def beat(tx: Tx, session: str, lease: float) -> bool:
    """Prolong the lease; False when the Session was declared dead (and stays so)."""
    sql = _BEAT.format(now=tx.dialect.utc_now, until=tx.dialect.utc_after(":lease"))
    return tx.execute(sql, session=session, lease=lease) == 1


def publish(
    db: Database, session: str, handlers: Sequence[Mapping[str, Any]], problems: Sequence[Any]
) -> None:
    """Tell everybody which Handlers a Session has, and what went wrong with its application."""
    db.run(
        lambda tx: tx.execute(
            "UPDATE ty_servers SET handlers = :handlers, problems = :problems"
            " WHERE session = :session",
            handlers=json.dumps(list(handlers)),
            problems=json.dumps(list(problems)) if problems else None,
            session=session,
        )
    )


def sessions(db: Database, *, dead: bool = False) -> list[SessionRow]:
    """All Sessions that are not dead (or all), oldest first."""
    where = "" if dead else " WHERE state <> 'dead'"
    return db.read(lambda tx: _rows(tx, where + " ORDER BY started_at, session"))


def list_servers(db: Database, caller: Caller, *, dead: bool = False) -> list[SessionRow]:
    """The newest Session of each Server; see `newest_sessions`. Raises NotAllowed."""
    caller.require(Permission.MONITORING)
    return newest_sessions(db, dead=dead)


def newest_sessions(db: Database, *, dead: bool = False) -> list[SessionRow]:
    """The newest Session of each Server, by server_id; with `dead`, also of those that are gone."""
    newest = {row.server_id: row for row in sessions(db, dead=dead) if row.kind == "server"}
    return [newest[name] for name in sorted(newest)]


def find_session(db: Database, session: str) -> SessionRow | None:
    """The row of one Session."""
    rows = db.read(lambda tx: _rows(tx, " WHERE session = :session", session=session))
    return rows[0] if rows else None


def certify_expired(db: Database, session: str) -> bool:
    """Declare a Session dead whose lease has ended; False when it was beaten or dead already."""
    return db.run(
        lambda tx: tx.execute(_CERTIFY.format(now=tx.dialect.utc_now), session=session) == 1
    )


def certify_gone(db: Database, session: str) -> bool:
    """Declare a Session dead whose process is known to be gone, before its lease ends."""
    return db.run(lambda tx: tx.execute(_CERTIFY_GONE, session=session) == 1)


def forget_old(db: Database, seconds: float) -> int:
    """Delete the rows of Sessions that have been dead for longer than that; returns how many.

    Nothing depends on them: an owner that is missing counts as dead.
    """
    return db.run(
        lambda tx: tx.execute(
            "DELETE FROM ty_servers WHERE state = 'dead'"
            f" AND lease_until < {tx.dialect.utc_after('-(:seconds)')}",
            seconds=seconds,
        )
    )


def close(db: Database, session: str) -> None:
    """End this process's own Session, in order: nothing runs under it any more.

    It gives the rest of its lease back, which tells it from one that died.
    """
    sql = "UPDATE ty_servers SET state = 'dead', lease_until = beat_at WHERE session = :session"
    db.run(lambda tx: tx.execute(sql, session=session))


def drain(db: Database, caller: Caller, server_id: str) -> int:
    """Ask a Server to take no more Tasks and to stop when those it has are done."""
    caller.require(Permission.SERVERS_WRITE)

    def work(tx: Tx) -> int:
        hit = tx.execute(
            "UPDATE ty_servers SET state = 'draining'"
            " WHERE server_id = :server_id AND state = 'live' AND kind = 'server'",
            server_id=server_id,
        )
        if hit:
            audit.write(tx, caller, "server.drain", f"server/{server_id}")
        return hit

    hit = db.run(work)
    if not hit and not any(row.server_id == server_id for row in sessions(db)):
        raise ServerUnknown(server_id, [row.server_id for row in newest_sessions(db)])
    return hit


def start_draining(db: Database, session: str) -> None:
    """Say that this Session takes nothing more."""
    db.run(
        lambda tx: tx.execute(
            "UPDATE ty_servers SET state = 'draining' WHERE session = :session AND state = 'live'",
            session=session,
        )
    )


def is_same_machine(row: SessionRow) -> bool:
    """Was this Session a process that we could see if it still ran (rulings 3.9)?"""
    me = identity()
    known = bool(me.boot_id) and bool(me.pid_namespace)
    return known and (row.host, row.pid_namespace) == (me.host, me.pid_namespace)


def is_process_gone(row: SessionRow) -> bool:
    """Is the process of a Session of this machine gone, with every Runner it had?"""
    if row.boot_id != identity().boot_id:
        return True  # the machine was started anew since
    if _process_started(row.pid) == row.process_started:
        return False
    return not runners_of(row.session)


def runners_of(session: str) -> list[int]:
    """Process ids of the Runners of a Session on this machine, by their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "taskyard.engine.runner" in words and session in words:
            found.append(process.pid)
    return found


def _rows(tx: Tx, rest: str, **parameters: Any) -> list[SessionRow]:
    epoch = tx.dialect.epoch
    sql = _LIST.format(
        until=epoch("lease_until"),
        beat=epoch("beat_at"),
        started=epoch("started_at"),
        now=epoch(tx.dialect.utc_now),
    )
    found: list[Any] = tx.all(sql + rest, **parameters)
    return [SessionRow(*row[:10], *map(float, row[10:15]), *row[15:]) for row in found]


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process_started(pid: int) -> str:
    """When a process started, in the kernel's ticks: with the pid it names one process for ever."""
    try:
        # The command may hold anything, so fields are counted from behind its closing bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
