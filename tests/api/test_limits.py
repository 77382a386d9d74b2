"""Limits: what is too much, too deep or not asked for is refused early, and nothing falls over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.house import V1, Client, House

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def small(fresh: str) -> Iterator[House]:
    house = House(fresh, no_auth=True, max_body=2048)
    yield house
    house.close()


def test_a_body_that_is_announced_too_large_is_not_read(small: House) -> None:
    headers = {**JSON, "Content-Length": "100000000"}
    answer = small.anon.ask("POST", f"{V1}/queues", content=b"{}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "TY507")


def test_a_body_that_never_ends_is_cut_off(small: House) -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b" " * 1024

    answer = small.anon.ask("POST", f"{V1}/queues", content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["params"]) == (413, {"limit": 2048})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 2000, 400),
        (b'{"a":' * 400, 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"queue_name": "\xed\xa0\x80"}', 400),
        (b'{"queue_name": NaN}', 400),
        (b'{"queue_name": "a\\u0000b"}', 422),
        (b'{"queue_name": "a", "x\\u0000": 1}', 422),
        (b'{"queue_name": ' + b"9" * 400 + b"}", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"", 422),
        (b'{"queue_name": {"a": 1}}', 422),
    ],
)
def test_a_body_that_is_nonsense_is_refused(small: House, body: bytes, status: int) -> None:
    answer = small.anon.ask("POST", f"{V1}/queues", content=body, headers=JSON)
    assert answer.status_code == status, answer.text


def test_secrets_in_a_wrong_body_are_not_told_back(house: House) -> None:
    body = {"username": ["canary"], "password": {"x": "canary"}}
    problem = house.anon.post("/login", body, 422)
    assert problem["params"]["problems"] == [
        '"username": input should be a valid string',
        '"password": input should be a valid string',
    ]


REFUSED = {
    "/runs": {
        "limit": ["0", "501", "x", "1.5", str(2**70)],
        "offset": ["-1", "100001", str(10**9), str(10**30)],
        "cursor": ["x", "bnVsbA", "=" * 9, "W10"],
        "sort": ["id; DROP TABLE ty_runs", "-", "started_at,id", "--started_at"],
        "status": ["done", "completed,done", ""],
        "origin": ["x"],
        "task_id": ["x", str(2**63), "1e3"],
        "from": ["yesterday", "2026-01-31", "2026-01-31T08:00:00", "9" * 30],
        "min_duration": ["-1", "long", "inf"],
        "task": ["x", "nowhere/x"],
        "staus": ["failed"],
        "1": ["1"],
    },
    "/tasks": {"status": ["9", "done"], "priority": ["x"], "sort": ["x"]},
    "/stats/series": {"metric": ["x", ""], "by": ["x"], "step": ["1", "x"], "from": ["x"]},
    "/stats/summary": {"from": ["x"], "to": ["0"], "server_id": ["x"]},
    "/runs/export": {"format": ["exe"], "limit": ["5"]},
    "/runs/1/logs": {"after": ["-2", "x"], "limit": ["0", "65"]},
    "/servers": {"dead": ["1", "yes"]},
    "/suggest": {"field": ["password"]},
    "/queues": {"limit": ["5"]},
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_asked_is_refused_and_named(root: Client, path: str) -> None:
    given = {"metric": "runs"} if path == "/stats/series" else {}
    root.post("/queues", {"queue_name": "mail"}, 201)
    for name, values in REFUSED[path].items():
        for value in values:
            problem = root.get(path, 400, **{**given, name: value})
            assert problem["code"] == "TY109"
            assert problem["params"]["name"] in (name, "sort", "filter"), (name, value)


def test_a_word_that_is_nearly_right_is_guessed(root: Client) -> None:
    problem = root.get("/runs", 400, staus="failed")
    assert 'There is no parameter "staus". Did you mean "status"?' in problem["detail"]


@pytest.mark.parametrize("path", ["/runs/0", "/runs/x", f"/runs/{2**63}", "/queues/q/tasks/-1"])
def test_an_id_that_cannot_be_is_refused(root: Client, path: str) -> None:
    assert root.get(path, 422)["code"] == "TY504"


@pytest.mark.parametrize("path", ["/queues/a%00b", "/runs?q=a%00b"])
def test_what_no_database_stores_is_not_looked_for(root: Client, path: str) -> None:
    assert root.get(path, 422)["code"] == "TY504"
