"""Alerts: rules say what to watch, incidents are what was seen, channels say where to tell."""
