"""Histogram: values of which only counts are kept: the bins they are put into, and what is read
back.

Owns the one definition of the bins. Bin 0 holds what is below a unit, each further bin ends at √2
times the end of the one before. So a percentile that is read back lies in the right bin, at most a
factor of √2 from the truth. What is measured, and in which unit, is the callers' business. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, log

UNKNOWN = -1
"""The bin of what was counted but not measured; it has no part in percentiles."""

LAST = 63
"""The bin of all that is larger than the bins reach: the unit times 2 billion."""

_BINS_TO_E = 2.0 / log(2.0)


def bin_sql(value: str, unit: str, floor: Callable[[str], str]) -> str:
    """The bin of a number, as SQL: both are expressions, `unit` the end of bin 0.

    `floor` makes an expression of the whole number below another.
    """
    return (
        f"CASE WHEN {value} IS NULL THEN {UNKNOWN} WHEN {value} < {unit} THEN 0"
        f" WHEN {value} >= {unit} * {2.0 ** ((LAST - 1) / 2)!r} THEN {LAST}"
        f" ELSE 1 + {floor(f'{_BINS_TO_E!r} * ln({value} / {unit})')} END"
    )


def percentile(bins: Mapping[int, tuple[int, float]], share: float, unit: float) -> float | None:
    """The value that `share` (0 to 1) of all values do not exceed; None when there are none.

    `bins` has how many values each bin holds, and the largest of them, which is exact: so is every
    percentile that falls on it. Between the ends of a bin values are taken to lie evenly by ratio.
    """
    known = {number: found for number, found in bins.items() if number != UNKNOWN}
    rank = max(1, ceil(share * sum(count for count, _ in known.values())))
    for number, (count, peak) in sorted(known.items()):
        if rank <= count:
            return _between(number, peak, rank / count, unit)
        rank -= count
    return None


def _between(number: int, peak: float, part: float, unit: float) -> float:
    if number == 0 or peak <= 0:
        return peak * part
    start: float = min(peak, unit * 2.0 ** ((number - 1) / 2))
    return float(peak * (start / peak) ** (1.0 - part))
