"""`taskyard handler`: which handlers there are, and how to try one without a queue.

Owns the words; what a handler is, is `handlers.py`'s, and one call of it `engine/attempt.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from taskyard.cli import formats
from taskyard.cli.invocation import Invocation, invocation, names_database
from taskyard.cli.options import AsJson, Parameters, ParamsFile, new_app
from taskyard.cli.output import Column, print_fields, print_json, print_list, say

if TYPE_CHECKING:
    from taskyard.handlers import Application, HandlerSpec

app = new_app("Handlers: list and show them; test one without a queue.")

COLUMNS = (
    Column("name", "handler"),
    Column("queue"),
    Column("where"),
    Column("isolation"),
    Column("max_retries", "retries", formats.number, right=True),
    Column("timeout", show=formats.took, right=True),
    Column("location", "code"),
    Column("doc", wide=True),
)
"""The columns of `handler list`."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="The handler.")]


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the handlers of the application here and of the servers that live."""
    here = invocation(ctx)
    rows = [
        {"name": name, "where": where, **spec.to_dict()}
        for name, (where, spec) in sorted(_everywhere(here).items())
    ]
    empty = "No handlers: there is no handlers.py here (`taskyard init` writes one)."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)


@app.command()
def show(ctx: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show what a handler takes and promises."""
    from taskyard.core.errors import HandlerUnknown

    found = _everywhere(invocation(ctx))
    if name not in found:
        raise HandlerUnknown(name, found)
    where, spec = found[name]
    if as_json:
        print_json({"where": where, **spec.to_dict()})
        return
    promises = {k: v for k, v in spec.to_dict().items() if k not in ("parameters", "retry")}
    fields = [(key, str(item)) for key, item in promises.items() if item not in (None, "")]
    print_fields([*fields, ("where", where)])
    if parameters := _parameters(spec):
        print()
        print_list(parameters, PARAMETERS, as_json=False)


PARAMETERS = (
    Column("name", "parameter"),
    Column("type"),
    Column("needed"),
    Column("default", wide=True),
)


def _parameters(spec: HandlerSpec) -> list[dict[str, Any]]:
    required = spec.parameters.get("required", [])
    return [
        {
            "name": name,
            "type": _type(part),
            "needed": "yes" if name in required else "",
            "default": part.get("default"),
        }
        for name, part in spec.parameters.get("properties", {}).items()
    ]


def _type(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kind = str(schema.get("type", "any"))
    return f"{kind} of {_type(schema['items'])}" if schema.get("items") else kind


@app.command("test")
def run_once(
    ctx: typer.Context,
    name: Name,
    params: Parameters = None,
    params_file: ParamsFile = None,
) -> None:
    """Run a handler here and now, without queue and database; prints its output as JSON.

    What it logs goes to stderr. When it raises, the traceback does too, and the exit code is 1.

    \b
    Example:
      taskyard handler test shop.greet name=Ada times:=3
    """
    from taskyard.cli.params import read_params
    from taskyard.cli.trying import try_handler

    application = _here(invocation(ctx))
    handler = application.registry.get(name)
    ending = try_handler(application, handler, read_params(params or [], params_file))
    if ending.error is not None:
        say(ending.error.rstrip())
    if ending.kind != "completed":
        say(f"{name}: {ending.kind}")
        raise typer.Exit(1)
    print_json(ending.output)


def _here(here: Invocation) -> Application:
    """The application here; raises HandlerImportFailed also when there is none."""
    from taskyard.engine.application import load_application

    settings = here.settings()
    application = here.application(settings)
    return application or load_application(settings.app, settings.folder)


def _everywhere(here: Invocation) -> dict[str, tuple[str, HandlerSpec]]:
    """Where each handler is found, and what it promises; what is here counts first."""
    application = here.application(here.settings())
    specs = [handler.spec for handler in application.registry] if application else []
    mine = {spec.name: ("here", spec) for spec in specs}
    return _on_servers(here, quietly=application is not None) | mine


def _on_servers(here: Invocation, *, quietly: bool) -> dict[str, tuple[str, HandlerSpec]]:
    from taskyard.cli.adding import live_specs
    from taskyard.core.errors import TaskyardError

    if not names_database(here.settings()):
        return {}
    try:
        return {name: ("servers", spec) for name, spec in live_specs(here).items()}
    except TaskyardError:
        if quietly:  # The handlers here are an answer without any database.
            return {}
        raise
