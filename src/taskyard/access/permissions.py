"""Permissions: what may be done, and which roles may do it.

Owns the two lists. Who holds a role is `users.py`'s, what a Caller may see is `caller.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Permission(StrEnum):
    """One thing that may be done. Those of a tenant's things hold within the Caller's tenants."""

    RUNS_READ = "runs.read"
    """Runs, their logs, errors and statistics; secrets are masked."""
    TASKS_READ = "tasks.read"
    TASKS_WRITE = "tasks.write"
    """Enqueue, cancel, retry, run now."""
    BATCHES_READ = "batches.read"
    BATCHES_WRITE = "batches.write"
    SCHEDULES_READ = "schedules.read"
    SCHEDULES_WRITE = "schedules.write"
    SCHEDULES_TRIGGER = "schedules.trigger"
    TEMPLATES_WRITE = "templates.write"
    ALERTS_READ = "alerts.read"
    ALERTS_WRITE = "alerts.write"
    HANDLERS_READ = "handlers.read"
    """Which handlers there are, with the schema of their parameters."""
    TOKENS_WRITE = "tokens.write"
    """Make and revoke API tokens of the Caller's tenants, never with more than the Caller may."""
    PAYLOAD_RAW = "payload.raw"
    """See payloads unmasked; each look is audited."""
    MONITORING = "monitoring"
    """Task history of all tenants, servers, queues, metrics: reading only."""
    QUEUES_WRITE = "queues.write"
    SERVERS_WRITE = "servers.write"
    USERS_WRITE = "users.write"
    """Users, their roles, and tenants."""
    AUDIT_READ = "audit.read"
    SETTINGS_READ = "settings.read"
    PURGE = "purge"
    """Remove history and tasks."""


class Role(StrEnum):
    """What a User is."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    TENANT_ADMIN = "tenant_admin"
    MONITOR = "monitor"
    SUPERUSER = "superuser"


_P = Permission

_VIEWER = frozenset(
    {
        _P.RUNS_READ,
        _P.TASKS_READ,
        _P.BATCHES_READ,
        _P.SCHEDULES_READ,
        _P.ALERTS_READ,
        _P.HANDLERS_READ,
    }
)
_OPERATOR = _VIEWER | {_P.TASKS_WRITE, _P.BATCHES_WRITE, _P.SCHEDULES_TRIGGER}
_TENANT_ADMIN = _OPERATOR | {
    _P.SCHEDULES_WRITE,
    _P.TEMPLATES_WRITE,
    _P.ALERTS_WRITE,
    _P.TOKENS_WRITE,
}

ROLES: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _OPERATOR,
    Role.TENANT_ADMIN: _TENANT_ADMIN,
    # Only while the setting `advanced_permissions` is on; else a monitor may do nothing.
    Role.MONITOR: frozenset({_P.MONITORING, _P.RUNS_READ, _P.HANDLERS_READ}),
    Role.SUPERUSER: frozenset(Permission),
}
"""What each role may do. `monitor` and `superuser` see all tenants, the others their own."""

GRANTABLE = frozenset({Permission.MONITORING, Permission.PAYLOAD_RAW})
"""What a User may be given beside the role."""
OF_TENANTS = _TENANT_ADMIN | {_P.PAYLOAD_RAW}
"""What concerns a tenant's things alone; everything else reaches beyond tenants."""
EVERYWHERE = frozenset({Role.SUPERUSER, Role.MONITOR})
"""The roles that see all tenants."""


def held(role: Role, grants: Collection[str], *, advanced: bool) -> frozenset[Permission]:
    """What a User of this role with these grants may do.

    `advanced` is the setting `advanced_permissions`: without it only superusers hold `monitoring`,
    and a monitor may do nothing.
    """
    if role is Role.MONITOR and not advanced:
        return frozenset()
    more = {permission for permission in GRANTABLE if permission.value in grants}
    if not advanced:
        more.discard(Permission.MONITORING)
    if role is not Role.TENANT_ADMIN:
        more.discard(Permission.PAYLOAD_RAW)
    return ROLES[role] | more
