"""Sums: numbers read out of the roll-ups: for ranges of time, under headings.

Owns the one SELECT of all statistics, and what its rows come to. A range is read from the grains
that make it up, in one statement, so that it shows one moment. Which headings and figures there are
is `stats.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskyard.core.histogram import percentile
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Tx
from taskyard.runs.grains import Piece
from taskyard.runs.rollups import MEASURES

JUDGED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.LOST)
"""The statuses that a success rate is about: the others say nothing of the work."""

_PART = """
SELECT {headings}, SUM(count), SUM(CASE WHEN bin < 0 THEN 0 ELSE count END), SUM(total), MAX(peak)
  FROM ty_stats WHERE {where} GROUP BY {numbers}
"""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of time, and the pieces that make it up; its number is a heading of its rows."""

    number: int
    start: int
    end: int
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Which Runs are meant: a condition, and its parameters."""

    where: str = "1 = 1"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def also(self, column: str, values: Sequence[Any]) -> Narrowing:
        """Those of them whose column has one of these values."""
        marks, parameters = self._with(values)
        return Narrowing(f"{self.where} AND {column} IN ({marks})", parameters)

    def named(self, column: str, values: Sequence[Any]) -> tuple[str, Narrowing]:
        """An expression that is the column where it has one of these values, and null elsewhere."""
        marks, parameters = self._with(values)
        expression = f"CASE WHEN {column} IN ({marks}) THEN {column} END"
        return expression, Narrowing(self.where, parameters)

    def _with(self, values: Sequence[Any]) -> tuple[str, Mapping[str, Any]]:
        names = [f"n{len(self.parameters) + number}" for number in range(len(values))]
        marks = ", ".join(f":{name}" for name in names)
        return marks, {**self.parameters, **dict(zip(names, values, strict=True))}


@dataclass(slots=True)
class Sums:
    """What was counted and measured under one heading."""

    count: int = 0
    known: int = 0
    """How many of them were measured."""
    total: float = 0.0
    peak: float = 0.0
    by_status: dict[str, int] = field(default_factory=dict)
    by_bin: dict[int, tuple[int, float]] = field(default_factory=dict)

    def add(self, status: str | None, number: int | None, values: Sequence[Any]) -> None:
        """Add the numbers of a row; it may be of one status, and of one bin."""
        count, known, total, peak = int(values[0]), int(values[1]), values[2], values[3]
        self.count += count
        self.known += known
        self.total += total
        self.peak = max(self.peak, peak)
        if status is not None:
            self.by_status[status] = self.by_status.get(status, 0) + count
        if number is not None:
            before = self.by_bin.get(number, (0, 0.0))
            self.by_bin[number] = before[0] + count, max(before[1], peak)

    def average(self) -> float | None:
        """The mean of what was measured."""
        return self.total / self.known if self.known else None

    def largest(self) -> float | None:
        """The largest of what was measured."""
        return self.peak if self.known else None

    def share(self, share: float, measure: str) -> float | None:
        """The value that this share (0 to 1) does not exceed; see `core/histogram.py`."""
        return percentile(self.by_bin, share, MEASURES[measure])

    def success_rate(self) -> float | None:
        """Completed Runs among those that can be judged, 0 to 1."""
        judged = sum(self.by_status.get(status, 0) for status in JUDGED)
        return self.by_status.get(RunStatus.COMPLETED, 0) / judged if judged else None


def read(
    tx: Tx,
    spans: Sequence[Span],
    measures: Sequence[str],
    headings: Sequence[str],
    narrowing: Narrowing,
) -> list[tuple[Any, ...]]:
    """The numbers of these spans: rows of a span's number, the headings, and four sums.

    `headings` are expressions over the columns of `ty_stats`. A heading may come in several rows,
    one of each grain: they are to be added (`Sums`).
    """
    names = ", ".join(f"'{measure}'" for measure in measures)
    parts = [
        _select(span, piece, f"measure IN ({names}) AND {narrowing.where}", headings)
        for span in spans
        for piece in span.pieces
    ]
    return tx.all(" UNION ALL ".join(parts), **narrowing.parameters)


def _select(span: Span, piece: Piece, where: str, headings: Sequence[str]) -> str:
    columns = [f"{span.number} AS span", *headings]
    place = f"grain = {piece.grain} AND start >= {piece.start} AND start < {piece.end}"
    return _PART.format(
        headings=", ".join(columns),
        where=f"{place} AND {where}",
        numbers=", ".join(str(number + 1) for number in range(len(columns))),
    )
