"""Core: the rules of Taskyard as pure values and functions, without clock, file or database.

Time and randomness come in as arguments. Nothing here imports another part of the package.
"""
