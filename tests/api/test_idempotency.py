"""Idempotency: sent again with the same key, nothing is made twice; on each database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from httpx2 import Response

from api.house import V1, Client, House
from taskyard.core.errors import OutcomeUnknown

TASK = {"task_type": "report", "task_params": {"n": 1}}
PATH = f"{V1}/tasks"


def send(client: Client, key: str, body: Any = None) -> Response:
    return client.ask("POST", PATH, json=body or TASK, headers={"Idempotency-Key": key})


def test_the_same_request_has_the_same_answer(lane_house: House) -> None:
    house, root = lane_house, lane_house.user("root")
    first, again = send(root, "k1"), send(root, "k1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"] != ""
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert house.value("SELECT COUNT(*) FROM default_tasks") == 1

    # A key is for one request of one caller.
    other = send(root, "k1", {**TASK, "task_params": {"n": 2}})
    assert (other.status_code, other.json()["code"]) == (422, "TY512")
    assert send(house.user("ada"), "k1").status_code == 201
    assert send(root, "k2").status_code == 201
    assert house.value("SELECT COUNT(*) FROM default_tasks") == 3

    # A request that was refused made nothing, so its key is free.
    assert send(root, "k3", {**TASK, "queue": "nowhere"}).status_code == 404
    assert send(root, "k3").status_code == 201


def test_of_many_at_once_one_works(lane_house: House) -> None:
    root = lane_house.user("root")
    gate = Barrier(8)

    def one(_: int) -> int:
        gate.wait()
        return send(root, "k").status_code

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(one, range(8)))
    assert set(found) <= {201, 409}
    assert found[0] == 201
    assert lane_house.value("SELECT COUNT(*) FROM default_tasks") == 1
    assert send(root, "k").status_code == 201


def test_a_key_whose_outcome_nobody_knows_stays_taken(
    house: House, root: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise OutcomeUnknown("canary")

    with monkeypatch.context() as patch:
        patch.setattr("taskyard.api.tasks.enqueue", lost)
        answer = send(root, "k")
    assert (answer.status_code, answer.json()["code"]) == (503, "TY106")
    assert "canary" not in answer.text
    assert send(root, "k").json()["code"] == "TY513"


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_to_be_one(root: Client, key: str) -> None:
    assert send(root, key).status_code == 422


def test_a_new_tokens_text_is_kept_nowhere(house: House, root: Client) -> None:
    made = root.post("/tokens", {"name": "x"}, 201, {"Idempotency-Key": "k"})
    assert made["text"].startswith("ty_")
    assert house.value("SELECT COUNT(*) FROM ty_idempotency") == 0
