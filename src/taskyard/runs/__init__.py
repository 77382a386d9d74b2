"""Runs: the one history of all that was executed: its record, logs, lists and retention."""
