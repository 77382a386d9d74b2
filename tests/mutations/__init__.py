"""Mutations: every guard of the protocol is taken out in turn, and a test has to notice.

`python -m tests.mutations` runs them; `guards.py` is the list.
"""
