"""Alerts on each database: what fails is told once, to those whose it is, whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import pytest

from conformance.spine import Spine, ended, together
from taskyard import servers
from taskyard.access import audit, tenants
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Role
from taskyard.alerts import channels, check, incidents, readings, rules, sending, telling
from taskyard.alerts.check import RULES_AT_START
from taskyard.alerts.incident import Incident, State
from taskyard.alerts.preview import preview_rule
from taskyard.alerts.rule import Rule
from taskyard.core.errors import (
    AddressRefused,
    AlertInvalid,
    ChannelUnknown,
    IncidentUnknown,
    NameTaken,
    NotAllowed,
    NotNow,
    RuleUnknown,
    TenantUnknown,
)
from taskyard.core.lifecycle import Kind
from taskyard.db.listing import Query
from taskyard.runs import failures, rollups
from taskyard.settings import Settings
from taskyard.tasks import manage

HOUR = 3_600.0


def admin(*seen: str) -> Caller:
    """A tenant admin of these tenants."""
    return Caller("ada", "tenant_admin", ROLES[Role.TENANT_ADMIN], frozenset(seen), 7)


class Watch:
    """A spine whose rules are judged when a test says so."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        self.db = spine.db
        self.look()
        self.remove_rules()

    def remove_rules(self) -> None:
        for row in rules.list_rules(self.db, LOCAL, Query()).rows:
            rules.delete_rule(self.db, LOCAL, row["id"])

    def rule(
        self, kind: str, name: str = "rule", age: float = 30 * 86_400.0 + 60.0, **fields: Any
    ) -> Rule:
        """A rule that has been there for so long."""
        made = rules.create_rule(self.db, fields.pop("caller", LOCAL), name, kind, **fields)
        self.moved("ty_alert_rules", "created_at", age, f"id = {made.id}")
        return made

    def channel(self, name: str = "ops", **fields: Any) -> int:
        settings = {"to": ["ops@example.com"]}
        made = channels.create_channel(self.db, LOCAL, name, "mail", settings, **fields)
        return made.channel.id

    def look(self, *, every: bool = True) -> None:
        """One pass, as if the last had been long ago."""
        self.spine.execute("UPDATE ty_counters SET value = 0 WHERE name = 'alerts'")
        assert check.check(self.db, every=every)

    def incidents(self, **filters: Any) -> list[Incident]:
        """The oldest first."""
        page = incidents.list_incidents(self.db, LOCAL, Query(filters, sort="id"))
        return [Incident(**{**row, "state": State(row["state"])}) for row in page.rows]

    def told(self) -> list[tuple[str, list[int], int]]:
        """The messages in the queue: event, incidents, channel."""
        telling.ready(self.db)
        rows = self.spine.rows("SELECT task_params FROM alerts_tasks ORDER BY id")
        found = [orjson.loads(row["task_params"]) for row in rows]
        return [(one["event"], one["incident_ids"], one["channel_id"]) for one in found]

    def moved(self, table: str, column: str, seconds: float, where: str = "1 = 1") -> None:
        """Move a time to so many seconds ago."""
        then = self.db.dialect.utc_after(repr(-float(seconds)))
        assert self.spine.execute(f"UPDATE {table} SET {column} = {then} WHERE {where}")

    def quiet(self, seconds: float) -> None:
        """As if nothing had been seen for so long."""
        self.moved("ty_incidents", "last_at", seconds)

    def run(self, kind: Kind = Kind.COMPLETED, task_type: str = "work", **task: Any) -> int:
        """A Task with one attempt that ends so; returns its Run's id."""
        task.setdefault("max_retries", 0)
        self.spine.put(task_type, **task)
        return self.attempt(kind, task_type)

    def attempt(self, kind: Kind, task_type: str = "work") -> int:
        [row] = self.spine.claim(1, known=frozenset({task_type}))
        self.spine.finish(row, kind, error="boom" if kind is not Kind.COMPLETED else None, delay=0)
        return row.run_id


@pytest.fixture
def watch(spine: Spine) -> Watch:
    return Watch(spine)


# --- failures ------------------------------------------------------------------------------------


def test_fifty_failures_open_one_incident_and_send_one_message(watch: Watch) -> None:
    watch.rule("run_failed")
    channel = watch.channel()
    for _ in range(5):
        last = [watch.run(Kind.FAILED) for _ in range(10)][-1]
        watch.look()
    [one] = watch.incidents()
    assert (one.subject, one.summary, one.state) == ("task_type:work", "work failed", State.OPEN)
    assert (one.count, one.run_id, one.messages) == (50, last, 1)
    assert one.first_at < one.last_at
    assert watch.told() == [("opened", [one.id], channel)]
    assert watch.spine.value("SELECT COUNT(*) FROM ty_failures") == 0


def test_only_the_last_attempt_counts_unless_each_is_asked_for(watch: Watch) -> None:
    watch.rule("run_failed", "last")
    watch.rule("run_failed", "each", settings={"attempts": "each"})
    watch.spine.put(max_retries=1)
    watch.attempt(Kind.FAILED)
    watch.look()
    assert [one.rule_name for one in watch.incidents()] == ["each"]
    final = watch.attempt(Kind.FAILED)
    watch.look()
    found = {one.rule_name: (one.count, one.run_id) for one in watch.incidents()}
    assert found == {"last": (1, final), "each": (2, final)}


def test_a_retry_that_somebody_asks_for_hides_no_failure(watch: Watch) -> None:
    watch.rule("run_failed")
    ref = watch.spine.ref(max_retries=1)
    watch.attempt(Kind.FAILED)
    watch.look()
    assert watch.incidents() == []
    final = watch.attempt(Kind.FAILED)
    manage.retry(watch.db, LOCAL, ref)
    watch.look()
    assert [(one.count, one.run_id) for one in watch.incidents()] == [(1, final)]


def test_lost_and_timed_out_runs_are_failures_too(watch: Watch) -> None:
    watch.rule("run_failed", "any")
    watch.rule("run_timeout", "late")
    watch.run(Kind.TIMEOUT)
    lost = watch.spine.put("work")
    row = watch.spine.take(lost)
    watch.spine.finish(row, Kind.LOST, max_crashes=1)
    watch.look()
    found = {one.rule_name: (one.count, one.summary) for one in watch.incidents()}
    assert found == {"any": (2, "work was lost"), "late": (1, "work exceeded its time limit")}


def test_it_is_over_by_a_success_after_a_quiet_time_and_told(watch: Watch) -> None:
    watch.rule("run_failed")
    channel = watch.channel()
    watch.run(Kind.FAILED)
    watch.look()
    [one] = watch.incidents()
    watch.quiet(HOUR)
    watch.look()
    assert watch.incidents()[0].state is State.OPEN
    watch.run()
    watch.look()
    [over] = watch.incidents()
    assert (over.state, over.resolved_by) == (State.RESOLVED, None) and over.resolved_at
    watch.run(Kind.FAILED)
    watch.look()
    assert [i.state for i in watch.incidents()] == [State.RESOLVED, State.OPEN]
    events = [event for event, _, _ in watch.told()]
    assert events == ["opened", "resolved", "opened"]
    assert watch.told()[1] == ("resolved", [one.id], channel)


def test_nothing_is_missed_or_told_twice_by_servers_that_die_in_between(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.rule("run_failed")
    watch.channel()
    watch.run(Kind.FAILED)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(check, "_tell", die)
        with pytest.raises(KeyboardInterrupt):
            watch.look()
    assert watch.incidents() == [] and watch.told() == []
    watch.look()
    watch.look()
    [one] = watch.incidents()
    assert one.count == 1
    assert len(watch.told()) == 1


def test_one_server_at_a_time_has_the_turn(watch: Watch) -> None:
    watch.rule("run_failed", settings={"attempts": "each"})
    watch.channel()
    for _ in range(20):
        watch.run(Kind.FAILED)
    watch.spine.execute("UPDATE ty_counters SET value = 0 WHERE name = 'alerts'")
    turns = together(*[partial(check.check, watch.db)] * 4)
    assert sum(turns) == 1
    assert check.check(watch.db) is False
    [one] = watch.incidents()
    assert one.count == 20 and len(watch.told()) == 1


def test_who_was_overtaken_writes_nothing(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.rule("run_failed")
    watch.run(Kind.FAILED)
    judged, go = threading.Event(), threading.Event()
    write = check._write

    def slowly(*given: Any, **named: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            judged.set()
            assert go.wait(10)
        write(*given, **named)

    monkeypatch.setattr(check, "_write", slowly)
    # Before the transaction, as a server that slept would be: its turn is over when it writes.
    ready = failures.handed
    monkeypatch.setattr(failures, "handed", _held(ready, judged, go))
    watch.spine.execute("UPDATE ty_counters SET value = 0 WHERE name = 'alerts'")
    sleeper = threading.Thread(target=check.check, args=(watch.db,))
    sleeper.start()
    assert judged.wait(10)
    watch.look()
    assert [one.count for one in watch.incidents()] == [1]
    go.set()
    sleeper.join(10)
    assert [one.count for one in watch.incidents()] == [1]


def _held(read: Any, reached: threading.Event, go: threading.Event) -> Any:
    """A reading that waits on every thread but the main one."""

    def held(db: Any) -> Any:
        found = read(db)
        if threading.current_thread() is not threading.main_thread():
            reached.set()
            assert go.wait(10)
        return found

    return held


def test_a_settled_failure_is_handed_on_once(watch: Watch) -> None:
    first = watch.run(Kind.FAILED)
    watch.run()
    rollups.count_ended(watch.db)
    second = watch.run(Kind.FAILED)
    rollups.count_ended(watch.db)
    rollups.count_ended(watch.db)
    handed = failures.handed(watch.db)
    assert {one.run_id for one in handed.failures} == {first, second} and not handed.more
    watch.db.run(partial(failures.take, notes=handed.notes))
    assert failures.handed(watch.db).failures == []


def test_a_rule_does_not_look_back_before_it_was_made(watch: Watch) -> None:
    watch.run(Kind.FAILED)
    watch.rule("run_failed", age=0.0)
    watch.look()
    assert watch.incidents() == []


# --- states --------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_told_while_it_runs(watch: Watch) -> None:
    watch.rule("run_long", settings={"longer_than": 60})
    watch.channel()
    task = watch.spine.put()
    row = watch.spine.take(task)
    watch.look()
    assert watch.incidents() == []
    watch.spine.change(task, f"claimed_at = claimed_at - {120 * 1_000_000}")
    watch.look()
    watch.look()
    [one] = watch.incidents()
    assert (one.subject, one.run_id, one.count) == ("task_type:work", row.run_id, 1)
    assert one.summary == "work has been running for 2m"
    assert watch.spine.row(task)["status"] == 1
    watch.spine.finish(row)
    watch.look()
    assert watch.incidents()[0].state is State.RESOLVED
    assert [event for event, _, _ in watch.told()] == ["opened", "resolved"]


def test_the_monitor_timeout_of_a_schedule_is_a_limit(watch: Watch) -> None:
    watch.rule("run_long")
    watch.spine.execute(
        "INSERT INTO ty_schedules (name, task_type, monitor_timeout) VALUES ('nightly', 'work', 30)"
    )
    context = orjson.dumps({"schedule_id": 1}).decode()
    for given in (context, None):
        task = watch.spine.put(context=given)
        watch.spine.take(task)
        watch.spine.change(task, f"claimed_at = claimed_at - {31 * 1_000_000}")
    watch.look()
    [one] = watch.incidents()
    assert (one.subject, one.details["limit"]) == ("schedule:1", 30.0)


def test_so_many_failures_within_a_time(watch: Watch) -> None:
    watch.rule("failures", settings={"count": 3, "window": 600})
    for count in (0, 0, 1):
        watch.run(Kind.FAILED)
        watch.look()
        assert len(watch.incidents()) == count
    assert watch.incidents()[0].summary == "work: 3 runs failed within 10m"
    rule = rules.list_rules(watch.db, LOCAL, Query()).rows[0]
    rules.update_rule(watch.db, LOCAL, rule["id"], settings={"count": 2, "window": 600})
    watch.quiet(HOUR)
    watch.look()
    assert watch.incidents()[0].state is State.RESOLVED


def test_a_rate_of_failures(watch: Watch) -> None:
    watch.rule("failure_rate", settings={"rate": 0.5, "window": 600, "min_runs": 4})
    for kind in (Kind.FAILED, Kind.FAILED, Kind.COMPLETED):
        watch.run(kind)
    watch.look()
    assert watch.incidents() == []
    watch.run()
    watch.look()
    [one] = watch.incidents()
    assert one.summary == "work: 50% of 4 runs failed within 10m"
    for _ in range(4):
        watch.run()
    watch.quiet(HOUR)
    watch.look()
    assert watch.incidents()[0].state is State.RESOLVED


def test_no_success_for_too_long(watch: Watch) -> None:
    filters = {"task_type": ["work", "other"]}
    watch.rule("no_success", settings={"window": "1h"}, filters=filters)
    watch.run(Kind.FAILED)
    watch.run(task_type="other")
    watch.look()
    assert [one.subject for one in watch.incidents()] == ["task_type:work"]
    watch.run()
    watch.look()
    assert watch.incidents()[0].state is State.RESOLVED


def test_a_queue_that_waits(watch: Watch) -> None:
    watch.rule("queue_wait", settings={"longer_than": "10m"})
    for priority, key, seconds in ((5, None, 60), (0, None, 900), (0, "k", 1_200)):
        task = watch.spine.put(priority=priority, excl_key=key)
        ago = watch.spine.due_in(-seconds)
        watch.spine.change(task, f"schedule_time = {ago}")
    watch.look()
    [one] = watch.incidents()
    assert one.subject == "queue:default"
    assert one.summary == "a task of queue default has waited for 20m"
    watch.spine.execute("UPDATE queue_configs SET status = 0")
    watch.quiet(HOUR)
    watch.look()
    assert watch.incidents()[0].state is State.RESOLVED


def test_a_server_is_lost_unless_it_was_stopped(watch: Watch) -> None:
    watch.rule("server_lost")
    watch.channel()
    for name in ("killed", "stopped", "silent", "back"):
        watch.spine.session(name)
    watch.spine.kill("killed")
    watch.spine.kill("back")
    servers.close(watch.db, "stopped")
    watch.moved("ty_servers", "lease_until", 5.0, "session = 'silent'")
    servers.register(watch.db, "again", "server-back", lease=60.0, runners=1)
    watch.look()
    subjects = [one.subject for one in watch.incidents()]
    assert subjects == ["server:server-killed", "server:server-silent"]
    assert [len(ids) for _, ids, _ in watch.told()] == [2]
    servers.register(watch.db, "new", "server-killed", lease=60.0, runners=1)
    watch.look()
    assert [one.state for one in watch.incidents()] == [State.RESOLVED, State.OPEN]


def test_schedules_that_are_late_or_missed_a_fire(watch: Watch) -> None:
    watch.rule("schedule_late", "late")
    watch.rule("schedule_missed", "missed")
    insert = (
        "INSERT INTO ty_schedules (name, task_type, missed, next_fire_at)"
        " VALUES ('{}', 'work', {}, {})"
    )
    ago = watch.db.dialect.utc_after("-(185.0)")
    soon = watch.db.dialect.utc_after("-(1.0)")
    watch.spine.execute(insert.format("slow", 2, ago))
    watch.spine.execute(insert.format("fine", 0, soon))
    watch.look()
    [one] = watch.incidents()
    assert (one.rule_name, one.summary) == ("late", "schedule slow is 3m late")
    watch.spine.execute("UPDATE ty_schedules SET missed = missed + 1, status = 0")
    watch.look()
    found = {i.rule_name: (i.state, i.summary) for i in watch.incidents()}
    assert found["late"][0] is State.RESOLVED
    missed = watch.incidents(kind="schedule_missed")
    assert {i.summary for i in missed} == {
        "schedule slow missed a fire",
        "schedule fine missed a fire",
    }


def test_a_clean_up_that_does_not_run(watch: Watch) -> None:
    watch.rule("prune_behind")
    watch.look()
    [one] = watch.incidents()
    assert one.summary == "the clean-up has not completed for 30d"
    watch.run(task_type="taskyard.prune")
    watch.look()
    assert watch.incidents()[0].state is State.RESOLVED


def test_a_rule_that_cannot_be_judged_says_so_and_the_others_go_on(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.rule("queue_wait", "broken", settings={"longer_than": 60})
    watch.rule("run_failed", "whole")
    watch.run(Kind.FAILED)

    def fail(*_: Any) -> Any:
        raise ValueError("no such luck")

    with monkeypatch.context() as patch:
        patch.setattr(readings, "waits", fail)
        watch.look()
    assert [one.rule_name for one in watch.incidents()] == ["whole"]
    problems = {r["name"]: r["problem"] for r in rules.list_rules(watch.db, LOCAL, Query()).rows}
    assert problems == {"broken": "ValueError: no such luck", "whole": None}
    watch.look()
    assert {r["problem"] for r in rules.list_rules(watch.db, LOCAL, Query()).rows} == {None}


# --- people --------------------------------------------------------------------------------------


def opened(watch: Watch) -> Incident:
    watch.rule("run_failed")
    watch.channel()
    watch.run(Kind.FAILED)
    watch.look()
    [one] = watch.incidents()
    return one


def test_who_acknowledges_ends_the_reminders_and_hears_of_the_end(watch: Watch) -> None:
    one = opened(watch)
    watch.moved("ty_incidents", "notified_at", 2 * 86_400.0)
    watch.look()
    assert watch.incidents()[0].messages == 2
    incidents.acknowledge(watch.db, LOCAL, one.id)
    with pytest.raises(NotNow):
        incidents.acknowledge(watch.db, LOCAL, one.id)
    watch.moved("ty_incidents", "notified_at", 2 * 86_400.0)
    watch.look()
    found = watch.incidents()[0]
    assert (found.state, found.messages) == (State.ACKNOWLEDGED, 2)
    assert found.acknowledged_by == LOCAL.name and found.acknowledged_at
    watch.run(Kind.FAILED)
    watch.look()
    assert watch.incidents()[0].count == 2
    watch.quiet(HOUR)
    watch.run()
    watch.look()
    assert [event for event, _, _ in watch.told()] == ["opened", "reminded", "resolved"]


def test_a_silence_ends(watch: Watch) -> None:
    watch.channel()
    made = watch.rule("run_failed")
    rules.silence_rule(watch.db, LOCAL, made.id, "2h")
    watch.run(Kind.FAILED)
    watch.look()
    [one] = watch.incidents()
    assert (one.messages, watch.told()) == (0, [])
    rules.silence_rule(watch.db, LOCAL, made.id, 0)
    incidents.silence(watch.db, LOCAL, one.id, "2h")
    watch.look()
    assert watch.told() == []
    incidents.silence(watch.db, LOCAL, one.id, 0)
    watch.look()
    watch.look()
    assert [event for event, _, _ in watch.told()] == ["opened"]
    with pytest.raises(AlertInvalid):
        incidents.silence(watch.db, LOCAL, one.id, "soon")


def test_what_somebody_resolves_stays_so_while_it_holds(watch: Watch) -> None:
    watch.rule("server_lost")
    watch.spine.session("gone")
    watch.spine.kill("gone")
    watch.look()
    [one] = watch.incidents()
    incidents.resolve(watch.db, LOCAL, one.id)
    watch.look()
    [same] = watch.incidents()
    assert (same.state, same.resolved_by) == (State.RESOLVED, LOCAL.name)
    servers.register(watch.db, "new", "server-gone", lease=60.0, runners=1)
    watch.look()
    watch.spine.kill("new")
    watch.look()
    assert [i.state for i in watch.incidents()] == [State.RESOLVED, State.OPEN]
    assert watch.incidents()[0].resolved_by == LOCAL.name


def test_a_failure_after_somebody_resolved_is_another_incident(watch: Watch) -> None:
    one = opened(watch)
    incidents.resolve(watch.db, LOCAL, one.id)
    with pytest.raises(NotNow):
        incidents.resolve(watch.db, LOCAL, one.id)
    watch.run(Kind.FAILED)
    watch.look()
    assert [i.state for i in watch.incidents()] == [State.RESOLVED, State.OPEN]


def test_incidents_of_a_deleted_rule_are_resolved_and_forgotten_after_a_year(watch: Watch) -> None:
    one = opened(watch)
    rules.delete_rule(watch.db, LOCAL, one.rule_id)
    found = incidents.show_incident(watch.db, LOCAL, one.id)
    assert (found.state, found.resolved_by) == (State.RESOLVED, LOCAL.name)
    assert incidents.forget_old(watch.db) == 0
    watch.moved("ty_incidents", "resolved_at", 367 * 86_400.0)
    assert incidents.forget_old(watch.db) == 1
    with pytest.raises(IncidentUnknown):
        incidents.show_incident(watch.db, LOCAL, one.id)


def test_a_tenant_hears_of_its_own_and_of_nothing_else(watch: Watch) -> None:
    for tenant_id in ("acme", "globex"):
        tenants.create_tenant(watch.db, LOCAL, tenant_id)
    ada, eve = admin("acme"), admin("globex")
    mine = watch.rule("run_failed", "mine", caller=ada, tenant_id="acme")
    theirs = watch.rule("run_failed", "theirs", caller=eve, tenant_id="globex")
    watch.rule("run_failed", "all")
    own = watch.channel("acme", tenant_id="acme")
    watch.channel("globex", tenant_id="globex")
    watch.run(Kind.FAILED, tenant_id="acme")
    watch.look()
    assert {(one.rule_name, one.tenant_id) for one in watch.incidents()} == {
        ("mine", "acme"),
        ("all", ""),
    }
    assert [channel for _, _, channel in watch.told()] == [own]
    page = incidents.list_incidents(watch.db, ada, Query())
    assert [row["rule_name"] for row in page.rows] == ["mine"]
    assert incidents.list_incidents(watch.db, eve, Query()).rows == []
    [row] = page.rows
    verb: Callable[..., Any]
    for verb in (
        partial(incidents.show_incident, incident_id=row["id"]),
        partial(incidents.acknowledge, incident_id=row["id"]),
        partial(incidents.silence, incident_id=row["id"], duration="1h"),
    ):
        with pytest.raises(IncidentUnknown):
            verb(watch.db, eve)
    for verb in (
        partial(rules.show_rule, rule_id=mine.id),
        partial(rules.update_rule, rule_id=mine.id, status=0),
        partial(rules.delete_rule, rule_id=mine.id),
    ):
        with pytest.raises(RuleUnknown):
            verb(watch.db, eve)
    for verb in (
        partial(channels.show_channel, channel_id=own),
        partial(channels.check_channel, channel_id=own),
        partial(channels.delete_channel, channel_id=own),
    ):
        with pytest.raises(ChannelUnknown):
            verb(watch.db, eve)
    with pytest.raises(AlertInvalid, match="no channel"):
        rules.update_rule(watch.db, eve, theirs.id, channels=[own])
    with pytest.raises(NotAllowed):
        rules.create_rule(watch.db, eve, "x", "run_failed", tenant_id="acme")
    with pytest.raises(NotAllowed):
        rules.create_rule(watch.db, eve, "x", "run_failed")
    with pytest.raises(TenantUnknown):
        rules.create_rule(watch.db, LOCAL, "x", "run_failed", tenant_id="acne")
    viewer = replace(ada, permissions=ROLES[Role.VIEWER])
    assert [r["name"] for r in rules.list_rules(watch.db, viewer, Query()).rows] == ["mine"]
    with pytest.raises(NotAllowed):
        incidents.acknowledge(watch.db, viewer, row["id"])


def test_a_success_of_another_tenant_ends_nothing(watch: Watch) -> None:
    tenants.create_tenant(watch.db, LOCAL, "acme")
    watch.rule("run_failed", caller=admin("acme"), tenant_id="acme")
    watch.run(Kind.FAILED, tenant_id="acme")
    watch.look()
    watch.quiet(HOUR)
    watch.run(tenant_id="globex")
    watch.look()
    assert watch.incidents()[0].state is State.OPEN
    watch.run(tenant_id="acme")
    watch.look()
    assert watch.incidents()[0].state is State.RESOLVED


# --- rules and channels --------------------------------------------------------------------------


def test_a_new_installation_has_rules_which_tell_the_first_channel(spine: Spine) -> None:
    assert check.check(spine.db)
    page = rules.list_rules(spine.db, LOCAL, Query(sort="id"))
    assert [(row["name"], row["kind"]) for row in page.rows] == list(RULES_AT_START)
    watch = object.__new__(Watch)
    watch.spine, watch.db = spine, spine.db
    watch.moved("ty_alert_rules", "created_at", 60.0)
    watch.channel()
    watch.run(Kind.FAILED)
    watch.look()
    assert [event for event, _, _ in watch.told()] == ["opened"]
    rules.delete_rule(spine.db, LOCAL, page.rows[0]["id"])
    watch.look()
    assert len(rules.list_rules(spine.db, LOCAL, Query()).rows) == len(RULES_AT_START) - 1


def test_a_rule_names_its_channels_or_takes_all_that_are_enabled(watch: Watch) -> None:
    first, second = watch.channel("first"), watch.channel("second")
    watch.rule("run_failed", "named", channels=[second])
    watch.rule("run_failed", "nobody", channels=[])
    watch.rule("run_failed", "all")
    channels.update_channel(watch.db, LOCAL, first, status=0)
    watch.run(Kind.FAILED)
    watch.look()
    assert sorted(channel for _, _, channel in watch.told()) == [second, second]
    with pytest.raises(NotNow, match='used by the alert rule "named"'):
        channels.delete_channel(watch.db, LOCAL, second)
    channels.delete_channel(watch.db, LOCAL, first)
    with pytest.raises(ChannelUnknown):
        channels.show_channel(watch.db, LOCAL, first)


def test_names_are_taken_once_a_tenant(watch: Watch) -> None:
    tenants.create_tenant(watch.db, LOCAL, "acme")
    made = watch.rule("run_failed", "a")
    watch.rule("run_failed", "a", tenant_id="acme")
    watch.channel("a")
    watch.channel("a", tenant_id="acme")
    for verb in (
        partial(rules.create_rule, name="a", kind="run_failed"),
        partial(channels.create_channel, name="a", kind="mail", settings={"to": "a@b.example"}),
    ):
        with pytest.raises(NameTaken):
            verb(watch.db, LOCAL)
    watch.rule("run_failed", "b")
    with pytest.raises(NameTaken):
        rules.update_rule(watch.db, LOCAL, made.id, name="b")
    with pytest.raises(RuleUnknown):  # two tenants have one
        rules.find_rule(watch.db, LOCAL, "a")
    assert rules.find_rule(watch.db, LOCAL, str(made.id)).name == "a"
    assert rules.find_rule(watch.db, admin("acme"), "a").tenant_id == "acme"


def test_rules_are_listed_changed_and_audited(watch: Watch) -> None:
    made = watch.rule("failures", "many", settings={"count": "5", "window": "10m"})
    changed = rules.update_rule(
        watch.db, LOCAL, made.id, name="more", filters={"queue": "default"}, remind_every="4h"
    )
    assert (changed.name, changed.filters) == ("more", {"queue": ["default"]})
    assert (changed.settings, changed.remind_every) == ({"count": 5, "window": 600.0}, 14_400.0)
    page = rules.list_rules(watch.db, LOCAL, Query({"kind": "failures", "q": "mor"}))
    assert [row["id"] for row in page.rows] == [made.id]
    thing = {"object": f"alert-rule/{made.id}"}
    rows = audit.list_audit(watch.db, LOCAL, Query(thing, sort="at")).rows
    assert [row["action"] for row in rows] == ["alert-rule.create", "alert-rule.update"]
    assert rows[1]["before"]["remind_every"] == 86_400.0
    assert rows[1]["after"]["filters"] == {"queue": ["default"]}


CANARY = "c4n4ry"


def test_secrets_are_never_shown_again(watch: Watch) -> None:
    url = f"https://hooks.example/{CANARY}?token={CANARY}"
    made = channels.create_channel(watch.db, LOCAL, "hook", "webhook", {"url": url})
    assert made.secret is not None and made.secret.startswith("whsec_")
    secret = "whsec_" + "YzRuNHJ5" * 5
    channel = channels.update_channel(
        watch.db, LOCAL, made.channel.id, settings={"url": url + "2", "secret": secret}
    )
    assert channel.settings == {"url": url + "2", "secret": secret}
    shown = channels.list_channels(watch.db, LOCAL, Query()).rows[0]
    assert shown["settings"] == {"url": "https://hooks.example/***", "secret": "***"}
    same = channels.update_channel(
        watch.db, LOCAL, channel.id, name="renamed", settings=shown["settings"]
    )
    assert same.settings == channel.settings
    channels.check_channel(watch.db, LOCAL, channel.id)
    channels.delete_channel(watch.db, LOCAL, channel.id)
    kept = orjson.dumps(audit.list_audit(watch.db, LOCAL, Query(limit=100)).rows, default=str)
    tasks = str(watch.spine.rows("SELECT * FROM alerts_tasks"))
    for text in (kept.decode(), tasks, repr(channel), str(shown)):
        assert CANARY not in text and "YzRuNHJ5" not in text and made.secret not in text
    rows = audit.list_audit(watch.db, LOCAL, Query({"action": "channel.update"}, sort="at")).rows
    assert rows[0]["after"]["changed_settings"] == ["secret", "url"]


@pytest.mark.parametrize(
    ("kind", "settings", "error"),
    [
        ("pigeon", {}, AlertInvalid),
        ("mail", {}, AlertInvalid),
        ("mail", {"to": []}, AlertInvalid),
        ("mail", {"to": ["a@b.example\nBcc: x@y.example"]}, AlertInvalid),
        ("mail", {"to": ["nobody"]}, AlertInvalid),
        ("mail", {"to": "a@b.example", "cc": "c@d.example"}, AlertInvalid),
        ("webhook", {}, AlertInvalid),
        ("webhook", {"url": "ftp://hooks.example/"}, AlertInvalid),
        ("webhook", {"url": "https:///x"}, AlertInvalid),
        ("webhook", {"url": "https://hooks.example:99999/"}, AlertInvalid),
        ("webhook", {"url": f"https://a:{CANARY}@hooks.example/"}, AlertInvalid),
        ("webhook", {"url": "https://hooks.example/", "secret": "short"}, AlertInvalid),
        ("webhook", {"url": "http://127.0.0.1:9999/admin"}, AddressRefused),
        ("webhook", {"url": "http://2130706433/"}, AddressRefused),
        ("webhook", {"url": "http://[::1]/"}, AddressRefused),
        ("webhook", {"url": "http://169.254.169.254/latest/meta-data"}, AddressRefused),
    ],
)
@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_channel_that_cannot_be_is_refused(
    watch: Watch, kind: str, settings: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        channels.create_channel(watch.db, LOCAL, "x", kind, settings)
    assert CANARY not in str(refused.value)
    assert channels.list_channels(watch.db, LOCAL, Query()).rows == []


def test_a_listed_host_is_allowed(watch: Watch) -> None:
    settings = {"url": "http://127.0.0.1:9999/hook"}
    made = channels.create_channel(
        watch.db, LOCAL, "x", "webhook", settings, alert_hosts=["127.0.0.0/8"]
    )
    assert made.channel.settings["url"] == settings["url"]


# --- messages ------------------------------------------------------------------------------------


def test_a_message_is_of_the_channels_tenant_only(watch: Watch) -> None:
    """Who may enqueue by SQL or API must not have others' incidents sent, to nobody."""
    one = opened(watch)
    tenants.create_tenant(watch.db, LOCAL, "acme")
    theirs = watch.channel("theirs", tenant_id="acme")
    gone = {"sent": False, "why": "the channel was removed meanwhile"}
    send = partial(
        sending.send,
        watch.db,
        Settings(),
        event="opened",
        delivery="msg_1",
        incident_ids=[one.id],
    )
    assert send(tenant_id="", channel_id=theirs) == gone
    assert send(tenant_id="", channel_id=987) == gone
    told = send(tenant_id="acme", channel_id=theirs)
    assert told == {"sent": False, "why": "what it is about is gone, or goes on"}


# --- the past ------------------------------------------------------------------------------------


def ago(watch: Watch, run_id: int, seconds: float) -> None:
    """Move a Run into the past, with its count."""
    then = watch.db.dialect.utc_after(repr(-seconds))
    watch.spine.execute(
        f"UPDATE ty_runs SET claimed_at = claimed_at - {int(seconds * 1_000_000)},"
        f" started_at = {then}, completed_at = {then} WHERE id = {run_id}"
    )


def test_a_preview_tells_how_often_it_would_have_fired(watch: Watch) -> None:
    day = 86_400.0
    past = ((Kind.FAILED, 6), (Kind.FAILED, 5.9), (Kind.COMPLETED, 5), (Kind.FAILED, 2))
    for kind, days in past:
        ago(watch, watch.run(kind), days * day)
    rollups.count_ended(watch.db)
    preview = partial(preview_rule, watch.db, LOCAL)
    failed = preview("run_failed")
    assert failed.fired == 2 and failed.note is None
    expected = datetime.now(UTC) - timedelta(days=2)
    assert abs(failed.times[0] - expected) < timedelta(minutes=1)
    assert preview("run_failed", filters={"task_type": "other"}).fired == 0
    assert preview("run_failed", filters={"task_type": "work"}).fired == 2
    assert preview("run_timeout").fired == 0
    assert preview("failures", settings={"count": 2, "window": "3h"}).fired == 1
    assert preview("failures", settings={"count": 2, "window": "1h"}).fired == 0
    rate = {"rate": 0.5, "window": "1h", "min_runs": 1}
    assert preview("failure_rate", settings=rate).fired == 3
    types = {"task_type": "work"}
    assert preview("no_success", settings={"window": "4d"}, filters=types).fired == 1
    assert preview("no_success", settings={"window": "6d"}, filters=types).fired == 0
    assert preview("run_long", settings={"longer_than": 60}).fired == 0
    assert preview("queue_wait", settings={"longer_than": 60}).fired == 0
    assert preview("server_lost").fired == 0
    assert preview("schedule_late").fired is None
    with pytest.raises(AlertInvalid):
        preview("run_failed", filters={"colour": "red"})
    with pytest.raises(NotAllowed):
        preview_rule(watch.db, admin("acme"), "run_failed")


def test_a_preview_of_what_took_long_waited_or_was_lost(watch: Watch) -> None:
    slow = watch.run()
    watch.spine.execute(
        f"UPDATE ty_runs SET execution_time = 90, wait_time = 700 WHERE id = {slow}"
    )
    rollups.count_ended(watch.db)
    preview = partial(preview_rule, watch.db, LOCAL)
    assert preview("run_long", settings={"longer_than": 60}).fired == 1
    assert preview("run_long", settings={"longer_than": 100}).fired == 0
    assert preview("queue_wait", settings={"longer_than": "10m"}).fired == 1
    assert preview("queue_wait", settings={"longer_than": "20m"}).fired == 0
    for name in ("killed", "stopped"):
        watch.spine.session(name)
    watch.spine.kill("killed")
    servers.close(watch.db, "stopped")
    watch.moved("ty_servers", "beat_at", 60.0, "session = 'killed'")
    assert preview("server_lost").fired == 1
    assert preview("server_lost", settings={"longer_than": "1h"}).fired == 0


def test_an_ending_of_the_spine_is_what_it_says(watch: Watch) -> None:
    """The other tests stand on it."""
    watch.spine.put()
    [row] = watch.spine.claim(1)
    assert ended(row, Kind.FAILED, error="x").run_status == "failed"
