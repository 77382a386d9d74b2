"""The wheel carries the built console: this hook builds it first.

Skipped for editable installs (`dev.py` builds there), and where TASKYARD_CONSOLE=skip says so: then
the server tells on its page that the console is missing. Without a Node.js of its own the build
gets one from PyPI.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "web"))

import build as console  # noqa: E402


class ConsoleHook(BuildHookInterface[Any]):
    """Builds the console before the wheel is packed."""

    def dependencies(self) -> list[str]:
        """What the build needs: a Node.js where the machine has none."""
        return [console.NODE] if console.node() is None and self._is_wanted() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build; raises CannotBuild, so that no wheel without a console is made by mistake."""
        if version != "editable" and self._is_wanted():
            console.build()

    def _is_wanted(self) -> bool:
        return os.environ.get("TASKYARD_CONSOLE") != "skip"
