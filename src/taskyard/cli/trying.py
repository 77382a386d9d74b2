"""Trying: one call of a handler in this process, for `handler test`.

Owns the stand-in for what a runner gives (progress and log go to stderr) and the start and stop
hooks around it. The call is `engine/attempt.py`'s, so it ends as it would in a runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskyard.cli.output import say
from taskyard.cli.run import progress
from taskyard.context import Call, Context, Transaction, unattended
from taskyard.core.payload import load_result
from taskyard.engine.attempt import Live, run_async, run_sync
from taskyard.engine.measure import LoopMeter, ThreadMeter
from taskyard.handlers import Application, Handler


@dataclass(frozen=True, slots=True)
class Ending:
    """What a call came to."""

    kind: str
    output: Any
    error: str | None


class Telling:
    """A Reporter that tells a person."""

    def progress(
        self, context: Context, done: float, total: float | None, note: str | None
    ) -> None:
        """Print how far it is."""
        say("progress: " + progress({"done": done, "total": total, "note": note}))

    def checkpoint(self, context: Context, text: str | None) -> None:
        """Print what would be stored."""
        say(f"checkpoint: {text}")

    def transaction(self, context: Context) -> contextlib.AbstractContextManager[Transaction]:
        """There is no Task whose end could be written."""
        return unattended(context.task_type).transaction()


def try_handler(
    application: Application, handler: Handler[..., Any], params: Mapping[str, Any]
) -> Ending:
    """Call a handler with parameters. Raises ParamsInvalid, ParamsNotJson or PayloadTooLarge."""
    text = handler.signature.dump((), params)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s"
    )
    call = Call(0, "", 0, 0, handler.name, handler.spec.queue, text)
    live = Live(call, handler, Telling())
    # The output alone goes to stdout; what the handler prints belongs to its log.
    with contextlib.redirect_stdout(sys.stderr):
        row = asyncio.run(_call(application, live))
    return Ending(kind=str(row[1]), output=load_result(row[2]), error=row[3])


async def _call(application: Application, live: Live) -> Any:
    await _hooks(application.start_hooks)
    try:
        if live.handler.is_async:
            return await run_async(live, LoopMeter())
        return await asyncio.to_thread(run_sync, live, ThreadMeter())
    finally:
        await _hooks(application.stop_hooks)


async def _hooks(hooks: list[Any]) -> None:
    for hook in hooks:
        found = hook()
        if asyncio.iscoroutine(found):
            await found
