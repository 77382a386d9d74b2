"""Lists: the same question gets the same answer on every database, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskyard.core.errors import QueryInvalid
from taskyard.db import listing
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Filter, Listing, Operator, Query, Source

NOTES = Listing(
    columns=("id", "kind", "rank_", "size"),
    large=("body",),
    filters={
        "kind": Filter("kind", read=listing.one_of("a", "b", "c")),
        "id": Filter("id", read=listing.integer),
        "from": Filter("rank_", Operator.FROM, listing.integer),
        "to": Filter("rank_", Operator.TO, listing.integer),
        "q": Filter("body", Operator.CONTAINS),
    },
    sorts={"rank": "rank_", "size": "size"},
    sort="-rank",
)

ROWS: list[dict[str, Any]] = [
    {
        "id": n,
        "kind": "abc"[n % 3],
        "rank_": n // 4,
        "size": (n * 37) % 50 / 4,
        "body": ["Plain", "100% SURE", "under_score", "bang!", "äöü"][n % 5],
    }
    for n in range(60)
]


@pytest.fixture
def notes(lane: str) -> Iterator[Database]:
    """A database with two tables of notes, which hold ROWS between them."""
    db = Database(lane)
    db.run(_fill)
    yield db
    db.close()


def _fill(tx: Tx) -> None:
    # As our own tables have it: text is compared byte by byte on every database.
    exact = " DEFAULT CHARSET=utf8mb4 COLLATE utf8mb4_bin" if tx.dialect.name == "mysql" else ""
    for number, table in enumerate(("other", "notes")):
        tx.execute(
            f"CREATE TABLE {table} (id bigint, kind varchar(9), rank_ bigint,"
            f" size double precision, body text){exact}"
        )
        tx.many(
            f"INSERT INTO {table} VALUES (:id, :kind, :rank_, :size, :body)",
            [row for row in ROWS if row["id"] % 2 == number],
        )


FOREIGN_CURSOR = "The cursor is not one of this list in this order."
BOTH = [Source("notes"), Source("other")]


def ask(db: Database, query: Query, sources: list[Source] | None = None) -> listing.Page:
    return db.read(lambda tx: listing.page(tx, NOTES, sources or BOTH, query))


def expected(filters: dict[str, Any], sort: str = "-rank") -> list[int]:
    """The reference: the same list made in Python."""
    column = {"rank": "rank_", "size": "size"}[sort.removeprefix("-")]
    rows = [
        row
        for row in ROWS
        if row["kind"] in filters.get("kind", "a,b,c").split(",")
        and row["rank_"] >= filters.get("from", 0)
        and row["rank_"] < filters.get("to", 99)
        and filters.get("q", "").lower() in str(row["body"]).lower()
    ]
    rows.sort(key=lambda row: (row[column], row["id"]), reverse=sort.startswith("-"))
    return [int(row["id"]) for row in rows]


def pages(db: Database, query: Query, sources: list[Source] | None = None) -> list[int]:
    """The ids of all pages, followed by their cursors."""
    found: list[int] = []
    cursor: str | None = None
    for _ in range(100):
        asked = Query(query.filters, query.sort, query.limit, cursor)
        got = ask(db, asked, sources)
        found += [row["id"] for row in got.rows]
        cursor = got.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


filters = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["a", "b,c", "a,b,c"]),
        "from": st.integers(0, 16),
        "to": st.integers(0, 16),
        "q": st.sampled_from(["%", "_", "!", "a", "SURE", "ÄÖ", "under", "no such"]),
    },
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filters=filters,
    sort=st.sampled_from(["", "rank", "-rank", "size", "-size"]),
    limit=st.integers(1, 70),
)
def test_pages_are_what_the_same_question_gives_in_python(
    notes: Database, filters: dict[str, Any], sort: str, limit: int
) -> None:
    if notes.dialect.name == "sqlite" and filters.get("q") == "ÄÖ":
        filters["q"] = "äö"  # its LOWER() knows ASCII only
    assert pages(notes, Query(filters, sort, limit)) == expected(filters, sort or "-rank")


def test_a_cursor_stays_at_its_place_when_rows_come_in_before_it(notes: Database) -> None:
    first = ask(notes, Query(limit=10))
    notes.run(lambda tx: tx.execute("INSERT INTO notes VALUES (999, 'a', 15, 0, 'new')"))
    second = ask(notes, Query(limit=10, cursor=first.next_cursor))
    assert [row["id"] for row in first.rows + second.rows] == expected({})[:20]


def test_an_offset_skips_over_all_sources_together(notes: Database) -> None:
    assert [row["id"] for row in ask(notes, Query(limit=7, offset=13)).rows] == expected({})[13:20]


def test_large_columns_come_only_when_asked_for(notes: Database) -> None:
    plain = ask(notes, Query(limit=1)).rows[0]
    asked = ask(notes, Query(limit=1, large=("body", "kind; DROP TABLE notes"))).rows[0]
    assert set(plain) == {"id", "kind", "rank_", "size"}
    assert set(asked) == {"id", "kind", "rank_", "size", "body"}


def test_the_total_is_exact_up_to_the_cap_and_then_capped(
    notes: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(notes, Query()).total is None
    exact = ask(notes, Query({"kind": "a"}, limit=1, offset=5, count=True))
    assert (exact.total, exact.total_is_capped) == (20, False)
    monkeypatch.setattr(listing, "COUNT_CAP", 20)
    exact = ask(notes, Query({"kind": "a"}, count=True))
    assert (exact.total, exact.total_is_capped) == (20, False)
    capped = ask(notes, Query(count=True))
    assert (capped.total, capped.total_is_capped) == (20, True)


def test_a_source_may_call_its_columns_otherwise(notes: Database) -> None:
    source = Source(
        "notes",
        columns={"kind": "'c'", "rank_": "size", "size": ":size"},
        where="rank_ = :here",
        parameters={"size": 2.5, "here": 3},
    )
    rows = ask(notes, Query({"kind": "c"}, sort="rank"), [source]).rows
    assert [row["id"] for row in rows] == sorted([13, 15], key=lambda n: ROWS[n]["size"])
    assert {row["size"] for row in rows} == {2.5}


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (Query({"kinds": "a"}), 'There is no filter "kinds". Did you mean "kind"?'),
        (Query({"kind": "d"}), 'kind: "d" is none of a, b, c.'),
        (Query({"id": "x"}), 'id: "x" is not a whole number.'),
        (Query({"id": 2**63}), "id: the number is too large."),
        (Query({"id": list(range(201))}), "id has 201 values."),
        (Query(sort="-ranks"), 'There is no sort "ranks". Did you mean "rank"?'),
        (Query(sort="id; DROP TABLE x"), 'There is no sort "id; DROP TABLE x".'),
        (Query(limit=0), "A page cannot have 0 rows."),
        (Query(limit=501), "A page cannot have 501 rows."),
        (Query(offset=-1), "A page cannot start at -1."),
        (Query(cursor="%%%"), FOREIGN_CURSOR),
        (Query(cursor="W10"), FOREIGN_CURSOR),
        (Query(cursor="WyItcmFuayIsbnVsbCwxXQ"), FOREIGN_CURSOR),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(query: Query, sentence: str) -> None:
    class Untouched:
        """No statement may reach a database."""

    with pytest.raises(QueryInvalid) as refused:
        listing.page(Untouched(), NOTES, BOTH, query)  # type: ignore[arg-type]
    assert refused.value.text == sentence
    assert refused.value.fix


def test_a_cursor_of_another_order_is_refused(notes: Database) -> None:
    cursor = ask(notes, Query(limit=5)).next_cursor
    with pytest.raises(QueryInvalid):
        ask(notes, Query(sort="rank", cursor=cursor))


def test_an_empty_value_finds_what_is_empty(lane: str) -> None:
    db = Database(lane)
    db.run(lambda tx: tx.execute("CREATE TABLE words (id bigint, word varchar(9))"))
    db.run(lambda tx: tx.execute("INSERT INTO words VALUES (1, ''), (2, 'x')"))
    words = Listing(("id",), {"word": Filter("word")}, {"id": "id"}, "id")

    def found(word: str) -> list[int]:
        def work(tx: Tx) -> list[int]:
            return [
                r["id"]
                for r in listing.page(tx, words, [Source("words")], Query({"word": word})).rows
            ]

        return db.read(work)

    assert (found(""), found("x,"), found("x, y")) == ([1], [2], [2])
    db.close()
