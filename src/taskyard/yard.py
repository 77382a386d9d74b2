"""Yard: the one object that an application holds; each method is a line to the verb below.

Owns the Python door: registering handlers, enqueuing, and the handles that come back. The verbs are
those of `tasks/` and `runs/`, which the HTTP door and the command line use as well. What only some
programs need (the database, the settings) is imported when it is first used, so that a runner whose
handlers enqueue nothing stays small.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

import orjson

from taskyard.access.caller import LOCAL
from taskyard.context import Context
from taskyard.core.durations import Duration, parse_duration
from taskyard.core.errors import ParamsInvalid
from taskyard.core.payload import dump_params
from taskyard.handlers import Application, Handler, HandlerOptions

if TYPE_CHECKING:
    from taskyard.batches.handle import BatchHandle
    from taskyard.batches.handler import BatchHandler, BatchOptions
    from taskyard.db.database import Database
    from taskyard.settings import Settings
    from taskyard.tasks.enqueue import NewTask, TaskRef
    from taskyard.tasks.track import Tracked

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Params: TypeAlias = Mapping[str, Any] | None


class TaskOptions(TypedDict, total=False):
    """How a Task should run: what `options()` and `yard.enqueue` take."""

    queue: str
    """The Queue; default is the handler's."""
    delay: Duration
    """How long to wait before it is due."""
    schedule_time: datetime
    """When it is due; without a zone, in the setting `default_time_zone`."""
    priority: int
    """-100 to 100, higher first; default 0."""
    unique_key: str
    """No second Task with this key while one is pending or running: DuplicateTask."""
    excl_key: str
    """No two Tasks with this key run at once."""
    tenant_id: str
    """Whose Task it is; default '', the platform's."""
    timeout: Duration | None
    """Time limit of an attempt; default is the queue's or the handler's."""
    max_retries: int
    """How many attempts may follow the first; default is the handler's."""
    retry_interval: Duration
    """A fixed wait before each retry instead of the handler's policy."""
    connection: Any
    """A DB-API or SQLAlchemy connection, or a session: the Task is part of its transaction."""


class ScheduleOptions(TypedDict, total=False):
    """What `yard.schedule(…)` takes beside its rule; see `docs/reference/schedules.md`."""

    name: str
    """Its name; default is the handler's. A second schedule of a handler needs one."""
    params: Mapping[str, Any]
    """The parameters that the handler gets."""
    interval: Duration
    """Instead of a rule: how far its fires are apart."""
    dialect: Literal["unix", "quartz"]
    """How the rule is read; default "unix"."""
    time_zone: str
    """The IANA zone whose clock it goes by; default is the setting `default_time_zone`."""
    misfire: Literal["skip", "one", "all"]
    """What becomes of instants that nobody was there for; default "one"."""
    misfire_window: Duration
    """How far back it catches up."""
    overlap: Literal["allow", "skip", "queue", "replace"]
    """What a fire does while the one before is still going on; default "allow"."""
    jitter: Duration
    """The Task starts at a random moment within that time."""
    start_at: datetime
    """It fires then or later."""
    end_at: datetime
    """It fires then or earlier."""
    queue: str
    """The Queue of its Tasks; default is the handler's."""
    retry_count: int
    """How many attempts may follow the first; default is the handler's."""
    retry_interval: Duration
    """A fixed wait before each retry."""
    timeout: Duration
    """Time limit of an attempt; default is the handler's."""
    monitor_timeout: Duration
    """After so long an alert is raised, and the run goes on."""
    tenant_id: str
    """Whose it is; default '', the platform's."""


class BatchFields(TypedDict, total=False):
    """What `yard.create_batch` takes beside the handler and the items."""

    name: str
    """What people see; default is the handler's name."""
    tenant_id: str
    """Whose it is; default '', the platform's. A tenant has one live batch of a type."""
    params: Mapping[str, Any]
    """What the handler gets besides each item, by name."""
    concurrency: int
    """How many items are worked on at once, over all servers; default is the handler's."""
    rate_limit: float
    """Items a second over all servers; default is the handler's."""
    pause: Duration
    """How long each worker waits after an item; default is the handler's."""
    max_retries: int
    """How many attempts of an item may follow its first; default is the handler's."""
    stop_after: int
    """Failed items that end the batch."""
    notify: Sequence[str]
    """Who is told of its end: channels by name, and addresses of mail."""


class TaskHandle:
    """A Task that was enqueued."""

    def __init__(self, database: Database, ref: TaskRef) -> None:
        self._database = database
        self._ref = ref

    def __repr__(self) -> str:
        return f"<TaskHandle {self.ref}>"

    @property
    def id(self) -> int:
        """Its id, unique in its table."""
        return self._ref.id

    @property
    def ref(self) -> str:
        """Its name everywhere else: "queue/id"."""
        return str(self._ref)

    def status(self) -> str:
        """ "pending", "running", "completed", "failed" or "cancelled". Raises TaskUnknown."""
        from taskyard.tasks import manage

        return manage.state(self._database, self._ref).status.name.lower()

    def wait(self, timeout: Duration | None = None) -> Any:
        """Wait until it has ended, at most `timeout`; returns its output.

        Raises TaskFailed (also for a cancelled Task), WaitTimedOut or TaskUnknown. In `async` code
        use `await asyncio.to_thread(handle.wait)`.
        """
        from taskyard.tasks import manage

        seconds = None if timeout is None else parse_duration(timeout)
        return manage.wait(self._database, self._ref, seconds)

    def cancel(self, why: str = "cancelled") -> None:
        """End it if it is pending, stop it if it is running. Raises NotNow if it has ended."""
        from taskyard.tasks import manage

        manage.cancel(self._database, LOCAL, self._ref, why)

    def retry(self) -> None:
        """Run it again, with all its attempts. Raises NotNow if it has not ended."""
        from taskyard.tasks import manage

        manage.retry(self._database, LOCAL, self._ref)

    def runs(self) -> list[dict[str, Any]]:
        """Its Runs, the newest first, as rows of `ty_runs` with payload, output and error."""
        from taskyard.db.listing import Query
        from taskyard.runs import browse

        query = Query({"task": self.ref}, limit=500, large=("payload", "output", "error"))
        return browse.read_runs(self._database, query).rows


class TaskFunction(Handler[P, R]):
    """A Handler that knows its Yard: a function that can be called, or enqueued."""

    def __init__(
        self, yard: Yard, function: Callable[..., R], name: str, options: HandlerOptions
    ) -> None:
        super().__init__(function, name, options)
        self.yard = yard

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """Put a call into its queue, with the parameters of a plain call (without the context).

        Raises ParamsInvalid, which names the field, and what `Yard.enqueue` raises.
        """
        return self.options().enqueue(*args, **kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """`enqueue` for `async` code: one hop to a thread."""
        return await self.options().aenqueue(*args, **kwargs)

    def options(self, **options: Unpack[TaskOptions]) -> Prepared[P]:
        """The same with options: `send.options(delay="5m").enqueue(…)`."""
        return Prepared(self, options)


class Prepared(Generic[P]):
    """A handler with the options of a Task to be."""

    def __init__(self, function: TaskFunction[P, Any], options: TaskOptions) -> None:
        self._function = function
        self._options = options

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """As `TaskFunction.enqueue`."""
        text = self._function.signature.dump(args, kwargs)
        return self._function.yard._enqueue(self._function.name, text, self._options)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """As `TaskFunction.aenqueue`."""
        return await asyncio.to_thread(self.enqueue, *args, **kwargs)


class Register(Protocol):
    """The decorator that `@yard.handler(…)` makes. A leading `ctx: Context` is not asked for when
    the handler is called or enqueued; elsewhere type checkers will want it."""

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R]) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> TaskFunction[P, R]: ...


class Yard(Application):
    """An application's handlers, and the door to its tasks.

    `database_url` and `settings` are settings by name; what is not given comes from the environment
    (`TASKYARD_*`), `taskyard.toml`, or the defaults. Nothing is connected before the first verb.
    """

    def __init__(self, database_url: str | None = None, **settings: Any) -> None:
        super().__init__(database_url)
        self._given: dict[str, Any] = {"database_url": database_url, **settings}
        self._opened: tuple[int, Database] | None = None

    # --- Handlers --------------------------------------------------------------------------------

    def handler(self, name: str, **options: Unpack[HandlerOptions]) -> Register:
        """Register the decorated function, `def` or `async def`, as the handler of a task type.

        Raises HandlerTwice if the name is taken, ValueError for options that can't be.
        """

        def register(function: Callable[..., R]) -> TaskFunction[..., R]:
            handler: TaskFunction[..., R] = TaskFunction(self, function, name, options)
            self.registry.add(handler)
            return handler

        return cast("Register", register)

    def schedule(
        self, rule: str | None = None, **options: Unpack[ScheduleOptions]
    ) -> Callable[[T], T]:
        """Let the decorated handler be enqueued by the clock; stands above `@yard.handler`.

        `rule` is a cron expression, `@daily` and its like, or `@every 90s`. Servers bring the
        database in step with the code when they start. Raises ScheduleInvalid or CronInvalid, which
        name the field, TypeError for what is no handler, ValueError for a name that is taken.
        """
        from taskyard.schedules.declaring import declare

        def register(handler: T) -> T:
            if not isinstance(handler, Handler):
                raise TypeError(f"@yard.schedule stands above @yard.handler(…), not on {handler!r}")
            declare(handler, rule, options)
            return handler

        return register

    # --- Batches ---------------------------------------------------------------------------------

    def batch(
        self, name: str, **options: Unpack[BatchOptions]
    ) -> Callable[[Callable[..., R]], BatchHandler[R]]:
        """Register the decorated function, `def` or `async def`, as what processes an item.

        It takes `item`, and what it needs of the batch's parameters. Raises HandlerTwice,
        BatchInvalid naming the option, TypeError.
        """
        from taskyard.batches.handler import BatchHandler

        def register(function: Callable[..., R]) -> BatchHandler[R]:
            handler = BatchHandler(function, name, options, lambda: self.database)
            self.registry.add(handler)
            return handler

        return register

    def create_batch(
        self,
        task_type: str = "",
        items: Iterable[Any] = (),
        *,
        start: bool = True,
        template: int | str | None = None,
        variables: Mapping[str, Any] | None = None,
        **fields: Unpack[BatchFields],
    ) -> BatchHandle:
        """Create a batch over `items` and start it; returns its handle.

        An item is an id, a pair of id and data, or `{"item_id": …, "data": …}`; any iterable will
        do, and is read once: a million are never in memory. `template` with `variables` fills in
        what is not given. Raises BatchInvalid naming the field, BatchRunning while the tenant has a
        live batch of the type, ParamsInvalid, HandlerUnknown.
        """
        from taskyard.batches import create, templates
        from taskyard.batches.handle import BatchHandle

        given: dict[str, Any] = {**fields, "task_type": task_type} if task_type else {**fields}
        template_id = None
        if template is not None:
            found = templates.use_template(self.database, LOCAL, template, given, variables)
            given, template_id = found
        handler = self.registry.find(str(given.get("task_type", "")))
        made = create.create_batch(
            self.database,
            LOCAL,
            given,
            items,
            start=start,
            template_id=template_id,
            spec=handler.spec if handler else None,
        )
        return BatchHandle(self.database, made["id"])

    def batch_handle(self, batch_id: int) -> BatchHandle:
        """The handle of a batch by its id. Raises BatchUnknown."""
        from taskyard.batches.handle import BatchHandle

        handle = BatchHandle(self.database, batch_id)
        handle.show()
        return handle

    # --- Tasks -----------------------------------------------------------------------------------

    def enqueue(
        self, task_type: str, params: Params = None, **options: Unpack[TaskOptions]
    ) -> TaskHandle:
        """Put a Task into its queue; returns its handle.

        Parameters are checked if the handler is registered here. Raises ParamsInvalid,
        ParamsNotJson, PayloadTooLarge, QueueUnknown, DuplicateTask, DatabaseUnreachable, and
        OutcomeUnknown if the connection broke so that nobody knows.
        """
        return self._enqueue(task_type, self._text(task_type, params), options)

    async def aenqueue(
        self, task_type: str, params: Params = None, **options: Unpack[TaskOptions]
    ) -> TaskHandle:
        """`enqueue` for `async` code: one hop to a thread."""
        return await asyncio.to_thread(self.enqueue, task_type, params, **options)

    def enqueue_many(
        self, tasks: Iterable[tuple[str, Params]], **options: Unpack[TaskOptions]
    ) -> list[TaskHandle]:
        """Put many Tasks, pairs of task type and parameters, into their queues: all or none."""
        from taskyard.tasks.enqueue import enqueue_many

        connection = options.get("connection")
        new = [self._new_task(name, self._text(name, params), options) for name, params in tasks]
        refs = enqueue_many(self.database, LOCAL, new, connection=connection)
        return [TaskHandle(self.database, ref) for ref in refs if ref is not None]

    def task(self, ref: str) -> TaskHandle:
        """The handle of a Task by its name, "queue/id". Raises TaskUnknown or QueueUnknown."""
        from taskyard.tasks.manage import parse_ref

        return TaskHandle(self.database, parse_ref(self.database, ref))

    # --- Code that has no Task -------------------------------------------------------------------

    def track(self, name: str, details: Any = None) -> AbstractContextManager[Tracked]:
        """Record a block of code as a Run, with its log, duration, memory and error.

        A database that is away never breaks the block: then the record is lost, and a warning says
        so. `details` (JSON) is the Run's payload; `run.result = …` inside is its output.
        """
        from taskyard.tasks.track import track

        return track(lambda: self.database, self.settings, name, details)

    def tracked(self, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """`track` as a decorator for `def` and `async def`."""
        from taskyard.tasks.track import tracked

        return tracked(lambda details: self.track(name, details))

    # --- What it stands on -----------------------------------------------------------------------

    @cached_property
    def settings(self) -> Settings:
        """The settings in force. Raises BadSetting."""
        from taskyard.settings import Settings

        return Settings.load(None, **self._given)

    @property
    def database(self) -> Database:
        """The database; its schema is checked at the first use (a SQLite file is upgraded).

        Raises SchemaOld, SchemaNewer or DatabaseUnreachable.
        """
        # A process that was forked must not speak on its parent's connections.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), _open(self.settings)
        return self._opened[1]

    @contextmanager
    def moved_to(self, database_url: str) -> Iterator[None]:
        """Work in another database inside the block; for tests (see `taskyard.testing`)."""
        before = self._move({**self._given, "database_url": database_url}, None)
        try:
            yield
        finally:
            _, opened = self._move(*before)
            if opened is not None:
                opened[1].close()

    # --- Below -----------------------------------------------------------------------------------

    def _move(
        self, given: dict[str, Any], opened: tuple[int, Database] | None
    ) -> tuple[dict[str, Any], tuple[int, Database] | None]:
        before = self._given, self._opened
        self._given, self._opened = given, opened
        self.__dict__.pop("settings", None)
        return before

    def _enqueue(self, task_type: str, text: str | None, options: TaskOptions) -> TaskHandle:
        from taskyard.tasks.enqueue import enqueue

        task = self._new_task(task_type, text, options)
        ref = enqueue(self.database, LOCAL, task, connection=options.get("connection"))
        return TaskHandle(self.database, ref)

    def _text(self, task_type: str, params: Params) -> str | None:
        if params is not None and not isinstance(params, Mapping):
            raise ParamsInvalid(task_type, ['"task_params" must be an object'])
        handler = self.registry.find(task_type)
        if handler is None:
            return dump_params(params, f"task_params of {task_type}")
        return handler.signature.dump((), params or {})

    def _new_task(self, task_type: str, text: str | None, options: TaskOptions) -> NewTask:
        """The Task to be: the options, and for what they leave open the handler's promises."""
        from taskyard.tasks.enqueue import NewTask

        handler = self.registry.find(task_type)
        spec = handler.spec if handler else None
        key = options.get("excl_key")
        if key is None and spec is not None and spec.excl_key is not None:
            key = spec.exclusive_key(orjson.loads(text or "{}"))
        return NewTask(
            task_type=task_type,
            task_params=text,
            queue=options.get("queue") or (spec.queue if spec else "default"),
            at=self._instant(options.get("schedule_time")),
            delay=_seconds(options.get("delay")),
            priority=options.get("priority", 0),
            max_retries=options.get("max_retries", spec.max_retries if spec else 3),
            timeout=_seconds(options.get("timeout")),
            retry_interval=_seconds(options.get("retry_interval")),
            unique_key=options.get("unique_key"),
            excl_key=key,
            tenant_id=options.get("tenant_id", ""),
        )

    def _instant(self, when: datetime | None) -> float | None:
        if when is None:
            return None
        if when.tzinfo is None:
            from zoneinfo import ZoneInfo

            when = when.replace(tzinfo=ZoneInfo(self.settings.default_time_zone))
        return when.timestamp()


def _open(settings: Settings) -> Database:
    from taskyard.db import migrate
    from taskyard.db.database import shared

    database = shared(
        settings.database_url,
        pooler=settings.pooler,
        notify=settings.notify,
        synchronous=settings.sqlite_synchronous,
    )
    migrate.require(database)
    return database


def _seconds(value: Duration | None) -> float | None:
    return None if value is None else parse_duration(value)
