"""Uncounted: which Runs have ended and are in no statistics yet.

Owns what is written to `ty_uncounted`: a row for each transaction that ends Runs, with their ids.
So a Run is counted once, whatever breaks, and ending it costs next to nothing. The PostgreSQL
settle says the same in its one statement; who counts and takes the rows away is `runs/rollups.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard.db.database import Tx


def note(tx: Tx, run_ids: Iterable[int]) -> None:
    """These Runs have been ended by this transaction."""
    text = ",".join(str(run_id) for run_id in run_ids)
    if text:
        tx.execute("INSERT INTO ty_uncounted (run_ids) VALUES (:run_ids)", run_ids=text)
