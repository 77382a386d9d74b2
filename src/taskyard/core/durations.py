"""Durations: the one strict way in which people write lengths of time, to seconds and back.

Owns the parser (settings, `delay=`, `timeout=`, `Retry(after=)`, the command line) and its inverse.
Leaves to callers what range makes sense for them. Pure, and cheap to import.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TypeAlias

Duration: TypeAlias = float | str | timedelta
"""What a parameter takes that means a length of time: seconds, a text like "1h30m", a timedelta."""

_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
# Fifteen digits are thirty million years; more would overflow on the way to whole microseconds.
_NUMBER = r"[0-9]{1,15}(?:\.[0-9]+)?"
_SECONDS = re.compile(_NUMBER)
_SHORT = re.compile("".join(f"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _UNITS))
# No years and months: they have no fixed length. The look-ahead refuses a "T" with nothing behind.
_ISO = re.compile(
    rf"P(?:(?P<w>{_NUMBER})W)?(?:(?P<d>{_NUMBER})D)?"
    rf"(?:T(?=[0-9])(?:(?P<h>{_NUMBER})H)?(?:(?P<m>{_NUMBER})M)?(?:(?P<s>{_NUMBER})S)?)?"
)


def parse_duration(value: Duration) -> float:
    """Return the seconds that `value` means.

    `value`: seconds as a number or as text ("90", "0.5"), units in falling order ("90s", "5m",
    "1h30m", "2d", "1w"), ISO 8601 without years and months ("PT5M", "P1DT12H"), or a timedelta.
    Texts are exact to the microsecond. Raises ValueError for anything else, also for negative,
    infinite and missing values: nothing is guessed.
    """
    if isinstance(value, str):
        seconds = _parse_text(value)
    elif isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        raise _refusal(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise _refusal(value)
    return seconds


def _parse_text(text: str) -> float:
    stripped = text.strip()
    if _SECONDS.fullmatch(stripped):
        return float(stripped)
    match = _SHORT.fullmatch(stripped) or _ISO.fullmatch(stripped)
    parts = {unit: number for unit, number in match.groupdict().items() if number} if match else {}
    if not parts:
        raise _refusal(text)
    # Whole microseconds, so that "1h0.1s" is the same float as 3600.1 and formatting round-trips.
    micros = sum(round(float(number) * 1_000_000) * _UNITS[unit] for unit, number in parts.items())
    return micros / 1_000_000


def _refusal(value: object) -> ValueError:
    shown = f'"{value}"' if isinstance(value, str) else repr(value)
    return ValueError(
        f'{shown} is not a duration; write seconds (90), "90s", "5m", "1h30m", "2d",'
        ' or ISO 8601 like "PT5M"'
    )


def format_duration(seconds: float) -> str:
    """Return `seconds` (not negative, rounded to the microsecond) as "1h30m", "2d", "0.25s", "0s".

    `parse_duration` reads it back to the same number.
    """
    micros = round(parse_duration(seconds) * 1_000_000)
    rest, fraction = divmod(micros, 1_000_000)
    text = ""
    # Weeks are read but not written: "10d" is what people say.
    for unit in ("d", "h", "m"):
        count, rest = divmod(rest, _UNITS[unit])
        text += f"{count}{unit}" if count else ""
    if fraction:
        return f"{text}{rest}.{fraction:06d}".rstrip("0") + "s"
    return f"{text}{rest}s" if rest or not text else text
