"""Formats: values as people read them in the terminal.

Owns the words for durations, sizes, moments and states. Programs get the values themselves
(`output.py`). Pure, and cheap to import.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

STATES = {
    "pending": ("·", ""),
    "running": ("▶", "blue"),
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "timeout": ("⧖", "yellow"),
    "cancelled": ("⊘", "bright_black"),
    "lost": ("?", "magenta"),
    "interrupted": ("↺", "bright_black"),
    "enabled": ("✓", "green"),
    "disabled": ("⏸", "yellow"),
    "good": ("✓", "green"),
    "expired": ("✗", "bright_black"),
    "revoked": ("✗", "bright_black"),
    "paused": ("⏸", "yellow"),
    "quarantined": ("✗", "red"),
    "started": ("✓", "green"),
    "stopped": ("⏸", "yellow"),
    "over": ("✓", "bright_black"),
    "open": ("✗", "red"),
    "acknowledged": ("◐", "yellow"),
    "resolved": ("✓", "green"),
    "live": ("✓", "green"),
    "late": ("?", "yellow"),
    "draining": ("↺", "yellow"),
    "dead": ("✗", "bright_black"),
}
"""Symbol and colour of each state: colour alone tells a third of all people nothing."""


def state(word: Any) -> tuple[str, str]:
    """A state with its symbol, and its colour."""
    symbol, colour = STATES.get(str(word), ("", ""))
    return f"{symbol} {word}".strip(), colour


def took(seconds: Any) -> str:
    """A length of time: 850 ms, 12.4 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    if seconds is None:
        return "–"
    value = float(seconds)
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600} h"


def ago(moment: datetime | None, now: datetime) -> str:
    """A moment as seen from now: "12 s ago", "in 5 min"."""
    if moment is None:
        return "–"
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    text = _about(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def _about(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def size(count: Any) -> str:
    """A number of bytes: 24.1 MiB; 0 B is nothing, – is unknown."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def last_line(text: Any) -> str:
    """The last line of an error's text: of a traceback, the exception itself."""
    lines = str(text or "").strip().splitlines()
    return lines[-1] if lines else ""


def number(value: Any) -> str:
    """A number without a fraction that says nothing; – for none."""
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def share(rate: Any) -> str:
    """A share from 0 to 1 as a percentage; – for none."""
    return "–" if rate is None else f"{rate:.1%}"


def text(value: Any) -> str:
    """A text as it is; – for none."""
    return "–" if value is None or value == "" else str(value)
