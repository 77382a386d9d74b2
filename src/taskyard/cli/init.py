"""`taskyard init`: the first files of an application.

Owns their texts. Nothing that is there is ever overwritten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taskyard.cli.options import new_app
from taskyard.cli.output import say

app = new_app()

_SETTINGS = """\
# Settings of Taskyard; `taskyard config show` prints all of them and where each came from.

database_url = "sqlite:///taskyard.db"
# database_url = "postgresql://app:password@localhost/jobs"   # pip install 'taskyard[postgres]'
# database_url = "mysql://app:password@localhost/jobs"        # pip install 'taskyard[mysql]'

# server_id = "server-001"      # this machine's name in the fleet; default: the host's name
# default_time_zone = "Europe/Berlin"

[retention]
runs_max_rows = 100000          # finished runs that are kept; 0 keeps all
# tasks_max_age = "30d"         # ended tasks that are older go
"""

_HANDLERS = '''\
"""The handlers of this application: functions that run as tasks."""

from taskyard import Context, Yard

yard = Yard()


@yard.handler("shop.greet", max_retries=3, timeout=30)
def greet(ctx: Context, name: str, times: int = 1) -> dict:
    """Greet somebody, so many times."""
    ctx.log.info("greeting %s", name)
    return {"text": f"Hello {name}! " * times}
'''

_TEST = '''\
"""Handlers are plain functions, so their tests are plain calls: `python -m pytest` runs them."""

import handlers


def test_greet_says_the_name() -> None:
    assert handlers.greet(name="Ada") == {"text": "Hello Ada! "}
'''

FILES = {
    "taskyard.toml": _SETTINGS,
    "handlers.py": _HANDLERS,
    "tests/test_handlers.py": _TEST,
}
"""What is written."""


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where; default: here.", show_default=False)
    ] = Path(),
) -> None:
    """Write taskyard.toml, handlers.py and a first test; files that are there stay as they are."""
    for name, text in FILES.items():
        path = folder / name
        if path.exists():
            say(f"kept   {path}")
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        say(f"wrote  {path}")
    say("")
    say("Next:")
    if folder != Path():
        say(f"  cd {folder}")
    say("  taskyard up                                      # in one terminal")
    say("  taskyard task add shop.greet name=Ada --wait     # in another")
