"""The handlers of the console's fixture; copied as ``handlers.py`` into a server's folder."""

from __future__ import annotations

import time
from pathlib import Path

from taskyard import Context, Yard

yard = Yard()
CALLS = Path(__file__).with_name("calls")
FIXED = Path(__file__).with_name("fixed")


@yard.handler("qa.ok", queue="qa", max_retries=0)
def ok(n: int) -> dict[str, int]:
    """Gives back what it got."""
    return {"n": n}


@yard.handler("qa.fail", queue="qa", max_retries=0)
def fail(n: int) -> None:
    """Fails always."""
    raise ValueError(f"boom-{n}")


@yard.handler("qa.slow", queue="qa", max_retries=0, timeout=1, isolation="process")
def slow(seconds: float = 30) -> None:
    """Takes longer than it may."""
    time.sleep(seconds)


@yard.handler("qa.talk", queue="qa", max_retries=0)
def talk(ctx: Context, lines: int = 5, pause: float = 0.2) -> dict[str, int]:
    """Logs a line now and then, and tells how far it is."""
    for line in range(lines):
        ctx.log.info("line %d", line)
        ctx.progress(line + 1, lines, "talking")
        time.sleep(pause)
    return {"lines": lines}


@yard.handler("shop.greet", queue="qa", max_retries=0)
def greet(name: str, times: int = 1, loud: bool = False) -> dict[str, str]:
    """Greets somebody, once or more."""
    text = f"Hello {name}! " * times
    return {"text": text.upper() if loud else text}


@yard.batch("qa.each", concurrency=1)
def each(item: int, factor: int = 1) -> int:
    """Multiplies its item."""
    return item * factor


@yard.batch("qa.sevenths", concurrency=4, max_retries=0)
def sevenths(item: int) -> dict[str, int]:
    """Fails for multiples of seven until it is fixed, and notes each call."""
    with CALLS.open("a") as calls:
        calls.write(f"{item}\n")
    time.sleep(0.1)
    if item % 7 == 0 and not FIXED.exists():
        raise ValueError(f"seven times {item // 7}")
    return {"item": item}
