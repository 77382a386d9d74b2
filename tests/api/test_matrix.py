"""The matrix: every route is asked by everybody, and each answer is the one in the table."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator

import pytest
from httpx2 import Response

from api.matrix import CALLERS, LIKE_NOBODY, METHODS, Row, rows
from api.town import Things, Town
from taskyard.api.route import DeclaredRoute

ROWS = list(rows())
FOREIGN = [row for row in ROWS if row.whose == "other" and 404 in row.answers.values()]
SAMPLE = ("operator", "limited")
PATHS = sorted({row.route[1] for row in ROWS})


@pytest.fixture(scope="module")
def town(town_url: str) -> Iterator[Town]:
    town = Town(town_url)
    yield town
    town.close()


@pytest.fixture(scope="module")
def things(town: Town) -> Things:
    return Things(town)


def test_every_route_has_a_row(town: Town) -> None:
    served = {
        (route.declared.method, route.declared.path)
        for route in town.house.app.routes
        if isinstance(route, DeclaredRoute)
    }
    assert {row.route for row in ROWS} == served


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_everybody_is_answered_as_written(town: Town, things: Things, row: Row) -> None:
    assert differences(town, things, row) == {}


def test_it_is_the_same_on_every_database(lane: str) -> None:
    """Where the answer hangs on whose a thing is, the database decides; so each is asked."""
    if lane.startswith("sqlite"):
        return
    town = Town(lane)
    things = Things(town)
    found = {str(row): differences(town, things, row, SAMPLE) for row in ROWS if row.whose != "-"}
    town.close()
    assert {name: found[name] for name in found if found[name]} == {}


@pytest.mark.parametrize("row", FOREIGN, ids=str)
def test_a_foreign_thing_is_told_as_a_missing_one(town: Town, things: Things, row: Row) -> None:
    missing = Row(row.method, row.path, "missing", row.answers)
    for who in [who for who in CALLERS if row.answers[who] == 404]:
        assert told(town, things, row, who) == told(town, things, missing, who), who


@pytest.mark.parametrize("path", PATHS)
def test_no_other_method_is_answered(town: Town, things: Things, path: str) -> None:
    known = {row.method for row in ROWS if row.route[1] == path}
    address = things.fill(path, "own", "root")
    before = changes(town)
    for method in set(METHODS) - known:
        for who in ("nobody", "root"):
            answer = town.ask(who, method, address)
            assert (method, answer.status_code) == (method, 405)
            assert set(answer.headers["allow"].split(", ")) == known
    assert changes(town) == before


def test_what_there_is_not_is_told_to_everybody_alike(town: Town) -> None:
    for path in ("/nowhere", "/api/v1/nowhere", "/api/v1", "/api", "/api/v2/runs", "/docs/x"):
        found = {town.ask(who, "GET", path).status_code for who in (*CALLERS, *LIKE_NOBODY)}
        assert found == {404}


# --- how it is asked ------------------------------------------------------------------------------


def differences(
    town: Town, things: Things, row: Row, callers: Collection[str] = (*CALLERS, *LIKE_NOBODY)
) -> dict[str, str]:
    """The callers that are answered differently from what is written, and how."""
    found = {}
    for who in callers:
        status = row.answers["nobody" if who in LIKE_NOBODY else who]
        answer, changed = ask(town, row, who, things.fill(row.path, row.whose, known(town, who)))
        if answer.status_code != status:
            found[who] = f"{answer.status_code} instead of {status}: {answer.text[:300]}"
        elif status >= 400 and changed:
            found[who] = f"{status}, but something was changed"
    return found


def ask(town: Town, row: Row, who: str, path: str) -> tuple[Response, bool]:
    """The answer, and whether the audit says that anything was changed."""
    body = row.body(town, known(town, who))
    before = changes(town) if row.changes else 0
    answer: Response = town.ask(who, row.method, path, body)
    return answer, row.changes and changes(town) != before


def known(town: Town, who: str) -> str:
    """A caller who is somebody; where the one who asks is nobody, it is root."""
    return who if who in town.whose else "root"


def changes(town: Town) -> int:
    """How many changes the audit knows of."""
    sql = "SELECT COUNT(*) FROM ty_audit WHERE action <> 'user.sign_in_failed'"
    return int(town.house.value(sql))


def told(town: Town, things: Things, row: Row, who: str) -> tuple[int, str, list[str]]:
    """An answer without the name of what was asked for, and without the request's id."""
    path = things.fill(row.path, row.whose, who)
    answer, _ = ask(town, row, who, path)
    places = zip(row.path.split("/"), path.split("/"), strict=True)
    names = {name.partition("?")[0] for place, name in places if place != name}
    names |= {str(answer.json()["params"].get("username"))}
    text = json.dumps({**answer.json(), "request_id": "…"})
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return answer.status_code, text, sorted(set(answer.headers) - {"content-length"})
