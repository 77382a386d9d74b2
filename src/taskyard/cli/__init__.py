"""CLI: the command `taskyard`: words in, one verb called, the answer printed."""
