"""Enqueue with a connection: the Task is part of the caller's transaction, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from conformance.spine import TABLE, Spine
from harness import sql
from taskyard.access.caller import LOCAL
from taskyard.core.errors import BadSetting, DuplicateTask
from taskyard.settings import normal_url
from taskyard.tasks.enqueue import NewTask, enqueue, enqueue_many

Opened = tuple[Any, Callable[[], None], Callable[[], None], Callable[[str], Any]]
"""A connection, its commit, its rollback, and a way to run SQL on it."""


@contextmanager
def driver(url: str) -> Iterator[Opened]:
    connection = sql.connect(url, autocommit=False)

    def execute(text: str) -> Any:
        cursor = connection.cursor()
        cursor.execute(text)
        return cursor.fetchall() if cursor.description else None

    try:
        yield connection, connection.commit, connection.rollback, execute
    finally:
        connection.close()


@contextmanager
def connection(url: str) -> Iterator[Opened]:
    engine = sa.create_engine(normal_url(url))
    with engine.connect() as opened:
        yield opened, opened.commit, opened.rollback, lambda text: _rows(opened, text)
    engine.dispose()


@contextmanager
def session(url: str) -> Iterator[Opened]:
    engine = sa.create_engine(normal_url(url))
    with Session(engine) as opened:
        yield opened, opened.commit, opened.rollback, lambda text: _rows(opened, text)
    engine.dispose()


def _rows(opened: Any, text: str) -> Any:
    result = opened.execute(sa.text(text))
    return [tuple(row) for row in result] if result.returns_rows else None


@pytest.fixture(params=[driver, connection, session], ids=lambda opener: opener.__name__)
def opened(request: pytest.FixtureRequest, spine: Spine) -> Iterator[Opened]:
    spine.execute("CREATE TABLE orders (id INT PRIMARY KEY)")
    with request.param(spine.url) as given:
        yield given


def test_a_task_appears_with_the_callers_commit(spine: Spine, opened: Opened) -> None:
    theirs, commit, _, execute = opened
    execute("INSERT INTO orders (id) VALUES (1)")
    ref = enqueue(spine.db, LOCAL, NewTask("work", delay=0.0), connection=theirs)
    assert spine.column("id") == []
    commit()
    assert spine.column("id") == [ref.id]
    assert spine.rows("SELECT id FROM orders") == [{"id": 1}]
    spine.take(ref.id)


def test_a_task_disappears_with_the_callers_rollback(spine: Spine, opened: Opened) -> None:
    theirs, _, rollback, execute = opened
    execute("INSERT INTO orders (id) VALUES (1)")
    enqueue(spine.db, LOCAL, NewTask("work"), connection=theirs)
    enqueue_many(
        spine.db, LOCAL, [NewTask("work"), NewTask("work", unique_key="k")], connection=theirs
    )
    rollback()
    assert spine.column("id") == []
    assert spine.rows("SELECT id FROM orders") == []


def test_a_duplicate_does_not_break_the_callers_transaction(spine: Spine, opened: Opened) -> None:
    theirs, commit, _, execute = opened
    first = spine.ref(unique_key="daily")
    execute("INSERT INTO orders (id) VALUES (1)")
    with pytest.raises(DuplicateTask) as caught:
        enqueue(spine.db, LOCAL, NewTask("work", unique_key="daily"), connection=theirs)
    assert caught.value.existing == str(first)
    execute("INSERT INTO orders (id) VALUES (2)")
    refs = enqueue_many(
        spine.db, LOCAL, [NewTask("work", unique_key="daily"), NewTask("work")], connection=theirs
    )
    assert [ref is not None for ref in refs] == [False, True]
    commit()
    assert len(spine.column("id")) == 2
    assert spine.rows("SELECT id FROM orders ORDER BY id") == [{"id": 1}, {"id": 2}]


def test_a_sqlalchemy_session_goes_on_after_an_enqueue(spine: Spine) -> None:
    with session(spine.url) as (theirs, commit, _, execute):
        enqueue(spine.db, LOCAL, NewTask("work"), connection=theirs)
        assert theirs.in_transaction()
        assert execute(f"SELECT COUNT(*) FROM {TABLE}") == [(1,)]
        commit()
    assert len(spine.column("id")) == 1


def test_rows_may_come_as_dictionaries_on_the_callers_connection(spine: Spine) -> None:
    with driver(spine.url) as (theirs, commit, _, _):
        family = spine.db.dialect.name
        if family == "postgresql":
            from psycopg.rows import dict_row

            theirs.row_factory = dict_row
        elif family == "sqlite":
            import sqlite3

            theirs.row_factory = sqlite3.Row
        else:
            from pymysql.cursors import DictCursor

            theirs.cursorclass = DictCursor
        ref = enqueue(spine.db, LOCAL, NewTask("work", unique_key="k"), connection=theirs)
        with pytest.raises(DuplicateTask) as caught:
            enqueue(spine.db, LOCAL, NewTask("work", unique_key="k"), connection=theirs)
        assert caught.value.existing == str(ref)
        commit()
    assert spine.column("id") == [ref.id]


def test_a_connection_to_another_kind_of_database_is_refused(spine: Spine) -> None:
    other = "sqlite://" if spine.db.dialect.name != "sqlite" else "postgresql+psycopg://"
    engine = sa.create_engine(other)
    if spine.db.dialect.name == "sqlite":
        stranger: Any = sa.create_mock_engine(other, lambda *_: None)
    else:
        stranger = engine.connect()
    with pytest.raises(BadSetting, match="connection"):
        enqueue(spine.db, LOCAL, NewTask("work"), connection=stranger)
    engine.dispose()


def test_what_is_no_connection_is_refused(spine: Spine) -> None:
    for nonsense in (object(), "sqlite://", 7):
        with pytest.raises(BadSetting, match="connection"):
            enqueue(spine.db, LOCAL, NewTask("work"), connection=nonsense)
