"""Signing in and out over HTTP, and who one is. The verbs are `access.logins`'.

Owns the cookie: HttpOnly, SameSite=Strict, and Secure where the request came by HTTPS.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from taskyard.access import logins
from taskyard.access.logins import SignedIn
from taskyard.access.permissions import Permission, Role
from taskyard.api.console import prefix_of
from taskyard.api.fields import Body
from taskyard.api.gate import COOKIE, Ask, Entry
from taskyard.api.noun import PREFIX, Noun
from taskyard.core.errors import SignInFailed, TooManyAttempts

noun = Noun("sign-in")


class Credentials(Body):
    """Who signs in."""

    username: str = Field(max_length=100)
    password: str = Field(max_length=1_000)


class Session(BaseModel):
    """A session that has begun; its key is in the cookie."""

    username: str
    expires_at: datetime


class Me(BaseModel):
    """Who asks, and what they may do."""

    username: str
    role: Role
    permissions: list[Permission]
    tenants: list[str] | None = Field(description="Whose things are seen; null is everybody's.")


@noun.post(
    "/login",
    needs=Entry.OPEN,
    audit="login",
    answers=Session,
    raises=(SignInFailed, TooManyAttempts),
)
def login(ask: Ask, who: Credentials) -> dict[str, Any]:
    """Sign in with a password; the answer sets the cookie."""
    before = ask.request.cookies.get(COOKIE)
    session = logins.sign_in(ask.db, who.username, who.password, ask.visitor, replaces=before)
    _keep(ask, session)
    return {"username": session.username, "expires_at": session.expires_at}


@noun.get("/login/{link}", needs=Entry.OPEN, answers=None, raises=(SignInFailed, TooManyAttempts))
def login_by_link(ask: Ask, link: str) -> Response:
    """Sign in by a link, which is good once, and go to the first page."""
    before = ask.request.cookies.get(COOKIE)
    _keep(ask, logins.sign_in_by_link(ask.db, link, ask.visitor, replaces=before))
    return RedirectResponse(f"{prefix_of(ask.settings)}/", 303, {"Cache-Control": "no-store"})


@noun.post("/logout", needs=Entry.OPEN, audit="logout", answers=None)
def logout(ask: Ask) -> None:
    """Sign out; without a session nothing happens."""
    if key := ask.request.cookies.get(COOKIE):
        logins.sign_out(ask.db, key, ask.visitor)
    _forget(ask)


@noun.get("/me", needs=Entry.SIGNED_IN, answers=Me)
def me(ask: Ask) -> dict[str, Any]:
    """Who one is and what one may do."""
    caller = ask.caller
    tenants = None if caller.tenants is None else sorted(caller.tenants)
    return {
        "username": caller.name,
        "role": caller.role,
        "permissions": sorted(caller.permissions),
        "tenants": tenants,
    }


def link_path(link: str) -> str:
    """The path that a sign-in link is an address of."""
    return f"{PREFIX}/login/{link}"


def _keep(ask: Ask, session: SignedIn) -> None:
    _set_cookie(ask, session.key, int(logins.LONGEST))


def _forget(ask: Ask) -> None:
    _set_cookie(ask, "", 0)


def _set_cookie(ask: Ask, key: str, seconds: int) -> None:
    secure = "; Secure" if ask.request.url.scheme == "https" else ""
    text = f"{COOKIE}={key}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    ask.headers.append(("Set-Cookie", text))
