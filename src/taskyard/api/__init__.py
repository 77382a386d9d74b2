"""API: the HTTP door: parse, call the verb, render."""
