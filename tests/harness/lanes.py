"""Which databases a fault test needs: all of them where storage is at stake, else one."""

from __future__ import annotations

import pytest

one_lane = pytest.mark.parametrize("lane", ["postgres"], indirect=True)
"""For what processes, signals and handlers do whatever the database: more lanes prove no more."""
