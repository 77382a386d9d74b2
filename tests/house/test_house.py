"""The house: what is written about the code is true, and nothing of one machine is in it."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard.core.errors import all_errors
from taskyard.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# In pieces, or this file would be the first to be found.
FOREIGN = [
    r"pypi\." + "org",
    "python" + "hosted",
    "npm" + r"js\.(org|com)",
    r"deb\." + "debian",
    r"proxy\." + "golang",
    r"(?<![\w.-])/(root|work|home/\w+)" + "/",
    "/tmp/" + r"(v|plan)\b",
]


def our_files() -> Iterator[Path]:
    """Every file that is in the history, or would be: also in a copy without one."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        yield from (ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file())
        return
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part != ".ci" for part in parts)
        if path.is_file() and not hidden and "__pycache__" not in parts:
            yield path


def test_no_file_names_a_registry_or_a_place_on_somebodys_machine() -> None:
    foreign = re.compile("|".join(FOREIGN), re.IGNORECASE)
    found = []
    for path in our_files():
        text = path.read_bytes().decode("utf-8", "ignore")
        for number, line in enumerate(text.splitlines(), 1):
            if match := foreign.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert found == []


@pytest.mark.parametrize("name", ["run", "dev"])
def test_a_lock_file_holds_nothing_but_pinned_names(name: str) -> None:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    pinned = re.compile(r"[a-z0-9._-]+==[0-9a-z.]+( ; .+)?")
    assert [line for line in lines if not pinned.fullmatch(line)] == []


@pytest.mark.parametrize(
    "module",
    sorted((ROOT / "src").rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT / "src" / "taskyard")),
)
def test_a_module_opens_with_what_it_owns(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


def test_the_two_commands_of_the_readme_exist() -> None:
    verbs = re.findall(r"python3 dev\.py (\w+)", README)
    assert {"demo", "test"} <= set(verbs)
    listed = subprocess.run(
        [sys.executable, "dev.py", "--help"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    assert set(verbs) <= {line.split()[0] for line in listed.splitlines()[2:]}


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^taskyard (\w+)", README, re.M))))
def test_the_readmes_commands_exist(command: str) -> None:
    program = Path(sys.executable).parent / "taskyard"
    asked = subprocess.run([program, command, "--help"], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr


def test_the_links_of_the_readme_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_readmes_handler_is_python_of_ten_lines() -> None:
    (handler,) = re.findall(r"```python\n(.*?)```", README, re.S)
    ast.parse(handler)
    assert len([line for line in handler.splitlines() if line.strip()]) <= 10


def test_errors_and_durations_are_cheap_to_import() -> None:
    code = "import sys, taskyard.core.errors, taskyard.core.durations; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"pydantic", "sqlalchemy", "orjson", "typer", "rich", "alembic", "difflib"}
    assert heavy & set(loaded) == set()


def test_every_error_is_documented() -> None:
    text = page("docs/reference/errors.md")
    assert [error.code for error in all_errors() if not re.search(rf"\b{error.code}\b", text)] == []


def test_every_setting_is_documented() -> None:
    text = page("docs/reference/settings.md")
    assert [name for name in Settings.model_fields if f"`{name}" not in text] == []


def page(name: str) -> str:
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not written yet")
    return path.read_text(encoding="utf-8")
