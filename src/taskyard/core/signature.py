"""Signature: what a function takes, read from its type hints, as JSON on the way in and out.

Owns the parameter model (pydantic), the texts of its errors, and `Secret`. Leaves to `handlers`
what else a handler has, and to `payload` what JSON may look like. Everything is built at first use:
an application that registers fifty handlers and calls none pays for none.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from inspect import Parameter
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.errors import PydanticUserError
from pydantic_core import CoreSchema, PydanticSerializationError, to_jsonable_python

from taskyard.core.errors import (
    HandlerImportFailed,
    ParamsInvalid,
    ParamsNotJson,
    PayloadTooLarge,
    did_you_mean,
)
from taskyard.core.payload import PARAMS_LIMIT, dump_params

T = TypeVar("T")

FIRE_TIME = "fire_time"
"""The parameter that gets the planned instant of a schedule's fire, if its hint is a datetime."""

# A field may have any name in JSON; prefixed it can't be a name of pydantic's (schema, json, copy).
_PREFIX = "p_"


class Secret(pydantic.Secret[T], Generic[T]):
    """Hint of a parameter that is never shown: `password: Secret[str]`.

    The handler reads it with `.get_secret_value()`. The task's row holds it in clear, because the
    handler needs it; runs, logs, errors and the console show it masked.
    """

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "format": "password", "writeOnly": True}


class Signature:
    """The parameters of one function, without those that the runner puts in itself.

    `name` is the task_type, for messages; a parameter whose hint is `context_type` (or optional) is
    the context's, and is no parameter of the task.
    """

    def __init__(self, name: str, function: Callable[..., Any], context_type: type) -> None:
        self.name = name
        self.location = _location(function)
        self._function = function
        self._context_type = context_type
        self._parameters = inspect.signature(function).parameters
        for parameter in self._parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise TypeError(
                    f"{name} ({self.location}): parameters travel by name, as JSON;"
                    f" {parameter} can't"
                )

    @cached_property
    def context(self) -> str | None:
        """The name of the parameter that takes the context, or None."""
        return next((name for name, hint in self._hints.items() if self._is_context(hint)), None)

    @cached_property
    def context_place(self) -> int | None:
        """Where a call by position has the context; None if it is by name only."""
        names = list(self._parameters)
        if self.context is None or self._parameters[self.context].kind is Parameter.KEYWORD_ONLY:
            return None
        return names.index(self.context)

    @cached_property
    def takes_fire_time(self) -> bool:
        """Whether the function has a parameter `fire_time: datetime`."""
        return FIRE_TIME in self._parameters and datetime in _options(self._hints.get(FIRE_TIME))

    @cached_property
    def names(self) -> list[str]:
        """The names of the parameters in their order."""
        named = [name for name, part in self._parameters.items() if part.kind != part.VAR_KEYWORD]
        return [name for name in named if name != self.context]

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The parameters as JSON Schema."""
        with warnings.catch_warnings():
            # A default that JSON can't say (a sentinel, an open file) is no business of a form.
            warnings.simplefilter("ignore")
            try:
                return self._model.model_json_schema(by_alias=True)
            except PydanticUserError:
                # A type may be read from JSON although no schema can say how.
                return {"type": "object", "title": self.name}

    @cached_property
    def secrets(self) -> frozenset[str]:
        """The names of all secret fields, at any level."""
        return secret_names(self.schema)

    def dump(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
        """Check the arguments of a call and return them as JSON text; None if there are none.

        Raises ParamsInvalid, ParamsNotJson or PayloadTooLarge.
        """
        given = self._bound(args, kwargs)
        if not given and not self._required:
            return None
        try:
            model = self._model.model_validate(given)
            values = self._plain(model)
        except ValidationError as error:
            raise ParamsInvalid(self.name, self._problems(error)) from None
        except PydanticSerializationError as error:
            raise ParamsNotJson(f"task_params of {self.name}", str(error)) from None
        return dump_params(values, f"task_params of {self.name}")

    def load(self, text: str | None) -> dict[str, Any]:
        """Read a task's parameters as the keyword arguments they mean, defaults included.

        Raises ParamsInvalid, ParamsNotJson or PayloadTooLarge.
        """
        if (text is None or text == "{}") and not self._fields:
            return {}
        # Characters are at most four bytes: only a long text is measured exactly.
        if text and len(text) > PARAMS_LIMIT // 4 and (size := len(text.encode())) > PARAMS_LIMIT:
            raise PayloadTooLarge(f"task_params of {self.name}", size, PARAMS_LIMIT)
        try:
            model = self._model.model_validate_json(text if text and text.strip() else "{}")
        except ValidationError as error:
            raise self._refusal(error) from None
        values = model.__dict__
        loaded = {name: values[field] for name, field in self._fields}
        if model.__pydantic_extra__:
            loaded.update(model.__pydantic_extra__)
        return loaded

    # --- The model -------------------------------------------------------------------------------

    @cached_property
    def _hints(self) -> dict[str, Any]:
        known = getattr(inspect.unwrap(self._function), "__globals__", {})
        name = self._context_type.__name__
        try:
            # The context is the one type that a module may well import for its type checker only.
            ours = {} if name in known else {name: self._context_type}
            hints = get_type_hints(self._function, localns=ours, include_extras=True)
        except (NameError, TypeError, AttributeError, SyntaxError) as error:
            raise HandlerImportFailed(
                f"Handler {self.name} ({self.location})",
                f"its type hints can't be read: {error} (imported for type checking only?)",
            ) from None
        return {name: hints.get(name, Any) for name in self._parameters}

    def _is_context(self, hint: Any) -> bool:
        kinds = [one for one in _options(hint) if isinstance(one, type)]
        return any(issubclass(kind, self._context_type) for kind in kinds)

    @cached_property
    def _fields(self) -> list[tuple[str, str]]:
        return [(name, _PREFIX + name) for name in self.names]

    @cached_property
    def _required(self) -> bool:
        return any(field.is_required() for field in self._model.model_fields.values())

    @cached_property
    def _model(self) -> type[BaseModel]:
        free = any(part.kind is part.VAR_KEYWORD for part in self._parameters.values())
        config = ConfigDict(
            title=self.name,
            extra="allow" if free else "forbid",
            ser_json_bytes="base64",
            val_json_bytes="base64",
            ser_json_inf_nan="constants",
        )
        fields: dict[str, Any] = {_PREFIX + name: self._field(name) for name in self.names}
        try:
            return create_model("Parameters", __config__=config, **fields)
        except PydanticUserError as error:
            why = str(error).splitlines()[0]
            raise HandlerImportFailed(f"Handler {self.name} ({self.location})", why) from None

    def _field(self, name: str) -> tuple[Any, Any]:
        hint, default = self._hints[name], self._parameters[name].default
        if name == FIRE_TIME and self.takes_fire_time:
            # A schedule says it in the task's context; whoever enqueues by hand need not.
            hint, default = hint | None, None
        return Annotated[hint, Field(alias=name)], ... if default is Parameter.empty else default

    # --- On the way in ---------------------------------------------------------------------------

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        doubled = [name for name in self.names[: len(args)] if name in kwargs]
        if len(args) > len(self.names):
            raise ParamsInvalid(self.name, [f"takes {len(self.names)} values, got {len(args)}"])
        if doubled:
            raise ParamsInvalid(self.name, [f'"{name}" is given twice' for name in doubled])
        return given

    def _plain(self, model: BaseModel) -> dict[str, Any]:
        # Fields that were not given are left out, so that a later version's default counts; those
        # of nested models are kept, because their defaults may be made at random (an id, a time).
        given = model.model_fields_set
        if not self.secrets:
            return model.model_dump(mode="json", include=given, by_alias=True)
        clear = _revealed(model.model_dump(include=given, by_alias=True))
        plain: dict[str, Any] = to_jsonable_python(clear, bytes_mode="base64")
        return plain

    # --- Texts of errors -------------------------------------------------------------------------

    def _refusal(self, error: ValidationError) -> ParamsInvalid | ParamsNotJson:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            return ParamsNotJson(f"task_params of {self.name}", first["ctx"]["error"])
        return ParamsInvalid(self.name, self._problems(error))

    def _problems(self, error: ValidationError) -> list[str]:
        found = error.errors(include_url=False, include_context=False)
        return [self._problem(fault) for fault in found[:20]]

    def _problem(self, fault: Mapping[str, Any]) -> str:
        place = _place(fault["loc"]) or "task_params"
        if fault["type"] == "extra_forbidden":
            hint = did_you_mean(place, self.names).strip(" D")
            return f'"{place}" is not a parameter' + (f" (d{hint})" if hint else "")
        text = f'"{place}" {_must(fault["type"], fault["msg"])}'
        # What was given may be, or hold, a secret that landed in the wrong field.
        told = fault["type"] == "missing" or self.secrets
        return text if told else f"{text}, got {_shown(fault['input'])}"


_MUST = {
    "missing": "is required",
    "int": "must be an integer",
    "float": "must be a number",
    "string": "must be text",
    "bool": "must be true or false",
    "list": "must be a list",
    "dict": "must be an object",
    "model": "must be an object",
    "datetime": "must be a date and time",
    "date": "must be a date",
}


def _must(kind: str, message: str) -> str:
    """`int_parsing` and its like in our words; the rest in pydantic's, which name the limit."""
    family = kind.partition("_")[0]
    if kind.endswith(("_type", "_parsing", "_from_float", "missing")) and family in _MUST:
        return _MUST[family]
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    return text.replace("should", "must", 1)


def _place(loc: tuple[int | str, ...]) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc]
    return "".join(steps).removeprefix(".")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"


def secret_names(schema: Any) -> frozenset[str]:
    """The names of the properties that a JSON Schema calls write-only, at any level."""
    return frozenset(_secret_names(schema))


def _secret_names(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for part in schema:
            yield from _secret_names(part)
    elif isinstance(schema, dict):
        properties = schema.get("properties")
        if isinstance(properties, dict):
            yield from (name for name, part in properties.items() if _is_secret(part))
        for part in schema.values():
            yield from _secret_names(part)


def _is_secret(schema: Any) -> bool:
    """Whether a value of this schema is a secret, or a list, map or choice of secrets."""
    if not isinstance(schema, dict):
        return False
    inner = [schema.get("items"), schema.get("additionalProperties"), *schema.get("anyOf", [])]
    return bool(schema.get("writeOnly")) or any(_is_secret(part) for part in inner)


def _revealed(value: Any) -> Any:
    if isinstance(value, pydantic.Secret | pydantic.SecretStr | pydantic.SecretBytes):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {key: _revealed(child) for key, child in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_revealed(child) for child in value]
    return value


def _options(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows: `X`, `X | None`, `Annotated[X, …]`."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _options(get_args(hint)[0])
    return get_args(hint) if origin in (Union, UnionType) else (hint,)


def _location(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return getattr(function, "__module__", None) or "?"
    file = str(code.co_filename).replace("\\", "/").rpartition("/")[2]
    return f"{file}:{code.co_firstlineno}"
