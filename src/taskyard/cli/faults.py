"""Faults: how errors look in the terminal.

Owns the one shape of an error (its sentence, its cause, what to do) and the exit code of errors
that are not ours. The texts are `core/errors.py`'s.
"""

from __future__ import annotations

import sys
import traceback

from taskyard.core.errors import TaskFailed, TaskyardError


def report(error: Exception, *, debug: bool = False) -> int:
    """Print an error to stderr and return the exit code; with `debug` also its stack trace."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, TaskyardError):
        _report_expected(error)
        return error.exit_code
    said = str(error).strip() or "no message"
    _say(f"{TaskyardError.code} {type(error).__name__}: {said}")
    if not debug:
        _say("fix: run it again with --debug to see where; it looks like a fault of Taskyard's.")
    return 1


def warn(error: TaskyardError) -> None:
    """Print an error that does not end the command."""
    _report_expected(error)


def _report_expected(error: TaskyardError) -> None:
    if isinstance(error, TaskFailed) and error.error and "\n" in error.error.strip():
        _say(error.error.rstrip())
    _say(str(error))
    cause = error.__cause__
    if cause is not None and (said := str(cause).strip().split("\n", 1)[0]) not in str(error):
        _say(f"cause: {type(cause).__name__}: {said}")
    if error.fix:
        _say(f"fix: {error.fix}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
