"""Adding: how `task add` finds out whether a handler is there, and what it promises.

Owns the order of asking: the application here (which can check parameters), then the servers that
live (which say what their handlers promise), then nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from taskyard.access.caller import LOCAL
from taskyard.cli.faults import warn
from taskyard.cli.invocation import Invocation, require_some_config
from taskyard.core.errors import HandlerImportFailed, HandlerUnknown

if TYPE_CHECKING:
    from taskyard.handlers import Application, HandlerSpec
    from taskyard.settings import Settings
    from taskyard.yard import TaskHandle, TaskOptions, Yard


def add_task(
    here: Invocation, name: str, params: dict[str, Any], options: dict[str, Any], *, force: bool
) -> TaskHandle:
    """Add a task; `options` are those of `yard.enqueue`, as far as given.

    Raises HandlerUnknown when neither the application here nor a live server knows the handler and
    `force` is not set; and what `Yard.enqueue` raises.
    """
    settings = here.settings()
    require_some_config(settings)
    application = application_here(here, settings)
    yard = _yard(settings, application)
    spec = spec_here(application, name)
    if spec is None:
        spec = _spec_elsewhere(here, application, name, force)
        options = _promises(spec, params) | options
    _ensure_queue(here, spec, options)
    return yard.enqueue(name, params, **cast("TaskOptions", options))


def application_here(here: Invocation, settings: Settings) -> Application | None:
    try:
        return here.application(settings)
    except HandlerImportFailed as error:
        warn(error)  # A server may have the handler all the same.
        return None


def _yard(settings: Settings, application: Application | None) -> Yard:
    """A Yard with the handlers of the application here, on the database of this command."""
    from taskyard.yard import Yard

    yard = Yard(settings.database_url, app=settings.app)
    if application is not None:
        yard.registry = application.registry
    return yard


def spec_here(application: Application | None, name: str) -> HandlerSpec | None:
    handler = application.registry.find(name) if application is not None else None
    return None if handler is None else handler.spec


def _spec_elsewhere(
    here: Invocation, application: Application | None, name: str, force: bool
) -> HandlerSpec | None:
    """What a live server says of the handler."""
    specs = live_specs(here)
    if name not in specs and not force:
        mine = [handler.name for handler in application.registry] if application else []
        raise HandlerUnknown(name, {*specs, *mine})
    return specs.get(name)


def live_specs(here: Invocation) -> dict[str, HandlerSpec]:
    """The handlers of the servers that live, by name."""
    from taskyard import servers
    from taskyard.handlers import HandlerSpec

    rows = [row for row in servers.list_servers(here.database(), LOCAL) if row.alive]
    return {data["name"]: HandlerSpec.from_dict(data) for row in rows for data in row.specs()}


def _promises(spec: HandlerSpec | None, params: dict[str, Any]) -> dict[str, Any]:
    """A server's handler's defaults as options."""
    if spec is None:
        return {}
    promises = {
        "queue": spec.queue,
        "max_retries": spec.max_retries,
        "timeout": spec.timeout,
        "excl_key": spec.exclusive_key(params),
    }
    return {name: value for name, value in promises.items() if value is not None}


def _ensure_queue(here: Invocation, spec: HandlerSpec | None, options: dict[str, Any]) -> None:
    """The queue that a handler names comes with it, also before a worker was ever started."""
    from taskyard import queues

    name = spec.queue if spec is not None else queues.DEFAULT
    if options.get("queue", name) == name:
        queues.ensure_queue(here.database(), name)
