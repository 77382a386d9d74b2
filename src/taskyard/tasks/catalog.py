"""Catalog: which Handlers there are, asked where their code is not.

Owns what the Servers have told of their Handlers (`ty_servers.handlers`), read together and kept
for two seconds, because an API asks at every Task.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from taskyard.core.errors import HandlerUnknown
from taskyard.db.database import Database
from taskyard.handlers import HandlerSpec
from taskyard.servers import SessionRow, newest_sessions

_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Known:
    """A Handler: what it promises, and the Servers that have it now.

    Without Servers it is what the last one said that had it. `differs` means that they do not
    promise the same, as in the middle of a deployment.
    """

    spec: HandlerSpec
    servers: tuple[str, ...]
    differs: bool = False


class Catalog:
    """The Handlers of a fleet."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._until = 0.0

    def all(self, wanted: str = "") -> Mapping[str, Known]:
        """All Handlers by name; read anew at once where `wanted` is not among them."""
        with self._lock:
            old = time.monotonic() >= self._until
            if old or (wanted and wanted not in self._known):
                self._known = _gather(newest_sessions(self._db, dead=True))
                self._until = time.monotonic() + _SECONDS
            return self._known

    def secrets(self, name: str) -> frozenset[str]:
        """The parameters that a Handler calls secret; none where nobody knows it."""
        known = self.all().get(name)
        return frozenset() if known is None else known.spec.secrets

    def get(self, name: str) -> Known:
        """One Handler; raises HandlerUnknown with the nearest name."""
        known = self.all(name)
        if name not in known:
            raise HandlerUnknown(name, known)
        return known[name]


def _gather(rows: list[SessionRow]) -> dict[str, Known]:
    """Those of the living count; what only the dead had is known all the same."""
    found: dict[str, Known] = {}
    for row in sorted(rows, key=lambda row: (row.alive, row.started_at), reverse=True):
        for data in row.specs():
            spec = HandlerSpec.from_dict(data)
            before = found.get(spec.name)
            if before is None:
                found[spec.name] = Known(spec, (row.server_id,) if row.alive else ())
            elif row.alive:
                differs = before.differs or before.spec != spec
                servers = (*before.servers, row.server_id)
                found[spec.name] = Known(before.spec, tuple(sorted(servers)), differs)
    return dict(sorted(found.items()))
