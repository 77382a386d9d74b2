"""Roll-ups: Runs counted by time, type, queue, tenant and status, and kept longer than the Runs.

Owns `ty_stats` and what goes into it. The transaction that ends Runs notes them in `ty_uncounted`
(`db/uncounted.py`); `count_ended` counts what is noted there in every grain of `ty_stats` and takes
the notes away, in one transaction: no Run is missed or counted twice, whatever breaks when. So each
grain holds every Run that was counted, and a reader takes the one that suits. `forget_old` drops
what a grain keeps no longer. Reading is `stats.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from taskyard.core.histogram import bin_sql
from taskyard.db.database import Database, Tx
from taskyard.runs import failures
from taskyard.runs.grains import GRAINS

MEASURES: Mapping[str, float] = {"run": 0.001, "wait": 0.001, "memory": 1024.0 * 1024.0}
"""What is measured of a Run, and the unit of its bins: a millisecond, a mebibyte."""

_COLUMNS = {"run": "execution_time", "wait": "wait_time", "memory": "memory_usage"}
_KEY = ("grain", "measure", "start", "task_type", "queue", "tenant_id", "status", "bin")

_RUNS_AT_ONCE = 2_000
_NOTES_AT_ONCE = 500
_FEW_RUNS = 2_000
_FEW_NOTES = 200
_STEPS_AT_ONCE = 10

# From the inside: Runs that are alike are counted together, once for each measure, by the minute,
# and that goes into each grain. Every Run has a bin of its execution time, if only that of unknown
# ones, so these count the Runs; one that was handed back before it started says nothing of the
# work. The rows are written in one order everywhere, so that two Servers that count cannot lock
# each other out.
_COUNT = """
INSERT INTO ty_stats ({key}, count, total, peak)
SELECT grain, measure, minute - minute % grain, task_type, queue, tenant_id, status, bin,
       SUM(runs), SUM(total), MAX(peak)
  FROM (
    SELECT measure, minute, task_type, queue, tenant_id, status, bin,
           SUM(runs) AS runs, SUM(total) AS total, MAX(peak) AS peak
      FROM (
        SELECT measure, minute, task_type, queue, tenant_id, status, runs,
               {of_measure} AS bin, {of_measure_total} AS total, {of_measure_peak} AS peak
          FROM (
            SELECT {minute} AS minute, task_type, COALESCE(queue, '') AS queue, tenant_id, status,
                   {bins}, COUNT(*) AS runs, {sums}
              FROM ty_runs
             WHERE {among} AND (started_at IS NOT NULL OR status <> 'interrupted')
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
          ) AS alike CROSS JOIN ({measures}) AS measures
      ) AS measured
     WHERE measure = 'run' OR bin >= 0
     GROUP BY 1, 2, 3, 4, 5, 6, 7
  ) AS counted CROSS JOIN ({grains}) AS grains
 WHERE 1 = 1
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
{adding}
"""


def count_ended(db: Database) -> int:
    """Count all Runs that have ended since; returns how many. Servers may do it at once."""
    count = 0
    while runs := _count_some(db):
        count += runs
    return count


def count_few(db: Database) -> None:
    """Count the Runs that have ended since if they are few; if not, a Server is at it.

    For who reads statistics: so they are complete where little runs, and where no Server does.
    """
    sizes = db.read(lambda tx: [ids.count(",") + 1 for _, ids in _notes(tx, _FEW_NOTES + 1)])
    if len(sizes) <= _FEW_NOTES and sum(sizes) <= _FEW_RUNS:
        _count_some(db)


def forget_old(db: Database) -> int:
    """Drop what its grain keeps no longer; returns the number of rows."""
    now = db.read(now_of)
    return sum(
        _forget(db, grain, measure, (now - kept) // grain * grain)
        for grain, kept in GRAINS.items()
        for measure in MEASURES
    )


def now_of(tx: Tx) -> int:
    """The database's clock, in whole seconds since 1970."""
    return int(float(tx.value(f"SELECT {tx.dialect.epoch(tx.dialect.utc_now)}")))


# --- counting ------------------------------------------------------------------------------------


def _count_some(db: Database) -> int:
    return db.run(_count) if db.read(partial(_notes, most=1)) else 0


def _count(tx: Tx) -> int:
    notes: list[int] = []
    runs: list[int] = []
    # What another Server is counting just now is not ours to count.
    for note, run_ids in _notes(tx, _NOTES_AT_ONCE, tx.dialect.skip_locked):
        if len(runs) < _RUNS_AT_ONCE:
            notes.append(note)
            runs += map(int, run_ids.split(","))
    if notes:
        tx.execute(_statement(tx, runs))
        failures.hand_on(tx, runs)
        tx.execute(f"DELETE FROM ty_uncounted WHERE {tx.dialect.among('id', notes)}")
    return len(runs)


def _notes(tx: Tx, most: int, lock: str = "") -> list[tuple[int, str]]:
    rows = tx.all(f"SELECT id, run_ids FROM ty_uncounted ORDER BY id LIMIT :most {lock}", most=most)
    return [(note, run_ids) for note, run_ids in rows]


def _statement(tx: Tx, runs: Sequence[int]) -> str:
    dialect = tx.dialect
    started, claimed = dialect.minute("started_at"), dialect.floor("claimed_at / 60000000.0")
    return _COUNT.format(
        key=", ".join(_KEY),
        of_measure=_of_measure("bin"),
        of_measure_total=_of_measure("total"),
        of_measure_peak=_of_measure("peak"),
        minute=f"COALESCE({started}, {claimed} * 60)",
        bins=", ".join(
            f"{bin_sql(_COLUMNS[name], repr(unit), dialect.floor)} AS {name}_bin"
            for name, unit in MEASURES.items()
        ),
        sums=", ".join(
            f"COALESCE(SUM({column}), 0) AS {name}_total, COALESCE(MAX({column}), 0) AS {name}_peak"
            for name, column in _COLUMNS.items()
        ),
        measures=" UNION ALL ".join(f"SELECT '{name}' AS measure" for name in MEASURES),
        grains=" UNION ALL ".join(f"SELECT {grain} AS grain" for grain in GRAINS),
        among=dialect.among("id", runs),
        adding=dialect.adding("ty_stats", _KEY),
    )


def _of_measure(number: str) -> str:
    cases = " ".join(f"WHEN '{name}' THEN {name}_{number}" for name in MEASURES)
    return f"CASE measure {cases} END"


# --- forgetting ----------------------------------------------------------------------------------


def _forget(db: Database, grain: int, measure: str, bound: int) -> int:
    """Drop a few steps in a transaction, so that nobody waits for it."""
    count = 0
    while True:
        oldest = db.read(partial(_oldest, grain=grain, measure=measure))
        if oldest is None or oldest >= bound:
            return count
        until = min(bound, oldest + _STEPS_AT_ONCE * grain)
        count += db.run(partial(_drop, grain=grain, measure=measure, until=until))


def _oldest(tx: Tx, grain: int, measure: str) -> int | None:
    found: int | None = tx.value(
        "SELECT MIN(start) FROM ty_stats WHERE grain = :grain AND measure = :measure",
        grain=grain,
        measure=measure,
    )
    return found


def _drop(tx: Tx, grain: int, measure: str, until: int) -> int:
    return tx.execute(
        "DELETE FROM ty_stats WHERE grain = :grain AND measure = :measure AND start < :until",
        grain=grain,
        measure=measure,
        until=until,
    )
