"""Child: the process of the API beside a supervisor; see `keeper.py`, which starts it.

Owns how it gets its orders (a line of JSON on stdin) and that it ends with its parent: when the
pipe breaks nobody keeps it any more.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading

from taskyard.api.serve import serve
from taskyard.cli.logfile import start_logging
from taskyard.settings import Settings


def main() -> None:
    """Read the orders and serve."""
    order = json.loads(sys.stdin.readline())
    settings = Settings.from_json(order["settings"])
    start_logging(order["log_level"], settings.log_dir)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    listener = socket.socket(fileno=int(sys.argv[1]))
    serve(settings, no_auth=order["no_auth"], listener=listener)


def _end_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
