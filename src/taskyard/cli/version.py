"""`taskyard version`: which version this is, of what it stands on too."""

from __future__ import annotations

import platform
import sys

import taskyard
from taskyard.cli.options import AsJson, new_app

app = new_app()


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if not as_json:
        print(f"taskyard {taskyard.__version__}")
        return
    import json

    numbers = {"taskyard": taskyard.__version__, "python": platform.python_version()}
    json.dump({**numbers, "platform": sys.platform}, sys.stdout)
    print()
