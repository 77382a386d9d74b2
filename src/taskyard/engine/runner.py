"""Runner: the child process that runs handlers.

Owns the life of the process: it imports the application, says hello, and works until its supervisor
says stop or is gone. Then it ends at once: a runner must never outlive the lease that it works
under. Where Runs happen is `shared.py`'s and `alone.py`'s business, what is told `outbox.py`'s.

Messages, JSON documents with the key "t" (framing: `wire.py`):

to the runner
  start   calls: [[…the fields of context.Call…], …]
  cancel  runs: [run_id, …], why
  stop    run the stop hooks and end; the supervisor has drained before. The end of the stream means
          the same without the hooks.
to the supervisor
  hello       pid, handlers: [HandlerSpec, …], problems: [{code, text, fix}, …]; once
  done        outcomes: [[…the fields of attempt.Row…], …]
  retire      why: no more work, please; replace me when the Runs that I have are done
  stuck       runs: those overdue (their Outcomes are sent), by: the run that blocks, or null, why:
              kill me now
  log         chunks: [[run_id, seq, text], …]; whole lines
  progress    items: [[run_id, done, total, note], …]
  checkpoint  run, data: JSON text or null
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import faulthandler
import gc
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from taskyard.core.errors import BadSetting, HandlerImportFailed, TaskyardError
from taskyard.core.payload import mask_url
from taskyard.engine import builtin, capture
from taskyard.engine.alone import Alone
from taskyard.engine.application import load_application
from taskyard.engine.bodies import Body, Loop
from taskyard.engine.outbox import Outbox
from taskyard.engine.shared import Shared
from taskyard.engine.transaction import Transactions
from taskyard.engine.watch import Watch
from taskyard.engine.wire import Channel
from taskyard.handlers import Application, HandlerSpec, Hook

logger = logging.getLogger("taskyard.runner")

STOP_PATIENCE = 3.0
"""Seconds that all stop hooks together may take."""

Problem: TypeAlias = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Be a runner. Never returns."""
    options = _options(argv)
    _die_with_parent()
    _keep_to_ourselves()
    channel = Channel.inherited(options.fd)
    loop = _new_loop()
    application, problems = _load(options.app, Path.cwd())
    outbox = Outbox(channel, Transactions(options.session, application.registry).open)
    logs = capture.install(outbox)
    problems += _prepare(application, loop)
    builtin.add_to(application.registry)
    handlers = _specs(application, problems)
    body = _body(options, application, outbox, loop, logs)
    Watch(body, outbox).start()
    # What is there now stays: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    outbox.send({"t": "hello", "pid": os.getpid(), "handlers": handlers, "problems": problems})
    read = threading.Thread(target=_read, args=(channel, body, application), name="read")
    read.daemon = True
    read.start()
    body.run_forever()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("taskyard.engine.runner")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--session", required=True)
    parser.add_argument("--isolation", choices=("shared", "process"), required=True)
    # These two are settings; reading them here spares a runner the import of all settings (0.3 s).
    parser.add_argument("--app", default=os.environ.get("TASKYARD_APP"))
    parser.add_argument("--threads", type=int, default=os.environ.get("TASKYARD_THREAD_SLOTS", 40))
    return parser.parse_args(argv)


# --- The process ---------------------------------------------------------------------------------


def _die_with_parent() -> None:
    """Let the kernel end us with the supervisor, even when our interpreter is blocked."""
    if sys.platform != "linux":
        return  # The end of the stream is noticed everywhere, unless a handler holds the GIL.
    parent = os.getppid()
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _keep_to_ourselves() -> None:
    """A session of our own, no terminal, no input; when to stop is the supervisor's decision."""
    try:
        os.setsid()
    except PermissionError:
        pass  # We lead a process group already.
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    faulthandler.enable(file=os.dup(2))
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not SIG_IGN, which programs that a handler starts would inherit.
        signal.signal(number, _overhear)
    os.register_at_fork(after_in_child=_let_children_stop)


def _overhear(number: int, frame: object) -> None:
    """Ctrl-C goes to the whole terminal, and the supervisor hears it too."""


def _let_children_stop() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _new_loop() -> Loop:
    try:
        import uvloop
    except ImportError:
        loop: Loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def _body(
    options: argparse.Namespace,
    application: Application,
    outbox: Outbox,
    loop: Loop,
    logs: capture.LogCapture,
) -> Body:
    if options.isolation == "shared":
        return Shared(application.registry, outbox, loop, options.threads)
    capture.remove_stream_handlers()
    streams = capture.StreamCapture(outbox)
    return Alone(application.registry, outbox, loop, logs, streams)


# --- The application -----------------------------------------------------------------------------


def _load(app: str | None, folder: Path) -> tuple[Application, list[Problem]]:
    try:
        application = load_application(app, folder)
    except HandlerImportFailed as error:
        return Application(), [_problem(error)]
    problems = _other_database(application)
    if not application.registry:
        none = HandlerImportFailed(app or "handlers.py", "its Yard has no handlers yet")
        problems.append(_problem(none))
    return application, problems


def _other_database(application: Application) -> list[Problem]:
    """Tell that the application enqueues into a database that this server does not look at."""
    ours, theirs = os.environ.get("TASKYARD_DATABASE_URL"), application.database_url
    if ours is None or theirs is None:
        return []
    from taskyard.settings import Settings

    theirs = Settings.load(database_url=theirs).database_url
    if theirs == ours:
        return []
    why = f"it is {mask_url(theirs)}, but this server works in {mask_url(ours)}"
    return [_problem(BadSetting("database_url", why, "the argument of Yard()"))]


def _prepare(application: Application, loop: Loop) -> list[Problem]:
    """Call the start hooks; without what they open no handler of the application is offered."""
    try:
        loop.run_until_complete(_call(application.start_hooks))
    except (Exception, SystemExit) as error:
        logger.exception("an on_runner_start hook failed")
        application.registry.clear()
        why = f"an on_runner_start hook raised {type(error).__name__}: {error}"
        return [_problem(HandlerImportFailed("The application", why))]
    return []


def _specs(application: Application, problems: list[Problem]) -> list[dict[str, Any]]:
    """The Handlers that can be offered; one that can't be read is taken out, and told."""
    specs: list[HandlerSpec] = []
    for handler in list(application.registry):
        try:
            specs.append(handler.spec)
        except HandlerImportFailed as error:
            problems.append(_problem(error))
            application.registry.remove(handler.name)
    return [spec.to_dict() for spec in specs]


def _problem(error: TaskyardError) -> Problem:
    return {"code": error.code, "text": error.text, "fix": error.fix}


async def _call(hooks: list[Hook]) -> None:
    for hook in hooks:
        result = hook()
        if inspect.isawaitable(result):
            await result


# --- The socket ----------------------------------------------------------------------------------


def _read(channel: Channel, body: Body, application: Application) -> None:
    """Do what the supervisor says, until it says stop or is gone."""
    try:
        for message in channel.receive():
            match message["t"]:
                case "start":
                    body.start(message["calls"])
                case "cancel":
                    body.cancel(message["runs"], message["why"])
                case "stop":
                    _stop(body, application)
                    break
    except BaseException:
        # Whatever it is, a runner that no longer listens must not go on.
        logger.exception("the runner can't go on")
        os._exit(70)
    os._exit(0)


def _stop(body: Body, application: Application) -> None:
    if application.stop_hooks:
        try:
            body.await_in(_call(application.stop_hooks), STOP_PATIENCE)
        except (Exception, SystemExit):
            logger.exception("an on_runner_stop hook failed")


if __name__ == "__main__":
    main()
