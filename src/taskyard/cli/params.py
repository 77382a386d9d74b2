"""Params: a handler's parameters as they are written on the command line.

Owns the reading of `key=text`, `key:=json` and a JSON file. Whether they fit the handler is its
parameter model's business.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from taskyard.core.errors import ParamsNotJson

_WORD = re.compile(r"(?P<key>[^=:]+)(?P<sign>:?=)(?P<value>.*)", re.DOTALL)


def read_params(words: Sequence[str], file: str | None) -> dict[str, Any]:
    """The parameters as an object; words win over the file.

    Raises ParamsNotJson, or BadParameter for a word that is none.
    """
    params = _read_file(file) if file is not None else {}
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None:
            raise typer.BadParameter(
                f'"{word}": write key=text, or key:=json for numbers, lists and the like'
            )
        key, value = match["key"], match["value"]
        params[key] = _parse(value, f"Parameter {key}") if match["sign"] == ":=" else value
    return params


def _read_file(name: str) -> dict[str, Any]:
    shown = "stdin" if name == "-" else name
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsNotJson(shown, str(error)) from None
    params = _parse(text, shown)
    if not isinstance(params, dict):
        raise ParamsNotJson(shown, 'it must hold an object, like {"name": "Ada"}')
    return params


def _parse(text: str, what: str) -> Any:
    from taskyard.core.payload import load_params

    return load_params(text, what)
