"""Shell: the command line as a test types it: what it prints, and its exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskyard.cli import program
from taskyard.db import database


class Shell:
    """The command line on a database; other options of a test are its fixtures' business."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: str) -> int:
        """Run a command; its output is in `out` and `err`, its exit code comes back."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            program.run(["--db", self.url, *words])
        self.out, self.err = self._capsys.readouterr()
        return int(end.value.code or 0)

    def ok(self, *words: str) -> str:
        """Run a command that has to succeed; returns what it printed."""
        assert self(*words) == 0, self.err
        return self.out

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def close(self) -> None:
        """Close what the commands have opened."""
        for opened in database._shared.values():
            opened.close()
        database._shared.clear()
