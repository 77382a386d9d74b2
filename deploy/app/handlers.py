"""What the servers of compose.yaml can do, until you name a folder of your own in .env."""

from __future__ import annotations

from pathlib import Path

from taskyard import Context, Yard

yard = Yard()


@yard.handler("note", max_retries=3, timeout="30s")
def note(ctx: Context, text: str) -> dict[str, str]:
    """Write a text into a file, which belongs to whoever UID and GID say."""
    folder = Path(__file__).with_name("notes")
    folder.mkdir(exist_ok=True)
    file = folder / f"{ctx.task_id}.txt"
    file.write_text(text + "\n", encoding="utf-8")
    ctx.log.info("wrote %s", file)
    return {"file": file.name}
