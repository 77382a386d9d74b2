"""Site: what the API stands on, made once a process."""

from __future__ import annotations

from taskyard.api.listeners import Listeners
from taskyard.db.database import Database
from taskyard.settings import Settings
from taskyard.tasks.catalog import Catalog


class Site:
    """The settings, the database, and whether everybody is let in (`--no-auth`)."""

    def __init__(self, settings: Settings, db: Database, *, no_auth: bool = False) -> None:
        self.settings = settings
        self.db = db
        self.no_auth = no_auth
        self.catalog = Catalog(db)
        self.listeners = Listeners(db)


def open_database(settings: Settings) -> Database:
    """The database of the settings; nothing is connected yet."""
    return Database(
        settings.database_url,
        pooler=settings.pooler,
        notify=settings.notify,
        synchronous=settings.sqlite_synchronous,
    )
