"""Run the mutations: ``python -m tests.mutations [--only NAME] [--list]``.

Each guard is taken out of a copy of the sources, and the tests that it names run against that copy:
a guard whose absence no test notices has survived. First the same tests run against an untouched
copy, where they have to pass. Ends with "N passed, M failed"; exit code 1 where one survived.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from .guards import GUARDS, Guard
from .patching import DoesNotApply, mutate

ROOT = Path(__file__).resolve().parents[2]

PASSED, FAILED = 0, 1
"""What pytest returns; everything else says that it could not do what it was asked to."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="only guards with this in their names")
    parser.add_argument("--list", action="store_true", help="name the guards and do nothing")
    options = parser.parse_args(arguments)
    chosen = [one for one in GUARDS if (options.only or "") in one.name]
    if options.list:
        print("\n".join(one.name for one in chosen))
        return 0
    if not chosen:
        print(f"No guard has {options.only!r} in its name.")
        return 2
    with tempfile.TemporaryDirectory(prefix="taskyard-mutations-") as folder:
        return run(chosen, Path(folder))


def run(guards: Sequence[Guard], folder: Path) -> int:
    """Run the tests of all guards untouched, then of each without its guard."""
    if not _pass_untouched(guards, folder):
        return 1
    survivors = []
    for number, guard in enumerate(guards, 1):
        began = time.monotonic()
        fate = _fate(guard, folder)
        print(f"{fate:8} {guard.name} ({number}/{len(guards)}, {time.monotonic() - began:.0f} s)")
        sys.stdout.flush()
        if fate != "noticed":
            survivors.append(guard)
    for guard in survivors:
        print(f"NOT NOTICED: {guard.name}: {', '.join(guard.tests)}")
    print(f"{len(guards) - len(survivors)} passed, {len(survivors)} failed")
    return 1 if survivors else 0


def _pass_untouched(guards: Iterable[Guard], folder: Path) -> bool:
    tests = sorted({test for guard in guards for test in guard.tests})
    code, said = _pytest(_copy(folder), tests)
    if code == PASSED and " skipped" not in said:
        return True
    print(f"{said}\nThe tests have to pass, on every lane, before a guard is taken out.")
    return False


def _fate(guard: Guard, folder: Path) -> str:
    source = _copy(folder)
    try:
        mutate(guard, source / "taskyard")
    except DoesNotApply as error:
        return f"stale ({error})"
    code, said = _pytest(source, [*guard.tests, "--exitfirst"])
    if code == FAILED:
        return "noticed"
    return "SURVIVED" if code == PASSED else f"broken ({said.splitlines()[-1]})"


def _copy(folder: Path) -> Path:
    target = folder / "src"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "src", target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def _pytest(source: Path, arguments: Sequence[str]) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line"]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "--timeout=60", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
