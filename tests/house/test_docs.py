"""The documentation: complete where it lists things, true where it shows them."""

from __future__ import annotations

import ast
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import taskyard
from support import wait_for
from taskyard.cli import program
from taskyard.core import errors
from taskyard.core.errors import all_errors
from taskyard.core.lifecycle import Hold, Origin, RunStatus, TaskStatus
from taskyard.db import schema
from taskyard.db.dialect import OWN_COLUMN_NAMES
from taskyard.db.mysql import MySQL
from taskyard.db.tables import BASE_COLUMNS
from taskyard.handlers import HandlerOptions
from taskyard.settings import Retention, Settings
from taskyard.yard import TaskHandle, TaskOptions, Yard

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md"), *READMES])
TUTORIALS = sorted((DOCS / "tutorial").glob("*.md"))
GUIDES = [*TUTORIALS, *sorted((DOCS / "how-to").glob("*.md"))]
IN_CHINESE = {
    ROOT / "README.md": ROOT / "README.zh-CN.md",
    **{page: DOCS / "zh" / page.relative_to(DOCS) for page in TUTORIALS},
    **{DOCS / page.relative_to(DOCS / "zh"): page for page in DOCS.glob("zh/how-to/*.md")},
}
"""The README and all tutorials, and the guides that are translated so far."""


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block: what stands behind the fence, its text, and where it begins."""

    info: str
    text: str
    line: int

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.M)
    return [Block(m[1].strip(), m[2], text.count("\n", 0, m.start()) + 2) for m in found]


# --- It is complete ------------------------------------------------------------------------------


def missing(names: Any, text: str) -> list[str]:
    """The names that do not stand in backquotes: `name`, `x.name`, `name(…)`, `name=…`."""
    return [name for name in names if not re.search(rf"`[^`\n]*\b{re.escape(name)}\b", text)]


def test_every_public_name_is_documented() -> None:
    text = page("reference/python.md")
    heads = " ".join(re.findall(r"^##+ (.*)$", text, re.M))
    assert [n for n in missing(taskyard.__all__, text) if not re.search(rf"\b{n}\b", heads)] == []


@pytest.mark.parametrize("thing", [Yard, TaskHandle, taskyard.Context])
def test_every_member_that_applications_use_is_documented(thing: type) -> None:
    inner = {
        *("call", "started", "begin", "ask_to_stop", "notice", "stop", "noticed", "settled"),
        *("ended", "end", "mark_settled", "moved_to", "start_hooks", "stop_hooks"),
    }
    members = {name for name in dir(thing) if not name.startswith("_")} - inner
    assert missing(sorted(members), page("reference/python.md")) == []


@pytest.mark.parametrize("options", [HandlerOptions, TaskOptions])
def test_every_option_is_documented(options: type) -> None:
    assert missing(options.__annotations__, page("reference/python.md")) == []


def test_every_setting_is_documented() -> None:
    names = [*Settings.model_fields, *(f"retention.{name}" for name in Retention.model_fields)]
    assert missing(names, page("reference/settings.md")) == []


def test_every_error_is_documented() -> None:
    text = page("reference/errors.md")
    assert [error.code for error in all_errors() if not re.search(rf"\b{error.code}\b", text)] == []


def test_every_command_is_documented() -> None:
    text = page("reference/cli.md")
    assert [name for name in commands() if f"taskyard {name}" not in text] == []


def test_every_status_origin_and_hold_is_documented() -> None:
    text = page("reference/statuses.md")
    words = [status.name.lower() for status in TaskStatus]
    names = [*words, *RunStatus, *Origin, *(hold.name for hold in Hold)]
    assert missing(names, text) == []
    for status in TaskStatus:
        assert f"| {int(status)} | `{status.name.lower()}` |" in text
    for hold in Hold:
        assert f"| {int(hold)} | `{hold.name}` |" in text


def test_every_column_of_a_task_table_is_documented() -> None:
    virtual = set(MySQL.own_columns) - set(OWN_COLUMN_NAMES)
    names = [*BASE_COLUMNS, *OWN_COLUMN_NAMES, *sorted(virtual)]
    assert missing(names, page("reference/sql-contract.md")) == []


def test_every_column_that_outsiders_may_read_is_documented() -> None:
    text = page("reference/sql-contract.md")
    columns = [*schema.queue_configs.columns.keys(), *schema.runs.columns.keys()]
    assert missing(columns, text) == []
    assert missing(schema.metadata.tables, text) == []


def test_every_page_is_linked_from_the_index_or_a_list() -> None:
    folders = (DOCS / "decisions", ROOT / "examples")
    lists = [DOCS / "index.md", DOCS / "zh" / "index.md", *(f / "README.md" for f in folders)]
    reached = {target for each in lists for target, _ in links(each)}
    inner = [p for p in PAGES if p not in (DOCS / "index.md", *READMES)]
    assert [shown(path) for path in inner if path not in reached] == []


@pytest.mark.parametrize("path", IN_CHINESE, ids=shown)
def test_what_is_translated_shows_the_same_code(path: Path) -> None:
    """So what is run of the one is true of the other."""
    ours = [(block.info, block.text) for block in blocks(path)]
    translated = [(block.info, block.text) for block in blocks(IN_CHINESE[path])]
    assert translated == ours


# --- It leads somewhere --------------------------------------------------------------------------


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """The files and headings that a page links to."""
    text = re.sub(r"^```.*\n(?:.*\n)*?```$", "", path.read_text(encoding="utf-8"), flags=re.M)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in link:
            target, _, heading = link.partition("#")
            yield (path.parent / target).resolve() if target else path, heading


def anchors(path: Path) -> set[str]:
    """The headings of a page as links name them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    plain = (re.sub(r"[^\w\- ]", "", head.lower()) for head in heads)
    return {head.strip().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("path", PAGES, ids=shown)
def test_links_lead_somewhere(path: Path) -> None:
    lost = [
        f"{target.name}#{heading}"
        for target, heading in links(path)
        if not target.exists() or (heading and heading not in anchors(target))
    ]
    assert lost == []


def test_pages_that_errors_name_exist() -> None:
    source = Path(errors.__file__).read_text(encoding="utf-8")
    named = set(re.findall(r"docs/[\w/-]+\.md", source))
    assert [name for name in named if not (ROOT / name).exists()] == []


# --- It is true ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=shown)
def test_python_in_the_documentation_is_python(path: Path) -> None:
    for block in blocks(path):
        if block.language == "python":
            source = "\n" * (block.line - 1) + block.text
            compile(source, str(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("path", PAGES, ids=shown)
def test_names_that_the_documentation_imports_from_us_exist(path: Path) -> None:
    for block in blocks(path):
        if block.language != "python":
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and node.module == "taskyard":
                for name in node.names:
                    assert hasattr(taskyard, name.name) or name.name == "testing", name.name


def commands() -> dict[str, Any]:
    """Every command by its words, "task add": the click command behind it."""
    found: dict[str, Any] = {}
    for name, entry in program.COMMANDS.items():
        command = program.load(name, entry)
        below = getattr(command, "commands", None)
        if below is None:
            found[name] = command
        else:
            found |= {f"{name} {word}": command for word, command in below.items()}
    return found


def command_lines(path: Path) -> list[str]:
    """Every line that is typed: `$ taskyard …` in a block, and `taskyard …` in backquotes."""
    typed = [
        line.removeprefix("$ ")
        for block in blocks(path)
        if block.language in ("console", "text", "")
        for line in block.text.splitlines()
        if line.startswith("$ taskyard ")
    ]
    return typed + re.findall(r"`(taskyard [^`\n]+)`", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PAGES, ids=shown)
def test_commands_in_the_documentation_exist(path: Path) -> None:
    known = commands()
    everywhere = {"--db", "--app", "--debug", "--no-color", "--help", "--version"}
    for line in command_lines(path):
        words = re.sub(r"^taskyard( --(db|app) \S+)*", "", line).split() or ["--db"]
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in known), None)
        assert name or words[0].startswith("--"), f"{line}: no such command"
        params = known[name].params if name else []
        options = {option for p in params for option in (*p.opts, *p.secondary_opts)}
        given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert given - options - everywhere == set(), f"{line}: no such option"


# --- The tutorials run ---------------------------------------------------------------------------


class Reader:
    """Somebody who does what a tutorial says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers = ExitStack()
        self._answers: list[str] = []

    def follow(self, path: Path) -> None:
        """Do everything, from top to bottom."""
        with self._servers:
            for block in blocks(path):
                act = {"python": self._python, "console": self._console, "sql": self._sql}
                if block.language in act:
                    act[block.language](block)
                elif block.info == "text":
                    self._compare(block)

    def _python(self, block: Block) -> None:
        if block.text.startswith("# handlers.py"):
            with (self.folder / "handlers.py").open("a", encoding="utf-8") as file:
                file.write(block.text)
        else:
            self._answers = [self._run([sys.executable, "-c", block.text])]

    def _console(self, block: Block) -> None:
        if block.info in ("console background", "console restart"):
            self._servers.close()
            self._servers.enter_context(self._server())
            return
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            line, _, expected = part.partition("\n")
            said = self._run([sys.executable, "-m", *shlex.split(line)])
            for wanted in expected.splitlines():
                assert any(fits(wanted, told) for told in said.splitlines()), f"{line}\n{said}"

    def _sql(self, block: Block) -> None:
        """Statements are executed; a question is answered again until its answer is as told."""
        statement = block.text.strip()
        with closing(sqlite3.connect(self.folder / "taskyard.db", timeout=10)) as database:
            if statement.startswith("SELECT"):
                self._answers = [statement]
            else:
                database.executescript(statement)
                self._answers = []

    def _compare(self, block: Block) -> None:
        (found,) = self._answers
        if not found.startswith("SELECT"):
            assert found == block.text
            return

        def is_answered() -> bool:
            with closing(sqlite3.connect(self.folder / "taskyard.db", timeout=10)) as database:
                rows = database.execute(found).fetchall()
            told = ["|".join("" if v is None else str(v) for v in row) for row in rows]
            return told == block.text.splitlines()

        wait_for(is_answered, timeout=60, what=f"line {block.line}: {found}\n{block.text}")

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
        )
        return done.stdout

    @contextmanager
    def _server(self) -> Iterator[None]:
        with (self.folder / "server.log").open("ab") as log:
            command = [sys.executable, "-m", "taskyard", "worker"]
            server = subprocess.Popen(
                command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log
            )
        try:
            wait_for(lambda: self._said("works with"), timeout=60, what="the server's start")
            yield
        finally:
            server.terminate()
            try:
                assert server.wait(timeout=60) == 0
            finally:
                server.kill()
                (self.folder / "server.log").write_bytes(b"")

    def _said(self, words: str) -> bool:
        return words in (self.folder / "server.log").read_text(encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        # The package that is tested, wherever it is; the folder comes first by itself.
        source = Path(taskyard.__file__).parents[1]
        return {**os.environ, "PYTHONPATH": str(source), "NO_COLOR": "1"}


def fits(wanted: str, told: str) -> bool:
    """Is this the line that the page shows? "…" stands for anything."""
    parts = (re.escape(part.strip()) for part in wanted.strip().split("…"))
    return re.fullmatch(".*".join(parts), told.strip()) is not None


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", TUTORIALS, ids=shown)
def test_a_tutorial_works_as_it_is_written(path: Path, tmp_path: Path) -> None:
    Reader(tmp_path).follow(path)


def test_the_guides_are_checked_at_all() -> None:
    assert len(GUIDES) > 10
    assert sum(block.language == "python" for path in GUIDES for block in blocks(path)) > 20
