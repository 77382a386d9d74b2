"""Builds the documentation as a site in site/, and fails where a link leads nowhere.

    python docs/site.py

Owns what becomes a page (docs/, the examples, the benchmarks, the changelog), the order of the
pages, which is that of the links in the two indexes, and what happens to links that lead out of all
this, to the sources: their text stays. How it looks is mkdocs.yml's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WORK = ROOT / ".cache" / "docs"
SITE = ROOT / "site"

SECTIONS = {
    "Tutorials": "tutorial",
    "How-to guides": "how-to",
    "Reference": "reference",
    "Explanation": "explanation",
    "Decisions": "decisions",
    "Examples": "examples",
}
ZH_SECTIONS = {"教程": "zh/tutorial", "操作指南": "zh/how-to"}

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*\n(?:.*\n)*?```$", re.M)


def main() -> int:
    """Build it; return zensical's exit code."""
    shutil.rmtree(WORK, ignore_errors=True)
    pages = {path: place(path) for path in sources()}
    for path, at in pages.items():
        target = WORK / "pages" / at
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(with_links(path, pages), encoding="utf-8")
    if (DOCS / "images").is_dir():
        shutil.copytree(DOCS / "images", WORK / "pages" / "images")
    config = yaml.safe_load((DOCS / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"docs_dir": "pages", "site_dir": "site", "nav": nav(set(pages.values()))}
    (WORK / "mkdocs.yml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    code = subprocess.run([*command, "-f", str(WORK / "mkdocs.yml")]).returncode
    if code == 0:
        for page in (WORK / "site" / "zh").rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            page.write_text(text.replace('<html lang="en"', '<html lang="zh-CN"', 1), "utf-8")
        shutil.rmtree(SITE, ignore_errors=True)
        shutil.copytree(WORK / "site", SITE)
    return code


def sources() -> Iterator[Path]:
    """What becomes a page."""
    yield from sorted(DOCS.rglob("*.md"))
    yield from sorted((ROOT / "examples").rglob("*.md"))
    yield ROOT / "benchmarks" / "README.md"
    yield ROOT / "CHANGELOG.md"


def place(path: Path) -> str:
    """Where a page is in the site; GitHub's README is an index here."""
    inside = path.relative_to(DOCS if path.is_relative_to(DOCS) else ROOT)
    shown = inside.with_name("index.md") if inside.name == "README.md" else inside
    return "changelog.md" if path.name == "CHANGELOG.md" else shown.as_posix()


def with_links(path: Path, pages: dict[Path, str]) -> str:
    """A page whose links lead from its place in the site to the places of others."""
    up = "../" * place(path).count("/")

    def moved(found: re.Match[str]) -> str:
        mark, text, link = found.groups()
        if "://" in link or link.startswith(("#", "mailto:")):
            return found.group()
        target, _, heading = link.partition("#")
        real = (path.parent / target).resolve()
        if real.is_dir():
            real /= "README.md"
        if real.is_relative_to(DOCS / "images"):
            return f"{mark}[{text}]({up}{real.relative_to(DOCS).as_posix()})"
        if real not in pages:
            return str(text)
        return f"{mark}[{text}]({up}{pages[real]}{'#' * bool(heading)}{heading})"

    text = path.read_text(encoding="utf-8")
    # Links are text in a block of code.
    blocks = FENCED.findall(text)
    parts = FENCED.split(text)
    moved_parts = [LINK.sub(moved, part) for part in parts]
    woven = [piece for pair in zip(moved_parts, [*blocks, ""], strict=True) for piece in pair]
    return "".join(woven)


def nav(pages: set[str]) -> list[Any]:
    """The order of the pages: the sections, each as the indexes link to its pages."""
    order = [*linked(DOCS / "index.md"), *linked(DOCS / "zh" / "index.md")]
    rank = {page: number for number, page in enumerate(order)}

    def section(folder: str) -> list[str]:
        inside = [page for page in pages if page.startswith(f"{folder}/")]
        first = f"{folder}/index.md"
        return sorted(inside, key=lambda p: (p != first, rank.get(p, len(rank)), p))

    top = ["index.md", *({name: section(folder)} for name, folder in SECTIONS.items())]
    rest = ["glossary.md", "scaling.md", "benchmarks/index.md", "changelog.md"]
    chinese = ["zh/index.md", *({name: section(at)} for name, at in ZH_SECTIONS.items())]
    return [*top, {"More": rest}, {"简体中文": chinese}]


def linked(path: Path) -> list[str]:
    """The places that a page links to, in its order."""
    if not path.is_file():
        return []
    targets = (link.partition("#")[0] for _, _, link in LINK.findall(path.read_text("utf-8")))
    real = ((path.parent / target).resolve() for target in targets if "://" not in target)
    return [place(p) for p in real if p.is_relative_to(ROOT) and p.suffix == ".md"]


if __name__ == "__main__":
    sys.exit(main())
