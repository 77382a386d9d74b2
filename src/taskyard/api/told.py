"""Told: what OpenAPI tells of a route besides its body and its answer.

Owns which errors a route documents: those of its verb, and those that all routes have.
"""

from __future__ import annotations

import inspect
from typing import Any

from taskyard.api import idempotency, wire
from taskyard.api.gate import Entry, Needs
from taskyard.api.noun import Endpoint
from taskyard.core import errors
from taskyard.core.errors import TaskyardError


def responses(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    """The errors of a route by status: its own, and those that all have."""
    found: dict[int, list[type[TaskyardError]]] = {}
    for error in (*_common(endpoint), *endpoint.raises):
        found.setdefault(wire.status_of(error), []).append(error)
    documented: dict[int | str, dict[str, Any]] = {
        status: {
            "description": "; ".join(_sentence(kind) for kind in dict.fromkeys(kinds)),
            "content": endpoint.voice.content(status),
        }
        for status, kinds in sorted(found.items())
    }
    if endpoint.media:
        text = {"schema": {"type": "string"}}
        documented[200] = {"content": {m: {} if m == wire.JSON else text for m in endpoint.media}}
    if endpoint.method == "GET":
        documented[304] = {"description": "Unchanged since the ETag in If-None-Match"}
    return documented


def _common(endpoint: Endpoint) -> list[type[TaskyardError]]:
    kinds: list[type[TaskyardError]] = [
        errors.HostUnknown,
        errors.RequestInvalid,
        errors.DatabaseUnreachable,
    ]
    if endpoint.takes:
        kinds.append(errors.QueryInvalid)
    if endpoint.once:
        kinds += [errors.KeyReused, errors.KeyBusy]
    if endpoint.rule.needs is not Entry.OPEN:
        kinds += [errors.NotSignedIn, errors.NotAllowed]
    if endpoint.method != "GET":
        kinds += [errors.CrossSite, errors.NotJson, errors.WrongContentType, errors.BodyTooLarge]
    return kinds


def _sentence(kind: type[TaskyardError]) -> str:
    return f"{kind.code} {(kind.__doc__ or '').strip().splitlines()[0].rstrip('.')}"


def summary(endpoint: Endpoint) -> str:
    """What a route does, in a line."""
    return (inspect.getdoc(endpoint.function) or "").partition("\n")[0].rstrip(".")


def description(endpoint: Endpoint) -> str:
    """What else there is to say of a route, and who may ask."""
    rest = (inspect.getdoc(endpoint.function) or "").partition("\n")[2].strip()
    needs = endpoint.rule.needs
    who = _WHO.get(needs, f"Needs the permission `{needs}`.")
    families = [f"`{one.name}`: {one.help}" for one in endpoint.takes if one.is_family]
    return "\n\n".join(filter(None, (rest, *families, who)))


_WHO: dict[Needs, str] = {
    Entry.OPEN: "Open to everybody.",
    Entry.SIGNED_IN: "Needs a sign-in.",
}


def besides(endpoint: Endpoint) -> dict[str, Any]:
    """What the framework does not find out by itself: parameters and who may ask."""
    parameters = [one.to_openapi() for one in endpoint.takes if not one.is_family]
    if endpoint.once:
        parameters.append(idempotency.HEADER_IN_OPENAPI)
    known = endpoint.rule.needs is not Entry.OPEN
    security: list[Any] = [{"token": []}, {"session": []}] if known else []
    return {"security": security} | ({"parameters": parameters} if parameters else {})
