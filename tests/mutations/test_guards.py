"""The list of guards: every patch still applies, and every test that it names is there.

Whether the tests notice is `python -m tests.mutations`, which takes minutes.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from mutations.guards import GUARDS, Guard
from mutations.patching import patched

ROOT = Path(__file__).resolve().parents[2]


def test_there_are_many_guards_and_each_has_a_name_of_its_own() -> None:
    names = Counter(guard.name for guard in GUARDS)
    assert len(names) >= 40
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_guard_stands_where_its_patch_says(guard: Guard) -> None:
    assert guard.patches
    for patch in guard.patches:
        text = (ROOT / "src" / "taskyard" / patch.path).read_text(encoding="utf-8")
        mutated = patched(patch, text)
        assert mutated != text
        ast.parse(mutated)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_the_tests_of_a_guard_are_there(guard: Guard) -> None:
    assert guard.tests
    for test in guard.tests:
        path, _, function = test.partition("::")
        source = (ROOT / path).read_text(encoding="utf-8")
        if function:
            assert f"\ndef {function.partition('[')[0]}(" in source
