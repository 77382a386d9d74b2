"""The peers: other job queues for Python, each set up as its own documentation says, at its fastest
setting we found.

One module a peer, run in the virtual environment of the peers only (script.py says with which
words); drain.py turns one into a contender.
"""
