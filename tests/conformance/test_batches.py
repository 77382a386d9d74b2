"""Batches: created over items, exclusive by tenant and type, worked through, steered by people."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from conformance.batched import Batched
from conformance.spine import Spine, together
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Role
from taskyard.batches import browse, create, items, manage, templates
from taskyard.core.errors import (
    BatchInvalid,
    BatchRunning,
    BatchUnknown,
    ItemUnknown,
    NotAllowed,
    NotNow,
    ParamsInvalid,
    TemplateTwice,
    TemplateUnknown,
)
from taskyard.db.listing import Query


@pytest.fixture
def batched(spine: Spine) -> Batched:
    return Batched(spine)


def person(role: Role, *tenants: str) -> Caller:
    return Caller(role.value, role.value, ROLES[role], frozenset(tenants))


# --- creating -------------------------------------------------------------------------------------


def test_a_batch_is_created_over_whatever_gives_items(batched: Batched) -> None:
    def generator() -> Iterator[Any]:
        yield 7
        yield ("eight", 8)
        yield {"item_id": "nine", "data": 9}
        yield {"item_id": 10}

    batch = batched.add(generator(), name="four", params={"factor": 2}, start=False)

    found = [(item["item_id"], item["data"], item["status"]) for item in batched.items(batch)]
    assert found == [
        ("7", "7", "pending"),
        ("eight", "8", "pending"),
        ("nine", "9", "pending"),
        ("10", "10", "pending"),
    ]
    row = batched.row(batch)
    assert (row["name"], row["status"], row["params"]) == ("four", "pending", '{"factor":2}')
    assert batched.counts(batch) == (4, 0, 0, 0, 0)
    assert row["started_at"] is None
    assert batched.tasks() == []


def test_many_lots_of_items_go_in_and_only_then_it_starts(
    batched: Batched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "CHUNK", 10)
    monkeypatch.setattr(items.chunks, "__defaults__", (10,))
    seen: list[int] = []

    def watched() -> Iterator[int]:
        for number in range(35):
            seen.append(len(batched.tasks()) if number > 20 else 0)
            yield number

    batch = batched.add(watched(), concurrency=2)

    assert batched.counts(batch) == (35, 0, 0, 0, 0)
    assert set(seen) == {0}
    assert len(batched.tasks()) == 2


def test_a_csv_file_and_lines_of_json_are_items(batched: Batched) -> None:
    file = io.StringIO("mail,item_id\nada@x.org,1\nbob@x.org,2\n")

    assert list(items.from_csv(file)) == [
        {"item_id": "1", "data": {"mail": "ada@x.org", "item_id": "1"}},
        {"item_id": "2", "data": {"mail": "bob@x.org", "item_id": "2"}},
    ]
    assert list(items.from_csv(io.StringIO("account\n7\n8\n"))) == [
        {"item_id": "7", "data": None},
        {"item_id": "8", "data": None},
    ]
    assert list(items.from_json_lines([b'{"item_id": 1}\n', b"\n", b"2"])) == [{"item_id": 1}, 2]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 2, 1, 2, 3], 'there twice: "1", "2"'),
        ([1, True], "item 2 needs an item_id"),
        ([{"data": 1}], "item 1 needs an item_id"),
        ([{"item_id": 1, "mail": "x"}], "item 1 has no item_id and data but mail"),
        ([{"item_id": " "}], "item_id of item 1 must be 1 to 190"),
        ([{"item_id": "x" * 191}], "item_id of item 1 must be 1 to 190"),
        ([1, "seven"], 'item 2 ("seven"): "item" must be an integer'),
        ([("a", object())], "item 1: "),
        ([], "there are none"),
        ("abc", "they must be a list"),
        (7, "they must be a list"),
    ],
)
def test_items_that_cannot_be_are_named_and_nothing_stays(
    batched: Batched, given: Any, said: str
) -> None:
    with pytest.raises(BatchInvalid) as refused:
        batched.add(given)

    assert refused.value.field == "items"
    assert said in refused.value.text
    assert batched.spine.rows("SELECT id FROM ty_batches") == []


def test_a_double_in_a_later_lot_takes_everything_back(
    batched: Batched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(items, "CHUNK", 5)
    monkeypatch.setattr(items.chunks, "__defaults__", (5,))

    with pytest.raises(BatchInvalid, match='there twice: "3"'):
        batched.add([*range(12), 3])

    assert batched.spine.rows("SELECT id FROM ty_batches") == []
    assert batched.spine.rows("SELECT id FROM ty_batch_items") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", 0),
        ("concurrency", "5"),
        ("concurrency", True),
        ("rate_limit", -1),
        ("rate_limit", float("nan")),
        ("pause", -1),
        ("pause", "x"),
        ("max_retries", -1),
        ("stop_after", 0),
        ("name", "x" * 201),
        ("params", [1]),
        ("notify", [1.5]),
        ("colour", "red"),
    ],
)
def test_a_field_that_cannot_be_is_named(batched: Batched, field: str, value: Any) -> None:
    with pytest.raises(BatchInvalid) as refused:
        batched.add([1], **{field: value})

    assert refused.value.field == field


def test_parameters_are_checked_against_the_handler(batched: Batched) -> None:
    with pytest.raises(ParamsInvalid, match="factor"):
        batched.add([1], params={"factor": "many"})
    with pytest.raises(ParamsInvalid, match="colour"):
        batched.add([1], params={"colour": 1})


# --- one live batch of a tenant and type ----------------------------------------------------------


def test_of_many_at_once_one_is_accepted_and_the_others_hear_which(batched: Batched) -> None:
    def attempt() -> int | BatchRunning:
        try:
            return batched.add([1, 2], tenant_id="acme", name="first")
        except BatchRunning as error:
            return error

    results = together(*[attempt] * 8)

    [accepted] = [one for one in results if isinstance(one, int)]
    refused = [one for one in results if isinstance(one, BatchRunning)]
    assert len(refused) == 7
    assert {one.existing for one in refused} == {accepted}
    assert f"(#{accepted})" in refused[0].text
    assert batched.add([1], tenant_id="other") != accepted


@pytest.mark.parametrize("end", ["finish", "cancel", "delete"])
def test_the_key_is_free_after_the_end(batched: Batched, end: str) -> None:
    batch = batched.add([1, 2])
    with pytest.raises(BatchRunning):
        batched.add([3])

    if end == "finish":
        batched.work()
    elif end == "cancel":
        manage.cancel_batch(batched.db, LOCAL, batch)
    else:
        manage.delete_batch(batched.db, LOCAL, batch)

    assert batched.add([3]) > batch


def test_a_batch_that_waits_or_rests_keeps_its_key(batched: Batched) -> None:
    batch = batched.add([1], start=False)
    with pytest.raises(BatchRunning):
        batched.add([2])
    create.start_batch(batched.db, LOCAL, batch)
    manage.pause_batch(batched.db, LOCAL, batch)
    with pytest.raises(BatchRunning):
        batched.add([2])


def test_who_was_stopped_cannot_go_on_while_another_has_the_key(batched: Batched) -> None:
    batched.act = _fail
    first = batched.add([1, 2, 3], stop_after=1, concurrency=1)
    batched.work()
    assert batched.status(first) == "failed"
    batched.add([9])

    with pytest.raises(BatchRunning):
        manage.resume_batch(batched.db, LOCAL, first)
    with pytest.raises(BatchRunning):
        manage.retry_failed(batched.db, LOCAL, first)

    assert batched.status(first) == "failed"
    assert batched.counts(first)[3] == 1


# --- working --------------------------------------------------------------------------------------


def _fail(item: Any) -> None:
    raise ValueError(f"not {item}")


def test_items_that_fail_are_counted_and_run_again_when_asked(batched: Batched) -> None:
    batched.act = lambda item: _fail(item) if item % 7 == 0 else {"checked": item}
    batch = batched.add(range(1, 101))
    batched.work()

    assert batched.counts(batch) == (100, 100, 86, 14, 0)
    row = batched.row(batch)
    assert row["status"] == "completed"
    assert None not in (row["started_at"], row["completed_at"])
    [seventh] = [item for item in batched.items(batch) if item["item_id"] == "7"]
    assert (seventh["attempts"], seventh["result"]) == (1, None)
    assert "ValueError: not 7" in seventh["error"]

    batched.act = lambda item: {"checked": item}
    manage.retry_failed(batched.db, LOCAL, batch)
    assert batched.status(batch) == "running"
    batched.work()

    assert batched.counts(batch) == (100, 100, 100, 0, 0)
    assert len(batched.seen) == 114
    assert sorted(batched.seen[100:]) == list(range(7, 101, 7))


def test_an_item_gets_another_attempt_when_it_is_due(batched: Batched) -> None:
    batched.act = _fail
    batch = batched.add([1], max_retries=1)
    batched.work()

    [item] = batched.items(batch)
    assert (item["status"], item["attempts"], item["retry_count"]) == ("pending", 1, 1)
    assert "not 1" in item["error"]
    assert item["due"] is not None
    assert len(batched.tasks()) == 1  # which is due when the item is
    _make_due(batched)
    batched.work()

    assert batched.counts(batch) == (1, 1, 0, 1, 0)
    assert batched.items(batch)[0]["attempts"] == 2
    assert batched.status(batch) == "completed"


def _make_due(batched: Batched) -> None:
    batched.spine.execute("UPDATE ty_batch_items SET due = 1 WHERE due IS NOT NULL")
    due = batched.spine.due_in(-1)
    batched.spine.execute(f"UPDATE batches_tasks SET schedule_time = {due} WHERE status = 0")


def test_what_an_item_shares_is_renewed_without_failing_it(batched: Batched) -> None:
    from taskyard.core.errors import RefreshNeeded

    tokens: list[int] = []
    good: list[int] = []

    def token() -> int:
        tokens.append(len(tokens) + 1)
        return tokens[-1]

    def act(item: int) -> int:
        token = batched.context.shared  # type: ignore[attr-defined]
        if token not in good:
            good.append(token + 1)
            raise RefreshNeeded
        return int(token)

    batched.register(setup=token)
    batched.act = act
    batch = batched.add([1, 2, 3], concurrency=1)
    batched.work()

    assert batched.counts(batch) == (3, 3, 3, 0, 0)
    assert [item["attempts"] for item in batched.items(batch)] == [1, 1, 1]
    assert tokens == [1, 2]


def test_an_item_that_asks_twice_for_renewal_has_failed(batched: Batched) -> None:
    from taskyard.core.errors import RefreshNeeded

    def refuse(item: Any) -> None:
        if item == 2:
            raise RefreshNeeded

    batched.register(setup=lambda: 1)
    batched.act = refuse
    batch = batched.add([1, 2, 3])
    batched.work()

    assert batched.counts(batch) == (3, 3, 2, 1, 0)
    assert batched.seen.count(2) == 2
    assert "RefreshNeeded" in batched.items(batch)[1]["error"]


def test_handlers_steer_their_items(batched: Batched) -> None:
    from taskyard.core.errors import Cancel, Retry, Snooze

    steer = {1: Cancel("closed"), 2: Retry(after=60), 3: Snooze(60), 4: Retry(after=1)}

    def act(item: int) -> None:
        raise steer[item]

    batched.act = act
    batch = batched.add([1, 2, 3], max_retries=1)
    batched.work()

    found = [(i["status"], i["error"], i["retry_count"]) for i in batched.items(batch)]
    assert found == [
        ("skipped", "closed", 0),
        ("pending", "retry", 1),
        ("pending", "snooze: ", 0),
    ]
    assert batched.counts(batch) == (3, 0, 0, 0, 1)


# --- steering by people ---------------------------------------------------------------------------


def test_a_paused_batch_gives_out_nothing_and_goes_on_when_resumed(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=2)
    worker = batched.worker()
    taken = batched.turn(worker, want=3).items
    assert len(taken) == 3

    manage.pause_batch(batched.db, LOCAL, batch)
    done = [batched_done(item) for item in taken]
    answer = batched.turn(worker, done, want=3)

    assert (answer.items, answer.more, answer.over) == ([], False, False)
    assert batched.counts(batch) == (10, 3, 3, 0, 0)
    manage.resume_batch(batched.db, LOCAL, batch)
    assert len(batched.tasks()) == 3  # the one that has just ended, and one a slot
    batched.work()
    assert batched.counts(batch) == (10, 10, 10, 0, 0)


def batched_done(item: Any, status: str = "completed", **more: Any) -> Any:
    from taskyard.batches.exchange import Done

    return Done(item, status, **more)


def test_a_cancelled_batch_skips_what_waits_and_finishes_what_is_under_way(
    batched: Batched,
) -> None:
    batch = batched.add(range(10))
    worker = batched.worker()
    first, second = batched.turn(worker, want=2).items

    manage.cancel_batch(batched.db, LOCAL, batch)
    assert batched.counts(batch) == (10, 0, 0, 0, 8)
    assert batched.status(batch) == "cancelled"
    assert batched.row(batch)["completed_at"] is not None
    # One ends well; the other asks for another attempt, which it does not get.
    ends = [batched_done(first), batched_done(second, "pending", error="later", delay=1.0)]
    assert batched.turn(worker, ends, want=5).over

    assert batched.counts(batch) == (10, 1, 1, 0, 9)
    with pytest.raises(NotNow):
        manage.cancel_batch(batched.db, LOCAL, batch)


def test_so_many_failures_stop_it_and_it_can_go_on(batched: Batched) -> None:
    batched.act = _fail
    batch = batched.add(range(20), concurrency=1, stop_after=3)
    batched.work()

    assert batched.status(batch) == "failed"
    assert "stopped after" in batched.row(batch)["error"]
    assert 3 <= batched.counts(batch)[3] < 20
    batched.act = lambda item: None
    manage.resume_batch(batched.db, LOCAL, batch)
    batched.work()
    assert batched.status(batch) == "completed"
    assert batched.counts(batch)[1] == 20


def test_items_are_skipped_and_retried_by_name(batched: Batched) -> None:
    batch = batched.add(range(5), start=False)
    manage.skip_items(batched.db, LOCAL, batch, ["1", "3"])
    assert batched.counts(batch) == (5, 0, 0, 0, 2)
    with pytest.raises(ItemUnknown, match="99"):
        manage.skip_items(batched.db, LOCAL, batch, ["99"])
    with pytest.raises(NotNow):
        manage.skip_items(batched.db, LOCAL, batch, ["1"])
    create.start_batch(batched.db, LOCAL, batch)
    batched.work()
    assert batched.status(batch) == "completed"
    assert sorted(batched.seen) == [0, 2, 4]

    with pytest.raises(NotNow):
        manage.retry_items(batched.db, LOCAL, batch, ["0"])
    manage.retry_items(batched.db, LOCAL, batch, ["3"])
    batched.work()
    assert batched.seen[3:] == [3]
    assert batched.counts(batch) == (5, 4, 4, 0, 1)


def test_the_last_item_that_is_skipped_ends_it(batched: Batched) -> None:
    batch = batched.add([1])
    manage.skip_items(batched.db, LOCAL, batch, ["1"])
    assert batched.status(batch) == "completed"


def test_a_deleted_batch_is_gone_with_its_items_and_its_workers_end(batched: Batched) -> None:
    batch = batched.add(range(10))
    worker = batched.worker()
    taken = batched.turn(worker, want=2).items

    manage.delete_batch(batched.db, LOCAL, batch)

    assert batched.turn(worker, [batched_done(item) for item in taken]).over
    assert batched.spine.rows("SELECT id FROM ty_batch_items") == []
    with pytest.raises(BatchUnknown):
        browse.show_batch(batched.db, LOCAL, batch)
    assert batched.work() != []  # Tasks that are left end at once
    assert batched.seen == []


def test_verbs_that_do_not_fit_the_state_say_so(batched: Batched) -> None:
    batch = batched.add([1], start=False)
    for verb in (manage.pause_batch, manage.resume_batch, manage.retry_failed):
        with pytest.raises(NotNow):
            verb(batched.db, LOCAL, batch)
    create.start_batch(batched.db, LOCAL, batch)
    with pytest.raises(NotNow):
        create.start_batch(batched.db, LOCAL, batch)
    batched.work()
    with pytest.raises(NotNow):
        manage.retry_failed(batched.db, LOCAL, batch)
    with pytest.raises(NotNow):
        create.add_items(batched.db, LOCAL, batch, [2])


def test_more_items_can_be_added_before_the_start(batched: Batched) -> None:
    batch = batched.add([1, 2], start=False)
    create.add_items(batched.db, LOCAL, batch, [3, 4])
    with pytest.raises(BatchInvalid, match='there twice: "2"'):
        create.add_items(batched.db, LOCAL, batch, [5, 2])
    create.start_batch(batched.db, LOCAL, batch)
    batched.work()
    assert sorted(batched.seen) == [1, 2, 3, 4]


# --- who may, who sees ----------------------------------------------------------------------------


def test_batches_of_others_are_not_there(batched: Batched) -> None:
    batch = batched.add([1], tenant_id="acme")
    stranger, owner = person(Role.OPERATOR, "other"), person(Role.OPERATOR, "acme")
    viewer = person(Role.VIEWER, "acme")

    for verb in (
        lambda: browse.show_batch(batched.db, stranger, batch),
        lambda: browse.list_items(batched.db, stranger, batch, Query()),
        lambda: manage.pause_batch(batched.db, stranger, batch),
        lambda: manage.cancel_batch(batched.db, stranger, batch),
        lambda: manage.delete_batch(batched.db, stranger, batch),
        lambda: manage.skip_items(batched.db, stranger, batch, ["1"]),
    ):
        with pytest.raises(BatchUnknown):
            verb()
    assert browse.list_batches(batched.db, stranger, Query()).rows == []
    [seen] = browse.list_batches(batched.db, viewer, Query()).rows
    assert seen["id"] == batch
    with pytest.raises(NotAllowed):
        manage.pause_batch(batched.db, viewer, batch)
    with pytest.raises(NotAllowed):
        batched.add([1], caller=stranger, tenant_id="acme")
    assert manage.pause_batch(batched.db, owner, batch)["status"] == "paused"
    sql = "SELECT action FROM ty_audit WHERE action LIKE 'batch%' ORDER BY id"
    actions = [row["action"] for row in batched.spine.rows(sql)]
    assert actions[-2:] == ["batch.create", "batch.pause"]


# --- looking --------------------------------------------------------------------------------------


def test_items_are_listed_by_status_and_text_page_by_page(batched: Batched) -> None:
    batched.act = lambda item: _fail(item) if item % 2 else None
    batch = batched.add(range(30))
    batched.work()

    def ids(**filters: Any) -> list[str]:
        return [i["item_id"] for i in browse.export_items(batched.db, LOCAL, batch, filters)]

    assert ids() == [str(n) for n in range(30)]
    assert ids(status="failed") == [str(n) for n in range(1, 30, 2)]
    assert ids(status=["failed"], q="not 13") == ["13"]
    assert ids(item_id="4") == ["4"]
    assert ids(status="skipped") == []
    page = browse.list_items(batched.db, LOCAL, batch, Query(limit=10, count=True))
    assert (len(page.rows), page.total) == (10, 30)
    more = browse.list_items(batched.db, LOCAL, batch, Query(limit=10, cursor=page.next_cursor))
    assert [row["item_id"] for row in more.rows] == [str(n) for n in range(10, 20)]


def test_rate_and_time_left_are_told_while_it_runs(batched: Batched) -> None:
    batch = batched.add(range(10), concurrency=1)
    worker = batched.worker()
    taken = batched.turn(worker, want=5).items
    batched.spine.execute("UPDATE ty_batches SET rate_from = rate_from - 2")
    batched.turn(worker, [batched_done(item) for item in taken[:1]], want=1)
    batched.spine.execute("UPDATE ty_batches SET rate_from = rate_from - 2")
    batched.turn(worker, [batched_done(item) for item in taken[1:]], want=1)

    shown = browse.show_batch(batched.db, LOCAL, batch)
    assert 1.5 < shown["rate"] <= 2.5
    assert shown["eta"] == pytest.approx(5 / shown["rate"])


# --- templates ------------------------------------------------------------------------------------


def test_a_template_fills_in_a_batch(batched: Batched) -> None:
    fields = {"name": "check {{who}} {{today}}", "params": {"factor": "{{factor}}"}}
    saved = templates.create_template(
        batched.db, LOCAL, "nightly", "check", fields, {"who": "all", "factor": None}
    )
    with pytest.raises(BatchInvalid, match='"factor" is missing'):
        templates.use_template(batched.db, LOCAL, "nightly", {})
    with pytest.raises(BatchInvalid, match="no variable"):
        templates.use_template(batched.db, LOCAL, "nightly", {}, {"colour": 1})

    given, template_id = templates.use_template(
        batched.db, LOCAL, "nightly", {"concurrency": 2}, {"factor": 3}
    )

    assert template_id == saved["id"]
    cleared = {"name": "{{factor}} times, {{colour}}", "params": None}
    taken_out, _ = templates.use_template(batched.db, LOCAL, "nightly", cleared, {"factor": 3})
    assert taken_out["name"] == "3 times, {{colour}}"
    assert "params" not in taken_out
    unnamed, _ = templates.use_template(batched.db, LOCAL, "nightly", dict.fromkeys(fields))
    assert unnamed == {"task_type": "check", "tenant_id": "", "name": "nightly"}
    assert given["name"].startswith("check all 20")
    assert (given["params"], given["concurrency"]) == ({"factor": 3}, 2)
    with pytest.raises(TemplateTwice):
        templates.create_template(batched.db, LOCAL, "nightly", "check")
    templates.update_template(batched.db, LOCAL, "nightly", {"name": "weekly"})
    [listed] = templates.list_templates(batched.db, LOCAL, Query()).rows
    assert listed["name"] == "weekly"
    templates.delete_template(batched.db, LOCAL, saved["id"])
    with pytest.raises(TemplateUnknown):
        templates.show_template(batched.db, LOCAL, "weekly")


@pytest.mark.parametrize(
    ("fields", "variables", "field"),
    [
        ({"colour": 1}, {}, "fields.colour"),
        ({"name": "{{who}}"}, {}, "variables"),
        ({"concurrency": 0}, {}, "concurrency"),
        ({}, {"1x": 1}, "variables"),
    ],
)
def test_a_template_that_cannot_be_is_refused(
    batched: Batched, fields: Any, variables: Any, field: str
) -> None:
    with pytest.raises(BatchInvalid) as refused:
        templates.create_template(batched.db, LOCAL, "t", "check", fields, variables)
    assert refused.value.field == field
