"""Durations: one strict way to write lengths of time."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.durations import Duration, format_duration, parse_duration

READ: list[tuple[Duration, float]] = [
    (0, 0.0),
    (90, 90.0),
    (0.25, 0.25),
    ("90", 90.0),
    ("0.5", 0.5),
    (" 5m ", 300.0),
    ("90s", 90.0),
    ("5m", 300.0),
    ("1h30m", 5_400.0),
    ("1.5h", 5_400.0),
    ("2d", 172_800.0),
    ("1w", 604_800.0),
    ("1d2h3m4.5s", 93_784.5),
    ("PT5M", 300.0),
    ("PT0.5S", 0.5),
    ("P2D", 172_800.0),
    ("P1W", 604_800.0),
    ("P1DT12H", 129_600.0),
    (timedelta(minutes=2, milliseconds=5), 120.005),
]

REFUSED: list[object] = [
    "",
    " ",
    "s",
    "P",
    "PT",
    "P1DT",
    "-5",
    "-5m",
    "+5m",
    "5 m",
    "1h 30m",
    "30m1h",
    "1h1h",
    "1h30",
    "5M",
    "5min",
    "1e3",
    ".5s",
    "5.",
    "1,5s",
    "٥m",
    "P1Y",
    "P1M",
    "pt5m",
    "nan",
    "inf",
    "9" * 400,
    "9" * 400 + "s",
    -1,
    -0.001,
    math.nan,
    math.inf,
    True,
    None,
    b"5m",
    timedelta(seconds=-1),
]


@pytest.mark.parametrize(("written", "seconds"), READ, ids=lambda value: repr(value))
def test_a_duration_is_read_as_seconds(written: Duration, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("written", REFUSED, ids=lambda value: repr(value)[:20])
def test_what_is_no_duration_is_refused_with_examples_of_what_is(written: Duration) -> None:
    with pytest.raises(ValueError, match=r"is not a duration; write seconds .*1h30m.*PT5M"):
        parse_duration(written)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "0.25s"),
        (90, "1m30s"),
        (5_400, "1h30m"),
        (172_800, "2d"),
        (3_600.1, "1h0.1s"),
        (0.0000001, "0s"),
    ],
)
def test_seconds_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 10**15).map(lambda micros: micros / 1_000_000))
def test_what_is_written_is_read_back_to_the_same_number(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(alphabet="0123456789.wdhmsPT- e", max_size=12))
def test_any_text_is_a_finite_duration_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert math.isfinite(seconds)
    assert seconds >= 0
