"""Migrate: brings the platform's tables to the schema that this version needs.

Owns upgrade, status and the SQL of an upgrade; Alembic does the work. Safe when several servers
start at once: one upgrades, the others wait and find it done. Task tables are not migrated here,
they are adopted (`tables.py`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

from taskyard.core.errors import SchemaNewer, SchemaOld
from taskyard.db.database import Database

HEAD = "0005"
"""The revision that this version of the code works with (a test holds it to Alembic's head)."""

_LOCK = "taskyard:schema"


@dataclass(frozen=True, slots=True)
class Status:
    """Where a database stands: `found` is None where there is no schema."""

    found: str | None
    needed: str

    @property
    def current(self) -> bool:
        """Is there nothing to do?"""
        return self.found == self.needed


def status(db: Database) -> Status:
    """Tell which schema the database has and which one is needed."""
    return Status(found=_found(db), needed=HEAD)


def require(db: Database) -> None:
    """Make sure that the schema fits; a SQLite file is upgraded on the way.

    Raises SchemaOld or SchemaNewer, which say what to do.
    """
    state = status(db)
    if state.current:
        return
    if state.found is not None and state.found > state.needed:
        raise SchemaNewer(state.found, state.needed)
    if db.turnstile is None:
        raise SchemaOld(state.found, state.needed)
    upgrade(db)


def upgrade(db: Database) -> Status:
    """Bring the schema up to date; returns what was found before."""
    before = status(db)
    if before.found is not None and before.found > before.needed:
        raise SchemaNewer(before.found, before.needed)
    with db.exclusive(_LOCK):
        if not status(db).current:
            _run_alembic(db)
    return before


def sql(db: Database) -> str:
    """The statements of an upgrade from nothing, for a person who runs them by hand."""
    from alembic import command

    out = io.StringIO()
    config = _config(out)
    config.attributes["dialect"] = db.engine.dialect.name
    command.upgrade(config, "head", sql=True)
    return out.getvalue()


def _found(db: Database) -> str | None:
    def read(tx: Any) -> str | None:
        try:
            found: str | None = tx.value("SELECT version_num FROM ty_schema")
        except Exception as error:
            if db.dialect.is_table_missing(error):
                return None
            raise
        return found

    return db.read(read)


def _run_alembic(db: Database) -> None:
    from alembic import command

    config = _config(io.StringIO())
    with db.engine.connect() as connection:
        connection.exec_driver_sql(db.dialect.begin())  # all or nothing, where DDL can be
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


@cache
def _script_location() -> str:
    from importlib.resources import files

    return str(files("taskyard.db") / "migrations")


def _config(out: io.StringIO) -> Any:
    from alembic.config import Config

    config = Config(output_buffer=out)
    config.set_main_option("script_location", _script_location().replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
