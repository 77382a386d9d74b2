"""Histogram: what is read back from bins is never far from the values that went in."""

from __future__ import annotations

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard.core.histogram import LAST, UNKNOWN, percentile

UNIT = 0.001
values = st.floats(min_value=0.0, max_value=1e5, allow_nan=False)


def bin_of(number: float) -> int:
    """What the SQL says, which a test of the storage compares with the edges."""
    return 0 if number < UNIT else min(LAST, 1 + int(2 * log2(number / UNIT)))


def binned(numbers: list[float]) -> dict[int, tuple[int, float]]:
    """The numbers as statistics keep them."""
    bins: dict[int, tuple[int, float]] = {}
    for number in numbers:
        count, peak = bins.get(bin_of(number), (0, 0.0))
        bins[bin_of(number)] = count + 1, max(peak, number)
    return bins


@given(st.lists(values, min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_off_by_a_factor_of_the_root_of_two_at_most(
    numbers: list[float], share: float
) -> None:
    truth = sorted(numbers)[max(1, ceil(share * len(numbers))) - 1]
    found = percentile(binned(numbers), share, UNIT)
    assert found is not None
    if truth < UNIT:
        assert 0 <= found < UNIT
    else:
        assert truth / 2**0.5 * 0.999 <= found <= truth * 2**0.5 * 1.001


@given(values)
def test_one_value_is_told_exactly(number: float) -> None:
    for share in (0.5, 0.99, 1.0):
        assert percentile(binned([number]), share, UNIT) == number


def test_evenly_spread_values_are_told_within_a_few_percent() -> None:
    numbers = [0.01 * 1.01**n for n in range(1_000)]
    for share in (0.25, 0.5, 0.95, 0.99):
        truth = numbers[ceil(share * len(numbers)) - 1]
        assert percentile(binned(numbers), share, UNIT) == pytest.approx(truth, rel=0.03)


def test_percentiles_rise_with_the_share() -> None:
    bins = binned([0.0005, 0.02, 0.3, 0.3, 0.31, 4.0, 50.0])
    found = [percentile(bins, share / 100, UNIT) or 0.0 for share in range(1, 101)]
    assert found == sorted(found)
    assert found[-1] == 50.0


def test_what_was_not_measured_has_no_part() -> None:
    assert percentile({}, 0.5, UNIT) is None
    assert percentile({UNKNOWN: (9, 0.0)}, 0.5, UNIT) is None
    assert percentile({UNKNOWN: (9, 0.0), **binned([2.0])}, 0.5, UNIT) == 2.0
