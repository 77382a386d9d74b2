"""Means to break things from outside: server processes, private databases, a TCP proxy, a journal.

Nothing here imports the product (the handlers file that servers load excepted): a fault test speaks
to it as its users do, by SQL, command line and signals, and judges it by what the handlers wrote
into a file that no database fault can touch.
"""
