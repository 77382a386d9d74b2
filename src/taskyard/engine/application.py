"""Application: finds the one Yard of an application and imports it.

Owns where is looked (setting `app`, or handlers.py in the working folder) and what is said when it
can't be: the real cause with its file and line.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from taskyard.core.errors import HandlerImportFailed
from taskyard.handlers import Application

DEFAULT_MODULE = "handlers"


def load_application(app: str | None, folder: Path) -> Application:
    """Import the Yard that `app` ("module:attribute", or "module") names, from `folder`.

    Without `app`, handlers.py in `folder` is taken, which must hold exactly one Yard, by any name.
    Raises HandlerImportFailed.
    """
    name, _, attribute = (app or DEFAULT_MODULE).partition(":")
    shown = name if app else f"{DEFAULT_MODULE}.py"
    if app is None and not (folder / f"{DEFAULT_MODULE}.py").is_file():
        raise HandlerImportFailed(shown, f"there is none in {folder}, and `app` is not set")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = _imported(name, shown, folder)
    return _attribute(module, attribute, shown) if attribute else _only_yard(module, shown)


def _imported(name: str, shown: str, folder: Path) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise HandlerImportFailed(shown, _cause(error, folder)) from error


def _attribute(module: ModuleType, attribute: str, shown: str) -> Application:
    found: object = module
    for step in attribute.split("."):
        found = getattr(found, step, None)
    if not isinstance(found, Application):
        raise HandlerImportFailed(f"{shown}:{attribute}", "it is no Yard")
    return found


def _only_yard(module: ModuleType, shown: str) -> Application:
    found = {id(value): value for value in vars(module).values() if isinstance(value, Application)}
    if len(found) != 1:
        count = "no Yard" if not found else f"{len(found)} Yards"
        raise HandlerImportFailed(
            shown, f'it holds {count}; name one with app = "module:attribute"'
        )
    return next(iter(found.values()))


def _cause(error: BaseException, folder: Path) -> str:
    """The exception in one line, and the line of the application that led to it."""
    said = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    place = _place(error, folder)
    return f"{said} ({place})" if place else said


def _place(error: BaseException, folder: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename, folder)}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    known = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
    ours = [f for f in known if Path(f.filename).is_relative_to(folder)]
    # The libraries of a project may lie below its folder, and are not what must be mended.
    ours = [f for f in ours if "site-packages" not in f.filename] or known
    return f"{_short(ours[-1].filename, folder)}, line {ours[-1].lineno}" if ours else ""


def _short(filename: str, folder: Path) -> str:
    path = Path(filename)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
