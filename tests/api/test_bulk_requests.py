"""POST bulk: whatever the words of its filter are, it is answered, and never by a 5xx."""

from __future__ import annotations

from typing import Any

import pytest

from api.house import Client, House
from conformance.spine import Spine


def bulk(root: Client, status: int, **body: Any) -> Any:
    return root.post("/bulk", {"action": "cancel", **body}, status)


def test_a_filter_names_one_queue_or_several(root: Client, house: House) -> None:
    spine = Spine(str(house.db.url))
    for name in ("mail", "report"):
        spine.queue(name, f"{name}_tasks")
        spine.put(queue=name)
    spine.db.close()
    one = bulk(root, 200, filter={"queue": "mail"}, expected_count=1)
    assert (one["count"], one["done"]) == (1, 1)
    asked = {"queue": ["mail", "report"], "status": "pending"}
    several = bulk(root, 200, filter=asked, expected_count=1)
    assert (several["count"], several["done"]) == (1, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"ids": None},
        {"ids": []},
        {"filter": None, "expected_count": None},
        {"filter": {"status": "pending"}, "expected_count": None},
        {"filter": {"queue": 7}, "expected_count": 0},
        {"filter": {"queue": [7, "x"]}, "expected_count": 0},
    ],
)
def test_what_cannot_be_meant_is_refused(root: Client, body: dict[str, Any]) -> None:
    response = root.ask("POST", "/api/v1/bulk", json={"action": "cancel", **body})
    assert response.status_code in (404, 422), response.text
