"""Race: several contenders measured in turns, so that a slow minute of the machine hits all of them
alike.

Owns the rounds, the medians and the table. What a contender does is its own affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from benchmarks.machine import Usage


@dataclass(frozen=True)
class Sample:
    """One measurement: so many tasks in so many seconds, and what that took of the machine."""

    tasks: int
    seconds: float
    usage: Usage

    @property
    def rate(self) -> float:
        return self.tasks / self.seconds


class Contender(Protocol):
    """Somebody to measure; measure() starts from nothing and leaves nothing."""

    name: str

    def measure(self) -> Sample: ...


@dataclass(frozen=True)
class Bar:
    """The least ratio `who` has to reach of `of` (or the least rate, when `of` is empty)."""

    who: str
    of: str
    least: float


Results = dict[str, list[Sample]]


def race(contenders: Sequence[Contender], rounds: int) -> Results:
    """Measure everybody `rounds` times in turns, each round beginning with another one."""
    results: Results = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for contender in [*contenders[first:], *contenders[:first]]:
            sample = contender.measure()
            results[contender.name].append(sample)
            print(f"  round {number + 1}: {contender.name}: {sample.rate:,.0f}/s", flush=True)
    return results


def report(title: str, results: Results, base: str, bars: Sequence[Bar] = ()) -> None:
    """Print medians, spread and ratios to `base`, then each bar and whether it was reached."""
    wide = max(map(len, results))
    head = f"{'':{wide}}  {'tasks/s':>8}  {'(lowest-highest)':>17}  {'x base':>7}"
    print(f"\n{title}\n{head}  {'CPU us/task: worker':>19}  {'store':>6}  {'others':>6}")
    for name, samples in results.items():
        rates = [sample.rate for sample in samples]
        spread = f"({min(rates):,.0f}-{max(rates):,.0f})"
        worker = median(1e6 * sample.usage.worker / sample.tasks for sample in samples)
        store = median(1e6 * sample.usage.store / sample.tasks for sample in samples)
        others = max(sample.usage.others for sample in samples)
        print(
            f"{name:{wide}}  {median(rates):>8,.0f}  {spread:>17}"
            f"  {ratio(results, name, base):>7.2f}"
            f"  {worker:>19.0f}  {store:>6.0f}  {others:>6.0%}"
        )
    for bar in bars:
        print(verdict(results, bar))
    print(flush=True)


def ratio(results: Results, who: str, of: str) -> float:
    """Median rate of one over the median rate of another."""
    return _rate(results, who) / _rate(results, of)


def verdict(results: Results, bar: Bar) -> str:
    """One line: the bar, the figure, reached or not."""
    if bar.of:
        reached = ratio(results, bar.who, bar.of)
        text = f"{bar.who}: {reached:.2f} x {bar.of}, at least {bar.least:g}"
    else:
        reached = _rate(results, bar.who)
        text = f"{bar.who}: {reached:,.0f}/s, at least {bar.least:,.0f}"
    return f"{'reached' if reached >= bar.least else 'MISSED '}  {text}"


def _rate(results: Results, name: str) -> float:
    return median(sample.rate for sample in results[name])
