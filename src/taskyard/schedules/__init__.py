"""Schedules: rules that enqueue Tasks when they are due."""
