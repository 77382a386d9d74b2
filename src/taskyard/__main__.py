"""`python -m taskyard`: the same as the command `taskyard`."""

from taskyard.cli import main

main()
