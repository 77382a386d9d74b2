"""Wire: how values, pages and errors look as JSON.

Owns the bytes of every answer, the problem of every error (RFC 9457) and the one table that says
which error is which HTTP status. Rows go out as the verbs gave them, by orjson alone: the models
here and in the nouns describe them in OpenAPI, nothing is validated twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, Field, create_model
from starlette.responses import Response

from taskyard.core import errors
from taskyard.core.errors import TaskyardError
from taskyard.db import listing

Row = TypeVar("Row")

MAX_SAFE = 2**53 - 1
"""The largest integer that every JSON reader keeps; what is larger goes out as a string."""

JSON = "application/json"
PROBLEM = "application/problem+json"

STATUS: dict[type[TaskyardError], int] = {
    TaskyardError: 500,
    errors.DatabaseUnreachable: 503,
    errors.SchemaOld: 503,
    errors.SchemaNewer: 503,
    errors.DatabaseLocked: 503,
    errors.OutcomeUnknown: 503,
    errors.QueryInvalid: 400,
    errors.HandlerUnknown: 404,
    errors.ParamsInvalid: 422,
    errors.ParamsNotJson: 422,
    errors.PayloadTooLarge: 413,
    errors.TableInvalid: 422,
    errors.QueueUnknown: 404,
    errors.QueueInvalid: 422,
    errors.QueueTwice: 409,
    errors.TableUnknown: 404,
    errors.BatchUnknown: 404,
    errors.BatchInvalid: 422,
    errors.ItemUnknown: 404,
    errors.TemplateUnknown: 404,
    errors.TemplateTwice: 409,
    errors.BatchFailed: 409,
    errors.BatchRunning: 409,
    errors.ScheduleUnknown: 404,
    errors.ScheduleInvalid: 422,
    errors.ScheduleTwice: 409,
    errors.CronInvalid: 422,
    errors.TaskUnknown: 404,
    errors.RunUnknown: 404,
    errors.ServerUnknown: 404,
    errors.DuplicateTask: 409,
    errors.NotNow: 409,
    errors.CountChanged: 409,
    errors.UserUnknown: 404,
    errors.TenantUnknown: 404,
    errors.TokenUnknown: 404,
    errors.AccessInvalid: 422,
    errors.NameTaken: 409,
    errors.LastSuperuser: 409,
    errors.RuleUnknown: 404,
    errors.ChannelUnknown: 404,
    errors.IncidentUnknown: 404,
    errors.AlertInvalid: 422,
    errors.NotSent: 502,
    errors.Undeliverable: 422,
    errors.MissingExtra: 422,
    errors.NotAllowed: 403,
    errors.NotSignedIn: 401,
    errors.SignInFailed: 401,
    errors.TooManyAttempts: 429,
    errors.TokenEnded: 401,
    errors.RequestInvalid: 422,
    errors.NotJson: 400,
    errors.WrongContentType: 415,
    errors.BodyTooLarge: 413,
    errors.HostUnknown: 400,
    errors.CrossSite: 403,
    errors.AddressUnknown: 404,
    errors.MethodUnknown: 405,
    errors.KeyReused: 422,
    errors.KeyBusy: 409,
    errors.NotReady: 503,
    errors.TooManyListeners: 503,
}
"""The HTTP status of an error; a class that is not here has that of its nearest base."""


_AWAY = "The database cannot be used now; the server's log says why. Try again in a while."

_HIDDEN: dict[type[TaskyardError], str] = {
    errors.OutcomeUnknown: "The database was lost on the way: the change may have been made or not."
    " Look before you repeat it.",
    errors.DatabaseUnreachable: _AWAY,
    errors.DatabaseLocked: _AWAY,
    errors.SchemaOld: _AWAY,
    errors.SchemaNewer: _AWAY,
}
"""Said instead of errors that name hosts, files and users: anybody may ask."""


@dataclass(frozen=True, slots=True)
class Created:
    """An answer that something was made, and at which address it is."""

    value: Any
    location: str


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(examples=["urn:taskyard:error:TY310"])
    title: str = Field(examples=["Queue unknown"])
    status: int = Field(examples=[404])
    code: str = Field(description="Stable; for programs.", examples=["TY310"])
    detail: str = Field(description="What happened, and what to do.")
    params: dict[str, Any] = Field(description="The data in the text.")
    request_id: str = Field(description="Also in the header X-Request-Id, the log and the audit.")


class Listed(BaseModel, Generic[Row]):
    """One page of a list. What has no place in an index is looked for only so far in one go; then
    a page may have fewer rows than asked for, and `next_cursor` goes on."""

    data: list[Row]
    next_cursor: str | None = Field(description="For the next page; null on the last one.")
    total: int = Field(description="All that the filters let through.")
    total_is_capped: bool = Field(
        description=f"There are more than {listing.COUNT_CAP:,}; total stops there."
    )


def page_of(row: type[BaseModel]) -> type[BaseModel]:
    """The model of a page of such rows, under a name that reads well in clients."""
    return create_model(f"{row.__name__}Page", __base__=Listed[row], __doc__=Listed.__doc__)  # type: ignore[valid-type]


def dump(value: Any) -> bytes:
    """A value as JSON: times in ISO 8601 with their offset, integers that are too large as text."""
    try:
        return orjson.dumps(value, default=_plain, option=orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return orjson.dumps(_safe(value), default=_plain)


def listed(
    page: listing.Page, render: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """A page as an answer; `render` makes of a row what is shown of it."""
    return {
        "data": page.rows if render is None else [render(row) for row in page.rows],
        "next_cursor": page.next_cursor,
        "total": page.total,
        "total_is_capped": page.total_is_capped,
    }


def fields(row: dict[str, Any], *names: str) -> dict[str, Any]:
    """A row whose columns of these names, JSON as text, are shown as the values that they hold.

    What is no JSON, which anybody can write by SQL, is shown as the text that it is.
    """
    for name in names:
        text = row.get(name)
        if isinstance(text, str):
            row[name] = _embedded(text)
    return row


def whole(rows: Iterable[Any]) -> dict[str, Any]:
    """A list that is always whole, in the form of a page."""
    data = list(rows)
    return {"data": data, "next_cursor": None, "total": len(data), "total_is_capped": False}


def status_of(error: type[TaskyardError]) -> int:
    """The HTTP status of an error's class."""
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def problem(error: TaskyardError, request_id: str) -> Response:
    """The answer that tells of an error."""
    status = status_of(type(error))
    content = {
        "type": f"urn:taskyard:error:{error.code}",
        "title": _title(type(error)),
        "status": status,
        "code": error.code,
        "detail": detail(error),
        "params": {} if _hidden(error) else error.params,
        "request_id": request_id,
    }
    return Response(dump(content), status, headers_of(error), media_type=PROBLEM)


def detail(error: TaskyardError) -> str:
    """What a client may know of an error: what happened, and what to do."""
    return _hidden(error) or f"{error.text} {error.fix}".strip()


def headers_of(error: TaskyardError) -> Mapping[str, str]:
    """The headers that go with an error, in whatever form it is told."""
    return {"Cache-Control": "no-store", **_headers(error, status_of(type(error)))}


def _hidden(error: TaskyardError) -> str:
    return next((text for kind, text in _HIDDEN.items() if isinstance(error, kind)), "")


def _headers(error: TaskyardError, status: int) -> Mapping[str, str]:
    if isinstance(error, errors.MethodUnknown):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, errors.TooManyAttempts):
        return {"Retry-After": str(error.retry_after)}
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": "1"} if status == 503 else {}


def _title(kind: type[TaskyardError]) -> str:
    """The class's name as words: "Queue unknown"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__)
    return words[0] + words[1:].lower()


def _embedded(text: str) -> Any:
    """Text as JSON within JSON, unchanged: so its numbers keep all their digits."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return orjson.Fragment(text)


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _safe(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -MAX_SAFE <= value <= MAX_SAFE else str(value)
    if isinstance(value, Mapping):
        return {name: _safe(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    return value
