"""`taskyard demo`: Taskyard at work, in a folder of its own.

Owns the options, what Ctrl-C means here, and what is said at the start and at the end. What happens
is `demo/play.py`'s, how it looks while it happens `demo_view.py`'s.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from taskyard.cli import formats

if TYPE_CHECKING:
    from taskyard.demo.pictures import Picture
    from taskyard.demo.play import Demo

app = typer.Typer()


class Language(StrEnum):
    """A language of the console."""

    EN = "en"
    ZH_CN = "zh-CN"


@app.command()
def demo(
    ctx: typer.Context,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=1, help="End by itself after so long; default: at Ctrl-C."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the folder behind, to look around in it.")
    ] = False,
    no_browser: Annotated[
        bool,
        typer.Option("--no-browser", help="Print the link to the console, and open no browser."),
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="The console's, or the next free one.")
    ] = 9999,
    lang: Annotated[
        Language | None,
        typer.Option("--lang", help="The console's language; default: the browser's."),
    ] = None,
) -> None:
    """Watch it work: two servers, five queues and real handlers, in a folder of their own.

    A little shop sends mails, syncs tables, writes reports and makes backups; one handler fails
    twice, one kills its process, one never ends. Needs no database and no network, changes nothing
    outside its folder, and leaves neither processes nor files behind.

    \b
    Examples:
      taskyard demo
      taskyard demo --seconds 10
      taskyard demo --keep
    """
    from taskyard.cli.demo_view import view
    from taskyard.demo.play import Demo

    color = bool(getattr(ctx.obj, "color", True))
    show = Demo(keep=keep, port=port)
    with _signals(show), show:
        print(_introduction(show), flush=True)
        show.start()
        link = _link(show, lang)
        opened = not no_browser and _open(link)
        print(_console(show, link, port, opened=opened), flush=True)
        with view(color=color) as look:
            for picture in show.play(seconds):
                look(picture)
        print("\nStopping the servers: running tasks get to finish.", flush=True)
        show.close()
        end = show.look()
        print(_summary(show, end))
    print(_next_steps(show))
    print(f"{_completed(end)} tasks completed", flush=True)


@contextmanager
def _signals(show: Demo) -> Iterator[None]:
    """Ctrl-C is the normal end of a demo; a second one is for those who can't wait."""

    def handle(number: int, frame: FrameType | None) -> None:
        if show.stopped.is_set():
            raise KeyboardInterrupt
        show.stopped.set()

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# --- What is said --------------------------------------------------------------------------------


def _introduction(show: Demo) -> str:
    return f"""\
Taskyard at work in {show.folder}
  a SQLite database, two servers (server-001, server-002), queues, schedules, a batch;
  mails go into mail/
  shop.py there gives them work by plain SQL and by Python, handlers.py does it
In another terminal:
  cd {show.folder}
  {_program()} run list
  {_program()} queue set email_queue --max-workers 2
Stop: Ctrl-C
"""


def _console(show: Demo, link: str, wanted: int, *, opened: bool) -> str:
    other = f"  (port {wanted} is taken)" if wanted not in (0, show.port) else ""
    how = "opens now; " if opened else ""
    return f"""\
Console: {link}{other}
  ({how}the link signs in once, within ten minutes)
Mails, and a button that crashes a server: {show.desk}
"""


def _link(show: Demo, lang: Language | None) -> str:
    """The console's link, with what its tour has to know; a fragment is sent to no server."""
    words = [f"tour={show.desk}", *([f"lang={lang.value}"] if lang else [])]
    return f"{show.link}#{'&'.join(words)}"


def _open(link: str) -> bool:
    """Show the link in a browser; not where that would be one in this terminal."""
    import webbrowser

    graphic = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return graphic and webbrowser.open(link)


def _summary(show: Demo, end: Picture) -> str:
    lines = [f"\nWhat ran in {formats.took(end.elapsed)}:"]
    for queue in end.queues:
        words = [f"{n} {status.name.lower()}" for status, n in end.counts[queue.queue_name].items()]
        if words:
            lines.append(f"  {queue.queue_name:<14} {', '.join(words)}")
    lines.append("What went wrong, as it should:")
    lines += _troubles(show)
    reports, backups = _files(show.folder, "reports/*.html"), _files(show.folder, "backups/*.db")
    lines.append(
        f"{end.mails} mails were caught; {reports} reports and {backups} backups are there."
    )
    return "\n".join(lines)


def _troubles(show: Demo) -> list[str]:
    """What failed, timed out or was lost, each kind in one line."""
    from taskyard.demo.pictures import BAD

    kinds = Counter(
        (run["task_type"], run["status"], formats.last_line(_first_part(run["error"])))
        for run in show.runs(status=BAD)
    )
    lines = [
        f"  {task_type:<14} {status} {n} ×: {why}"
        for (task_type, status, why), n in sorted(kinds.items())
    ]
    again = show.runs(task_type="unsteady", status="completed")
    if again:
        attempt = again[0]["attempt"]
        lines.append(f"  {'unsteady':<14} completed {len(again)} ×: at attempt {attempt}")
    return lines


def _first_part(error: str | None) -> str:
    """An error without the place in the code that may follow it."""
    return (error or "").partition("\n\n")[0]


def _next_steps(show: Demo) -> str:
    program = _program()
    if show.keep:
        return f"""
Look around in what is left:
  cd {show.folder}
  {program} run list --status failed
  {program} task list --queue trouble_queue
  {program} worker                       # and put something in: {program} task add unsteady --wait
"""
    return f"""
What to try next:
  {program} demo --keep                  # and look around in the folder afterwards
  {program} init my-jobs                 # a handler of your own
"""


def _completed(end: Picture) -> int:
    from taskyard.core.lifecycle import TaskStatus

    return end.total(TaskStatus.COMPLETED)


def _files(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


def _program() -> str:
    """The command as it can be typed here: by its name if it is on the PATH."""
    if shutil.which("taskyard"):
        return "taskyard"
    started = Path(sys.argv[0]).absolute()
    return f"{sys.executable} -m taskyard" if started.name == "__main__.py" else str(started)
