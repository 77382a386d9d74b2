"""Grains: a range is made up of few steps, each minute of it once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskyard.runs.grains import DAY, GRAINS, HOUR, MINUTE, cover, grain_of, is_kept, widen

NOW = 1_772_366_523
moments = st.integers(min_value=NOW - 500 * DAY, max_value=NOW + DAY)


@given(moments, moments)
def test_a_range_is_covered_once_by_rows_that_are_kept(first: int, second: int) -> None:
    start, end = widen(min(first, second), max(first, second) + 1, NOW)
    assert start <= min(first, second) and end > max(first, second)
    assert start % MINUTE == end % MINUTE == 0
    at = start
    for piece in cover(start, end):
        assert piece.start == at < piece.end
        assert piece.start % piece.grain == piece.end % piece.grain == 0
        # The coarsest rows are for ever what is left of the past.
        assert is_kept(piece.grain, piece.start, NOW) or piece.grain == DAY
        at = piece.end
    assert at == end


@given(moments, st.integers(min_value=MINUTE, max_value=400 * DAY))
def test_few_steps_make_up_a_range(first: int, length: int) -> None:
    pieces = cover(*widen(first, first + length, NOW))
    for finer, coarser in zip([*GRAINS], [*GRAINS][1:], strict=False):
        steps = sum((p.end - p.start) // p.grain for p in pieces if p.grain == finer)
        assert steps < 2 * coarser // finer


def test_a_day_that_begins_anywhere_is_read_from_some_thirty_steps() -> None:
    start, end = widen(NOW - DAY, NOW, NOW)
    assert sum((p.end - p.start) // p.grain for p in cover(start, end)) < 45


def test_steps_are_made_of_the_coarsest_grain_that_fits_and_is_kept() -> None:
    today = NOW // DAY * DAY
    assert grain_of(5 * MINUTE, today, NOW) == MINUTE
    assert grain_of(30 * MINUTE, today, NOW) == 10 * MINUTE
    assert grain_of(2 * HOUR, today, NOW) == HOUR
    assert grain_of(2 * HOUR, today + 30 * MINUTE, NOW) == 10 * MINUTE
    assert grain_of(DAY, today - 8 * HOUR, NOW) == HOUR
    assert grain_of(7 * DAY, today, NOW) == DAY
    assert grain_of(5 * MINUTE, today - 3 * DAY, NOW) is None
    assert grain_of(DAY, today - 90 * DAY, NOW) == DAY
    assert grain_of(DAY, today - 90 * DAY + HOUR, NOW) is None
