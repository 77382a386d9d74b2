"""The handlers of the demo: small, but each does real work on the files beside it.

`taskyard demo` copies this file into its folder. There it is all that an application needs: servers
look for a `handlers.py` with one Yard in it.
"""

from __future__ import annotations

import csv
import hashlib
import html
import os
import signal
import smtplib
import sqlite3
import time
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from taskyard import Context, ItemContext, On, RefreshNeeded, Yard

yard = Yard()

HERE = Path(__file__).parent
SOON = On(Exception, kind="fixed", base=0.4, jitter=False)
"""A retry rule for impatient spectators; the default starts at 2 s and doubles."""


# --- What a shop has to do -----------------------------------------------------------------------


@yard.handler("email", queue="email_queue", timeout=10)
def send_email(
    ctx: Context,
    to: list[str],
    subject: str,
    content: str,
    type: Literal["plain", "html"] = "plain",  # noqa: A002 (the parameter's published name)
) -> dict[str, Any]:
    """Send a mail to the SMTP server of the settings."""
    message = EmailMessage()
    message["From"] = yard.settings.smtp_from
    message["To"] = ", ".join(to)
    message["Subject"] = subject
    # The same in every attempt: whoever receives it twice can tell.
    message["Message-ID"] = f"<{ctx.idempotency_key}@taskyard.invalid>"
    message.set_content(content, subtype=type)
    host, port = yard.settings.smtp_host or "127.0.0.1", yard.settings.smtp_port
    with smtplib.SMTP(host, port, timeout=5) as server:
        server.send_message(message)
    ctx.log.info("sent %r to %s", subject, message["To"])
    return {"recipients": len(to), "bytes": len(bytes(message))}


@yard.handler(
    "data_sync", queue="sync_queue", max_retries=2, excl_key="sync-{target_db}-{table_name}"
)
def sync_table(
    ctx: Context,
    source_db: str,
    target_db: str,
    table_name: Literal["users", "orders"],
    sync_type: Literal["incremental", "full"] = "incremental",
    batch_size: int = 1000,
) -> dict[str, Any]:
    """Copy the rows of a table that have changed since the last time, in batches.

    A run that is killed half-way harms nothing: the next one starts behind the last whole batch.
    """
    checksum, rows, batches = hashlib.sha256(), 0, 0
    with closing(_open(source_db)) as source, closing(_open(target_db)) as target:
        _make_like(source, target, table_name)
        newest = f"SELECT coalesce(max(version), 0) FROM {table_name}"
        at = 0 if sync_type == "full" else target.execute(newest).fetchone()[0]
        last = source.execute(newest).fetchone()[0]
        while batch := _changed(source, table_name, at, batch_size):
            with target:
                marks = ", ".join("?" * len(batch[0]))
                target.executemany(f"INSERT OR REPLACE INTO {table_name} VALUES ({marks})", batch)
            checksum.update(repr(batch).encode())
            at, rows, batches = batch[-1][-1], rows + len(batch), batches + 1
            ctx.progress(at, max(last, at), f"{rows} rows")
            ctx.raise_if_cancelled()
    ctx.log.info("%s: %d rows in %d batches", table_name, rows, batches)
    return {"rows": rows, "batches": batches, "version": at, "checksum": checksum.hexdigest()}


@yard.schedule("0 9 * * 1", name="weekly report", params={"title": "The week", "hours": 168})
@yard.handler("report", queue="report_queue", timeout=30)
def write_report(ctx: Context, title: str, hours: float = 24.0) -> dict[str, Any]:
    """Write what ran lately as HTML and as CSV, read from the run history by plain SQL."""
    with closing(sqlite3.connect(f"file:{HERE / 'demo.db'}?mode=ro", uri=True)) as history:
        cursor = history.execute(
            "SELECT task_type, status, count(*) AS runs, round(avg(execution_time), 3) AS seconds,"
            " max(memory_usage) AS bytes FROM ty_runs"
            " WHERE started_at >= datetime('now', ?) GROUP BY task_type, status ORDER BY 1, 2",
            [f"-{hours} hours"],
        )
        names, rows = [column[0] for column in cursor.description], cursor.fetchall()
    folder = HERE / "reports"
    folder.mkdir(exist_ok=True)
    stem = folder / f"{ctx.task_id:05d}"
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    stem.with_suffix(".html").write_text(_page(title, [names, *rows]), encoding="utf-8")
    return {"file": f"{stem.name}.html", "lines": len(rows)}


@yard.schedule("0 2 * * *", name="nightly backup", params={"database": "shop"}, retry_count=3)
@yard.handler("backup", queue="backup_queue", isolation="process")
def back_up(ctx: Context, database: str, keep: int = 5) -> dict[str, Any]:
    """Copy a live SQLite database, page by page, and keep the newest copies."""
    folder = HERE / "backups"
    folder.mkdir(exist_ok=True)
    copy = folder / f"{database}-{ctx.run_id:08d}.db"
    with closing(_open(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(
            target, pages=256, progress=lambda _, left, total: ctx.progress(total - left, total)
        )
    for old in sorted(folder.glob(f"{database}-*.db"))[:-keep]:
        old.unlink()
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    return {"file": copy.name, "bytes": copy.stat().st_size, "sha256": digest}


@yard.schedule("@every 10s", name="unpaid orders", overlap="skip", misfire="skip")
@yard.handler("close_unpaid_orders", queue="sync_queue")
def close_unpaid_orders(ctx: Context, after: int = 30) -> dict[str, Any]:
    """Close the orders that nobody has paid for so many seconds."""
    with closing(_open("shop")) as shop, shop:
        closed = shop.execute(
            "UPDATE orders SET state = 'closed', version = version"
            " + (SELECT max(version) FROM orders)"
            " WHERE state = 'open' AND ordered_at <= datetime('now', ?)",
            [f"-{after} seconds"],
        ).rowcount
    ctx.log.info("closed %d orders", closed)
    return {"closed": closed}


@yard.schedule("0 3 * * *", name="old files", params={"keep": 100})
@yard.handler("clean_files", queue="backup_queue")
def clean_files(ctx: Context, keep: int) -> dict[str, Any]:
    """Delete all mails and reports but the newest."""
    old = [
        file
        for folder in ("mail", "reports")
        for file in sorted((HERE / folder).glob("*"), key=lambda one: one.stat().st_mtime)[:-keep]
    ]
    for number, file in enumerate(old, 1):
        file.unlink(missing_ok=True)
        ctx.progress(number, len(old))
    return {"deleted": len(old)}


def sign_in() -> str:
    """Get a token from the partner; it is good for four seconds."""
    return _get("token", "")


@yard.batch("check_urls", concurrency=4, setup=sign_in)
def check_url(item: str, ctx: ItemContext) -> dict[str, Any]:
    """Look at a page of the partner's, with the token that all items share."""
    began = time.monotonic()
    try:
        text = _get(item, ctx.shared)
    except HTTPError as error:
        if error.code == 401:
            raise RefreshNeeded("the token is too old") from error
        raise
    return {"text": text, "seconds": round(time.monotonic() - began, 3)}


# --- What goes wrong -----------------------------------------------------------------------------


@yard.handler("unsteady", queue="trouble_queue", max_retries=3, retry=[SOON])
async def ask_partner(ctx: Context) -> dict[str, Any]:
    """Fail twice and then succeed, as partners' servers do."""
    if ctx.attempt < 3:
        raise ConnectionError(f"the partner's server refused attempt {ctx.attempt}")
    return {"attempts": ctx.attempt}


@yard.handler("crash", queue="trouble_queue", max_retries=1, retry=[SOON], isolation="process")
def crash(ctx: Context) -> None:
    """Kill the process that this runs in, as a broken C library or the OOM killer would."""
    ctx.log.warning("killing process %d, which is my own", os.getpid())
    time.sleep(0.1)  # time for the line above to leave
    os.kill(os.getpid(), signal.SIGKILL)


@yard.handler("overrun", queue="trouble_queue", max_retries=0, timeout=1, isolation="process")
def overrun(ctx: Context) -> None:
    """Never end; the time limit ends it."""
    while True:
        time.sleep(0.1)


# --- Below ---------------------------------------------------------------------------------------


def _get(path: str, token: str) -> str:
    """What the partner answers; raises HTTPError."""
    address = (HERE / "partner.txt").read_text(encoding="utf-8")
    asked = Request(f"{address}/{path}", headers={"Authorization": token})  # noqa: S310 (our file)
    with urlopen(asked, timeout=5) as page:  # noqa: S310
        return str(page.read().decode())


def _open(database: str) -> sqlite3.Connection:
    """A database of this folder by its name; a name can't lead out of the folder."""
    return sqlite3.connect(HERE / f"{Path(database).name}.db", timeout=5)


def _make_like(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    exists = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    if target.execute(exists, [table]).fetchone() is None:
        target.execute(source.execute(exists, [table]).fetchone()[0])


def _changed(source: sqlite3.Connection, table: str, after: int, limit: int) -> list[Any]:
    return source.execute(
        f"SELECT * FROM {table} WHERE version > ? ORDER BY version LIMIT ?", [after, limit]
    ).fetchall()


def _page(title: str, rows: list[Any]) -> str:
    cells = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows)
    lines = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return f"<!doctype html><title>{html.escape(title)}</title>\n<table>\n{lines}\n</table>\n"
