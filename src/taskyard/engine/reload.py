"""Reload: in development, replaces the Runners when the application's files change.

The supervisor never imports the application, so new code needs no new supervisor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from taskyard.settings import Settings

logger = logging.getLogger("taskyard.reload")

_SKIPPED = {".venv", "venv", "node_modules", "__pycache__", ".git"}


class SourceWatch:
    """A chore: one pass compares the Python files' times with those of the last pass."""

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self._folder = settings.folder
        self._changed = changed
        self._times = self._look()

    def __call__(self) -> bool:
        """Look once; True when something had changed."""
        times = self._look()
        if times == self._times:
            return False
        self._times = times
        logger.info("the application has changed: runners are replaced")
        self._changed()
        return True

    def _look(self) -> dict[Path, int]:
        return {
            path: path.stat().st_mtime_ns
            for path in self._folder.rglob("*.py")
            if not _SKIPPED.intersection(path.parts) and path.exists()
        }
