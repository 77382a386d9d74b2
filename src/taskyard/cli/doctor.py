"""`taskyard doctor`: look for what is wrong, and say how to mend it.

Owns how findings are printed and the exit code; what is looked at stands in `checks.py`.
"""

from __future__ import annotations

import typer

from taskyard.cli.invocation import invocation
from taskyard.cli.options import AsJson, new_app
from taskyard.cli.output import print_json

app = new_app()

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "fault": ("✗", "red")}


@app.command()
def doctor(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Look for what is wrong, and say how to mend it; exit 1 when there is a fault."""
    from taskyard.cli.checks import examine

    here = invocation(ctx)
    findings = []
    for found in examine(here):
        findings.append(found)
        if not as_json:
            print_finding(found.check, found.level, found.text, found.fix, color=here.color)
    if as_json:
        print_json(findings)
    raise typer.Exit(1 if any(found.level == "fault" for found in findings) else 0)


def print_finding(check: str, level: str, text: str, fix: str, *, color: bool) -> None:
    """Print what one check found: a mark, its name, the text, and what to do."""
    mark, colour = _MARKS[level]
    lines = text.splitlines() or [""]
    head = f"{mark} {check:<13} {lines[0]}"
    typer.secho(head, fg=colour, color=None if color else False)
    for line in [*lines[1:], *([f"fix: {fix}"] if fix else [])]:
        print(f"  {'':<13} {line}")
