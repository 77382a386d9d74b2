"""Errors: one tree, each class with its code, its sentence, its fix and its data."""

from __future__ import annotations

import inspect
import pickle
import re
from datetime import timedelta
from typing import Any

import pytest

from taskyard.core import errors
from taskyard.core.errors import TaskyardError

SAMPLES: list[TaskyardError] = [
    errors.NoConfig(),
    errors.DatabaseUnreachable("postgresql://app:canary@db:5432/jobs", "connection refused"),
    errors.SchemaOld("7", "9"),
    errors.DatabaseLocked("/data/jobs.db", "pid 812, python"),
    errors.BadSetting("lease", "must be at least 1 s", "environment TASKYARD_LEASE"),
    errors.OutcomeUnknown("server closed the connection"),
    errors.MissingExtra("PostgreSQL", "postgres"),
    errors.SchemaNewer("9", "7"),
    errors.QueryInvalid("status", '"done" is no status.', "Statuses: pending, running."),
    errors.HandlerUnknown("mail.sned", ["mail.send", "shop.greet"]),
    errors.HandlerImportFailed("handlers.py", "ModuleNotFoundError: requests (line 3)"),
    errors.ParamsInvalid("shop.greet", ['"times" must be an integer, got "two"']),
    errors.ParamsNotJson("task_params of mail_tasks row 42", "unexpected end (char 17)"),
    errors.PayloadTooLarge("task_params", 2_000_000, 1_048_576),
    errors.HandlerTwice("email", "mail.py:3", "handlers.py:9"),
    errors.TableInvalid("report_tasks", ["lacks column fence"], ["ALTER TABLE report_tasks …;"]),
    errors.ServerIdTwice("server-001", "b", 2.2),
    errors.QueueUnknown("emial", ["email", "sync"]),
    errors.QueueInvalid("email", "max_workers", "max_workers cannot be -1", "Give 1 or more."),
    errors.TaskUnknown("email/42"),
    errors.RunUnknown(42),
    errors.ServerUnknown("server-01", ["server-001"]),
    errors.DuplicateTask("order-7", "email/42"),
    errors.NotNow("cancel", "task email/42", "completed"),
    errors.TaskLost("email/42"),
    errors.WaitTimedOut("email/42", 30.0),
    errors.TaskFailed("email/42", "failed", "Traceback …\nValueError: no such user"),
    errors.CountChanged(12, 14),
    errors.TableUnknown("mail_tasks"),
    errors.TooManyListeners(200),
    errors.ViewTaken("job_runs"),
    errors.BatchUnknown("7"),
    errors.BatchInvalid("concurrency", "it cannot be 0", "Give 1 to 1,000."),
    errors.ItemUnknown("7", "account-42"),
    errors.TemplateUnknown("nightli", ["nightly"]),
    errors.TemplateTwice("nightly"),
    errors.BatchFailed(7, "failed", "stopped after 10 failed items"),
    errors.BatchRunning("verify_accounts", "acme", 17, "March"),
    errors.ScheduleUnknown("bakcup", ["backup"]),
    errors.ScheduleInvalid("misfire", '"later" is none of skip, one, all', "Choose one of them."),
    errors.CronInvalid("61 * * * *", "minute", "61 is outside 0–59", "Give 0–59."),
    errors.ScheduleTwice("backup"),
    errors.RuleUnknown("failure", ["failures"]),
    errors.ChannelUnknown("opss", ["ops"]),
    errors.IncidentUnknown(42),
    errors.AlertInvalid('Rule "nightly"', "status", "cannot be 3", "Give 1 (on) or 0 (off)."),
    errors.NotSent("mail.example refused the connection"),
    errors.Undeliverable("no such recipient"),
    errors.AddressRefused("localhost", "it is this machine"),
    errors.QueueTwice("email"),
    errors.UserUnknown("ana", ["anna"]),
    errors.TenantUnknown("acmee", ["acme"]),
    errors.TokenUnknown("k3v7q2xa"),
    errors.AccessInvalid('User "anna"', "role", 'role: there is no "admin"', "There are: …."),
    errors.NameTaken('User "anna"'),
    errors.LastSuperuser("admin"),
    errors.UserUnknown("ana", ["anna"]),
    errors.TenantUnknown("acmee", ["acme"]),
    errors.TokenUnknown("k3v7q2xa"),
    errors.AccessInvalid('User "anna"', "role", 'role: there is no "x"', "There are: viewer, …."),
    errors.NameTaken('User "anna"'),
    errors.LastSuperuser("admin"),
    errors.NotAllowed("runs.retry", "monitor"),
    errors.NotSignedIn(),
    errors.SignInFailed(),
    errors.TooManyAttempts(840),
    errors.TokenEnded("k3v7q2xa", "expired"),
    errors.NotSignedIn(),
    errors.SignInFailed(),
    errors.TooManyAttempts(840),
    errors.TokenEnded("k3v7q2xa", "expired"),
    errors.PortInUse("127.0.0.1", 9999, 812),
    errors.PortInUse("127.0.0.1", 9999),
    errors.ConsoleNotBuilt(),
    errors.UnsafeAddress("192.0.2.1", "passwords would pass in the clear", "Give a certificate."),
    errors.RequestInvalid(['"queue_name" is required']),
    errors.NotJson("unexpected end of data (character 2)"),
    errors.WrongContentType('its Content-Type is "text/plain"'),
    errors.BodyTooLarge(16_777_216),
    errors.HostUnknown("jobs.example"),
    errors.CrossSite("http://evil.example"),
    errors.AddressUnknown("/api/v1/job"),
    errors.MethodUnknown("PUT", ["GET", "POST"]),
    errors.KeyReused("order-7"),
    errors.KeyBusy("order-7"),
    errors.NotReady(database=True, server=False),
    errors.NotReady(database=False, server=False),
    errors.Unexpected("c97625ac40bf2a6f"),
]


def test_every_error_has_a_sample_here() -> None:
    assert {type(sample) for sample in SAMPLES} == set(errors.all_errors())


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.code)
def test_an_error_says_its_code_a_sentence_and_what_to_do(error: TaskyardError) -> None:
    assert re.fullmatch(r"TY[1-5]\d\d", error.code)
    assert str(error) == f"{error.code} {error.text}"
    assert re.search(r"[.?]$", error.text)
    assert ".." not in error.text
    assert error.fix
    assert "canary" not in f"{error} {error.fix} {error.params} {error!r}"


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.code)
def test_an_errors_data_are_its_attributes(error: TaskyardError) -> None:
    for name, value in error.params.items():
        assert getattr(error, name) == value
    kinds = type(error).__mro__[: type(error).__mro__.index(TaskyardError)]
    declared = {name for kind in kinds for name in inspect.get_annotations(kind)}
    assert declared - {"code", "exit_code"} == set(error.params)


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: error.code)
def test_an_error_survives_the_way_out_of_a_process_pool(error: TaskyardError) -> None:
    copy: Any = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.fix, copy.params) == (str(error), error.fix, error.params)


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in errors.all_errors()]
    assert len(codes) == len(set(codes))
    assert codes == sorted(codes)


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.TaskFailed, 1),
        (errors.NoConfig, 2),
        (errors.ParamsInvalid, 2),
        (errors.HandlerUnknown, 3),
        (errors.QueueUnknown, 3),
        (errors.NotAllowed, 4),
        (errors.DuplicateTask, 5),
        (errors.NotNow, 5),
        (errors.DatabaseUnreachable, 6),
        (errors.SchemaOld, 6),
        (errors.DatabaseLocked, 6),
        (errors.WaitTimedOut, 7),
    ],
)
def test_the_exit_code_tells_the_kind_of_trouble(kind: type[TaskyardError], exit_code: int) -> None:
    assert kind.exit_code == exit_code


def test_a_wrong_name_is_answered_with_the_nearest_right_one() -> None:
    unknown = errors.HandlerUnknown("mail.sned", ["shop.greet", "mail.send"])
    assert str(unknown) == ('TY201 No handler "mail.sned" is registered. Did you mean "mail.send"?')
    assert "mail.send, shop.greet" in unknown.fix
    assert "Did you mean" not in str(errors.HandlerUnknown("x", ["mail.send"]))


def test_a_failed_task_tells_the_last_line_of_its_error() -> None:
    failed = errors.TaskFailed("email/42", "failed", "Traceback …\nValueError: no such user\n")
    assert failed.text == "Task email/42 failed: ValueError: no such user."
    assert errors.TaskFailed("email/42", "cancelled").text == "Task email/42 cancelled."


@pytest.mark.parametrize("after", [300, "5m", timedelta(minutes=5)])
def test_steering_takes_durations_as_people_write_them(after: Any) -> None:
    assert errors.Retry(after=after).after == 300.0
    assert errors.Snooze(after).after == 300.0


def test_steering_is_no_error_and_carries_its_reason() -> None:
    assert errors.Retry().after is None
    assert errors.Retry(reason="busy").reason == "busy"
    assert errors.Cancel("no such user").reason == "no such user"
    assert not isinstance(errors.Cancel(), TaskyardError)
    with pytest.raises(ValueError, match="not a duration"):
        errors.Snooze("soon")
