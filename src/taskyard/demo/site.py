"""Site: the demo's folder: its settings, its code, its databases and its queues.

Owns what a user would write: a `taskyard.toml`, a `handlers.py`, and queues that are rows put in by
plain SQL.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.db.database import Database

SERVERS = ("server-001", "server-002")
USER = "demo"

_SETTINGS = """\
# The settings of this demo; `taskyard config show` in this folder prints all there are.
database_url = "sqlite:///demo.db"
smtp_host = "127.0.0.1"
smtp_port = {smtp_port}
smtp_from = "shop@example.com"
smtp_tls = "none"
runners = 1
grace = 3
config_sync_interval = 1
port = {port}
public_url = "{url}"
"""

# The scenarios of requirement 5, with a queue more for backups and one for what goes wrong.
_QUEUES = """
INSERT INTO queue_configs (queue_name, table_name, server_id, max_workers, scan_interval)
VALUES ('email_queue', 'email_tasks', 'server-001', 10, 2);
INSERT INTO queue_configs (queue_name, table_name, server_id, max_workers, scan_interval)
VALUES ('sync_queue', 'data_sync_tasks', 'server-002', 5, 5);
INSERT INTO queue_configs (queue_name, table_name, server_id, max_workers, scan_interval)
VALUES ('report_queue', 'report_tasks', '', 3, 10);
INSERT INTO queue_configs (queue_name, table_name, max_workers)
VALUES ('backup_queue', 'backup_tasks', 1);
INSERT INTO queue_configs (queue_name, table_name, max_workers)
VALUES ('trouble_queue', 'trouble_tasks', 2);
"""

_SHOP = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, version INTEGER NOT NULL);
CREATE TABLE orders (
  id INTEGER PRIMARY KEY, customer TEXT, cents INTEGER, state TEXT NOT NULL,
  ordered_at TEXT NOT NULL, version INTEGER NOT NULL
);
CREATE INDEX users_version ON users (version);
CREATE INDEX orders_version ON orders (version);
"""


def new_folder() -> Path:
    """A new folder for a demo, in the system's place for temporary files."""
    return Path(tempfile.mkdtemp(prefix="taskyard-demo-"))


def lay_out(folder: Path, smtp_port: int, port: int, partner: str) -> None:
    """Put the application's files into the folder, and the shop's own database.

    `partner` is the address of the web server whose pages are checked.
    """
    settings = _SETTINGS.format(smtp_port=smtp_port, port=port, url=url(port))
    (folder / "taskyard.toml").write_text(settings, encoding="utf-8")
    for name in ("handlers.py", "shop.py"):
        (folder / name).write_bytes(files("taskyard.demo").joinpath(name).read_bytes())
    (folder / "partner.txt").write_text(partner, encoding="utf-8")
    with closing(sqlite3.connect(folder / "shop.db")) as shop:
        shop.executescript(_SHOP)


def open_database(folder: Path) -> Database:
    """The database that Taskyard lives in, with its schema, its queues and their tables."""
    from taskyard import queues
    from taskyard.access.caller import LOCAL
    from taskyard.db import migrate
    from taskyard.db.database import Database

    database = Database(f"sqlite:///{folder / 'demo.db'}")
    migrate.require(database)
    with closing(sqlite3.connect(folder / "demo.db", timeout=10)) as connection:
        connection.executescript(_QUEUES)
    # The servers make the tables too, at their next look; but the shop opens before.
    for queue in queues.list_queues(database, LOCAL):
        queues.adopt_table(database, LOCAL, queue.queue_name)
    return database


def url(port: int) -> str:
    """Where the console is."""
    return f"http://127.0.0.1:{port}"


def sign_in_link(database: Database, port: int) -> str:
    """The address that signs a browser in, once, as a superuser made for that."""
    from taskyard.access import logins
    from taskyard.access.caller import LOCAL
    from taskyard.access.permissions import Role
    from taskyard.access.users import add_user

    add_user(database, LOCAL, USER, role=Role.SUPERUSER)
    return f"{url(port)}/api/v1/login/{logins.make_link(database, LOCAL, USER)}"


def remove(folder: Path) -> None:
    """Remove the folder with everything in it."""
    shutil.rmtree(folder, ignore_errors=True)
