"""The one entry for people and CI: ``python3 dev.py VERB [ARGUMENTS]``, in a clone of the sources.

Needs Python 3.11 or newer with venv, and nothing else: it makes ``.venv``, installs what the lock
files in ``requirements/`` name, and runs the verb in there. A second run starts at once: a stamp in
``.venv`` holds the hash of all that the installation depends on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LOCKS = {"run": "requirements/run.txt", "dev": "requirements/dev.txt"}
UV = "uv>=0.13,<0.14"


def main(words: list[str]) -> int:
    """Run the verb in `words`; return its exit code."""
    if sys.version_info < (3, 11):
        print(f"Taskyard needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
        return 2
    if not words or words[0] not in VERBS:
        print("python3 dev.py VERB [ARGUMENTS]\n")
        for verb, function in VERBS.items():
            print(f"  {verb:6} {function.__doc__}")
        return 0 if words in ([], ["-h"], ["--help"]) else 2
    try:
        return VERBS[words[0]](words[1:])
    except subprocess.CalledProcessError as error:
        return error.returncode
    except KeyboardInterrupt:
        return 130


# --- The verbs -----------------------------------------------------------------------------------


def setup(arguments: list[str]) -> int:
    """make .venv with everything for development, and the command .venv/bin/taskyard"""
    install("dev")
    print(f"Ready: {(BIN / 'taskyard').relative_to(ROOT)}")
    return 0


def demo(arguments: list[str]) -> int:
    """show what Taskyard does: queues, handlers and servers in a folder of their own"""
    # Whoever has the development set has all that the demo needs.
    install("run", or_else="dev")
    build_console(needed=False)
    return run(BIN / "taskyard", "demo", *arguments)


def test(arguments: list[str]) -> int:
    """run the tests, or those that pytest's arguments name (the long ones: -m long)"""
    install("dev")
    if arguments:
        return pytest(*arguments)
    # The slow ones come last by name: whoever is done takes them from those who still have many.
    quick = "not crash and not long and not e2e"
    first = pytest_patiently("-m", quick, "-n", "3", "--dist", "worksteal")
    # Crash tests mostly wait, but for what has a deadline: more than two miss it on two cores.
    second = pytest_patiently("-m", "crash and not long", "-n", "2", "--dist", "loadfile")
    return first or (0 if second == NO_TESTS else second)


def web(arguments: list[str]) -> int:
    """build the console where its sources changed; with `check` also its types, tests and budget"""
    if arguments not in ([], ["check"]):
        print("python3 dev.py web [check]")
        return 2
    install("dev", or_else="run")
    if code := build_console(needed=True):
        return code
    return check_console() if arguments else 0


def e2e(arguments: list[str]) -> int:
    """use the console in Chromium, by pytest's arguments (CHROMIUM says where it is)"""
    install("dev")
    return build_console(needed=True) or pytest("tests/e2e", "-m", "e2e", *arguments)


def lint(arguments: list[str]) -> int:
    """run the linter, the formatter's check, the strict types and the import floors"""
    install("dev")
    results = [
        run(BIN / "ruff", "check", "."),
        run(BIN / "ruff", "format", "--check", "."),
        run(BIN / "mypy"),
        run(BIN / "lint-imports"),
    ]
    return max(results)


def check(arguments: list[str]) -> int:
    """lint, test and the formal model (where spin is): all that CI does on a ready machine"""
    model = ROOT / "formal" / "run"
    can_prove = model.is_file() and shutil.which("spin")
    return lint([]) or (run(model) if can_prove else 0) or test(arguments)


def bench(arguments: list[str]) -> int:
    """run the benchmarks; --help lists them"""
    install("dev")
    return run(PYTHON, "-m", "benchmarks", *arguments)


def docs(arguments: list[str]) -> int:
    """build the documentation as a site in site/; fails where a link leads nowhere"""
    install("dev")
    return run(PYTHON, "docs/site.py")


def lock(arguments: list[str]) -> int:
    """write the lock files anew from pyproject.toml (--upgrade takes the newest versions)"""
    install("dev")
    options = ["--universal", "--no-header", "--no-annotate", "--python-version", "3.11", "--quiet"]
    command = [str(BIN / "uv"), "pip", "compile", "pyproject.toml", *options, *arguments, "-o"]
    everything = ("--all-extras", "--group", "dev", "--group", "docs")
    return run(*command, LOCKS["run"]) or run(*command, LOCKS["dev"], *everything)


VERBS: dict[str, Callable[[list[str]], int]] = {
    verb.__name__: verb for verb in (setup, demo, test, web, e2e, lint, check, bench, docs, lock)
}


# --- The environment -----------------------------------------------------------------------------

FAILED_TESTS = 1
NO_TESTS = 5
"""The exit codes of pytest when a test failed, and when none was selected."""


def install(kind: str, or_else: str = "") -> None:
    """Bring .venv to the state that the lock of `kind` names, unless it (or `or_else`) is."""
    if any(name and stamp(name).is_file() for name in (kind, or_else)):
        return
    if not usable():
        say("making .venv")
        must(sys.executable, "-m", "venv", "--clear", VENV)
    for old in VENV.glob("*.stamp"):
        old.unlink()
    say(f"installing {LOCKS[kind]}")
    must(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
    uv = (BIN / "uv", "pip")
    must(*uv, "sync", "--quiet", "--python", PYTHON, LOCKS[kind])
    must(*uv, "install", "--quiet", "--python", PYTHON, "--no-deps", "--editable", ".")
    stamp(kind).touch()


def build_console(*, needed: bool) -> int:
    """Build the console where its sources changed; without it the server says so on its page."""
    sys.path.insert(0, str(ROOT / "web"))
    import build

    if build.is_current():
        return 0
    if build.node() is None and not (BIN / "node").exists():
        say("fetching a Node.js from PyPI")
        must(BIN / "uv", "pip", "install", "--quiet", "--python", PYTHON, build.NODE)
    say("building the console")
    code = run(PYTHON, "web/build.py")
    if code and not needed:
        say("going on without the console")
        return 0
    return code


def check_console() -> int:
    """The console's types, tests and budget, and that its client is of the API as it is."""
    schema = subprocess.run([BIN / "taskyard", "api"], cwd=ROOT, check=True, capture_output=True)
    (ROOT / "web" / "openapi.json").write_bytes(schema.stdout)
    npm = ("npm", "--prefix", "web", "run", "--silent")
    return max(run(*npm, step) for step in ("types", "drift", "test", "budget"))


def usable() -> bool:
    """Return whether .venv is whole and was made here: a copied or moved one points elsewhere."""
    config = VENV / "pyvenv.cfg"
    whole = PYTHON.is_file() and any(BIN.glob("pip*")) and config.is_file()
    return whole and str(VENV) in config.read_text(encoding="utf-8")


def stamp(kind: str) -> Path:
    """Return the file that exists while .venv is what this clone, this Python and the lock want."""
    state = hashlib.sha256(f"{ROOT} {sys.version} {UV}".encode())
    for name in ("pyproject.toml", LOCKS[kind]):
        state.update((ROOT / name).read_bytes())
    return VENV / f"{kind}-{state.hexdigest()[:16]}.stamp"


def pytest_patiently(*arguments: str) -> int:
    """Run tests; what failed runs once more, alone.

    Many have deadlines of seconds, on machines that may be busy: missed once is the machine's
    fault, missed twice, with nothing beside it, the program's.
    """
    code = pytest(*arguments)
    if code != FAILED_TESTS:
        return code
    say("once more, alone, what failed")
    return pytest(*arguments[:2], "--last-failed", "--last-failed-no-failures", "none")


def pytest(*arguments: str) -> int:
    return run(PYTHON, "-m", "pytest", *arguments)


def run(*command: str | Path) -> int:
    """Run a command in the root of the clone; return its exit code."""
    interrupts: list[int] = []
    with subprocess.Popen([str(word) for word in command], cwd=ROOT) as child:
        # Ctrl-C reaches the child as well, which may have servers to stop: we wait for it. SIGTERM
        # reaches only us, so it is passed on.
        before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        code = child.wait()
    signal.signal(signal.SIGINT, before)
    if interrupts and code:
        raise KeyboardInterrupt
    return code if code >= 0 else 128 - code


def must(*command: str | Path) -> None:
    """Run a command that has to succeed."""
    subprocess.run([str(word) for word in command], cwd=ROOT, check=True)


def say(text: str) -> None:
    print(f"dev.py: {text} …", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
