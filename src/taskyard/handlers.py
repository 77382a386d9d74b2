"""Handlers: named code that does the work, and what it promises about itself.

Owns `Handler` (a function with its name, options and retry rules), `HandlerSpec` (the same as data,
which is all that a supervisor ever sees of user code) and `Registry`. Leaves to `core/signature.py`
what the parameters are, to `engine/attempt.py` how a handler is called, and to `yard.py` how its
Tasks are enqueued.
"""

from __future__ import annotations

import functools
import inspect
import random
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, Literal, ParamSpec, TypeAlias, TypedDict, TypeVar

from taskyard.context import Context, current, unattended
from taskyard.core.durations import Duration, parse_duration
from taskyard.core.errors import HandlerImportFailed, HandlerTwice, HandlerUnknown, ParamsInvalid
from taskyard.core.lifecycle import RetryPolicy
from taskyard.core.signature import FIRE_TIME, Signature, secret_names

P = ParamSpec("P")
R = TypeVar("R")

Hook: TypeAlias = Callable[[], Any]
H = TypeVar("H", bound=Hook)
Isolation: TypeAlias = Literal["shared", "process"]
Delivery: TypeAlias = Literal["at_least_once", "at_most_once"]
OnLost: TypeAlias = Literal["finish", "stop"]

NAME_LENGTH = 50
"""Characters of a task_type: what the column of an adopted table may have (varchar(50))."""


class On:
    """A retry rule: wait so after these exceptions (and their subclasses).

    `retry=[On(ConnectionError, base=1, cap=60), Never(ValueError)]`: the first rule that fits
    decides; what no rule fits goes by the RetryPolicy in the list, else by the default. `kind`,
    `base`, `cap` and `jitter` are those of RetryPolicy.
    """

    def __init__(
        self,
        *exceptions: type[BaseException],
        kind: Literal["exponential", "fixed"] = "exponential",
        base: float = 2.0,
        cap: float = 600.0,
        jitter: bool = True,
    ) -> None:
        self.exceptions = exceptions
        self.policy = RetryPolicy(kind, base, cap, jitter)


class Never:
    """A retry rule: after these exceptions (and their subclasses) no retry can help."""

    def __init__(self, *exceptions: type[BaseException]) -> None:
        self.exceptions = exceptions


RetryRule: TypeAlias = On | Never | RetryPolicy
RetryRules: TypeAlias = Literal["exponential", "fixed"] | RetryPolicy | Sequence[RetryRule]


class HandlerOptions(TypedDict, total=False):
    """What `@yard.handler(name, …)` takes."""

    queue: str
    """The Queue that its Tasks go to unless enqueued elsewhere; default "default"."""
    max_retries: int
    """How many attempts may follow the first; default 3."""
    timeout: Duration | None
    """Time limit of an attempt; default none."""
    isolation: Isolation
    """"shared" (default): many Runs at once in one process; "process": one at a time in its own."""
    memory_limit: int | None
    """Bytes that an attempt may allocate, beyond which it gets a MemoryError; needs "process"."""
    excl_key: str | None
    """Template of a key, "sync-{account_id}": no two Tasks with the same key run at once."""
    delivery: Delivery
    """"at_least_once" (default), or "at_most_once": never started twice, whatever happens."""
    on_lost: OnLost
    """What a Run does when its server can't reach the database for long: "finish" (default), or
    "stop" (default with an excl_key or at-most-once)."""
    retry: RetryRules
    """When to try again: "exponential" (default), "fixed", a RetryPolicy, or a list of rules."""


@dataclass(frozen=True)
class HandlerSpec:
    """A Handler as data: what runners tell their supervisor, and the console shows."""

    name: str
    queue: str = "default"
    max_retries: int = 3
    timeout: float | None = None
    isolation: Isolation = "shared"
    memory_limit: int | None = None
    excl_key: str | None = None
    delivery: Delivery = "at_least_once"
    on_lost: OnLost = "finish"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    doc: str = ""
    location: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    schedules: tuple[dict[str, Any], ...] = ()
    """The Schedules that its code declares, as `schedules.definition` reads them."""
    batch: dict[str, Any] | None = None
    """What it promises for batches, as `batches.definition` reads it; None: it is for Tasks."""

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HandlerSpec:
        """The spec that `to_dict` wrote."""
        retry, schedules = RetryPolicy.from_dict(data["retry"]), tuple(data.get("schedules", ()))
        return cls(**{**data, "retry": retry, "schedules": schedules})

    @property
    def at_most_once(self) -> bool:
        """Whether no attempt may ever follow one that was started."""
        return self.delivery == "at_most_once"

    @functools.cached_property
    def secrets(self) -> frozenset[str]:
        """The names of the parameters (at any level) that are never shown; see `payload.mask`."""
        return secret_names(self.parameters)

    def exclusive_key(self, params: Mapping[str, Any]) -> str | None:
        """The exclusivity key of a Task with these parameters; None without a template.

        Raises ParamsInvalid if the template names a parameter that is not given.
        """
        if self.excl_key is None:
            return None
        known = self.parameters.get("properties", {}).items()
        defaults = {name: part["default"] for name, part in known if "default" in part}
        try:
            return self.excl_key.format_map({**defaults, **params})
        except (LookupError, AttributeError, ValueError, TypeError) as error:
            why = f"{error} is needed for the exclusivity key {self.excl_key!r}"
            raise ParamsInvalid(self.name, [why]) from None


class Handler(Generic[P, R]):
    """A function that does Tasks of one type. Calling it is a plain call of the function."""

    def __init__(
        self, function: Callable[..., R], name: str, options: HandlerOptions | None = None
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = _checked_name(name)
        self.is_async = inspect.iscoroutinefunction(function)
        self.signature = Signature(name, function, Context)
        self.schedules: list[dict[str, Any]] = []
        """The Schedules that are declared for it, each by its fields."""
        self.batch: dict[str, Any] | None = None
        """What it promises for batches; None for a handler of Tasks."""
        self._rules, policy = _retry(options.get("retry", ()) if options else ())
        self._promises = _promises(name, options or {}, policy)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*self._with_context(args, kwargs), **kwargs)

    def __repr__(self) -> str:
        return f"<Handler {self.name} at {self.signature.location}>"

    @functools.cached_property
    def spec(self) -> HandlerSpec:
        """What it promises, as data. Raises HandlerImportFailed if its type hints can't be read."""
        doc = inspect.getdoc(self.function) or ""
        spec = HandlerSpec(
            name=self.name,
            doc=doc.partition("\n")[0],
            location=self.signature.location,
            parameters=self.signature.schema,
            schedules=tuple(self.schedules),
            batch=self.batch,
            **self._promises,
        )
        self._check_template(spec.excl_key)
        self._check_schedules()
        return spec

    def body(self, context: Context) -> Callable[..., R]:
        """What is called for a Run."""
        return self.function

    def arguments(self, context: Context, params: str | None) -> dict[str, Any]:
        """The keyword arguments of a call for a Run.

        Raises ParamsInvalid, ParamsNotJson or PayloadTooLarge.
        """
        signature = self.signature
        arguments = signature.load(params)
        if signature.context is not None:
            arguments[signature.context] = context
        if signature.takes_fire_time and arguments[FIRE_TIME] is None:
            # By hand there is no planned instant; then the attempt's own is the nearest thing.
            arguments[FIRE_TIME] = context.fire_time or datetime.now(UTC)
        return arguments

    def retry_after(self, error: BaseException, attempt: int) -> tuple[bool, float | None]:
        """Whether a retry may follow this error, and after how many seconds by a rule of its own.

        `attempt`: 1 for the first. (True, None) leaves the wait to the spec's policy.
        """
        for rule in self._rules:
            if isinstance(error, rule.exceptions):
                if isinstance(rule, Never):
                    return False, None
                return True, rule.policy.delay(attempt, random.random)
        return True, None

    def _with_context(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Put the context in where a plain call leaves it out: its type says that it may."""
        name = self.signature.context
        given = name is None or name in kwargs or any(isinstance(arg, Context) for arg in args)
        if name is None or given:
            return args
        place = self.signature.context_place
        context = current() or unattended(self.name)
        if place is not None and place <= len(args):
            return (*args[:place], context, *args[place:])
        kwargs[name] = context
        return args

    def _check_template(self, template: str | None) -> None:
        fields = [name for _, name, _, _ in string.Formatter().parse(template or "") if name]
        for name in fields:
            if name.partition("[")[0] not in self.signature.names:
                raise HandlerImportFailed(
                    f"Handler {self.name} ({self.signature.location})",
                    f'excl_key names "{name}", which is no parameter',
                )

    def _check_schedules(self) -> None:
        for declared in self.schedules:
            try:
                self.signature.dump((), declared.get("task_params") or {})
            except ParamsInvalid as error:
                raise HandlerImportFailed(
                    f"Handler {self.name} ({self.signature.location})",
                    f"the parameters of its schedule {declared['name']} don't fit: {error.text}",
                ) from None


class Registry:
    """The Handlers of an application by name."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler[..., Any]] = {}

    def add(self, handler: Handler[..., Any]) -> None:
        """Register a Handler. Raises HandlerTwice if the name is taken."""
        first = self._handlers.setdefault(handler.name, handler)
        if first is not handler:
            where = first.signature.location, handler.signature.location
            raise HandlerTwice(handler.name, *where)

    def find(self, name: str) -> Handler[..., Any] | None:
        """The Handler of this name, or None."""
        return self._handlers.get(name)

    def get(self, name: str) -> Handler[..., Any]:
        """The Handler of this name. Raises HandlerUnknown, which says the nearest name."""
        handler = self._handlers.get(name)
        if handler is None:
            raise HandlerUnknown(name, self._handlers)
        return handler

    def remove(self, name: str) -> None:
        """Take a Handler out, if it is there."""
        self._handlers.pop(name, None)

    def clear(self) -> None:
        """Take all Handlers out."""
        self._handlers.clear()

    def __iter__(self) -> Iterator[Handler[..., Any]]:
        return iter(self._handlers.values())

    def __len__(self) -> int:
        return len(self._handlers)


class Application:
    """What a runner needs of an application: its Handlers, and what to do before and after work."""

    def __init__(self, database_url: str | None = None) -> None:
        self.database_url = database_url
        """The database that its code names; None leaves it to the settings."""
        self.registry = Registry()
        self.start_hooks: list[Hook] = []
        self.stop_hooks: list[Hook] = []

    def on_runner_start(self, hook: H) -> H:
        """Call `hook()` in each runner before its first Task: open pools and clients here.

        `hook` may be `async def`; it then runs on the loop that the handlers run on. A runner whose
        hook raises takes no Task, and says why.
        """
        self.start_hooks.append(hook)
        return hook

    def on_runner_stop(self, hook: H) -> H:
        """Call `hook()` in each runner that is stopped in good order, after its last Task."""
        self.stop_hooks.append(hook)
        return hook


# --- Reading the options -------------------------------------------------------------------------


def _checked_name(name: str) -> str:
    if not name or len(name) > NAME_LENGTH or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"{name!r} is no name for a handler; write up to {NAME_LENGTH} visible characters,"
            ' like "mail.send"'
        )
    return name


def _retry(rules: RetryRules) -> tuple[list[On | Never], RetryPolicy]:
    """The rules by exception type, and the policy for all the rest."""
    if isinstance(rules, str):
        return [], RetryPolicy(kind=rules)
    listed = [rules] if isinstance(rules, RetryPolicy) else list(rules)
    for rule in listed:
        if not isinstance(rule, On | Never | RetryPolicy):
            raise TypeError(f"retry= takes On(…), Never(…) and a RetryPolicy, not {rule!r}")
    by_type = [rule for rule in listed if not isinstance(rule, RetryPolicy)]
    policies = [rule for rule in listed if isinstance(rule, RetryPolicy)]
    return by_type, policies[0] if policies else RetryPolicy()


def _promises(name: str, options: HandlerOptions, policy: RetryPolicy) -> dict[str, Any]:
    """The options as fields of HandlerSpec, defaults filled in. Raises ValueError."""
    memory_limit, excl_key = options.get("memory_limit"), options.get("excl_key")
    delivery = options.get("delivery", "at_least_once")
    once, timeout = delivery == "at_most_once", options.get("timeout")
    # A neighbour's crash would leave it unknown whether an at-most-once Task had begun.
    alone = memory_limit is not None or once
    isolation = options.get("isolation", "process" if alone else "shared")
    if isolation == "shared" and alone:
        raise ValueError(f'{name}: memory_limit and at_most_once need isolation="process"')
    on_lost = options.get("on_lost", "stop" if once or excl_key else "finish")
    promises = {
        "queue": options.get("queue", "default"),
        "max_retries": options.get("max_retries", 3),
        "timeout": None if timeout is None else parse_duration(timeout),
        "isolation": isolation,
        "memory_limit": memory_limit,
        "excl_key": excl_key,
        "delivery": delivery,
        "on_lost": on_lost,
        "retry": policy,
    }
    _check_options(name, options, promises)
    return promises


def _check_options(name: str, options: HandlerOptions, promises: Mapping[str, Any]) -> None:
    choices = {
        "isolation": ("shared", "process"),
        "delivery": ("at_least_once", "at_most_once"),
        "on_lost": ("finish", "stop"),
    }
    for option, allowed in choices.items():
        if promises[option] not in allowed:
            raise ValueError(f"{name}: {option} must be one of {', '.join(allowed)}")
    if unknown := options.keys() - HandlerOptions.__annotations__.keys():
        raise TypeError(f"{name}: a handler has no option {', '.join(sorted(unknown))}")
    if promises["max_retries"] < 0:
        raise ValueError(f"{name}: max_retries must be 0 or more")
    if promises["timeout"] == 0:
        raise ValueError(f"{name}: timeout must be more than 0; leave it out for no limit")
