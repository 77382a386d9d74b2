"""Demo: two servers at work in a folder of their own, and what is told about them.

Owns what `taskyard demo` plays: the folder, the servers, the program that gives them work
(`shop.py`), their handlers (`handlers.py`) and the mailbox. Leaves to `cli/demo.py` how it is shown.
"""
