"""The curl lines of the original's manual, word for word, against a server as people start it.

They are run by curl itself, from the folder of an application that has a handler for each of the
two tasks. Only the port may differ, where 9999 is taken.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.processes import Folder, Started
from support import wait_for
from taskyard.db.database import Database

PORT = 9999

HANDLERS = """
from taskyard import Yard

yard = Yard()


@yard.handler("email", queue="email")
def email(to: list[str], subject: str, content: str, type: str = "text") -> dict:
    return {"to": to, "subject": subject}


@yard.handler("data_sync", queue="data_sync")
def data_sync(
    source_db: str, target_db: str, table_name: str, sync_type: str, batch_size: int
) -> int:
    return batch_size
"""

QUEUE_CREATE = """curl -X POST http://localhost:9999/admin/queue/create \\
  -H "Content-Type: application/json" \\
  -d '{
    "queue_name": "new_queue",
    "table_name": "new_tasks",
    "server_id": "server-001",
    "max_workers": 5,
    "scan_interval": 3,
    "status": 1
  }'"""
QUEUE_LIST = "curl http://localhost:9999/admin/queue/list"
QUEUE_UPDATE = """curl -X PUT "http://localhost:9999/admin/queue/update?id=1" \\
  -H "Content-Type: application/json" \\
  -d '{
    "max_workers": 10,
    "server_id": "server-002"
  }'"""
QUEUE_DELETE = 'curl -X DELETE "http://localhost:9999/admin/queue/delete?id=1"'
SERVER_LIST = "curl http://localhost:9999/admin/server/list"
TASK_EMAIL = """curl -X POST "http://localhost:9999/admin/task/create?table=email_tasks" \\
  -H "Content-Type: application/json" \\
  -d '{
    "task_type": "email",
    "task_params": {
      "to": ["user@example.com"],
      "subject": "测试邮件",
      "content": "这是一封测试邮件",
      "type": "html"
    },
    "schedule_time": "2024-01-01 10:00:00",
    "max_retries": 3
  }'"""
TASK_SYNC = """curl -X POST "http://localhost:9999/admin/task/create?table=data_sync_tasks" \\
  -H "Content-Type: application/json" \\
  -d '{
    "task_type": "data_sync",
    "task_params": {
      "source_db": "db1",
      "target_db": "db2",
      "table_name": "users",
      "sync_type": "incremental",
      "batch_size": 1000
    },
    "schedule_time": "2024-01-01 02:00:00",
    "max_retries": 2
  }'"""

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path, HANDLERS)
    yield folder
    folder.close()


def free_port() -> int:
    """9999, or another where somebody listens there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", PORT))
        except OSError:
            tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def curl(up: Started, line: str, *, bearer: str | None = None) -> tuple[int, Any]:
    """Run a line in a shell; the status, and what the answer says."""
    port = up.url.rpartition(":")[2]
    line = line.replace(f":{PORT}/", f":{port}/")
    if bearer is not None:
        line = f'{line} -H "Authorization: Bearer {bearer}"'
    line += " -s -S -w '\\n%{http_code}'"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), orjson.loads(body)


def run_all(up: Started, database: Database, bearer: str | None = None) -> None:
    """The whole manual, from top to bottom."""

    def told(line: str) -> Any:
        status, answer = curl(up, line, bearer=bearer)
        assert (status, answer["code"], answer["message"]) == (200, 0, "ok"), answer
        return answer["data"]

    def queues() -> dict[int, dict[str, Any]]:
        return {queue["id"]: queue for queue in told(QUEUE_LIST)}

    made = told(QUEUE_CREATE)["id"]
    created = queues()[made]
    fields = ("queue_name", "table_name", "server_id", "max_workers", "scan_interval", "status")
    expected = ["new_queue", "new_tasks", "server-001", 5, 3, 1]
    assert [created[name] for name in fields] == expected
    told(QUEUE_UPDATE)
    first = queues()[1]
    assert (first["max_workers"], first["server_id"]) == (10, "server-002")
    told(QUEUE_DELETE)
    assert made in queues() and 1 not in queues()
    [server] = told(SERVER_LIST)
    assert (server["state"], server["status"]) == ("live", 1)

    for line, table in ((TASK_EMAIL, "email_tasks"), (TASK_SYNC, "data_sync_tasks")):
        number = told(line)["id"]
        sql = f"SELECT status FROM {table} WHERE id = :id"

        def is_done(sql: str = sql, number: int = number) -> bool:
            return bool(database.read(lambda tx: tx.value(sql, id=number)) == 2)

        wait_for(is_done, 60, f"status 2 in {table}: {up.err.read_text()}")


def test_without_sign_in_they_work_as_they_stand(folder: Folder) -> None:
    up = folder.start("up", "--no-auth", "--runners", "1", "--port", str(free_port()))
    up.answers("/readyz", 200)
    wait_for(lambda: "works with" in up.err.read_text(), 60, "its handlers")
    database = Database(f"sqlite:///{folder.path / 'taskyard.db'}")
    run_all(up, database)
    rows = database.read(lambda tx: tx.rows("SELECT task_type, output FROM ty_runs ORDER BY id"))
    found = {row["task_type"]: orjson.loads(row["output"]) for row in rows if row["output"]}
    assert found["email"] == {"to": ["user@example.com"], "subject": "测试邮件"}
    assert found["data_sync"] == 1000
    database.close()
    assert up.stop() == 0


def test_with_sign_in_they_need_a_token_and_nothing_else(folder: Folder) -> None:
    up = folder.start("up", "--runners", "1", "--port", "0")
    up.answers("/readyz", 200)
    wait_for(lambda: "works with" in up.err.read_text(), 60, "its handlers")
    for line in (QUEUE_LIST, QUEUE_CREATE, QUEUE_DELETE, SERVER_LIST, TASK_EMAIL):
        status, answer = curl(up, line)
        assert status == 401 and answer["code"] != 0
    told = folder.run("token", "create", "--user", "admin", "--name", "manual", "--json")
    found = re.search(r'"(ty_[^"]+)"', told)
    assert found, told
    database = Database(f"sqlite:///{folder.path / 'taskyard.db'}")
    run_all(up, database, bearer=found[1])
    database.close()
    assert up.stop() == 0


def test_everybody_may_not_do_everything(folder: Folder) -> None:
    code, said = folder.refused("up", "--no-auth", "--host", "0.0.0.0")
    assert code == 2 and "--no-auth" in said
    assert not (folder.path / "taskyard.db").exists()
