"""Patching: takes a guard out of a copy of the sources."""

from __future__ import annotations

from pathlib import Path

from .guards import Guard, Patch


class DoesNotApply(Exception):
    """The line of a patch is not there, or it is there more than once."""


def mutate(guard: Guard, package: Path) -> None:
    """Take `guard` out of the package in folder `package`; raises DoesNotApply."""
    for patch in guard.patches:
        path = package / patch.path
        path.write_text(patched(patch, path.read_text(encoding="utf-8")), encoding="utf-8")


def patched(patch: Patch, text: str) -> str:
    """The text of a file without the guard; raises DoesNotApply."""
    lines = text.splitlines(keepends=True)
    start = _only(patch.after, lines) + 1 if patch.after else 0
    if patch.after:
        place = next((n for n, line in enumerate(lines[start:]) if line.strip() == patch.line), -1)
        if place < 0:
            raise DoesNotApply(f"{patch.path}: nowhere behind {patch.after!r}: {patch.line!r}")
        number = start + place
    else:
        number = _only(patch.line, lines)
    lines[number] = lines[number].replace(patch.line, patch.instead)
    return "".join(lines)


def _only(wanted: str, lines: list[str]) -> int:
    found = [n for n, line in enumerate(lines) if line.strip() == wanted]
    if len(found) != 1:
        raise DoesNotApply(f"{len(found)} lines are {wanted!r}")
    return found[0]
