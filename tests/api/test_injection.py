"""Injection: hostile words stay words.

Every place that takes a word gets words that would do harm if they were taken for SQL, a name of a
table, a path or a template. What is data comes back as it was; all else is refused in our own
words, and nothing is there afterwards that was not there before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from httpx2 import Response

from api.house import V1, Client, House
from taskyard.api.route import DeclaredRoute

WORDS = (
    "'; DROP TABLE ty_runs; --",
    '"; DROP TABLE ty_runs; --',
    "`; DROP TABLE ty_runs; --",
    "1 OR 1=1",
    "' OR '1'='1",
    "\\' OR 1=1 -- ",
    "x' UNION SELECT password_hash FROM ty_users --",
    "x); DELETE FROM ty_audit; --",
    "(SELECT secret_hash FROM ty_tokens LIMIT 1)",
    "1; SELECT pg_sleep(10)",
    "1 AND SLEEP(10)",
    "/**/OR/**/1=1",
    "%' OR '%'='",
    "100%_\\",
    ":name",
    ":tenant_id",
    "%(name)s",
    "%s%s%n",
    "{0.__class__}",
    "{tx}",
    "${jndi:ldap://127.0.0.1/a}",
    "{{7*7}}",
    "__import__('os').system('true')",
    "os:system",
    "../../../../etc/passwd",
    "..\\..\\windows",
    "/etc/passwd",
    "file:///etc/passwd",
    "ty_users",
    "ty_runs",
    "sqlite_master",
    "pg_catalog.pg_user",
    "information_schema.tables",
    "mysql.user",
    "nowhere.tasks",
    "main.ty_runs",
    "select",
    "a b",
    "a;b",
    "a'b",
    'a"b',
    "a`b",
    "a\nb",
    "a\r\nSet-Cookie: x=1",
    "a\tb",
    "\u202egnp.exe",
    "ʼ OR 1=1",
    "＇; DROP TABLE ty_runs",
    "💥" * 20,
    "é" * 300,
    "x" * 10_000,
    "<script>alert(1)</script>",
    "=1+1",
    "-1",
    "0x1F",
    "1e400",
    "NaN",
    "null",
    "true",
    "[]",
    '{"$gt": ""}',
    "((((((((((a+)+)+)+)+)+)+)+)+)+)+$",
)

DATABASE = re.compile(
    r"sqlite3|psycopg|pymysql|sqlalchemy|Traceback|OperationalError|ProgrammingError|DataError"
    r"|syntax error|near \"|no such (table|column)|unrecognized token|SQLSTATE|error in your SQL"
    r"|invalid input syntax|does not exist|Unknown column|\bSELECT \b|\bINSERT INTO\b|TY599",
)
"""What a database would say, or one who passes on what it says."""

SHARE = {"sqlite": 10, "postgresql": 30, "mysql": 30}
"""Each place gets one of so many words, the next place the ones beside them."""


def places(house: House) -> Iterator[tuple[str, Callable[[Client, str], Response]]]:
    """Every place that takes a word, and how it is asked with one."""
    for route in house.app.routes:
        assert isinstance(route, DeclaredRoute)
        declared = route.declared
        if declared.path.startswith("/api/v1/log"):
            continue
        path = re.sub(r"{\w*id}", "1", declared.path)
        for name in re.findall(r"{(\w+)}", declared.path):
            yield f"{declared.method} {declared.path} {name}", in_path(declared, name)
        if "{" in path:
            continue
        for parameter in declared.takes:
            required = {p.name: _sample(p.schema) for p in declared.takes if p.required}
            yield (
                f"{declared.method} {path}?{parameter.name}",
                in_query(declared.method, path, required, parameter.name),
            )
        if declared.method == "GET":
            yield (
                f"GET {path}?…",
                lambda client, word, path=path: client.ask(  # type: ignore[misc]
                    "GET", path, params={word: "1"}
                ),
            )
    for place, body in BODIES.items():
        method, path = place.split()[:2]
        yield place, in_body(method, path, body)


def in_path(declared: Any, name: str) -> Callable[[Client, str], Response]:
    def ask(client: Client, word: str) -> Response:
        path = re.sub(
            r"{(\w+)}", lambda m: quote(word, safe="") if m[1] == name else "1", declared.path
        )
        return client.ask(declared.method, path, json=None if declared.method == "GET" else {})

    return ask


def in_query(
    method: str, path: str, required: dict[str, str], name: str
) -> Callable[[Client, str], Response]:
    return lambda client, word: client.ask(method, path, params={**required, name: word})


def in_body(
    method: str, path: str, body: Callable[[str], Any]
) -> Callable[[Client, str], Response]:
    return lambda client, word: client.ask(method, path, json=body(word))


def _sample(schema: Any) -> str:
    return str(schema.get("enum", ["1"])[0])


BODIES: dict[str, Callable[[str], Any]] = {
    f"POST {V1}/queues name": lambda w: {"queue_name": w, "table_name": "mail_tasks"},
    f"POST {V1}/queues table": lambda w: {"queue_name": "q" + w[:50], "table_name": w},
    f"POST {V1}/queues key": lambda w: {"queue_name": "q", w: 1},
    f"PATCH {V1}/queues/mail table": lambda w: {"table_name": w},
    f"PATCH {V1}/queues/mail server": lambda w: {"server_id": w},
    f"PATCH {V1}/queues/mail scan": lambda w: {"scan_interval": w},
    "POST /admin/queue/create table": lambda w: {"queue_name": "q" + w[:50], "table_name": w},
    "POST /admin/task/create?table=mail_tasks type": lambda w: {"task_type": w},
    f"POST {V1}/tasks type": lambda w: {"task_type": w, "force": True},
    f"POST {V1}/tasks queue": lambda w: {"task_type": "t", "queue": w},
    f"POST {V1}/tasks when": lambda w: {"task_type": "t", "schedule_time": w},
    f"POST {V1}/tasks delay": lambda w: {"task_type": "t", "delay": w},
    f"POST {V1}/tasks params": lambda w: {"task_type": "t", "task_params": {w: {w: [w]}}},
    f"POST {V1}/tasks unique": lambda w: {"task_type": "t", "unique_key": w},
    f"POST {V1}/tasks exclusive": lambda w: {"task_type": "t", "excl_key": w},
    f"POST {V1}/tasks tenant": lambda w: {"task_type": "t", "tenant_id": w},
    f"POST {V1}/tasks key": lambda w: {"task_type": "t", w: w},
    f"POST {V1}/bulk ids": lambda w: {"action": "cancel", "ids": [w, f"mail/{w}", f"{w}/1"]},
    f"POST {V1}/bulk action": lambda w: {"action": w, "ids": ["mail/1"]},
    f"POST {V1}/bulk filter": lambda w: {
        "action": "retry",
        "filter": {w: w},
        "expected_count": 0,
    },
    f"POST {V1}/bulk value": lambda w: {
        "action": "retry",
        "filter": {"task_type": w},
        "expected_count": 0,
    },
    f"POST {V1}/bulk reason": lambda w: {"action": "cancel", "ids": ["mail/1"], "reason": w},
    f"POST {V1}/users name": lambda w: {"username": w},
    f"POST {V1}/users role": lambda w: {"username": "x", "role": w},
    f"POST {V1}/users tenants": lambda w: {"username": "x", "tenants": [w]},
    f"POST {V1}/users grants": lambda w: {"username": "x", "grants": [w]},
    f"POST {V1}/tenants id": lambda w: {"tenant_id": w},
    f"POST {V1}/tenants name": lambda w: {"tenant_id": "acme", "name": w},
    f"POST {V1}/tokens name": lambda w: {"name": w},
    f"POST {V1}/tokens user": lambda w: {"name": "x", "username": w},
    f"POST {V1}/tokens scopes": lambda w: {"name": "x", "scopes": [w]},
    f"POST {V1}/tokens life": lambda w: {"name": "x", "expires_in": w},
    f"POST {V1}/login name": lambda w: {"username": [w], "password": w},
}


def test_hostile_words_are_words(lane_house: House) -> None:
    house, root = lane_house, lane_house.user("root")
    root.post("/queues", {"queue_name": "mail"}, 201)
    tables, rows = _tables(house), _counts(house)
    step = SHARE[house.db.dialect.name]
    for number, (place, ask) in enumerate(places(house)):
        for word in WORDS[number % step :: step]:
            answer = ask(root, word)
            where = f"{place} with {word[:60]!r}: {answer.status_code} {answer.text[:300]}"
            assert answer.status_code < 500, where
            assert answer.status_code < 300 or answer.status_code >= 400, where
            found = DATABASE.search(_without_words(answer.text))
            assert found is None, where
            assert "set-cookie" not in answer.headers, where
    made = _tables(house) - tables
    assert [table for table in made if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", table)] == []
    assert [table for table in made if table.startswith(("ty_", "sqlite", "pg_"))] == []
    assert {name for name, count in _counts(house).items() if count < rows[name]} == set()


def test_hostile_data_comes_back_as_it_was(lane_house: House) -> None:
    root = lane_house.user("root")
    for number, word in enumerate(WORDS):
        body = {
            "task_type": "t",
            "task_params": {word: [word, {word: number}]},
            "unique_key": (key := f"{number}{word}"[:100]),
        }
        ref = root.post("/tasks", body, 201)["ref"].split("/")
        task = root.get(f"/queues/{ref[0]}/tasks/{ref[1]}", raw="true")
        assert (task["task_params"], task["unique_key"]) == (body["task_params"], key)
        if "," not in key and key == key.strip():
            [found] = root.get("/tasks", unique_key=key)["data"]
            assert found["id"] == task["id"]


def _without_words(text: str) -> str:
    """An answer without what was asked, now or before, however it is written."""
    for word in WORDS:
        escaped = word.replace("\\", "\\\\").replace('"', '\\"')
        for form in (escaped.replace('"', '\\"'), escaped, word, quote(word), word[:50]):
            text = text.replace(form, "…")
    return text


def _tables(house: House) -> set[str]:
    sql = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        "mysql": "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    }[house.db.dialect.name]
    return {row[0] for row in house.db.read(lambda tx: tx.all(sql))}


def _counts(house: House) -> dict[str, int]:
    quoted = house.db.dialect.quote
    return {
        table: house.value(f"SELECT COUNT(*) FROM {quoted(table)}")
        for table in _tables(house)
        if table.startswith("ty_")
    }
