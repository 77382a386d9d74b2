"""The reference pages are what the code says, and the words of the errors name real commands."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from taskyard.cli import program
from taskyard.core.errors import all_errors

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """docs/generate.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "errors.md", "settings.md"])
def test_a_page_is_what_the_code_says(generate: ModuleType, name: str) -> None:
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == generate.pages()[name], "run: python docs/generate.py"


def test_every_error_is_shown_once(generate: ModuleType) -> None:
    kinds = [type(sample) for sample in generate.SAMPLES]
    assert sorted(kinds, key=repr) == sorted(all_errors(), key=repr)


def commands() -> dict[str, Any]:
    """Every command by its words."""
    root: Any = typer.main.get_command(program.app)
    found: dict[str, Any] = {}
    for name in program.COMMANDS:
        command = root.get_command(None, name)
        subs = getattr(command, "commands", {})
        found.update({f"{name} {sub}": part for sub, part in subs.items()} or {name: command})
    return found


def test_every_command_and_option_says_what_it_is_for() -> None:
    silent = []
    for words, command in commands().items():
        silent += [words] if not command.help else []
        silent += [
            f"{words} {p.name}" for p in command.params if not p.help and p.name != "as_json"
        ]
    assert silent == []


def test_the_commands_that_errors_name_exist(generate: ModuleType) -> None:
    known = commands()
    texts = [f"{sample.text} {sample.fix}" for sample in generate.SAMPLES]
    named = re.findall(r"`taskyard ([a-z][a-z-]*(?: [a-z][a-z-]*)?)", " ".join(texts))
    assert named
    missing = [words for words in named if words not in known and words.split()[0] not in known]
    assert missing == []


def test_every_list_has_json() -> None:
    lists = {
        words: part for words, part in commands().items() if words.endswith((" list", " show"))
    }
    assert len(lists) >= 8
    without = [
        words
        for words, part in lists.items()
        if not any("--json" in parameter.opts for parameter in part.params)
    ]
    assert without == []
