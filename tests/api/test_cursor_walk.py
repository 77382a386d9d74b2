"""Walking all pages while others write: each row that was there comes exactly once.

Somebody turns pages over HTTP while tasks are enqueued, begin and end at the same time. What was
there when the walk began is met once, whether it ends meanwhile or not; what is new at most once.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from api.house import Client, House
from conformance.spine import Spine, ended
from support import wait_for
from taskyard.core.lifecycle import Kind

OWN, OTHER = "acme", "globex"
KINDS = (Kind.COMPLETED, Kind.FAILED, Kind.TIMEOUT)
PAST = 45
LIVE = 6
PAGE = 4
MOST = 60


@pytest.fixture
def spine(lane: str) -> Iterator[Spine]:
    spine = Spine(lane)
    yield spine
    spine.db.close()


class Busy:
    """A thread in which tasks go on being enqueued, claimed and ended."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        self.rounds = 0
        """How many have ended so far; after MOST it is enough."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._error: BaseException | None = None
        self._live = list(spine.claim(LIVE))

    def __enter__(self) -> Busy:
        self._thread.start()
        wait_for(partial(self.goes_on, 0), 30, "the first new run")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert self._error is None, self._error

    def goes_on(self, rounds: int) -> bool:
        """Was there something new since then, or was it enough?"""
        return self.rounds > rounds or self.rounds == MOST or self._error is not None

    def _go(self) -> None:
        try:
            for number in range(MOST):
                if self._stop.is_set():
                    return
                if self._live:  # which were live when the walk began
                    self.spine.settle(ended(self._live.pop()))
                work(self.spine, number)
                self.rounds += 1
        except BaseException as error:
            self._error = error


def work(spine: Spine, number: int) -> None:
    """A task of one tenant or the other that is enqueued, begins and ends."""
    spine.put(tenant_id=(OWN, OTHER)[number % 2], max_retries=0)
    for row in spine.claim(1):
        error = None if number % 3 == 0 else f"ValueError: no {number}"
        assert spine.settle(ended(row, KINDS[number % 3], error=error)).written == 1


LISTS = {
    "/runs": {},
    "/runs?sort=started_at": {"sort": "started_at"},
    "/runs?status=failed,timeout": {"status": "failed,timeout"},
    "/runs?tenant_id=acme": {"tenant_id": OWN},
    "/runs?task_type=work&sort=started_at": {"task_type": "work", "sort": "started_at"},
    "/tasks": {},
    "/tasks?sort=id": {"sort": "id"},
    "/audit": {},
}


def test_each_row_comes_once(lane_house: House, spine: Spine) -> None:
    root = lane_house.user("root")
    for number in range(PAST):
        work(spine, number)
    spine.put_many(LIVE)
    for number in range(PAGE * 3):
        root.post("/tenants", {"tenant_id": f"tenant-{number}"}, 201)
    for path, query in LISTS.items():
        noun = path.partition("?")[0]
        spine.put_many(LIVE)
        with_live = Busy(spine)
        before = {row["id"] for row in root.get(noun, limit=500, **query)["data"]}
        assert len(before) > PAGE * 2, path
        with with_live as busy:
            found = Counter(walk(root, noun, busy, query))
        assert {number for number, times in found.items() if times > 1} == set(), path
        # A run that failed or ended meanwhile was there all the same.
        assert before - found.keys() == set(), path


def walk(client: Client, noun: str, busy: Busy, query: dict[str, Any]) -> Iterator[int]:
    """The ids of all pages; between two of them something new has been written."""
    cursor: dict[str, str] = {}
    for _ in range(500):
        page = client.get(noun, limit=PAGE, **query, **cursor)
        yield from (row["id"] for row in page["data"])
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}
        wait_for(partial(busy.goes_on, busy.rounds), 30, "something new")
    raise AssertionError("the pages have no end")
