"""Grains: how finely the statistics tell times apart, how far back, and what makes up a range.

Owns the table of grains: each holds all Runs, in steps of its own length, for a time of its own. A
range is made up of the coarsest rows that fit into it, with finer ones at its ends: a day is read
from some thirty steps instead of 1 440. Pure: times are whole seconds since 1970, now comes in.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE, HOUR, DAY = 60, 3_600, 86_400

GRAINS = {MINUTE: 2 * DAY, 10 * MINUTE: 14 * DAY, HOUR: 60 * DAY, DAY: 366 * DAY}
"""The length of each grain's steps, and for how long they are kept; the finest first."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a range, which the rows of one grain make up."""

    grain: int
    start: int
    end: int


def widen(start: int, end: int, now: int) -> tuple[int, int]:
    """The range with its ends moved outward to steps of the finest grain that is kept there."""
    first, last = _finest(start, now), _finest(end, now)
    return start // first * first, -(-end // last) * last


def cover(start: int, end: int) -> list[Piece]:
    """The pieces that make up a range whose ends are those of `widen`."""
    return _cover(start, end, sorted(GRAINS, reverse=True))


def grain_of(step: int, start: int, now: int) -> int | None:
    """The coarsest grain of which steps of this length can be made, from `start` on.

    None when the grains that could are not kept for so long.
    """
    fit = [g for g in GRAINS if step % g == 0 and start % g == 0 and is_kept(g, start, now)]
    return max(fit, default=None)


def is_kept(grain: int, start: int, now: int) -> bool:
    """Whether rows of this grain that start then are still there."""
    return start >= now - GRAINS[grain]


def _finest(moment: int, now: int) -> int:
    return next((grain for grain in GRAINS if is_kept(grain, moment, now)), DAY)


def _cover(start: int, end: int, grains: list[int]) -> list[Piece]:
    if start >= end or not grains:
        return []
    grain, finer = grains[0], grains[1:]
    first, last = -(-start // grain) * grain, end // grain * grain
    if first >= last:
        return _cover(start, end, finer)
    middle = Piece(grain, first, last)
    return [*_cover(start, first, finer), middle, *_cover(last, end, finer)]
