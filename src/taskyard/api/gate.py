"""Gate: who asks, and may they? Every route says what it needs; what says nothing is not served.

Owns the rule of a route, how a request becomes a Caller (token, cookie, or `--no-auth`), and the
check that a change was asked for by a page of ours (CSRF). Whose a token or a session is, is
`access`'s to say, and what a Caller sees of a thing the verb's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.requests import Request

from taskyard.access.caller import PLATFORM, Caller, Visitor
from taskyard.access.identify import caller_of_session, caller_of_token
from taskyard.access.permissions import Permission, Role
from taskyard.api.frame import request_id
from taskyard.api.site import Site
from taskyard.core.errors import CrossSite, NotSignedIn, RequestInvalid
from taskyard.db.database import Database
from taskyard.settings import Settings

COOKIE = "taskyard_session"
"""The cookie that holds the key of a session."""

_CHANGES_NOTHING = frozenset({"GET", "HEAD", "OPTIONS"})


class Entry(StrEnum):
    """Who is let in where no permission is needed."""

    OPEN = "open"
    SIGNED_IN = "signed-in"


Needs: TypeAlias = Permission | Entry


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route needs, and what the audit calls that which it changes ("" changes nothing)."""

    needs: Needs
    audit: str = ""


@dataclass(slots=True)
class Ask:
    """One request that was let in: what the verbs need of it."""

    site: Site
    caller: Caller
    request: Request
    query: dict[str, str] = field(default_factory=dict)
    """What stood behind the `?`."""
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    """Headers of the answer, beside the usual ones."""

    @property
    def db(self) -> Database:
        """The database."""
        return self.site.db

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.site.settings

    @property
    def visitor(self) -> Visitor:
        """Where the request comes from."""
        return visitor_of(self.request)

    def tenant(self, given: str | None) -> str:
        """Whose a thing to be is: who has one tenant need not name it. Raises RequestInvalid."""
        if given is not None:
            return given
        own = self.caller.tenants
        if own is None or PLATFORM in own:
            return PLATFORM
        if len(own) != 1:
            raise RequestInvalid(['"tenant_id" is required: you have several'])
        return next(iter(own))


def admit(site: Site, request: Request, rule: Rule) -> Ask:
    """Let a request in; raises NotSignedIn, TokenEnded, NotAllowed or CrossSite."""
    _check_origin(site.settings, request)
    caller = _NOBODY if rule.needs is Entry.OPEN else _caller(site, request)
    if isinstance(rule.needs, Permission):
        caller.require(rule.needs)
    return Ask(site, caller, request)


def visitor_of(request: Request) -> Visitor:
    """Where a request comes from."""
    return Visitor(
        address=request.client.host if request.client else None,
        user_agent=request.headers.get("user-agent", "")[:255] or None,
        request_id=request_id(request.scope),
    )


def still(ask: Ask) -> Caller:
    """Who asks, looked up again: for what goes on after it was let in.

    That does not count as a use of the token or session. Raises NotSignedIn or TokenEnded.
    """
    return _caller(ask.site, ask.request, touch=False)


# --- who ------------------------------------------------------------------------------------------

_NOBODY = Caller("", "nobody", frozenset(), frozenset())


def _caller(site: Site, request: Request, *, touch: bool = True) -> Caller:
    visitor = visitor_of(request)
    options = {"advanced": site.settings.advanced_permissions, "touch": touch}
    if token := bearer(request):
        return caller_of_token(site.db, token, visitor, **options)
    if key := request.cookies.get(COOKIE):
        return caller_of_session(site.db, key, visitor, **options)
    if site.no_auth:
        _check_bare(site.settings, request)
        return _anybody(visitor)
    raise NotSignedIn


def bearer(request: Request) -> str:
    """The token in the header Authorization; "" where there is none. Raises NotSignedIn."""
    header = request.headers.get("authorization", "")
    scheme, _, token = header.partition(" ")
    if header and (scheme.lower() != "bearer" or not token.strip()):
        raise NotSignedIn("The header Authorization is not `Bearer ty_…`.")
    return token.strip()


def _anybody(visitor: Visitor) -> Caller:
    """The Caller of a server that asks nobody who they are."""
    return Caller(
        "no-auth",
        Role.SUPERUSER.value,
        frozenset(Permission),
        None,
        address=visitor.address,
        request_id=visitor.request_id,
    )


# --- from where -----------------------------------------------------------------------------------


def _check_origin(settings: Settings, request: Request) -> None:
    """A change must not be asked for by another site's page, with our cookie or from our machine.

    Browsers say where a request comes from; they send no Authorization of ours by themselves.
    """
    if request.method in _CHANGES_NOTHING or request.headers.get("authorization", "").strip():
        return
    if not _says_our_page(settings, request) and COOKIE in request.cookies:
        raise CrossSite("a page that does not say its origin")


def _check_bare(settings: Settings, request: Request) -> None:
    """Where nobody signs in, another site's page may not even ask; it may be a link to ours."""
    if request.headers.get("sec-fetch-mode") != "navigate":
        _says_our_page(settings, request)


def _says_our_page(settings: Settings, request: Request) -> bool:
    """Does the browser say that a page of ours asks? Raises CrossSite where it says another's."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin") or request.headers.get("referer")
    if site is not None and site != "same-origin":
        raise CrossSite(origin or f"a {site} page")
    if origin is not None and not _is_ours(origin, settings, request):
        raise CrossSite(origin)
    return site is not None or origin is not None


def _is_ours(origin: str, settings: Settings, request: Request) -> bool:
    """Is this the address that we were asked at, or the one that people know us by?"""
    ours = (str(request.base_url), settings.public_url or "")
    return urlsplit(origin)[:2] in {urlsplit(url)[:2] for url in ours if url}
