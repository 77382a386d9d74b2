"""What commands print: tables for people, TSV for pipes, JSON for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskyard.cli import formats, output
from taskyard.cli.output import Column, print_fields, print_list
from taskyard.cli.params import read_params
from taskyard.core.errors import ParamsNotJson

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

COLUMNS = (
    Column("name"),
    Column("state", show="state"),
    Column("at", "when", "ago"),
    Column("size", show=formats.size, right=True),
)
ROWS: list[dict[str, Any]] = [
    {"name": "a\tb\nc", "state": "failed", "at": NOON, "size": 2048, "hidden": 1},
    {"name": None, "state": "odd", "at": None, "size": None, "hidden": 2},
]


def test_a_pipe_gets_one_line_a_row_with_the_values_themselves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_list(ROWS, COLUMNS, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "name\tstate\tat\tsize",
        "a\\tb\\nc\tfailed\t2026-05-01T12:00:00+00:00\t2048",
        "\todd\t\t",
    ]


def test_json_is_a_bare_array_of_whole_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(ROWS, COLUMNS, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["hidden"] for row in rows] == [1, 2]
    assert rows[0]["at"] == "2026-05-01T12:00:00+00:00"
    print_list([], COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_a_terminal_gets_a_table_with_words_for_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    rows = [{**ROWS[0], "name": "mail", "at": datetime.now(UTC) - timedelta(minutes=5)}]
    print_list(rows, COLUMNS, as_json=False, color=False)
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "STATE", "WHEN", "SIZE"]
    assert line.split() == ["mail", "✗", "failed", "5", "min", "ago", "2.0", "KiB"]


def test_an_empty_list_is_said_to_a_person_and_is_no_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    print_list([], COLUMNS, as_json=False, empty="No runs.")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "No runs.\n")


def test_fields_stand_below_each_other_and_long_texts_below_their_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_fields([("id", "1"), ("error", "first\nsecond\n"), ("status", "failed")])
    assert capsys.readouterr().out.splitlines() == [
        "id:     1",
        "error:",
        "  first",
        "  second",
        "status: failed",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.85, "850 ms"),
        (0.9996, "1.0 s"),
        (12.44, "12.4 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3_599.6, "1 h 00 min"),
        (7_800, "2 h 10 min"),
        (86_400 * 3 + 4 * 3_600, "3 d 4 h"),
    ],
)
def test_lengths_of_time_are_short_words(seconds: float | None, text: str) -> None:
    assert formats.took(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (25_270_681, "24.1 MiB"), (2**42, "4096.0 GiB")],
)
def test_sizes_tell_nothing_from_unknown(count: int | None, text: str) -> None:
    assert formats.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "now"), (12, "12 s ago"), (61, "1 min ago"), (7_300, "2 h ago"), (-300, "in 5 min")],
)
def test_moments_are_seen_from_now(seconds: float, text: str) -> None:
    assert formats.ago(NOON - timedelta(seconds=seconds), NOON) == text
    assert formats.ago(None, NOON) == "–"


def test_the_last_line_of_a_traceback_is_what_happened() -> None:
    assert formats.last_line("Traceback …\n  x\nValueError: no\n\n") == "ValueError: no"
    assert formats.last_line(None) == ""


def test_parameters_are_text_unless_they_say_json(tmp_path: Any) -> None:
    file = tmp_path / "params.json"
    file.write_text('{"a": 0, "list": [1]}')
    words = ["a=3", "b:=3", "text=x=y:=z", "none:=null", 'deep:={"k": [true]}', "empty="]
    assert read_params(words, str(file)) == {
        "a": "3",
        "list": [1],
        "b": 3,
        "text": "x=y:=z",
        "none": None,
        "deep": {"k": [True]},
        "empty": "",
    }


@pytest.mark.parametrize("content", ["[1]", "{", "1", ""])
def test_a_parameter_file_must_hold_an_object(content: str, tmp_path: Any) -> None:
    file = tmp_path / "params.json"
    file.write_text(content)
    with pytest.raises(ParamsNotJson):
        read_params([], str(file))


def test_a_missing_file_and_a_bad_value_are_named(tmp_path: Any) -> None:
    with pytest.raises(ParamsNotJson, match=r"gone\.json"):
        read_params([], str(tmp_path / "gone.json"))
    with pytest.raises(ParamsNotJson, match="Parameter times"):
        read_params(["times:=three"], None)


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "is_terminal", lambda: False)
