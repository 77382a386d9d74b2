"""Live: what a client that listens is told, when, and until when."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from api.house import House
from api.processes import Folder
from api.test_floods import Listening
from api.test_process import HANDLERS
from conformance.spine import Spine
from support import wait_for
from taskyard.access import tokens, users
from taskyard.access.caller import LOCAL
from taskyard.api import listeners, live
from taskyard.api.gate import COOKIE

SOON = 2.5
"""Seconds within which a hint comes, by the design."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path, HANDLERS)
    yield folder
    folder.close()


class Ear:
    """A client that listens on a thread: what came, when, and whether it is over."""

    def __init__(self, url: str, **headers: str) -> None:
        place = urlsplit(url)
        self.lines: list[tuple[float, str]] = []
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_over = False
        told = {"Host": place.netloc, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        self._socket = socket.create_connection((place.hostname or "", place.port or 0), timeout=60)
        # A client of HTTP/1.0 is sent the lines as they are, and no chunks.
        self._socket.sendall(f"GET /api/v1/events HTTP/1.0\r\n{head}\r\n".encode())
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        wait_for(lambda: self.status, 30, "an answer")

    def _listen(self) -> None:
        with suppress(OSError), self._socket, self._socket.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            for line in iter(stream.readline, b"\r\n"):
                name, _, value = line.decode().partition(":")
                self.headers[name.lower()] = value.strip()
            self.status = status
            for line in stream:
                if line.strip():
                    self.lines.append((time.monotonic(), line.decode().strip()))
        self.is_over = True

    def leave(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    @property
    def hints(self) -> list[tuple[float, dict[str, Any]]]:
        found = [(at, line) for at, line in list(self.lines) if line.startswith("data: ")]
        return [(at, json.loads(line.removeprefix("data: "))) for at, line in found]

    @property
    def kinds(self) -> set[str]:
        return {hint["kind"] for _, hint in self.hints}

    def hears(self, *kinds: str, within: float = SOON + 10.0) -> None:
        wait_for(lambda: self.kinds >= set(kinds), within, f"{kinds}, only {self.lines}")

    def ends(self, within: float) -> None:
        wait_for(lambda: self.is_over, within, "the end of the stream")
        self._thread.join(5)


class Place:
    """A house that listens, with a spine beside it."""

    def __init__(self, url: str) -> None:
        self.spine = Spine(url)
        self.house = House(url, live=True)
        self.server = Listening(self.house)
        self.url = f"http://127.0.0.1:{self.server.address[1]}"

    def ear(self, username: str, **token: Any) -> Ear:
        return self.listen(self.house.token(username, **token))

    def listen(self, token: str) -> Ear:
        return Ear(self.url, Authorization=f"Bearer {token}")

    def close(self) -> None:
        self.house.site.listeners.close()
        with closing(self.spine.db), closing(self.house), closing(self.server):
            pass


@pytest.fixture
def place(fresh: str) -> Iterator[Place]:
    with closing(Place(fresh)) as place:
        users.add_user(place.house.db, LOCAL, "root", role="superuser")
        yield place


@pytest.fixture
def lane_place(lane: str) -> Iterator[Place]:
    with closing(Place(lane)) as place:
        users.add_user(place.house.db, LOCAL, "root", role="superuser")
        yield place


def test_a_task_put_in_by_sql_is_hinted_at_soon(
    lane_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "SHARE", 1.0)  # the database may be busy with other tests
    ear = lane_place.ear("root")
    assert ear.status == 200
    assert ear.headers["content-type"].startswith("text/event-stream")
    assert ear.headers["cache-control"] == "no-store"
    assert "etag" not in ear.headers
    began = time.monotonic()
    task = lane_place.spine.insert(task_type="work")
    ear.hears("task")
    assert ear.hints[0][0] - began < SOON
    lane_place.spine.finish(lane_place.spine.take(task))
    ear.hears("task", "run")
    assert ear.kinds == {"task", "run"}


def test_each_hears_of_their_own_tenant_only(place: Place) -> None:
    for tenant in ("acme", "globex"):
        place.house.tenant(tenant)
        users.add_user(place.house.db, LOCAL, f"of-{tenant}", tenants=[tenant])
    mine, theirs, all_of_them = (place.ear(n) for n in ("of-acme", "of-globex", "root"))
    task = place.spine.insert(task_type="work", tenant_id="globex")
    place.spine.finish(place.spine.take(task))
    place.spine.execute("UPDATE queue_configs SET max_workers = 9")
    theirs.hears("task", "run")
    all_of_them.hears("task", "run", "queue")
    # Once they hear of this one, they would have heard of the others.
    place.spine.insert(task_type="work", tenant_id="acme")
    mine.hears("task")
    assert [hint for _, hint in mine.hints] == [{"kind": "task"}]
    assert theirs.kinds == {"task", "run"}


def test_there_is_a_hint_a_second_of_a_kind_at_most(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "SHARE", 1.0)
    ear = place.ear("root")
    end = time.monotonic() + 3.5
    while time.monotonic() < end:
        place.spine.insert(task_type="work")
        time.sleep(0.05)
    times = [at for at, hint in ear.hints if hint["kind"] == "task"]
    assert 2 <= len(times) <= 4
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.9


def test_a_busy_database_is_looked_at_less_often_but_never_forgotten() -> None:
    at_rest, busy, stuck = (listeners.pause_after(taken) for taken in (0.005, 0.06, 30.0))
    assert at_rest == listeners.EVERY
    assert busy == pytest.approx(0.06 / listeners.SHARE)
    assert stuck == listeners.MOST_SELDOM


def test_one_thing_that_changed_has_its_id_and_several_have_none(place: Place) -> None:
    for name in ("one", "two"):
        place.spine.queue(name, f"{name}_tasks")
    ear = place.ear("root")
    place.spine.execute("UPDATE queue_configs SET max_workers = 8 WHERE queue_name = 'one'")
    ear.hears("queue")
    assert ear.hints[-1][1] == {"kind": "queue", "id": "one"}
    place.spine.execute("UPDATE queue_configs SET max_workers = 9")
    wait_for(lambda: len(ear.hints) == 2, 10, "another hint")
    assert ear.hints[-1][1] == {"kind": "queue"}


def test_it_ends_when_the_token_is_revoked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASK_AGAIN", 0.2)
    text = place.house.token("root")
    ear, other = place.listen(text), place.ear("root")
    tokens.revoke_token(place.house.db, LOCAL, text.split("_")[1])
    ear.ends(within=10)
    place.spine.insert(task_type="work")
    other.hears("task")
    assert (ear.hints, other.is_over) == ([], False)


def test_it_ends_with_the_session(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "ASK_AGAIN", 0.2)
    users.set_password(place.house.db, LOCAL, "root", "correct horse battery")
    with httpx2.Client(base_url=place.url) as browser:
        body = {"username": "root", "password": "correct horse battery"}
        assert browser.post("/api/v1/login", json=body).status_code == 200
        cookie = f"{COOKIE}={browser.cookies[COOKIE]}"
        ear = Ear(place.url, Cookie=cookie)
        place.spine.insert(task_type="work")
        ear.hears("task")
        assert browser.post("/api/v1/logout", headers={"Origin": place.url}).status_code == 204
        ear.ends(within=10)
        assert Ear(place.url, Cookie=cookie).status == 401


def test_who_listens_does_not_keep_the_token_in_use(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "ASK_AGAIN", 0.1)
    ear = place.ear("root")
    place.spine.execute("UPDATE ty_tokens SET last_used_at = '2020-01-01 00:00:00.000000'")
    before = place.spine.value("SELECT last_used_at FROM ty_tokens")
    monkeypatch.setattr(live, "BEAT", 0.5)
    wait_for(lambda: any(line.startswith(":") for _, line in ear.lines), 10, "a comment")
    assert place.spine.value("SELECT last_used_at FROM ty_tokens") == before


def test_where_there_is_nothing_to_tell_a_comment_is_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "BEAT", 0.2)
    ear = place.ear("root")
    wait_for(lambda: len([1 for _, line in ear.lines if line == ": still here"]) > 2, 10, "beats")
    assert ear.hints == []


def test_one_too_many_is_turned_away_and_who_leaves_makes_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "MOST", 2)
    token = place.house.token("root")
    first, second = place.listen(token), place.listen(token)
    third = place.listen(token)
    assert (first.status, second.status, third.status) == (200, 200, 503)
    first.leave()
    wait_for(lambda: place.listen(token).status == 200, 20, "room for another")
    assert not second.is_over


def test_nothing_is_asked_of_the_database_while_nobody_listens(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    look = listeners._look

    def counted(*given: Any) -> Any:
        looks.append(1)
        return look(*given)

    monkeypatch.setattr(listeners, "_look", counted)
    ear = place.ear("root")
    wait_for(lambda: len(looks) > 1, 10, "looks")
    ear.leave()
    watch = place.house.site.listeners._watch
    wait_for(lambda: watch is None or watch.done(), 20, "the end of the looks")
    again = place.ear("root")
    before = len(looks)
    wait_for(lambda: len(looks) > before, 10, "looks for the next one")
    assert again.status == 200


def test_a_stop_does_not_wait_for_who_listens(folder: Folder, fresh: str) -> None:
    web = folder.start("web", "--no-auth", "--port", "0", database_url=fresh)
    web.answers("/healthz", 200)
    ears = [Ear(web.url) for _ in range(5)]
    assert [ear.status for ear in ears] == [200] * 5
    began = time.monotonic()
    assert web.stop() == 0
    assert time.monotonic() - began < 4.0
    for ear in ears:
        ear.ends(within=5)
    assert "Cancel" not in web.err.read_text()
