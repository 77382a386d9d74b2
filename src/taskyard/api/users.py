"""Users, roles and tenants over HTTP. The verbs are `access.users`' and `access.tenants`'."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BaseModel, Field

from taskyard.access import logins, tenants, users
from taskyard.access.passwords import SHORTEST
from taskyard.access.permissions import GRANTABLE, ROLES, Permission, Role
from taskyard.api import asked, wire
from taskyard.api.fields import Body, OneOf, told
from taskyard.api.gate import Ask, Entry
from taskyard.api.noun import PREFIX, Noun
from taskyard.api.signin import link_path
from taskyard.core.errors import (
    AccessInvalid,
    LastSuperuser,
    NameTaken,
    QueryInvalid,
    TenantUnknown,
    UserUnknown,
)

noun = Noun("users")

_SIGN = r"[^\s/,\x00-\x1f\x7f]"
_LINE = r"^(.*\S.*)?$"
_GRANTS = told(items={"type": "string", "enum": sorted(GRANTABLE)})


class User(BaseModel):
    """Somebody who may sign in."""

    id: int
    username: str
    role: Role
    tenants: list[str] = Field(description="Whose things are seen; none is the platform's own.")
    grants: list[Permission] = Field(description="Permissions beside the role.")
    status: int = Field(description="1, or 0 for disabled.")
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime


class UserChanges(Body):
    """What of a user can be changed; what is left out stays."""

    role: OneOf[Role] | None = None
    tenants: list[str] | None = None
    grants: Annotated[list[OneOf[Permission]] | None, _GRANTS] = None
    status: int | None = Field(None, ge=0, le=1)


class NewUser(Body):
    """A user to be; without a password only a token or a sign-in link leads in."""

    username: Annotated[str, told(pattern="^[a-z0-9][a-z0-9._@+-]{0,99}$")]
    role: OneOf[Role] = Role.VIEWER
    tenants: list[str] = Field(default_factory=list)
    grants: Annotated[list[OneOf[Permission]], _GRANTS] = Field(default_factory=list)
    password: Annotated[str | None, told(minLength=SHORTEST)] = Field(None, max_length=1_000)


class NewPassword(Body):
    """Another password."""

    password: Annotated[str, told(minLength=SHORTEST)] = Field(max_length=1_000)


class Link(BaseModel):
    """A way in that is good once, for ten minutes."""

    path: str


class RoleInFull(BaseModel):
    """A role and what it may do."""

    name: Role
    permissions: list[Permission]


class Roles(BaseModel):
    """All roles, and what can be granted beside them."""

    data: list[RoleInFull]
    grantable: list[Permission]


class Tenant(BaseModel):
    """Whose data there is."""

    tenant_id: str
    name: str
    status: int = Field(description="1, or 0 for disabled: its tasks are held.")
    created_at: datetime
    updated_at: datetime


class NewTenant(Body):
    """A tenant to be."""

    tenant_id: Annotated[str, told(pattern=f"^{_SIGN}([^/,\\x00-\\x1f\\x7f]{{0,62}}{_SIGN})?$")]
    name: Annotated[str, told(maxLength=200, pattern=_LINE)] = ""


class TenantChanges(Body):
    """What of a tenant can be changed; what is left out stays."""

    name: Annotated[str | None, told(minLength=1, maxLength=200, pattern=_LINE)] = None
    status: int | None = Field(None, ge=0, le=1)


# --- users ----------------------------------------------------------------------------------------


@noun.get(
    "/users",
    needs=Permission.USERS_WRITE,
    answers=wire.page_of(User),
    takes=asked.of_list(users.USERS),
    raises=(QueryInvalid,),
)
def list_users(ask: Ask) -> dict[str, Any]:
    """Users by name."""
    query = asked.query_of(ask.query, users.USERS)
    return wire.listed(users.list_users(ask.db, ask.caller, query))


@noun.create(
    "/users",
    needs=Permission.USERS_WRITE,
    audit="user.create",
    answers=User,
    raises=(AccessInvalid, TenantUnknown, NameTaken),
)
def create_user(ask: Ask, new: NewUser) -> wire.Created:
    """Add a user."""
    made = users.add_user(ask.db, ask.caller, **new.model_dump())
    return wire.Created(made.to_dict(), f"{PREFIX}/users/{quote(made.username, safe='')}")


@noun.get("/users/{username}", needs=Entry.SIGNED_IN, answers=User, raises=(UserUnknown,))
def show_user(ask: Ask, username: str) -> dict[str, Any]:
    """One user; everybody may see himself."""
    return users.show_user(ask.db, ask.caller, username).to_dict()


@noun.patch(
    "/users/{username}",
    needs=Permission.USERS_WRITE,
    audit="user.update",
    answers=User,
    raises=(UserUnknown, AccessInvalid, TenantUnknown, LastSuperuser),
)
def update_user(ask: Ask, username: str, changes: UserChanges) -> dict[str, Any]:
    """Change what a user is; another role or status signs him out."""
    fields = changes.model_dump(exclude_unset=True)
    return users.update_user(ask.db, ask.caller, username, **fields).to_dict()


@noun.delete(
    "/users/{username}",
    needs=Permission.USERS_WRITE,
    audit="user.delete",
    raises=(UserUnknown, LastSuperuser),
)
def delete_user(ask: Ask, username: str) -> None:
    """Delete a user with his tokens and sessions; the audit keeps his name."""
    users.delete_user(ask.db, ask.caller, username)


@noun.post(
    "/users/{username}/password",
    needs=Permission.USERS_WRITE,
    audit="user.password",
    answers=None,
    raises=(UserUnknown, AccessInvalid),
)
def set_password(ask: Ask, username: str, new: NewPassword) -> None:
    """Give a user another password and sign him out everywhere."""
    users.set_password(ask.db, ask.caller, username, new.password)


@noun.post(
    "/users/{username}/sign-in-link",
    needs=Permission.USERS_WRITE,
    audit="user.link",
    answers=Link,
    raises=(UserUnknown,),
)
def make_sign_in_link(ask: Ask, username: str) -> dict[str, str]:
    """Make a link that signs a user in, once, within ten minutes."""
    return {"path": link_path(logins.make_link(ask.db, ask.caller, username))}


@noun.get("/roles", needs=Entry.SIGNED_IN, answers=Roles)
def list_roles(ask: Ask) -> dict[str, Any]:
    """Roles and what they may do."""
    data = [{"name": role, "permissions": sorted(ROLES[role])} for role in Role]
    return {"data": data, "grantable": sorted(GRANTABLE)}


# --- tenants --------------------------------------------------------------------------------------


@noun.get(
    "/tenants",
    needs=Entry.SIGNED_IN,
    answers=wire.page_of(Tenant),
    takes=asked.of_list(tenants.TENANTS),
    raises=(QueryInvalid,),
)
def list_tenants(ask: Ask) -> dict[str, Any]:
    """The tenants that one sees."""
    query = asked.query_of(ask.query, tenants.TENANTS)
    return wire.listed(tenants.list_tenants(ask.db, ask.caller, query))


@noun.create(
    "/tenants",
    needs=Permission.USERS_WRITE,
    audit="tenant.create",
    answers=Tenant,
    raises=(AccessInvalid, NameTaken),
)
def create_tenant(ask: Ask, new: NewTenant) -> wire.Created:
    """Register a tenant."""
    made = tenants.create_tenant(ask.db, ask.caller, new.tenant_id, name=new.name)
    return wire.Created(made.to_dict(), f"{PREFIX}/tenants/{quote(made.tenant_id, safe='')}")


@noun.get("/tenants/{tenant_id}", needs=Entry.SIGNED_IN, answers=Tenant, raises=(TenantUnknown,))
def show_tenant(ask: Ask, tenant_id: str) -> dict[str, Any]:
    """One tenant."""
    return tenants.show_tenant(ask.db, ask.caller, tenant_id).to_dict()


@noun.patch(
    "/tenants/{tenant_id}",
    needs=Permission.USERS_WRITE,
    audit="tenant.update",
    answers=Tenant,
    raises=(TenantUnknown, AccessInvalid),
)
def update_tenant(ask: Ask, tenant_id: str, changes: TenantChanges) -> dict[str, Any]:
    """Change a tenant's name, disable or enable it."""
    fields = changes.model_dump(exclude_unset=True)
    return tenants.update_tenant(ask.db, ask.caller, tenant_id, **fields).to_dict()
