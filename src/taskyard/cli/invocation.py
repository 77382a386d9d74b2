"""Invocation: what every command stands on: the global options, and what they lead to.

Owns how a command comes to its settings, its database and its application. Everything heavy is
imported when a command asks for it, because `--help` asks for nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typer import Context

    from taskyard.db.database import Database
    from taskyard.handlers import Application
    from taskyard.settings import Settings


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options of one call of the command line."""

    database_url: str | None = None
    app: str | None = None
    color: bool = True

    def settings(self, **overrides: Any) -> Settings:
        """The settings in force; `overrides` are a command's own options. Raises BadSetting."""
        from taskyard.settings import Settings

        return Settings.load(database_url=self.database_url, app=self.app, **overrides)

    def database(self, *, any_schema: bool = False) -> Database:
        """The database, reached and at the right schema (a SQLite file is upgraded).

        `any_schema` leaves the schema to the caller. Raises NoConfig when nothing says where the
        database is, DatabaseUnreachable, SchemaOld or SchemaNewer.
        """
        from taskyard.db import migrate
        from taskyard.db.database import shared

        settings = self.settings()
        require_some_config(settings)
        database = shared(
            settings.database_url,
            pooler=settings.pooler,
            notify=settings.notify,
            synchronous=settings.sqlite_synchronous,
        )
        database.check()
        if not any_schema:
            migrate.require(database)
        return database

    def application(self, settings: Settings) -> Application | None:
        """The application that is here, imported; None when there is none.

        Raises HandlerImportFailed.
        """
        if not has_application(settings):
            return None
        from taskyard.engine.application import load_application

        # What the application prints while it is imported is no part of any command's output.
        with contextlib.redirect_stdout(sys.stderr):
            return load_application(settings.app, settings.folder)


def invocation(ctx: Context) -> Invocation:
    """The Invocation of a command's context."""
    found = ctx.obj
    assert isinstance(found, Invocation)
    return found


def has_application(settings: Settings) -> bool:
    """Is there an application here: named by a setting, or handlers.py?"""
    return settings.app is not None or (settings.folder / "handlers.py").is_file()


def names_database(settings: Settings) -> bool:
    """Does anything say where the database is, or is the default one there?"""
    path = settings.database_url.partition(":///")[2]
    return settings.source("database_url") != "default" or os.path.exists(path)


def require_some_config(settings: Settings) -> None:
    """Raise NoConfig where nothing at all was set up: a stray SQLite file would help nobody."""
    from taskyard.core.errors import NoConfig

    if not names_database(settings) and not has_application(settings):
        raise NoConfig


def is_terminal() -> bool:
    """Does a person read stdout?"""
    return sys.stdout.isatty()
