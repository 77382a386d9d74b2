"""Noun: how routes are declared.

Owns the declaration of a route: what it needs, what the audit calls it, what it answers and which
errors it may raise. The verbs are plain functions, so a route's function is one as well. How a
request goes through it is `route.py`'s, what OpenAPI tells of it `told.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar, Unpack

from taskyard.api.asked import Parameter
from taskyard.api.gate import Needs, Rule
from taskyard.api.voice import PROBLEMS, Voice
from taskyard.core.errors import TaskyardError

F = TypeVar("F", bound=Callable[..., Any])

PREFIX = "/api/v1"

_KIND = re.compile(r":int}")


@dataclass(frozen=True)
class Endpoint:
    """One route as it was declared; see `Options` for the last ones.

    `pattern` is its path with the kinds of its parameters (`{id:int}`), where another address
    stands beside it (`things/preview` beside `things/{id:int}`).
    """

    method: str
    path: str
    pattern: str
    function: Callable[..., Any]
    rule: Rule
    tag: str
    answers: Any
    status: int
    raises: tuple[type[TaskyardError], ...] = ()
    takes: tuple[Parameter, ...] = ()
    once: bool = False
    shown: bool = True
    media: tuple[str, ...] = ()
    voice: Voice = PROBLEMS

    @property
    def operation_id(self) -> str:
        """Its name in OpenAPI, and so in clients that are made from it."""
        return self.function.__name__.rstrip("_")


class Options(TypedDict, total=False):
    """What a declaration may say besides."""

    raises: tuple[type[TaskyardError], ...]
    """The errors that its verb raises, for OpenAPI."""
    takes: tuple[Parameter, ...]
    """What may stand behind the `?`."""
    once: bool
    """Whether an Idempotency-Key is honoured; what creates does, unless it says otherwise."""
    shown: bool
    """Whether OpenAPI tells of it."""
    media: tuple[str, ...]
    """The types of a file that it answers with, instead of JSON."""


class Noun:
    """The routes of one noun; each is declared beside its function."""

    def __init__(self, tag: str, prefix: str = PREFIX, voice: Voice = PROBLEMS) -> None:
        """`tag` is the noun in OpenAPI, `prefix` stands before its paths, `voice` tells errors."""
        self.tag = tag
        self.prefix = prefix
        self.voice = voice
        self.endpoints: list[Endpoint] = []

    def get(
        self, path: str, *, needs: Needs, answers: Any, **options: Unpack[Options]
    ) -> Callable[[F], F]:
        """Declare a route that reads."""
        return self._declare("GET", path, Rule(needs), answers, 200, **options)

    def post(
        self, path: str, *, needs: Needs, audit: str, answers: Any, **options: Unpack[Options]
    ) -> Callable[[F], F]:
        """Declare a route that does something; without an answer it answers 204."""
        status = 204 if answers is None else 200
        return self._declare("POST", path, Rule(needs, audit), answers, status, **options)

    def create(
        self, path: str, *, needs: Needs, audit: str, answers: Any, **options: Unpack[Options]
    ) -> Callable[[F], F]:
        """Declare a POST that makes something; it honours an Idempotency-Key and answers 201."""
        options.setdefault("once", True)
        return self._declare("POST", path, Rule(needs, audit), answers, 201, **options)

    def put(
        self, path: str, *, needs: Needs, audit: str, answers: Any, **options: Unpack[Options]
    ) -> Callable[[F], F]:
        """Declare a route that changes some fields, where its clients say PUT."""
        return self._declare("PUT", path, Rule(needs, audit), answers, 200, **options)

    def patch(
        self, path: str, *, needs: Needs, audit: str, answers: Any, **options: Unpack[Options]
    ) -> Callable[[F], F]:
        """Declare a route that changes some fields."""
        return self._declare("PATCH", path, Rule(needs, audit), answers, 200, **options)

    def delete(
        self,
        path: str,
        *,
        needs: Needs,
        audit: str,
        answers: Any = None,
        **options: Unpack[Options],
    ) -> Callable[[F], F]:
        """Declare a route that removes something; without an answer it answers 204."""
        status = 204 if answers is None else 200
        return self._declare("DELETE", path, Rule(needs, audit), answers, status, **options)

    def _declare(
        self,
        method: str,
        path: str,
        rule: Rule,
        answers: Any,
        status: int,
        **options: Unpack[Options],
    ) -> Callable[[F], F]:
        def declare(function: F) -> F:
            endpoint = Endpoint(
                method=method,
                path=self.prefix + _KIND.sub("}", path),
                pattern=self.prefix + path,
                function=function,
                rule=rule,
                tag=self.tag,
                answers=answers,
                status=status,
                voice=self.voice,
                **options,
            )
            self.endpoints.append(endpoint)
            return function

        return declare
