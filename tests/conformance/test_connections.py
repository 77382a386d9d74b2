"""Connections: what the address of a database says is kept, beside what we need ourselves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from taskyard.db.database import Database, Tx


@contextmanager
def both_kinds(url: str) -> Iterator[list[Tx]]:
    """A pooled connection, and one outside the pool as beats have."""
    db = Database(url)
    own = db.connect()
    try:
        with db.autocommit() as pooled, db.on(own, deadline=10.0) as alone:
            yield [pooled, alone]
    finally:
        own.close()
        db.close()


@pytest.mark.parametrize("lane", ["postgres"], indirect=True)
def test_options_in_the_address_are_kept(lane: str) -> None:
    """`search_path` says in which schema an application lives."""
    options = "options=-csearch_path%3Dapp%20-cstatement_timeout%3D7s&application_name=mine"
    with both_kinds(f"{lane}?{options}") as connections:
        for tx in connections:
            assert tx.value("SHOW search_path") == "app"
            assert tx.value("SHOW application_name") == "mine"
            assert tx.value("SHOW statement_timeout") == "7s"
            assert tx.value("SHOW jit") == "off"
    with both_kinds(lane) as connections:
        for tx in connections:
            assert tx.value("SHOW statement_timeout") == "30s"
            assert tx.value("SHOW application_name") == "taskyard"


@pytest.mark.parametrize("lane", ["mariadb"], indirect=True)
def test_the_zone_of_a_mysql_session_is_left_alone(lane: str) -> None:
    with both_kinds(lane) as connections:
        for tx in connections:
            assert tx.value("SELECT @@session.time_zone = @@global.time_zone") == 1
            assert tx.value("SELECT @@session.tx_isolation") == "READ-COMMITTED"


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
def test_a_process_that_is_paused_in_a_transaction_loses_its_locks(lane: str) -> None:
    of_postgres = ("SHOW idle_in_transaction_session_timeout", "1min")
    of_mariadb = ("SELECT @@session.idle_transaction_timeout", 60)
    sql, limit = of_postgres if lane.startswith("postgres") else of_mariadb
    with both_kinds(lane) as connections:
        for tx in connections:
            assert tx.value(sql) == limit


@pytest.mark.parametrize("lane", ["mariadb"], indirect=True)
def test_a_transaction_that_was_ended_for_its_silence_is_done_again(lane: str) -> None:
    db, tries = Database(lane), []

    def work(tx: Tx) -> int:
        tries.append(tx)
        if len(tries) == 1:
            tx.execute("SET SESSION idle_transaction_timeout = 1")
            tx.execute("CREATE TEMPORARY TABLE opened (id int)")
            tx.execute("INSERT INTO opened VALUES (1)")
            time.sleep(1.5)  # the database counts whole seconds, and nothing tells when it is over
        return int(tx.value("SELECT 7"))

    try:
        assert db.run(work) == 7
    finally:
        db.close()
    assert len(tries) == 2


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_sqlite_connection_is_set_up_for_many_processes(lane: str) -> None:
    with both_kinds(lane) as connections:
        for tx in connections:
            assert tx.value("PRAGMA journal_mode") == "wal"
            assert tx.value("PRAGMA mmap_size") in (0, None)
            assert tx.value("PRAGMA foreign_keys") == 1
