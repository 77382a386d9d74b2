"""The lanes themselves: each test gets a database of its own, and none is left behind."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from lanes import DatabaseServer, NoServer
from support import wait_for
from taskyard.settings import normal_url


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_gets_an_empty_database(empty_lane: str, turn: int) -> None:
    engine = sa.create_engine(normal_url(empty_lane))
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == []
        connection.execute(sa.text("CREATE TABLE mine (id INT PRIMARY KEY)"))
    engine.dispose()


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_database_goes_even_while_somebody_is_connected(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server: DatabaseServer | NoServer = request.getfixturevalue(f"{kind}_server")
    if isinstance(server, NoServer):
        pytest.skip(f"lane {kind}: no server ({server})")
    with server.database() as url:
        engine = sa.create_engine(normal_url(url))
        held = engine.connect()
        held.execute(sa.text("SELECT 1"))

    def connection_is_ended() -> bool:
        try:
            held.execute(sa.text("SELECT 1"))
        except sa.exc.DBAPIError:
            return True
        return False

    wait_for(connection_is_ended)
    held.invalidate()
    engine.dispose()
