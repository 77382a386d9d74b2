"""The documentation builds as a site, and no link of it leads nowhere."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(find_spec("zensical") is None, reason="zensical is not to be had here")
def test_the_site_builds_strictly_in_both_languages() -> None:
    done = subprocess.run(
        [sys.executable, "docs/site.py"], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    english = (ROOT / "site" / "index.html").read_text(encoding="utf-8")
    chinese = (ROOT / "site" / "zh" / "index.html").read_text(encoding="utf-8")
    assert '<html lang="en"' in english
    assert '<html lang="zh-CN"' in chinese
    # Nobody who reads it is told to others.
    assert "fonts.googleapis" not in english
