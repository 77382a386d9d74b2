"""Benchmarks: each module answers one question about speed or size, by ratios measured in one run.

They treat Taskyard as a black box (its command, its SQL, its Python door) and share with it nothing
but the database. How to run them and how to read them: README.md.
"""
