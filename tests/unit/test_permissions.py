"""Permissions: the table that people read is the one that the code goes by."""

from __future__ import annotations

import re
from pathlib import Path

from taskyard.access.permissions import (
    EVERYWHERE,
    GRANTABLE,
    OF_TENANTS,
    ROLES,
    Permission,
    Role,
    held,
)

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "permissions.md"


def table() -> list[list[str]]:
    """The rows of the page's table: a permission in backquotes, its meaning, a cell a role."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_is_true() -> None:
    head, _, *rows = table()
    roles = [Role(name) for name in head[2:]]
    assert set(roles) == set(Role)
    written = {
        (row[0], role, cell) for row in rows for role, cell in zip(roles, row[2:], strict=True)
    }
    true = {(p.value, role, cell(p, role)) for p in Permission for role in Role}
    assert {entry for entry in written if re.fullmatch(r"[a-z.]+", entry[0])} == true


def test_the_line_is_drawn_where_things_reach_beyond_tenants() -> None:
    names = [row[0] for row in table()[2:]]
    line = names.index("—")
    assert {Permission(name) for name in names[:line]} == OF_TENANTS
    assert {role for role in Role if ROLES[role] - OF_TENANTS} == EVERYWHERE


def cell(permission: Permission, role: Role) -> str:
    if permission in held(role, [], advanced=True):
        return "✓"
    granted = permission in GRANTABLE and permission in held(role, [permission], advanced=True)
    return "granted" if granted else ""
