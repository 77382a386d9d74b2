"""The demo: what it promises to whoever types `taskyard demo`, and the handlers that it shows."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.message import EmailMessage
from pathlib import Path
from types import ModuleType
from urllib.parse import urljoin

import httpx2
import psutil
import pytest

from support import wait_for
from taskyard.core.errors import TaskyardError
from taskyard.demo import fleet, play, site
from taskyard.demo.desk import Desk
from taskyard.demo.mailbox import Mailbox

pytestmark = pytest.mark.timeout(240)


@contextmanager
def demo(place: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command with its temporary files in `place`; its output goes to `place/../out`."""
    place.mkdir()
    with (place.parent / "out").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskyard", "demo", "--no-browser", *options],
            # A setting of the user's own must not lead the demo to their database.
            env={**os.environ, "TMPDIR": str(place), "TASKYARD_DATABASE_URL": "nonsense"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def processes_in(place: Path) -> list[str]:
    """The processes that work in a folder of the demo."""
    found = [process.info for process in psutil.process_iter(["cwd", "cmdline"])]
    return [
        " ".join(info["cmdline"] or [])
        for info in found
        if (info["cwd"] or "").startswith(str(place))
    ]


def test_a_demo_ends_by_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with demo(place, "--seconds", "6", "--port", "0", "--lang", "zh-CN") as process:
        code = process.wait(timeout=100)
    output = (tmp_path / "out").read_text()
    assert code == 0, output
    last = re.fullmatch(r"([1-9]\d*) tasks completed", output.splitlines()[-1])
    assert last, output
    assert list(place.iterdir()) == []
    assert processes_in(place) == []


def test_the_link_signs_in_once_and_nobody_listens_after_the_end(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        with demo(tmp_path / "place", "--port", str(wanted)) as process:
            out = tmp_path / "out"
            wait_for(lambda: "Console: " in out.read_text(), timeout=90)
            line = next(li for li in out.read_text().splitlines() if li.startswith("Console: "))
            link = line.split()[1]
            assert f"port {wanted} is taken" in line
            with httpx2.Client() as browser:
                assert browser.get(link).status_code == 303
                me = browser.get(urljoin(link, "/api/v1/me"))
                assert me.json()["role"] == "superuser"
            assert httpx2.get(link).status_code == 401
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(link)


def test_the_desk_shows_mails_and_crashes_a_server_for_whoever_has_read_it(tmp_path: Path) -> None:
    (tmp_path / "00001-Hello.html").write_text("<b>Hello</b>")
    crashes: list[str] = []

    def crash() -> bool:
        crashes.append("server-002")
        return True

    with Desk(tmp_path, "server-002", crash) as desk, httpx2.Client(base_url=desk.url) as browser:
        page = browser.get("/").text
        assert "/mail/00001-Hello.html" in page
        mail = browser.get("/mail/00001-Hello.html")
        assert (mail.text, mail.headers["Content-Type"]) == (
            "<b>Hello</b>",
            "text/html; charset=utf-8",
        )
        assert "sandbox" in mail.headers["Content-Security-Policy"]
        assert browser.get("/mail/..%2F..%2Fetc%2Fpasswd").status_code == 404
        assert browser.get("/", headers={"Host": "evil.example"}).status_code == 403
        assert browser.post("/crash", data={"word": "guessed"}).status_code == 403
        assert crashes == []
        word = re.search(r'name="word" value="([^"]+)"', page)
        assert word
        assert browser.post("/crash", data={"word": word[1]}).status_code == 303
        assert crashes == ["server-002"]
        assert "was stopped" in browser.get("/").text


def test_ctrl_c_ends_a_demo_in_order_and_shows_what_went_wrong(tmp_path: Path) -> None:
    place = tmp_path / "place"
    out = tmp_path / "out"

    def has_told_all() -> bool:
        told = out.read_text()
        words = ("crash attempt 2 failed", "overrun attempt 1 timeout", "unsteady attempt 2 failed")
        return all(word in told for word in words)

    with demo(place, "--keep") as process:
        wait_for(has_told_all, timeout=90)
        assert any("taskyard worker" in words for words in processes_in(place))
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    output = out.read_text()
    assert code == 0, output
    assert "killed by SIGKILL" in output
    assert processes_in(place) == []
    (folder,) = place.iterdir()
    completed = int(output.splitlines()[-1].removesuffix(" tasks completed"))
    assert completed == count(folder, "completed")
    assert count(folder, "lost") == 0
    assert "<h1>Thank you" in next((folder / "mail").glob("*.html")).read_text()


def test_a_demo_whose_server_ends_says_its_last_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(server_id: str, folder: Path) -> fleet.Process:
        return fleet.Process(server_id, ["-c", "raise SystemExit('no room')"], folder)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fleet, "server", broken)
    show = play.Demo()
    with pytest.raises(TaskyardError, match="no room"), show:
        show.start()
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def count(folder: Path, status: str) -> int:
    """How many Runs of a kept folder have a status."""
    with closing(sqlite3.connect(folder / "demo.db")) as history:
        sql = "SELECT count(*) FROM ty_runs WHERE status = ?"
        return int(history.execute(sql, [status]).fetchone()[0])


# --- The mailbox ---------------------------------------------------------------------------------


def test_a_mail_is_kept_as_the_html_it_holds(tmp_path: Path) -> None:
    message = EmailMessage()
    message["From"], message["To"] = "shop@example.com", "ada@example.com"
    message["Subject"] = "Order 7/äöü"
    # A line that begins with a dot is doubled on the way, and must come out single.
    text = "<h1>Grüße</h1>\n.hidden\n"
    message.set_content("as text")
    message.add_alternative(text, subtype="html")
    with Mailbox(tmp_path / "mail") as mailbox:
        with smtplib.SMTP("127.0.0.1", mailbox.port) as sender:
            sender.send_message(message)
        assert mailbox.count == 1
    (kept,) = (tmp_path / "mail").iterdir()
    assert kept.suffix == ".html"
    assert kept.read_text() == text


def test_the_mailbox_answers_what_it_does_not_know(tmp_path: Path) -> None:
    with (
        Mailbox(tmp_path / "mail") as mailbox,
        smtplib.SMTP("127.0.0.1", mailbox.port) as sender,
    ):
        assert sender.docmd("VRFY", "ada")[0] == 502
        assert sender.noop()[0] == 250


# --- The handlers --------------------------------------------------------------------------------


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The handlers, at work in a folder that is laid out for a demo."""
    from taskyard.demo import handlers

    site.lay_out(tmp_path, smtp_port=1, port=1, partner="http://127.0.0.1:1")
    monkeypatch.setattr(handlers, "HERE", tmp_path)
    return handlers


ORDERED = "2026-01-01 12:00:00"


def fill_orders(folder: Path, first: int, last: int) -> None:
    with closing(sqlite3.connect(folder / "shop.db")) as shop, shop:
        rows = [(n, "Ada", n * 100, "open", ORDERED, n) for n in range(first, last + 1)]
        shop.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)", rows)


def orders(folder: Path, database: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / f"{database}.db")) as connection:
        return connection.execute("SELECT * FROM orders ORDER BY id").fetchall()


def test_a_sync_copies_what_has_changed_since_the_last_one(
    handlers: ModuleType, tmp_path: Path
) -> None:
    fill_orders(tmp_path, 1, 25)
    first = handlers.sync_table("shop", "warehouse", "orders", batch_size=10)
    assert (first["rows"], first["batches"]) == (25, 3)
    fill_orders(tmp_path, 26, 30)
    second = handlers.sync_table("shop", "warehouse", "orders", batch_size=10)
    assert (second["rows"], second["batches"]) == (5, 1)
    assert second["checksum"] != first["checksum"]
    assert orders(tmp_path, "warehouse") == orders(tmp_path, "shop")


def test_orders_that_nobody_has_paid_for_are_closed(handlers: ModuleType, tmp_path: Path) -> None:
    fill_orders(tmp_path, 1, 3)
    assert handlers.close_unpaid_orders(after=30) == {"closed": 3}
    assert handlers.close_unpaid_orders(after=30) == {"closed": 0}
    # A sync sees the change.
    handlers.sync_table("shop", "warehouse", "orders")
    assert {row[3] for row in orders(tmp_path, "warehouse")} == {"closed"}


def test_old_files_go_and_the_newest_stay(handlers: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mail").mkdir()
    for number in range(5):
        file = tmp_path / "mail" / f"{number}.html"
        file.touch()
        os.utime(file, (number, number))
    assert handlers.clean_files(keep=2) == {"deleted": 3}
    assert sorted(file.name for file in (tmp_path / "mail").iterdir()) == ["3.html", "4.html"]


def test_a_backup_is_whole_and_five_are_kept(handlers: ModuleType, tmp_path: Path) -> None:
    fill_orders(tmp_path, 1, 9)
    for run_id in range(7):
        made = handlers.back_up(_context(run_id), "shop")
    files = sorted(path.name for path in (tmp_path / "backups").iterdir())
    assert files == [f"shop-{run_id:08d}.db" for run_id in range(2, 7)]
    assert made["file"] == files[-1]
    (tmp_path / "copy.db").write_bytes((tmp_path / "backups" / made["file"]).read_bytes())
    assert orders(tmp_path, "copy") == orders(tmp_path, "shop")


def _context(run_id: int) -> object:
    from taskyard.context import Call, Context, unattended

    return Context(Call(run_id, "", 0, 0, "backup", ""), unattended("backup")._reporter)
