"""Demo: two servers at work in a folder of their own, and what is told about them.

Owns what `taskyard demo` plays: the folder, the servers, the program that gives them work
(`shop.py`), their handlers (`handlers.py`) and the mailbox. How it is shown is `cli/demo.py`'s.
"""
