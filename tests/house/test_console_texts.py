"""The console's catalogues: a text in each language for whatever the server names by a word."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from taskyard.access.permissions import Permission, Role
from taskyard.core.errors import TaskyardError, all_errors
from taskyard.core.lifecycle import Origin, RunStatus, TaskStatus
from taskyard.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "web" / "src" / "locales"
CATALOGUES = {
    name: json.loads((LOCALES / f"{name}.json").read_text(encoding="utf-8"))
    for name in ("en", "zh-CN")
}


@pytest.fixture(params=CATALOGUES)
def catalogue(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = CATALOGUES[request.param]
    return found


@pytest.fixture(scope="module")
def samples() -> list[TaskyardError]:
    """One of each error, from docs/generate.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[TaskyardError] = module.SAMPLES
    return found


def text(catalogue: dict[str, Any], key: str) -> Any:
    """What stands under a key with dots; None where nothing does."""
    at: Any = catalogue
    for part in key.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return at


def lacking(catalogue: dict[str, Any], head: str, words: list[str]) -> list[str]:
    return [word for word in words if not isinstance(text(catalogue, f"{head}.{word}"), str)]


def test_every_error_has_a_text(catalogue: dict[str, Any]) -> None:
    assert lacking(catalogue, "errors", [kind.code for kind in all_errors()]) == []


def test_a_text_of_an_error_has_holes_for_its_data_alone(
    samples: list[TaskyardError], catalogue: dict[str, Any]
) -> None:
    for sample in samples:
        holes = set(re.findall(r"\{(\w+)\}", catalogue["errors"][sample.code]))
        assert holes - {"detail"} <= set(sample.params), sample.code


def test_every_setting_has_a_text(catalogue: dict[str, Any]) -> None:
    names = [name for name, _, _ in Settings().shown()]
    assert lacking(catalogue, "settings.about", names) == []


def test_every_word_of_the_api_has_a_text(catalogue: dict[str, Any]) -> None:
    statuses = [status.name.lower() for status in TaskStatus] + list(RunStatus)
    assert lacking(catalogue, "status", statuses) == []
    assert lacking(catalogue, "origin", list(Origin)) == []
    assert lacking(catalogue, "role", list(Role)) == []
    assert lacking(catalogue, "permission", list(Permission)) == []
