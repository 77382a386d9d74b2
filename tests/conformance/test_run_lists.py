"""Lists of Runs: what is asked for and nothing else, page by page, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.past import START, Past, micros
from taskyard.access.caller import LOCAL
from taskyard.core.errors import QueryInvalid
from taskyard.db import search
from taskyard.db.listing import MAX_OFFSET, Query
from taskyard.runs.browse import list_runs

RUNS: list[dict[str, Any]] = [
    {
        "id": n,
        "second": (n * 31) % 75,
        "task_type": ("qa.ok", "qa.fail", "qa.slow")[0 if n < 60 else 1 if n < 72 else 2],
        "status": ("completed", "failed", "timeout")[0 if n < 60 else 1 if n < 72 else 2],
        "queue": "rare" if n in (5, 70) else "qa",
        "server_id": "abc"[n % 3],
        "tenant_id": ("", "", "acme", "beta")[n % 4],
        "origin": "manual" if n % 10 == 0 else "enqueued",
        "execution_time": n % 9 / 2,
        "error": None if n < 60 else f"Traceback …\nValueError: boom-{n - 60}",
        "payload": f'{{"n": {n}, "to": [{{"name": "N{n % 5}"}}]}}',
    }
    for n in range(75)
]
LIVE: list[dict[str, Any]] = [
    {
        "id": 200 + n,
        "second": 20 * n + 0.5,
        "task_type": "qa.ok",
        "status": "running",
        "queue": "qa",
        "server_id": "a",
        "tenant_id": ("", "acme")[n % 2],
        "origin": "enqueued",
        "error": None,
    }
    for n in range(4)
]


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    yield past
    past.db.close()


@pytest.fixture
def history(past: Past) -> Past:
    """60 runs that went well, 12 that failed, 3 that took too long, and 4 that are running."""
    for run in RUNS:
        past.run(run["id"], **{name: run[name] for name in run if name != "id"})
    for run in LIVE:
        columns = {name: run[name] for name in ("task_type", "server_id", "tenant_id", "queue")}
        past.live(run["id"], second=run["second"], **columns)
    return past


def look_so_far(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Let a page look at so many rows, and no further."""
    for name in ("DENSE_PART", "SPARSE_PART", "LOOSE_DEPTH", "LOOSE_SPARSE"):
        patch.setattr(search, name, rows)
    for name in ("SECONDS", "COUNT_SECONDS"):
        patch.setattr(search, name, 0.0)


def walk(past: Past, filters: dict[str, Any], sort: str = "", limit: int = 50) -> list[int]:
    """The ids of all pages, followed by their cursors."""
    found: list[int] = []
    cursor: str | None = None
    for _ in range(300):
        page = list_runs(past.db, LOCAL, Query(filters, sort, limit, cursor))
        found += [row["id"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


def expected(filters: dict[str, Any], sort: str) -> list[int]:
    """The reference: the same list made in Python."""
    rows = [run for run in RUNS + LIVE if all(_passes(run, *item) for item in filters.items())]
    rows.sort(key=lambda run: (run["second"], run["id"]), reverse=sort != "started_at")
    return [run["id"] for run in rows]


def _passes(run: dict[str, Any], name: str, value: Any) -> bool:
    match name:
        case "from":
            return bool(START + timedelta(seconds=run["second"]) >= value)
        case "to":
            return bool(START + timedelta(seconds=run["second"]) < value)
        case "min_duration":
            return bool(run.get("execution_time", 1e9) >= value)
        case "max_duration":
            return bool(run.get("execution_time", 1e9) < value)
        case "q":
            return value.lower() in (run["error"] or "").lower()
        case "params.n":
            return f'"n": {value},' in run.get("payload", "")
        case "params.to.0.name":
            return f'"{value}"' in run.get("payload", "")
        case _:
            return run[name] in value.split(",")


MOMENTS = st.integers(0, 80).map(lambda n: START + timedelta(seconds=n))

CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from(
        ["completed", "failed", "failed,timeout", "running", "running,failed", "lost"]
    ),
    "task_type": st.sampled_from(["qa.ok", "qa.fail", "qa.fail,qa.slow", "none"]),
    "queue": st.sampled_from(["qa", "rare", "rare,none"]),
    "server_id": st.sampled_from(["a", "b,c", "none"]),
    "tenant_id": st.sampled_from(["acme", "acme,beta", ""]),
    "origin": st.sampled_from(["manual", "enqueued"]),
    "from": MOMENTS,
    "to": MOMENTS,
    "min_duration": st.sampled_from([0.5, 2, 100]),
    "max_duration": st.sampled_from([0.5, 3]),
    "q": st.sampled_from(["BOOM-1", "valueerror", "%"]),
    "params.n": st.sampled_from(["7", "65"]),
    "params.to.0.name": st.sampled_from(["N3", "none"]),
}

# Three at most: of more there would be hardly a list with a Run in it.
FILTERS = st.lists(st.sampled_from(sorted(CHOICES)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: CHOICES[name] for name in names})
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filters=FILTERS,
    sort=st.sampled_from(["", "started_at"]),
    limit=st.integers(1, 60),
    depth=st.sampled_from([3, 10, 50_000]),
)
def test_every_combination_of_filters_gives_exactly_its_runs(
    history: Past, filters: dict[str, Any], sort: str, limit: int, depth: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "CANDIDATES", 2)
        look_so_far(patch, depth)
        assert walk(history, filters, sort, limit) == expected(filters, sort)


def test_a_total_says_how_many_were_found_where_it_looked(
    history: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    def total(**filters: Any) -> tuple[int | None, bool]:
        page = list_runs(history.db, LOCAL, Query(filters, limit=2, count=True))
        return page.total, page.total_is_capped

    assert total() == (79, False)
    assert total(status="failed") == (12, False)
    assert total(server_id="b") == (25, False)
    assert total(server_id="none") == (0, False)
    look_so_far(monkeypatch, 9)
    assert total(status="failed") == (12, False)
    assert total(server_id="b") == (3, True)


def test_pages_give_each_earlier_run_once_while_new_ones_come_and_others_end(past: Past) -> None:
    fresh = count(1000)
    live = {n: past.live(n, second=n) for n in range(0, 40, 5)}
    finished = {n: past.run(n, second=n) for n in range(40) if n not in live}
    found: list[int] = []
    cursor: str | None = None
    for number in range(100):
        page = list_runs(past.db, LOCAL, Query(limit=3, cursor=cursor))
        found += [row["id"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
        new = next(fresh)
        past.run(new, second=50 + number)
        past.live(new + 1000, second=50 + number)
        if live:  # one that ran when the walk began has ended meanwhile
            run_id, task = live.popitem()
            past.db.run(
                lambda tx, task=task: tx.execute(  # type: ignore[misc]
                    "UPDATE default_tasks SET owner = NULL, status = 2 WHERE id = :id", id=task
                )
            )
            finished[run_id] = past.run(run_id, second=run_id)
    assert found == list(range(39, -1, -1))


def test_a_loose_sort_puts_the_newest_runs_in_order(
    history: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_duration(runs: list[dict[str, Any]]) -> list[int]:
        runs = sorted(runs, key=lambda run: (run["execution_time"], run["id"]), reverse=True)
        return [run["id"] for run in runs]

    ended = {"status": "completed,failed,timeout"}
    assert walk(history, ended, "-execution_time", 20) == by_duration(RUNS)
    look_so_far(monkeypatch, 30)
    newest = [run for run in RUNS if run["second"] >= 45]
    assert walk(history, ended, "-execution_time", 7) == by_duration(newest)
    page = list_runs(history.db, LOCAL, Query(ended, "-execution_time", 7))
    assert page.searched_to == micros(START + timedelta(seconds=45))
    history.run(500, second=100, execution_time=2.25)  # comes in between; the walk goes on
    rest = list_runs(history.db, LOCAL, Query(ended, "-execution_time", 99, page.next_cursor))
    seen = [row["id"] for row in page.rows + rest.rows if row["id"] != 500]
    assert seen == by_duration(newest)


@pytest.mark.parametrize(
    "sort",
    ["completed_at", "-completed_at", "-wait_time", "-memory_usage", "task_type", "-status"],
)
def test_runs_may_be_sorted_by_whatever_they_have(history: Past, sort: str) -> None:
    everything = sorted(run["id"] for run in RUNS + LIVE)
    assert sorted(walk(history, {}, sort, 11)) == everything
    page = list_runs(history.db, LOCAL, Query({}, sort, 500))
    assert not any(name.startswith("by_") for name in page.rows[0])
    if sort.endswith("completed_at"):
        ends = [row["completed_at"] for row in page.rows]
        first, last = (ends[:4], ends[4:]) if sort[0] == "-" else (ends[-4:], ends[:-4])
        assert first == [None] * 4  # those that run end last
        assert last == sorted(last, reverse=sort[0] == "-")


def test_an_offset_skips_rows_and_has_a_bound(history: Past) -> None:
    page = list_runs(history.db, LOCAL, Query(limit=5, offset=70, count=True))
    assert [row["id"] for row in page.rows] == expected({}, "")[70:75]
    assert page.total == 79
    assert list_runs(history.db, LOCAL, Query(offset=79, count=True)).rows == []
    with pytest.raises(QueryInvalid) as refused:
        list_runs(history.db, LOCAL, Query(offset=MAX_OFFSET + 1))
    assert "follow next_cursor" in refused.value.fix


def test_an_offset_is_reached_part_by_part_or_refused(
    history: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_so_far(monkeypatch, 9)
    query = Query({"server_id": "b"}, offset=12, limit=5)
    with pytest.raises(QueryInvalid):
        list_runs(history.db, LOCAL, query)
    monkeypatch.setattr(search, "SECONDS", 60.0)
    rows = list_runs(history.db, LOCAL, query).rows
    assert [row["id"] for row in rows] == expected({"server_id": "b"}, "")[12:17]
    assert list_runs(history.db, LOCAL, Query({"server_id": "b"}, offset=25)).rows == []


def test_a_value_in_the_payload_is_found_by_its_path(past: Past) -> None:
    payloads = [
        '{"user": {"id": 42, "name": "Ada \\"A\\" Müller"}, "tags": ["a", {"b": null}]}',
        '{"user": {"id": "42"}, "ok": true, "price": 1.5}',
        '{"user": {"id": 421}}',
        "not json 42 true",
        "[42]",
        None,
    ]
    for n, payload in enumerate(payloads):
        past.run(n, second=n, payload=payload)
    past.live(9, second=9, task_params='{"user": {"id": 42}}')

    def found(**params: Any) -> list[int]:
        return walk(past, {f"params.{path.replace('_', '.')}": v for path, v in params.items()})

    assert found(user_id="42") == found(user_id=42) == [9, 1, 0]
    assert found(user_name='Ada "A" Müller') == [0]
    assert found(tags_0="a") == found(tags_1_b="null") == [0]
    assert found(ok="true", price="1.5") == [1]
    assert found(ok="false") == found(user_id="4") == found(user="42") == []
    assert "payload" not in list_runs(past.db, LOCAL, Query({"params.ok": "true"})).rows[0]


@pytest.mark.parametrize(
    "name", ["params.api_key", "params.user.password", "params.", "params.a..b"]
)
def test_a_path_that_is_none_or_leads_to_a_secret_is_refused(past: Past, name: str) -> None:
    with pytest.raises(QueryInvalid):
        list_runs(past.db, LOCAL, Query({name: "x"}))
