"""Compat: addresses that others have defined before us, with their answers and their errors.

They lead to the same verbs as `/api/v1`; nothing else in the API knows of them.
"""
