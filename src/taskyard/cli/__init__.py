"""CLI: the command `taskyard`: words in, one verb called, the answer printed."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from taskyard.cli.program import run

    run()
