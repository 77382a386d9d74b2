"""What servers do about access by themselves: hold a disabled tenant's tasks, notice SQL edits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.servers import Fleet
from harness.sql import Database, is_adopted
from harness.waiting import wait_until
from taskyard.access import tenants
from taskyard.access.caller import LOCAL
from taskyard.db.database import Database as Platform

pytestmark = pytest.mark.crash


def put(db: Database, tenant_id: str) -> None:
    db.run(
        "INSERT INTO jobs (task_type, schedule_time, tenant_id)"
        f" VALUES ('work', {db.now}, '{tenant_id}')"
    )


def test_a_running_server_follows_a_tenants_switch_and_audits_sql(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()

    def wait_for(tenant_id: str, **row: int) -> None:
        sql = f"SELECT {', '.join(row)} FROM jobs WHERE tenant_id = '{tenant_id}'"
        what = f"the task of {tenant_id!r} is {row}"
        wait_until(lambda: db.run(sql) == [row], 20, what, detail=fleet.logs)

    taskyard = Platform(fleet.url)
    tenants.create_tenant(taskyard, LOCAL, "acme")
    tenants.update_tenant(taskyard, LOCAL, "acme", status=0)
    fleet.start("server-001", config_sync_interval=0.5)
    wait_until(lambda: is_adopted(db, "jobs"), 40, "the table is adopted", detail=fleet.logs)
    put(db, "acme")
    wait_for("acme", status=0, hold=2)
    put(db, "somebody")
    wait_for("somebody", status=2)
    tenants.update_tenant(taskyard, LOCAL, "acme", status=1)
    taskyard.close()
    wait_for("acme", status=2, hold=0)
    db.run("UPDATE queue_configs SET max_workers = 7 WHERE queue_name = 'jobs'")

    edited = [{"actor": "sql", "action": f"queue.{verb}"} for verb in ("create", "update")]
    sql = "SELECT actor, action FROM ty_audit WHERE object = 'queue/jobs' ORDER BY id"
    wait_until(lambda: db.run(sql) == edited, 20, "the edit is audited", detail=fleet.logs)
