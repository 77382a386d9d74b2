"""Schedules: what people do to them, what SQL does to them, and what an application's code does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from conformance.planned import NOON, Planned, at, seconds
from conformance.spine import Spine
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Role
from taskyard.core.errors import (
    CronInvalid,
    NotAllowed,
    NotNow,
    ParamsInvalid,
    QueryInvalid,
    QueueUnknown,
    ScheduleInvalid,
    ScheduleTwice,
    ScheduleUnknown,
    TaskyardError,
)
from taskyard.core.lifecycle import Kind
from taskyard.db.listing import Query
from taskyard.handlers import Handler, HandlerSpec
from taskyard.schedules import browse, calendar, declared, edits, manage
from taskyard.schedules.declared import Declared

SPEC = HandlerSpec(
    "work",
    queue="reports",
    max_retries=7,
    timeout=33.0,
    parameters={"type": "object", "properties": {"n": {"type": "integer"}}},
)


@pytest.fixture
def planned(spine: Spine) -> Planned:
    return Planned(spine)


def caller(role: Role, *tenants: str) -> Caller:
    return Caller(f"{role.value}-of-{tenants}", role.value, ROLES[role], frozenset(tenants))


def audited(planned: Planned) -> list[tuple[str, str, str]]:
    sql = "SELECT actor, action, object FROM ty_audit WHERE action LIKE 'schedule.%' ORDER BY id"
    return [tuple(row.values()) for row in planned.spine.rows(sql)]


def show(planned: Planned, schedule: int | str) -> dict[str, Any]:
    return browse.show_schedule(planned.db, LOCAL, schedule)


# --- create ---------------------------------------------------------------------------------------

REQUIREMENT_4 = [
    ("数据备份", "0 2 * * *", "DataBackupHandler", "Every day at 02:00", "每天 02:00"),
    ("周报生成", "0 9 * * 1", "WeeklyReportHandler", "Every Monday at 09:00", "每周一 09:00"),
    ("系统健康检查", "0 * * * *", "HealthCheckHandler", "Every hour on the hour", "每小时整点"),
]


def test_the_examples_of_requirement_4(planned: Planned) -> None:
    for name, rule, handler, english, chinese in REQUIREMENT_4:
        made = manage.create_schedule(
            planned.db,
            LOCAL,
            {
                "name": name,
                "cron_expression": rule,
                "task_type": handler,
                "retry_count": 3,
                "retry_interval": 300,
                "monitor_timeout": 1800,
            },
            time_zone="Asia/Shanghai",
        )
        assert (made["words"], made["words_zh"]) == (english, chinese)
        assert (made["retry_count"], made["retry_interval"]) == (3, 300.0)
        assert (made["monitor_timeout"], made["time_zone"]) == (1800.0, "Asia/Shanghai")
        assert (made["state"], made["source"], made["handler_known"]) == ("started", "api", False)
        [first] = browse.next_fires(planned.db, LOCAL, name, 1)
        assert first["fire_time"] == made["next_fire_at"] > datetime.now(UTC)
        assert first["fire_time"].utcoffset() == timedelta(hours=8)
    listed = browse.list_schedules(planned.db, LOCAL, Query(count=True))
    assert {row["name"] for row in listed.rows} == {name for name, *_ in REQUIREMENT_4}
    assert listed.total == 3


def test_all_fields_come_back_as_they_were_given(planned: Planned) -> None:
    planned.spine.queue("reports", "reports_tasks")
    start = datetime(2030, 1, 1, 8, 30, 15, 250_000, tzinfo=UTC)
    given = {
        "name": "everything",
        "task_type": "work",
        "task_params": {"n": 1, "password": "secret"},
        "queue": "reports",
        "cron_expression": "0 0 12 ? * FRI#2 2031",
        "dialect": "quartz",
        "time_zone": "America/New_York",
        "retry_count": 0,
        "retry_interval": 1.5,
        "monitor_timeout": 10.0,
        "timeout": 20.0,
        "misfire": "all",
        "misfire_window": 60.0,
        "overlap": "queue",
        "jitter": 2.0,
        "start_at": start,
        "end_at": start + timedelta(days=900),
        "tenant_id": "acme",
        "status": 0,
    }
    made = manage.create_schedule(planned.db, LOCAL, given)
    assert {name: made[name] for name in given} == given | {
        "task_params": {"n": 1, "password": "***"}
    }
    assert (made["state"], made["next_fire_at"]) == ("stopped", None)
    started = manage.start_schedule(planned.db, LOCAL, made["id"])
    assert started["next_fire_at"] == datetime(2031, 1, 10, 17, tzinfo=UTC)


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name", "it cannot be ''"),
    ({"name": "a/b"}, "name", "it cannot be 'a/b'"),
    ({"name": "42"}, "name", "it cannot be '42'"),
    ({"name": "n" * 101}, "name", "it cannot be"),
    ({"name": None}, "name", "it is missing"),
    ({"task_type": None}, "task_type", "it is missing"),
    ({"task_type": "x" * 256}, "task_type", "it cannot be"),
    ({"cron_expression": "61 * * * *"}, "minute", "61 is outside 0–59"),
    ({"cron_expression": None}, "cron_expression", "there is neither it nor an interval"),
    ({"interval": 5}, "cron_expression", "an interval is there too"),
    ({"interval": 0, "cron_expression": None}, "interval", "it cannot be 0"),
    ({"interval": "soon", "cron_expression": None}, "interval", '"soon" is not a duration'),
    ({"cron_expression": "0 0 0 1 1 ? 2001", "dialect": "quartz"}, "cron_expression", "never fire"),
    ({"dialect": "posix"}, "dialect", "it cannot be 'posix'"),
    ({"time_zone": "Mars/Base"}, "time_zone", "is not an IANA time zone"),
    ({"retry_count": -1}, "retry_count", "it cannot be -1"),
    ({"retry_count": 1.5}, "retry_count", "it cannot be 1.5"),
    ({"retry_count": True}, "retry_count", "it cannot be True"),
    ({"retry_interval": -1}, "retry_interval", "is not a duration"),
    ({"monitor_timeout": 0}, "monitor_timeout", "it cannot be 0"),
    ({"timeout": "40d"}, "timeout", "it cannot be '40d'"),
    ({"misfire": "later"}, "misfire", "it cannot be 'later'"),
    ({"misfire_window": "400d"}, "misfire_window", "it cannot be '400d'"),
    ({"overlap": "wait"}, "overlap", "it cannot be 'wait'"),
    ({"jitter": "2d"}, "jitter", "it cannot be '2d'"),
    ({"start_at": "soon"}, "start_at", "it cannot be 'soon'"),
    ({"start_at": "2031-01-02", "end_at": "2031-01-01"}, "end_at", "it is not later than start_at"),
    ({"end_at": "2001-01-01"}, "end_at", "it would never fire from now on"),
    ({"status": 2}, "status", "it cannot be 2"),
    ({"task_params": [1]}, "task_params", "it cannot be [1]"),
    ({"crn_expression": "0 2 * * *"}, "crn_expression", 'Did you mean "cron_expression"'),
]


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_what_cannot_be_names_its_field(planned: Planned) -> None:
    for fields, field, why in BAD:
        given = {"name": "x", "task_type": "work", "cron_expression": "0 2 * * *", **fields}
        with pytest.raises(ScheduleInvalid) as caught:
            manage.create_schedule(planned.db, LOCAL, given)
        assert caught.value.field == field, fields
        assert why in caught.value.why, fields
        assert caught.value.fix
    assert browse.list_schedules(planned.db, LOCAL, Query()).rows == []


def test_a_name_is_a_tenants_own(planned: Planned) -> None:
    first, other = planned.add("nightly"), planned.add("nightly", tenant_id="acme")
    with pytest.raises(ScheduleTwice):
        planned.add("nightly", tenant_id="acme")
    planned.add("weekly", tenant_id="acme")
    with pytest.raises(ScheduleTwice):
        manage.update_schedule(planned.db, LOCAL, other, {"name": "weekly"})
    with pytest.raises(ScheduleInvalid, match=f"{first}, {other}"):
        show(planned, "nightly")
    seen = caller(Role.VIEWER, "acme")
    assert browse.show_schedule(planned.db, seen, "nightly")["id"] == other
    assert planned.add("NIGHTLY") not in (first, other)


def test_parameters_are_checked_against_the_handler(planned: Planned) -> None:
    planned.spine.session("it", specs=[SPEC.to_dict()])
    with pytest.raises(ParamsInvalid, match='"n" must be an integer'):
        planned.add(task_params={"n": "two"})
    tick = planned.add(task_params={"n": 2})
    with pytest.raises(ParamsInvalid):
        manage.update_schedule(planned.db, LOCAL, tick, {"task_params": {"n": []}})
    with pytest.raises(ParamsInvalid):
        manage.trigger_schedule(planned.db, LOCAL, tick, {"n": []})
    with pytest.raises(QueueUnknown):
        planned.add("other", queue="nowhere")
    assert show(planned, tick)["handler_known"]


def test_what_is_left_open_is_the_handlers(planned: Planned) -> None:
    planned.spine.queue("reports", "reports_tasks")
    planned.spine.session("it", specs=[SPEC.to_dict()])
    tick = planned.add()
    planned.set_clock(tick)
    planned.fire(at(0))
    [task] = planned.tasks("reports_tasks")
    assert (task["max_retries"], task["timeout"]) == (7, 33.0)


def test_a_handlers_own_key_keeps_its_tasks_apart(planned: Planned) -> None:
    keyed = replace(SPEC, queue="default", excl_key="sync-{n}")
    planned.spine.session("it", specs=[keyed.to_dict()])
    tick = planned.add(task_params={"n": 5}, overlap="queue")
    broken = planned.add("broken", overlap="queue")
    for schedule in (tick, broken):
        planned.set_clock(schedule)
    planned.fire(at(0))
    assert [task["excl_key"] for task in planned.tasks()] == ["sync-5"]
    assert "exclusivity key" in planned.row(broken)["problem"]


# --- change ---------------------------------------------------------------------------------------


def test_parameters_change_while_it_goes_on(planned: Planned) -> None:
    tick = planned.add(task_params={"n": 1}, misfire="all")
    planned.set_clock(tick)
    planned.fire(at(0))
    manage.update_schedule(planned.db, LOCAL, tick, {"task_params": {"n": 2}, "retry_count": 9})
    assert planned.row(tick)["next_fire_at"] == at(1), "what is due stays due"
    planned.fire(at(1))
    assert [task["task_params"] for task in planned.tasks()] == ['{"n":1}', '{"n":2}']
    assert [task["max_retries"] for task in planned.tasks()] == [3, 9]
    manage.update_schedule(planned.db, LOCAL, tick, {"task_params": None, "retry_count": None})
    found = show(planned, tick)
    assert (found["task_params"], found["retry_count"]) == (None, None)


def test_a_secret_that_is_given_back_as_it_was_shown_stays(planned: Planned) -> None:
    parameters = {"properties": {"opening": {"type": "string", "writeOnly": True}}}
    planned.spine.session("it", specs=[HandlerSpec("work", parameters=parameters).to_dict()])
    params = {"to": "Ada", "smtp": {"host": "a", "password": "s3cret"}, "opening": "s3cret"}
    tick = planned.add(task_params=params)
    found = show(planned, tick)["task_params"]
    [listed] = browse.list_schedules(planned.db, LOCAL, Query()).rows
    assert "s3cret" not in str((found, listed))
    found["smtp"]["host"] = "b"
    manage.update_schedule(planned.db, LOCAL, tick, {"task_params": found})
    kept = orjson.loads(planned.row(tick)["task_params"])
    assert kept == params | {"smtp": {"host": "b", "password": "s3cret"}}
    manage.trigger_schedule(planned.db, LOCAL, tick, found | {"to": "Bob"})
    [task] = planned.tasks()
    assert orjson.loads(task["task_params"]) == kept | {"to": "Bob"}
    manage.update_schedule(planned.db, LOCAL, tick, {"task_params": {"smtp": {"password": "new"}}})
    assert orjson.loads(planned.row(tick)["task_params"]) == {"smtp": {"password": "new"}}


def test_a_new_rule_counts_from_now_on(planned: Planned) -> None:
    tick = planned.add(cron_expression="0 2 * * *")
    planned.set_clock(tick)
    made = manage.update_schedule(planned.db, LOCAL, tick, {"interval": "1h"})
    assert (made["cron_expression"], made["interval"]) == (None, 3600.0)
    left = made["next_fire_at"] - datetime.now(UTC)
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    made = manage.update_schedule(planned.db, LOCAL, tick, {"cron_expression": "@daily"})
    assert (made["cron_expression"], made["interval"]) == ("@daily", None)
    before = audited(planned)
    manage.update_schedule(planned.db, LOCAL, tick, {"cron_expression": "@daily"})
    assert audited(planned) == before, "what changes nothing is no change"
    with pytest.raises(CronInvalid):
        manage.update_schedule(planned.db, LOCAL, tick, {"cron_expression": "0 25 * * *"})
    with pytest.raises(ScheduleInvalid, match="tenant_id"):
        manage.update_schedule(planned.db, LOCAL, tick, {"tenant_id": "acme"})
    with pytest.raises(ScheduleInvalid, match="never fire"):
        manage.update_schedule(planned.db, LOCAL, tick, {"end_at": "2001-01-01"})


def test_a_stop_lets_it_finish_and_a_start_catches_up_nothing(planned: Planned) -> None:
    tick = planned.add(misfire="all")
    planned.set_clock(tick)
    planned.fire(at(0))
    [row] = planned.spine.claim()
    stopped = manage.stop_schedule(planned.db, LOCAL, tick)
    assert (stopped["state"], stopped["next_fire_at"]) == ("stopped", None)
    assert planned.fire(at(60)) == 0
    planned.spine.finish(row)
    started = manage.start_schedule(planned.db, LOCAL, tick)
    assert started["next_fire_at"] > datetime.now(UTC) - timedelta(seconds=1)
    assert seconds(planned.fires(tick)) == [0]
    assert audited(planned)[-2:] == [(LOCAL.name, "schedule.update", "schedule/tick")] * 2


def test_a_trigger_works_while_it_is_stopped(planned: Planned) -> None:
    tick = planned.add(task_params={"n": 1}, status=0, retry_count=4, cron_expression="0 2 * * *")
    ref = manage.trigger_schedule(planned.db, LOCAL, tick)
    assert str(ref).startswith("default/")
    manage.trigger_schedule(planned.db, LOCAL, "tick", {"n": 99})
    first, second = planned.tasks()
    assert [first["task_params"], second["task_params"]] == ['{"n":1}', '{"n":99}']
    assert (first["origin"], first["max_retries"], first["schedule_id"]) == ("manual", 4, tick)
    assert [first["execute_index"], second["execute_index"]] == [1, 2]
    assert planned.fires(tick) == [], "a trigger is no instant of its rule"
    planned.run_all()
    runs = show(planned, tick)["recent"]
    assert [run["execute_index"] for run in runs] == [2, 1]
    assert show(planned, tick)["task_params"] == {"n": 1}
    assert audited(planned)[-1][1] == "schedule.trigger"


def test_a_trigger_keeps_to_the_overlap_policy(planned: Planned) -> None:
    alone = planned.add("alone", overlap="skip")
    manage.trigger_schedule(planned.db, LOCAL, alone)
    with pytest.raises(NotNow, match="running"):
        manage.trigger_schedule(planned.db, LOCAL, alone)
    planned.set_clock(alone)
    planned.fire(at(0))
    assert planned.row(alone)["skipped"] == 1
    planned.run_all()
    manage.trigger_schedule(planned.db, LOCAL, alone)
    newest = planned.add("newest", overlap="replace")
    for _ in range(2):
        manage.trigger_schedule(planned.db, LOCAL, newest)
    made = [task["status"] for task in planned.tasks() if task["schedule_id"] == newest]
    assert made == [4, 0]


def test_a_deleted_one_leaves_its_tasks_and_runs(planned: Planned) -> None:
    tick = planned.add()
    planned.set_clock(tick)
    planned.fire(at(0))
    manage.delete_schedule(planned.db, LOCAL, tick)
    planned.run_all()
    assert [run["schedule_id"] for run in planned.spine.runs()] == [tick]
    for verb in (show, lambda p, s: manage.start_schedule(p.db, LOCAL, s)):
        with pytest.raises(ScheduleUnknown):
            verb(planned, tick)
    assert planned.add("tick") != tick, "an id is not given twice"


# --- look -----------------------------------------------------------------------------------------


def test_a_schedule_shows_how_its_runs_went(planned: Planned) -> None:
    tick = planned.add(misfire="all", retry_count=0)
    other = planned.add("other")
    for schedule in (tick, other):
        planned.set_clock(schedule)
    planned.fire(at(3))
    for n, row in enumerate(planned.spine.claim()):
        kind = Kind.FAILED if n == 1 else Kind.COMPLETED
        planned.spine.finish(row, kind, error="no" if n == 1 else None, duration=2.0)
    found = show(planned, tick)
    assert len(found["recent"]) == 4
    assert (found["success_rate"], found["average_time"]) == (0.75, 2.0)
    assert (found["fired"], found["last_status"]) == (4, "completed")
    assert show(planned, other)["success_rate"] == 1.0
    asked = browse.list_schedules(planned.db, LOCAL, Query({"last_status": "failed"}))
    assert asked.rows == []
    listed = {row["name"]: row for row in browse.list_schedules(planned.db, LOCAL, Query()).rows}
    assert listed["tick"] == {k: v for k, v in found.items() if k != "handler_known"}


def test_a_calendar_tells_what_ran_what_failed_and_what_never_came(planned: Planned) -> None:
    tick = planned.add(misfire="all", retry_count=0)
    planned.set_clock(tick)
    planned.fire(at(3))
    for n, row in enumerate(planned.spine.claim()):
        planned.spine.finish(row, Kind.FAILED if n == 1 else Kind.COMPLETED)
    found = calendar.calendar(planned.db, LOCAL, tick)
    assert sum(hour["runs"] for hour in found["data"]) == 4
    assert sum(hour["failed"] for hour in found["data"]) == 1
    assert not found["capped"]

    hourly = planned.add("hourly", cron_expression="30 * * * *", time_zone="Asia/Kolkata")
    before = datetime.now(UTC) - timedelta(days=3)
    planned.change(hourly, "created_at = :at", at=f"{before:%Y-%m-%d %H:%M:%S}")
    hours = calendar.calendar(planned.db, LOCAL, hourly, 2)["data"]
    assert 24 <= len(hours) <= 48
    assert {(hour["runs"], hour["planned"]) for hour in hours} == {(0, True)}
    assert {hour["hour"].minute for hour in hours} == {0}
    assert {hour["hour"].utcoffset() for hour in hours} == {timedelta(hours=5, minutes=30)}
    planned.change(hourly, "status = 0, updated_at = created_at")
    assert calendar.calendar(planned.db, LOCAL, hourly, 2)["data"] == []
    with pytest.raises(QueryInvalid):
        calendar.calendar(planned.db, LOCAL, hourly, 0)


def test_a_list_is_narrowed_sorted_and_paged(planned: Planned) -> None:
    for n in range(5):
        planned.add(f"tick {n}", cron_expression=f"0 {n} * * *", status=n % 2)
    planned.add("Ω", task_type="other", interval=60)

    def names(query: Query) -> list[str]:
        return [row["name"] for row in browse.list_schedules(planned.db, LOCAL, query).rows]

    assert names(Query({"status": 1})) == ["tick 1", "tick 3", "Ω"]
    assert names(Query({"q": "TICK 3"})) == ["tick 3"]
    assert names(Query({"task_type": "other"})) == ["Ω"]
    assert names(Query(sort="next_fire_at"))[:1] == ["Ω"]
    assert names(Query({"source": "code"})) == []
    first = browse.list_schedules(planned.db, LOCAL, Query(limit=4))
    rest = browse.list_schedules(planned.db, LOCAL, Query(limit=4, cursor=first.next_cursor))
    assert len({row["id"] for row in (*first.rows, *rest.rows)}) == 6
    with pytest.raises(QueryInvalid):
        names(Query({"nam": "x"}))


def test_a_preview_shows_the_change_of_clocks() -> None:
    before = datetime(2026, 3, 8, 5, tzinfo=UTC)

    def shown(rule: str, zone: str, after: datetime, count: int) -> list[str]:
        fields = {"cron_expression": rule, "time_zone": zone}
        found = browse.preview(LOCAL, fields, count, after=after)
        return [fire["fire_time"].isoformat() for fire in found]

    assert shown("30 2 * * *", "America/New_York", before, 2) == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-09T02:30:00-04:00",
    ]
    autumn = datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert shown("30 1 * * *", "America/New_York", autumn, 2) == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-02T01:30:00-05:00",
    ]
    hourly = shown("0 * * * *", "America/New_York", autumn - timedelta(seconds=1), 25)
    assert {time[:10] for time in hourly} == {"2026-11-01"}
    assert shown("0 2 * * *", "Asia/Shanghai", before, 1) == ["2026-03-09T02:00:00+08:00"]
    assert browse.describe({"cron_expression": "0 2 * * *"}) == {
        "en": "Every day at 02:00",
        "zh": "每天 02:00",
    }
    with pytest.raises(CronInvalid, match="minute: 61 is outside 0–59"):
        shown("61 * * * *", "UTC", before, 1)
    with pytest.raises(QueryInvalid):
        shown("0 2 * * *", "UTC", before, 501)


def test_the_change_of_clocks_with_a_moved_clock(planned: Planned) -> None:
    rules = {"30 1 * * *": 1, "0 * * * *": 25, "0 2 * * *": 1}
    midnight, day = datetime(2026, 11, 1, 4, tzinfo=UTC), timedelta(hours=25)
    ids: dict[str, int] = {}
    for rule in rules:
        ids[rule] = planned.add(
            f"rule {len(ids)}", cron_expression=rule, time_zone="America/New_York"
        )
        found = browse.preview(
            LOCAL,
            {"cron_expression": rule, "time_zone": "America/New_York"},
            1,
            after=midnight - timedelta(seconds=1),
        )
        planned.set_clock(ids[rule], found[0]["fire_time"].astimezone(UTC))
    for minute in range(0, 25 * 60, 30):
        planned.fire(midnight + timedelta(minutes=minute, milliseconds=200))
    for rule, count in rules.items():
        fires = [f for f in planned.fires(ids[rule]) if midnight <= f < midnight + day]
        assert len(fires) == count, rule
    assert planned.fires(ids["30 1 * * *"]) == [midnight + timedelta(hours=1, minutes=30)]


# --- who may --------------------------------------------------------------------------------------


def test_each_role_may_what_it_may(planned: Planned) -> None:
    mine, theirs = planned.add("mine", tenant_id="a"), planned.add("theirs", tenant_id="b")
    fields = {"name": "new", "task_type": "work", "interval": 60, "tenant_id": "a"}
    verbs: list[tuple[Callable[[Caller, int], Any], set[Role]]] = [
        (
            lambda who, s: browse.show_schedule(planned.db, who, s),
            {Role.VIEWER, Role.OPERATOR, Role.TENANT_ADMIN},
        ),
        (
            lambda who, s: manage.trigger_schedule(planned.db, who, s),
            {Role.OPERATOR, Role.TENANT_ADMIN},
        ),
        (lambda who, s: manage.stop_schedule(planned.db, who, s), {Role.TENANT_ADMIN}),
        (lambda who, s: manage.delete_schedule(planned.db, who, s), {Role.TENANT_ADMIN}),
    ]
    for role in (Role.VIEWER, Role.OPERATOR, Role.TENANT_ADMIN):
        who = caller(role, "a")
        listed = browse.list_schedules(planned.db, who, Query())
        assert [row["name"] for row in listed.rows] == ["mine"]
        for verb, allowed in verbs:
            with pytest.raises(ScheduleUnknown if role in allowed else NotAllowed):
                verb(who, theirs)
    operator, admin = caller(Role.OPERATOR, "a"), caller(Role.TENANT_ADMIN, "a")
    with pytest.raises(NotAllowed):
        manage.create_schedule(planned.db, operator, fields)
    with pytest.raises(NotAllowed):
        manage.create_schedule(planned.db, admin, fields | {"tenant_id": "b"})
    assert manage.create_schedule(planned.db, admin, fields)["tenant_id"] == "a"
    manage.delete_schedule(planned.db, admin, mine)


# --- by SQL ---------------------------------------------------------------------------------------


def test_a_row_by_sql_with_a_name_a_type_and_a_rule_is_a_whole_schedule(planned: Planned) -> None:
    made = planned.insert(name="by-sql", cron_expression="0 2 * * *")
    assert planned.notice() == 1
    row = planned.row(made)
    assert (row["problem"], row["source"], row["time_zone"]) == (None, "sql", "UTC")
    assert row["next_fire_at"] > datetime.now(UTC) and row["created_at"] is not None
    assert planned.notice() == 0
    assert audited(planned) == [("sql", "schedule.create", "schedule/by-sql")]
    planned.set_clock(made)
    assert planned.fire(at(0)) == 1


def test_an_edit_by_sql_is_followed_and_audited(planned: Planned) -> None:
    tick = planned.add(cron_expression="0 2 * * *")
    before = planned.row(tick)["next_fire_at"]
    planned.change(tick, "cron_expression = '30 14 * * *'")
    planned.notice()
    after = planned.row(tick)["next_fire_at"]
    assert (after.hour, after.minute) == (14, 30) != (before.hour, before.minute)
    planned.change(tick, "status = 0")
    planned.notice()
    assert planned.row(tick)["next_fire_at"] is None
    planned.change(tick, "status = 1, task_params = '{\"n\": 5}'")
    planned.notice()
    assert planned.row(tick)["next_fire_at"] == after
    sql = "SELECT {}, {} FROM ty_audit WHERE actor = 'sql' ORDER BY id"
    quote = planned.db.dialect.quote
    found = planned.spine.rows(sql.format(quote("before"), quote("after")))
    assert '"0 2 * * *"' in found[0]["before"] and '"30 14 * * *"' in found[0]["after"]
    assert len(found) == 3


def test_an_edit_that_nobody_noticed_yet_does_not_fire_by_the_old_rule(planned: Planned) -> None:
    tick = planned.add()
    planned.set_clock(tick)
    planned.change(tick, "cron_expression = '0 0 1 1 *'")
    assert planned.fire(at(0)) == 0
    row = planned.row(tick)
    assert (row["next_fire_at"].month, row["next_fire_at"].day) == (1, 1)


def test_what_is_new_does_not_wait_behind_what_has_a_problem(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edits, "AT_ONCE", 2)
    spoilt = [planned.insert(name=f"spoilt-{n}", cron_expression="61 * * * *") for n in range(2)]
    assert planned.notice() == 2
    made = planned.insert(name="sound", cron_expression="0 2 * * *")
    assert planned.notice() == 2
    assert planned.row(made)["next_fire_at"] is not None
    planned.change(spoilt[1], "cron_expression = '0 3 * * *'")
    planned.notice()
    assert planned.row(spoilt[1])["problem"] is None


SPOILT: list[tuple[str, str]] = [
    ("cron_expression = '61 * * * *'", "minute: 61 is outside 0–59"),
    ("cron_expression = NULL", "neither it nor an interval"),
    ("interval_seconds = 5", "an interval is there too"),
    ("time_zone = 'Mars/Base'", "Mars/Base"),
    ("overlap = 'wait'", "overlap: it cannot be 'wait'"),
    ("misfire = 'later'", "misfire: it cannot be 'later'"),
    ("status = 7", "status: it cannot be 7"),
    ("task_params = 'no json'", "task_params"),
    ("task_params = '[1]'", "task_params"),
    ("queue = 'nowhere'", "nowhere"),
    ("jitter = -1", "jitter"),
    ("timeout = 0", "timeout"),
]


def test_whoever_has_found_nothing_rests_before_looking_again(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = edits.EditWatch(planned.db, "UTC")
    monkeypatch.setattr(edits, "REST", 1_000_000)
    planned.insert(cron_expression="@daily")
    assert watch.look() == 1
    planned.insert(name="another", cron_expression="@daily")
    assert watch.look() == 1
    assert watch.look() == 0
    schedule = planned.insert(name="a third", cron_expression="@daily")
    assert watch.look() == 0
    assert planned.row(schedule)["next_fire_at"] is None
    assert edits.EditWatch(planned.db, "UTC").look() == 1


def test_a_row_that_cannot_be_is_quarantined_with_the_reason_until_it_is_mended(
    planned: Planned,
) -> None:
    tick, fine = planned.add(), planned.add("fine")
    kept = planned.row(tick)
    for sql, why in SPOILT:
        column = sql.partition(" ")[0]
        planned.change(tick, sql)
        planned.notice()
        row = planned.row(tick)
        assert why in (row["problem"] or ""), sql
        assert row["next_fire_at"] is None
        assert show(planned, tick)["state"] == "quarantined"
        with pytest.raises(TaskyardError):
            manage.trigger_schedule(planned.db, LOCAL, tick)
        planned.change(tick, f"{column} = :was", was=kept[column])
        planned.notice()
        row = planned.row(tick)
        assert row["problem"] is None and row["next_fire_at"] is not None, sql
    assert planned.row(fine)["problem"] is None
    planned.change(tick, "cron_expression = 'nonsense'")
    planned.notice()
    mended = manage.update_schedule(planned.db, LOCAL, tick, {"cron_expression": "@hourly"})
    assert mended["state"] == "started"


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_what_only_sqlite_would_store_is_quarantined(planned: Planned) -> None:
    tick = planned.add()
    for sql in ("start_at = 'soon'", "retry_count = 'many'", "name = x'ff00'", "jitter = x'ff'"):
        column = sql.partition(" ")[0]
        was = planned.row(tick) if column != "start_at" else {"start_at": None}
        planned.change(tick, sql)
        planned.notice()
        found = planned.spine.value("SELECT problem FROM ty_schedules WHERE id = :id", id=tick)
        assert column in (found or ""), sql
        planned.change(tick, f"{column} = :was", was=was[column])
        planned.notice()


# --- by code --------------------------------------------------------------------------------------


def code(**fields: Any) -> Declared:
    return Declared("shop", {"name": "nightly", "task_type": "work", **fields})


def sync(planned: Planned, *found: Declared) -> dict[str, Any]:
    declared.sync(planned.db, found, "code", "Europe/Berlin")
    return show(planned, "nightly")


def test_code_makes_its_rows_and_follows_its_own_changes_only(planned: Planned) -> None:
    made = sync(planned, code(cron_expression="0 2 * * *", retry_count=3))
    assert (made["source"], made["time_zone"], made["retry_count"]) == ("code", "Europe/Berlin", 3)
    manage.update_schedule(planned.db, LOCAL, "nightly", {"cron_expression": "0 5 * * *"})
    manage.stop_schedule(planned.db, LOCAL, "nightly")
    same = sync(planned, code(cron_expression="0 2 * * *", retry_count=3))
    assert (same["cron_expression"], same["status"]) == ("0 5 * * *", 0), "what people did holds"
    other = sync(planned, code(cron_expression="0 2 * * *", retry_count=4))
    assert (other["cron_expression"], other["retry_count"]) == ("0 5 * * *", 4)
    won = sync(planned, code(cron_expression="0 3 * * *", retry_count=4))
    assert (won["cron_expression"], won["status"]) == ("0 3 * * *", 0)
    left = sync(planned, code(cron_expression="0 3 * * *"))
    assert left["retry_count"] is None, "what the code says no more is open again"
    assert sync(planned, code(interval=90.0))["cron_expression"] is None


def test_what_code_cannot_mean_is_told_and_keeps_nothing_else_back(
    planned: Planned, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Declared("shop", {"name": "bad", "task_type": "work", "cron_expression": "61 * * * *"})
    assert sync(planned, bad, code(interval=60))["interval"] == 60
    assert "minute: 61 is outside" in caplog.text
    with pytest.raises(NotNow, match="declared in code"):
        manage.delete_schedule(planned.db, LOCAL, "nightly")


def spec_of(*declarations: Declared, name: str = "work") -> HandlerSpec:
    return HandlerSpec(name, schedules=tuple(dict(one.fields) for one in declarations))


def test_what_no_server_declares_any_more_is_stopped_and_comes_back(planned: Planned) -> None:
    one = code(interval=60)
    sync(planned, one)
    assert declared.stop_undeclared(planned.db, [spec_of(one)], "shop") == 0
    assert declared.stop_undeclared(planned.db, [spec_of(name="other")], "crm") == 0, (
        "another application's servers may just be down"
    )
    assert declared.stop_undeclared(planned.db, [spec_of()], "crm") == 1
    assert declared.stop_undeclared(planned.db, [spec_of()], "crm") == 0
    assert show(planned, "nightly")["state"] == "stopped"
    assert sync(planned, one)["state"] == "started"
    assert declared.stop_undeclared(planned.db, [], "shop") == 1
    manage.start_schedule(planned.db, LOCAL, "nightly")
    assert declared.stop_undeclared(planned.db, [], "shop") == 0, "a person has said otherwise"


def test_one_that_a_person_has_stopped_does_not_come_back_by_itself(planned: Planned) -> None:
    one = code(interval=60)
    sync(planned, one)
    manage.stop_schedule(planned.db, LOCAL, "nightly")
    declared.stop_undeclared(planned.db, [], "shop")
    assert sync(planned, one)["state"] == "stopped"


def test_a_handlers_declarations_travel_with_it() -> None:
    from taskyard.schedules.declaring import declare

    handler: Handler[..., Any] = Handler(lambda n=1: n, "work")
    declare(handler, "0 2 * * *", {"params": {"n": 2}, "jitter": timedelta(seconds=5)})
    declare(handler, None, {"name": "often", "interval": "90s", "end_at": NOON})
    spec = HandlerSpec.from_dict(handler.spec.to_dict())
    assert spec.schedules == (
        {"cron_expression": "0 2 * * *", "task_type": "work", "name": "work", "jitter": 5.0}
        | {"task_params": {"n": 2}},
        {"name": "often", "interval": "90s", "end_at": NOON.isoformat(), "task_type": "work"},
    )
    with pytest.raises(ValueError, match="already"):
        declare(handler, "@daily", {})
    with pytest.raises(TypeError, match="no option"):
        declare(handler, "@daily", {"name": "x", "cron": "0 2 * * *"})
    with pytest.raises(CronInvalid):
        declare(handler, "61 * * * *", {"name": "x"})
