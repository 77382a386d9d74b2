"""Items that take too long on real servers: they fail alone, and what hangs is got rid of."""

from __future__ import annotations

import pytest

from crash.batch_facts import create, wait_over
from harness.lanes import one_lane
from harness.servers import Fleet
from harness.sql import Database

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]


@one_lane
@pytest.mark.parametrize("handler", ["linger", "linger_async"])
def test_an_item_past_its_time_limit_fails_alone(
    quick_fleet: Fleet, db: Database, handler: str
) -> None:
    quick_fleet.start("server-001")
    batch = create(quick_fleet, 8, handler=handler)

    assert wait_over(quick_fleet, db, batch, 60) == {
        "total": 8,
        "processed": 8,
        "success": 6,
        "failed": 2,
        "skipped": 0,
    }
    late = db.run(
        "SELECT item_id, error, attempts, crashes FROM ty_batch_items"
        f" WHERE batch_id = {batch} AND status = 'failed' ORDER BY id"
    )
    assert [row["item_id"] for row in late] == ["0", "4"]
    for row in late:
        assert row["error"].splitlines()[-1].startswith("Timed out after 1s."), row
        assert (row["attempts"], row["crashes"]) == (1, 0)
