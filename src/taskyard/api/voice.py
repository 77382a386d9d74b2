"""Voice: the form in which an address tells its errors.

Owns the one form that all have, problems (RFC 9457), and what another one must be able to say:
addresses that others have defined before us keep the form that their clients read.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.responses import Response

from taskyard.api import wire
from taskyard.core.errors import TaskyardError


class Voice(Protocol):
    """A form of errors."""

    def tell(self, error: TaskyardError, request_id: str) -> Response:
        """The answer that tells of an error."""

    def content(self, status: int) -> dict[str, Any]:
        """What answers of this status hold, for OpenAPI: a schema by media type."""


class Problems:
    """Errors as problems."""

    def tell(self, error: TaskyardError, request_id: str) -> Response:
        return wire.problem(error, request_id)

    def content(self, status: int) -> dict[str, Any]:
        return {wire.PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}


PROBLEMS = Problems()
