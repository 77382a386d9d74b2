"""Caller: who asks now, what they may do, and whose things they see.

Every verb that a person can reach takes a Caller right after the database, asks it for the
permission, and narrows its SQL to the Caller's tenants; so no door can forget it. A thing of
another tenant is answered exactly as one that does not exist.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taskyard.access.permissions import Permission, Role
from taskyard.core.errors import NotAllowed

PLATFORM = ""
"""The tenant of what belongs to no tenant."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request comes from; who it is of is not known yet."""

    address: str | None = None
    user_agent: str | None = None
    request_id: str | None = None


NOWHERE = Visitor()
"""No request: this process itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks now.

    `tenants` are those whose things are seen; None is all of them. `user_id` and `token_id` say
    how they signed in, `address` and `request_id` from where; None outside HTTP.
    """

    name: str
    role: str
    permissions: frozenset[Permission]
    tenants: frozenset[str] | None
    user_id: int | None = None
    token_id: int | None = None
    address: str | None = None
    request_id: str | None = None

    def may(self, permission: Permission) -> bool:
        """Does the Caller hold the permission?"""
        return permission in self.permissions

    def require(self, permission: Permission) -> None:
        """Raise NotAllowed unless the Caller holds the permission."""
        if permission not in self.permissions:
            raise NotAllowed(permission.value, self.role)

    def sees(self, tenant_id: str) -> bool:
        """Are the things of this tenant the Caller's to see?"""
        return self.tenants is None or tenant_id in self.tenants

    def require_tenant(self, tenant_id: str, permission: Permission) -> None:
        """Raise NotAllowed unless the Caller holds the permission for this tenant."""
        self.require(permission)
        if not self.sees(tenant_id):
            raise NotAllowed(f"{permission.value} for tenant {tenant_id!r}", self.role)

    def narrow(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        """The filters of a list with `tenant_id` cut down to what the Caller sees.

        A Caller who sees nothing of what was asked for gets a filter that nothing passes.
        """
        narrowed = dict(filters)
        if self.tenants is None:
            return narrowed
        asked = narrowed.get("tenant_id")
        if asked is None:
            visible = sorted(self.tenants)
        else:
            words = asked.split(",") if isinstance(asked, str) else asked
            visible = sorted(self.tenants & {word.strip() for word in words})
        # A tenant's id has at most 64 characters, none of them is a control character.
        narrowed["tenant_id"] = visible or ["\x1f"]
        return narrowed


def local() -> Caller:
    """The Caller of the Python API and the command line.

    Whoever has the database's password may do everything; the name is for the audit.
    """
    return Caller(f"local:{_user()}", Role.SUPERUSER.value, frozenset(Permission), None)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


LOCAL = local()
"""The Caller of this process's own code."""
ENGINE = Caller("taskyard", Role.SUPERUSER.value, frozenset(Permission), None)
"""The Caller when nobody asks: what the platform does by itself."""
