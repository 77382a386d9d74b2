"""Errors: every exception Taskyard raises, in one tree, each with code, sentence and data.

Owns the texts that people meet: the same words stand in the terminal, the log, the console and
``docs/reference/errors.md``. Leaves to the skins how an error is shown: the command line maps
``exit_code`` to its exit status, the API maps the class to an HTTP status. The three ways in which
a handler steers its own Task (`Retry`, `Snooze`, `Cancel`) stand here too, but they are no errors.

Importing this module must stay cheap (it is on the path of ``taskyard --help``), so whatever is
only needed to build a message is imported when the message is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from taskyard.core.durations import Duration


class TaskyardError(Exception):
    """Base of all errors; `except TaskyardError` catches all that Taskyard raises on purpose.

    Class attributes: `code` (stable, for search and programs) and `exit_code` (of the command
    line). Instance attributes: `text` (the sentence, without the code), `fix` (what to do about
    it), `params` (the data as a dict of JSON values), and each key of `params` as an attribute.
    """

    code: ClassVar[str] = "TY000"
    exit_code: ClassVar[int] = 1

    text: str
    fix: str
    params: dict[str, Any]

    def __init__(self, text: str, fix: str, **params: Any) -> None:
        super().__init__(text)
        self.text = text
        self.fix = fix
        self.params = params
        self.__dict__.update(params)

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default rebuilds with `args`, which the subclasses' signatures don't take; without
        # this an error raised in a user's process pool would break the pool instead of arriving.
        return _rebuild, (type(self), self.text, self.fix, self.params)


def _rebuild(
    kind: type[TaskyardError], text: str, fix: str, params: dict[str, Any]
) -> TaskyardError:
    error = kind.__new__(kind)
    TaskyardError.__init__(error, text, fix, **params)
    return error


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `' Did you mean "x"?'` for the known word nearest to `word`, `''` if none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""


# --- TY1xx: configuration and database -----------------------------------------------------------


class NoConfig(TaskyardError):
    """No configuration file was found, and the command needs one."""

    code = "TY101"
    exit_code = 2

    def __init__(self) -> None:
        super().__init__(
            "No taskyard.toml here or above.",
            "Run `taskyard init`, or say where the database is: `taskyard --db URL` or"
            " the environment variable TASKYARD_DATABASE_URL.",
        )


class DatabaseUnreachable(TaskyardError):
    """The database did not answer, or refused us. `url` never shows the password."""

    code = "TY102"
    exit_code = 6

    url: str
    why: str
    refused: bool
    """Wrong credentials, no such database: waiting will not help (rulings 1.7)."""

    def __init__(self, url: str, why: str, *, refused: bool = False) -> None:
        from taskyard.core.payload import mask_url

        url, why = mask_url(url), mask_url(why).strip().rstrip(".")
        super().__init__(
            f"Cannot reach {url}: {why}.",
            "Check host, port, user and database name, that the server runs, and that no firewall"
            " stands between. `taskyard config show` says where the address came from.",
            url=url,
            why=why,
            refused=refused,
        )


class SchemaOld(TaskyardError):
    """The database's schema is older than this version needs, or missing (`found` is None)."""

    code = "TY103"
    exit_code = 6

    found: str | None
    needed: str

    def __init__(self, found: str | None, needed: str) -> None:
        state = "has no Taskyard schema" if found is None else f"is at schema {found}"
        super().__init__(
            f"Database {state}, this version needs {needed}.",
            "Run `taskyard db upgrade` (`taskyard db sql` prints the statements first).",
            found=found,
            needed=needed,
        )


class DatabaseLocked(TaskyardError):
    """A SQLite file stayed locked by another process for longer than we wait."""

    code = "TY104"
    exit_code = 6

    path: str
    holder: str | None

    def __init__(self, path: str, holder: str | None = None) -> None:
        by = f" ({holder})" if holder else ""
        super().__init__(
            f"SQLite file {path} is held by another process{by}.",
            "End the other program's long transaction. For several machines, or many writers, use"
            " PostgreSQL or MySQL/MariaDB.",
            path=path,
            holder=holder,
        )


class BadSetting(TaskyardError):
    """A setting has a value that cannot be; `source` says where it came from."""

    code = "TY105"
    exit_code = 2

    name: str
    why: str
    source: str

    def __init__(self, name: str, why: str, source: str = "argument") -> None:
        why = why.strip().rstrip(".")
        super().__init__(
            f"Setting {name} ({source}): {why}.",
            "Correct it there; `taskyard config show` prints each setting and where it came from.",
            name=name,
            why=why,
            source=source,
        )


class OutcomeUnknown(TaskyardError):
    """The connection was lost after the statement had been sent: it may or may not be written."""

    code = "TY106"
    exit_code = 6

    what: str

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The connection was lost when the statement had been sent ({what}): it may have been"
            " written or not.",
            "Look before you repeat it; with a unique_key repeating an enqueue is safe.",
            what=what,
        )


class MissingExtra(TaskyardError):
    """A feature needs a library that is installed with one of Taskyard's extras."""

    code = "TY107"
    exit_code = 2

    feature: str
    extra: str

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra [{extra}], which is not installed.",
            f"pip install 'taskyard[{extra}]'",
            feature=feature,
            extra=extra,
        )


class SchemaNewer(TaskyardError):
    """The database's schema was written by a newer version that this one must not work with."""

    code = "TY108"
    exit_code = 6

    found: str
    known: str

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"Database is at schema {found}, newer than this version knows ({known}).",
            "Upgrade Taskyard on this machine: pip install --upgrade taskyard",
            found=found,
            known=known,
        )


class QueryInvalid(TaskyardError):
    """A list was asked for in a way that it cannot be; `name` is the filter, or what else."""

    code = "TY109"
    exit_code = 2

    name: str

    def __init__(self, name: str, text: str, fix: str) -> None:
        super().__init__(text, fix, name=name)


# --- TY2xx: handlers and parameters --------------------------------------------------------------


class HandlerUnknown(TaskyardError):
    """No handler is registered under this task_type. `known` lists those that are."""

    code = "TY201"
    exit_code = 3

    task_type: str
    known: list[str]

    def __init__(self, task_type: str, known: Iterable[str] = ()) -> None:
        names = sorted(known)
        listed = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
        super().__init__(
            f'No handler "{task_type}" is registered.{did_you_mean(task_type, names)}',
            f"Registered are: {listed or 'none'}. Check the name, and that the module with the"
            " handler is the one that --app or the setting `app` names.",
            task_type=task_type,
            known=names,
        )


class HandlerImportFailed(TaskyardError):
    """The application's module could not be imported; `why` is the cause with its line."""

    code = "TY202"
    exit_code = 1

    module: str
    why: str

    def __init__(self, module: str, why: str) -> None:
        why = why.strip().rstrip(".")
        super().__init__(
            f"{module} could not be imported: {why}.",
            "Correct it; try it with `taskyard handler list`.",
            module=module,
            why=why,
        )


class ParamsInvalid(TaskyardError):
    """The parameters do not fit the handler; `problems` has one line a field."""

    code = "TY203"
    exit_code = 2

    task_type: str
    problems: list[str]

    def __init__(self, task_type: str, problems: Sequence[str]) -> None:
        lines = [line.strip().rstrip(".") for line in problems]
        super().__init__(
            f"{task_type}: {'; '.join(lines)}.",
            f"`taskyard handler show {task_type}` prints the parameters it takes.",
            task_type=task_type,
            problems=lines,
        )


class ParamsNotJson(TaskyardError):
    """A payload is not JSON; `what` says whose, `why` says where."""

    code = "TY204"
    exit_code = 2

    what: str
    why: str

    def __init__(self, what: str, why: str) -> None:
        super().__init__(
            f"{what} is not JSON: {why}.",
            "Use only objects with text keys, arrays, text, finite numbers, true, false and null.",
            what=what,
            why=why,
        )


class PayloadTooLarge(TaskyardError):
    """A payload is larger than its limit; both in bytes of UTF-8."""

    code = "TY205"
    exit_code = 2

    what: str
    size: int
    limit: int

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} has {size:,} bytes, the limit is {limit:,}.",
            "Store the data elsewhere (a file, a table) and pass its name or id.",
            what=what,
            size=size,
            limit=limit,
        )


class HandlerTwice(TaskyardError):
    """Two functions claim the same task_type."""

    code = "TY206"
    exit_code = 2

    task_type: str
    first: str
    second: str

    def __init__(self, task_type: str, first: str, second: str) -> None:
        super().__init__(
            f'Handler "{task_type}" is registered twice: at {first} and at {second}.',
            "Give one of them another name.",
            task_type=task_type,
            first=first,
            second=second,
        )


# --- TY3xx: queues, tasks, runs, servers ---------------------------------------------------------


class TableInvalid(TaskyardError):
    """A task table lacks what the contract asks for; `statements` would mend it."""

    code = "TY307"
    exit_code = 2

    table: str
    problems: list[str]
    statements: list[str]

    def __init__(self, table: str, problems: Sequence[str], statements: Sequence[str] = ()) -> None:
        super().__init__(
            f"Table {table}: {'; '.join(problems)}.",
            "Run as the table's owner: " + " ".join(f"{line.rstrip(';')};" for line in statements)
            if statements
            else "Name another table, or make this one fit docs/reference/sql-contract.md.",
            table=table,
            problems=list(problems),
            statements=list(statements),
        )


class ViewTaken(TaskyardError):
    """A view cannot have its name: something that is not ours has it."""

    code = "TY325"
    exit_code = 5

    view: str

    def __init__(self, view: str) -> None:
        super().__init__(
            f'There is something else that is called "{view}" in this database.',
            "Rename it, or give the views another name: `taskyard db views --prefix ty_`.",
            view=view,
        )


class ServerIdTwice(TaskyardError):
    """Another living server goes by the same server_id."""

    code = "TY308"
    exit_code = 5

    server_id: str
    host: str
    seconds_ago: float

    def __init__(self, server_id: str, host: str, seconds_ago: float) -> None:
        super().__init__(
            f"{server_id} is already alive on host {host} (heartbeat {seconds_ago:.0f} s ago).",
            "Give this server a name of its own: setting `server_id` or TASKYARD_SERVER_ID.",
            server_id=server_id,
            host=host,
            seconds_ago=seconds_ago,
        )


class QueueUnknown(TaskyardError):
    """There is no queue of this name. `known` lists those there are."""

    code = "TY310"
    exit_code = 3

    queue: str
    known: list[str]

    def __init__(self, queue: str, known: Iterable[str] = ()) -> None:
        names = sorted(known)
        super().__init__(
            f'No queue "{queue}".{did_you_mean(queue, names)}',
            f"`taskyard queue list` shows them; `taskyard queue create {queue}` makes it.",
            queue=queue,
            known=names,
        )


class QueueInvalid(TaskyardError):
    """A queue's settings cannot be; `field` says which, `why` is a clause that names it."""

    code = "TY311"
    exit_code = 2

    queue: str
    field: str
    why: str

    def __init__(self, queue: str, field: str, why: str, fix: str) -> None:
        why = why.strip().rstrip(".")
        super().__init__(f'Queue "{queue}": {why}.', fix, queue=queue, field=field, why=why)


class QueueTwice(QueueInvalid):
    """A queue of this name is there already."""

    code = "TY323"
    exit_code = 5

    queue: str
    field: str
    why: str

    def __init__(self, queue: str) -> None:
        why = "a queue of this name is there already"
        super().__init__(queue, "queue_name", why, "Choose another name.")


class TableUnknown(TaskyardError):
    """No queue has a task table of this name."""

    code = "TY324"
    exit_code = 3

    table: str

    def __init__(self, table: str) -> None:
        super().__init__(
            f'No queue has the table "{table}".',
            "Create a queue for it first: `taskyard queue create NAME --table TABLE`, or"
            " POST /admin/queue/create.",
            table=table,
        )


class TaskUnknown(TaskyardError):
    """There is no task of this reference (`QUEUE/ID`)."""

    code = "TY312"
    exit_code = 3

    ref: str

    def __init__(self, ref: str) -> None:
        super().__init__(
            f"No task {ref}.",
            "`taskyard task list` shows the tasks; a task is named QUEUE/ID, like email_queue/42.",
            ref=ref,
        )


class RunUnknown(TaskyardError):
    """There is no run of this id."""

    code = "TY313"
    exit_code = 3

    run_id: int

    def __init__(self, run_id: int) -> None:
        super().__init__(
            f"No run {run_id}.",
            "`taskyard run list` shows the runs; old ones go by the retention settings.",
            run_id=run_id,
        )


class ServerUnknown(TaskyardError):
    """There is no server of this server_id."""

    code = "TY314"
    exit_code = 3

    server_id: str
    known: list[str]

    def __init__(self, server_id: str, known: Iterable[str] = ()) -> None:
        names = sorted(known)
        super().__init__(
            f'No server "{server_id}".{did_you_mean(server_id, names)}',
            "`taskyard server list` shows the servers.",
            server_id=server_id,
            known=names,
        )


class DuplicateTask(TaskyardError):
    """A live task already has this unique_key; `existing` names it as `QUEUE/ID`."""

    code = "TY315"
    exit_code = 5

    unique_key: str
    existing: str

    def __init__(self, unique_key: str, existing: str) -> None:
        super().__init__(
            f'Task {existing} already has unique_key "{unique_key}" and has not ended.',
            f"Wait for it, cancel it (`taskyard task cancel {existing}`), or use another key.",
            unique_key=unique_key,
            existing=existing,
        )


class NotNow(TaskyardError):
    """The verb is not possible in the state that the thing is in."""

    code = "TY316"
    exit_code = 5

    verb: str
    thing: str
    state: str

    def __init__(self, verb: str, thing: str, state: str, fix: str = "") -> None:
        super().__init__(
            f"Cannot {verb} {thing}: it is {state}.",
            fix or "Look at its present state; it may have changed meanwhile.",
            verb=verb,
            thing=thing,
            state=state,
        )


class CountChanged(TaskyardError):
    """An operation over a filter meets another number of things than its caller has seen."""

    code = "TY317"
    exit_code = 5

    expected: int
    found: int

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(
            f"The filter lets {found:,} through, not {expected:,}; nothing was done.",
            "Look at the list again, and ask with the new count.",
            expected=expected,
            found=found,
        )


class TaskLost(TaskyardError):
    """The claim on the task was taken away, so nothing may be written for this run any more."""

    code = "TY320"
    exit_code = 1

    ref: str

    def __init__(self, ref: str) -> None:
        super().__init__(
            f"The claim on task {ref} was taken away; nothing of this run was written.",
            "Let the handler end: the task was cancelled, changed, or given to another server.",
            ref=ref,
        )


class WaitTimedOut(TaskyardError):
    """The task had not ended when the waiting time (seconds) was over; it goes on."""

    code = "TY321"
    exit_code = 7

    ref: str
    seconds: float

    def __init__(self, ref: str, seconds: float) -> None:
        super().__init__(
            f"Task {ref} has not ended after {seconds:g} s.",
            f"It goes on; `taskyard task explain {ref}` says what it waits for.",
            ref=ref,
            seconds=seconds,
        )


class TaskFailed(TaskyardError):
    """A task that was waited for ended failed or cancelled; `error` is its error text."""

    code = "TY322"
    exit_code = 1

    ref: str
    status: str
    error: str | None

    def __init__(self, ref: str, status: str, error: str | None = None) -> None:
        # The last line of a traceback is the exception itself: the one line worth repeating.
        last = error.strip().splitlines()[-1].rstrip(".") if error and error.strip() else ""
        super().__init__(
            f"Task {ref} {status}{': ' + last if last else ''}.",
            f"`taskyard task show {ref}` shows its runs, `taskyard task retry {ref}`"
            " runs it again.",
            ref=ref,
            status=status,
            error=error,
        )


class ScheduleUnknown(TaskyardError):
    """There is no schedule of this id or name."""

    code = "TY340"
    exit_code = 3

    schedule: str

    def __init__(self, schedule: str, known: Iterable[str] = ()) -> None:
        super().__init__(
            f'There is no schedule "{schedule}".{did_you_mean(schedule, known)}',
            "`taskyard schedule list` lists them.",
            schedule=schedule,
        )


class ScheduleInvalid(TaskyardError):
    """A field of a schedule cannot be; `field` names it."""

    code = "TY341"
    exit_code = 2

    field: str
    why: str

    def __init__(self, field: str, why: str, fix: str) -> None:
        end = "" if why.endswith("?") else "."
        super().__init__(f"{field}: {why}{end}", fix, field=field, why=why)


class CronInvalid(ScheduleInvalid):
    """A cron expression cannot be read; `field` names its part, like "minute"."""

    code = "TY342"

    expression: str

    def __init__(self, expression: str, field: str, why: str, fix: str) -> None:
        super().__init__(field, why, fix)
        self.expression = self.params["expression"] = expression


class ScheduleTwice(ScheduleInvalid):
    """The tenant has a schedule of this name already."""

    code = "TY343"
    exit_code = 5

    def __init__(self, name: str) -> None:
        super().__init__("name", f'there is a schedule "{name}" already', "Choose another name.")


class BatchUnknown(TaskyardError):
    """There is no batch of this id (any more)."""

    code = "TY360"
    exit_code = 3

    batch: str

    def __init__(self, batch: str) -> None:
        super().__init__(
            f"There is no batch {batch}.",
            "`taskyard batch list` lists them with their ids.",
            batch=batch,
        )


class BatchInvalid(TaskyardError):
    """A field of a batch, its items or a template cannot be; `field` names it, `why` says why."""

    code = "TY361"
    exit_code = 2

    field: str
    why: str

    def __init__(self, field: str, why: str, fix: str) -> None:
        why = why.strip().rstrip(".")
        end = "" if why.endswith("?") else "."
        super().__init__(f"{field}: {why}{end}", fix, field=field, why=why)


class ItemUnknown(TaskyardError):
    """A batch has no item of this item_id."""

    code = "TY362"
    exit_code = 3

    batch: str
    item: str

    def __init__(self, batch: str, item: str) -> None:
        super().__init__(
            f'Batch {batch} has no item "{item}".',
            f"`taskyard batch items {batch}` lists them.",
            batch=batch,
            item=item,
        )


class TemplateUnknown(TaskyardError):
    """There is no batch template of this id or name, or several tenants have one."""

    code = "TY363"
    exit_code = 3

    template: str

    def __init__(self, template: str, known: Iterable[str] = ()) -> None:
        super().__init__(
            f'There is no one batch template "{template}".{did_you_mean(template, known)}',
            "`taskyard batch-template list` lists them with their ids.",
            template=template,
        )


class TemplateTwice(BatchInvalid):
    """The tenant has a batch template of this name already."""

    code = "TY364"
    exit_code = 5

    def __init__(self, name: str) -> None:
        super().__init__("name", f'there is a template "{name}" already', "Choose another name.")


class BatchFailed(TaskyardError):
    """A batch that was waited for ended failed or cancelled; `error` says why."""

    code = "TY365"
    exit_code = 1

    batch: int
    status: str
    error: str | None

    def __init__(self, batch: int, status: str, error: str | None = None) -> None:
        super().__init__(
            f"Batch {batch} {status}{': ' + error.rstrip('.') if error else ''}.",
            f"`taskyard batch show {batch}` shows how far it got.",
            batch=batch,
            status=status,
            error=error,
        )


class BatchRunning(TaskyardError):
    """The tenant has a batch of this type that is not over; `existing` is its id."""

    code = "TY402"
    exit_code = 5

    task_type: str
    tenant_id: str
    existing: int

    def __init__(self, task_type: str, tenant_id: str, existing: int, name: str) -> None:
        whose = f"Tenant {tenant_id}" if tenant_id else "The platform"
        super().__init__(
            f'{whose} has a batch of {task_type} that is not over: "{name}" (#{existing}).',
            f"Wait for its end (`taskyard batch watch {existing}`), or cancel it.",
            task_type=task_type,
            tenant_id=tenant_id,
            existing=existing,
        )


class UserUnknown(TaskyardError):
    """There is no user of this name. `known` lists those there are."""

    code = "TY330"
    exit_code = 3

    username: str
    known: list[str]

    def __init__(self, username: str, known: Iterable[str] = ()) -> None:
        names = sorted(known)
        super().__init__(
            f'No user "{username}".{did_you_mean(username, names)}',
            "`taskyard user list` shows them; `taskyard user add NAME` makes one.",
            username=username,
            known=names,
        )


class TenantUnknown(TaskyardError):
    """There is no tenant of this id. `known` lists those that the caller sees."""

    code = "TY331"
    exit_code = 3

    tenant_id: str
    known: list[str]

    def __init__(self, tenant_id: str, known: Iterable[str] = ()) -> None:
        ids = sorted(known)
        super().__init__(
            f'No tenant "{tenant_id}".{did_you_mean(tenant_id, ids)}',
            "`taskyard tenant list` shows them; `taskyard tenant add ID` registers one.",
            tenant_id=tenant_id,
            known=ids,
        )


class TokenUnknown(TaskyardError):
    """There is no token of this id (the eight characters behind `ty_`)."""

    code = "TY332"
    exit_code = 3

    public_id: str

    def __init__(self, public_id: str) -> None:
        super().__init__(
            f"No token {public_id}.",
            "`taskyard token list` shows them; a token is named by the part between its two _.",
            public_id=public_id,
        )


class AccessInvalid(TaskyardError):
    """A user, tenant or token cannot be so; `field` says which, `why` is a clause that names it."""

    code = "TY333"
    exit_code = 2

    thing: str
    field: str
    why: str

    def __init__(self, thing: str, field: str, why: str, fix: str) -> None:
        why = why.strip().rstrip(".")
        super().__init__(f"{thing}: {why}.", fix, thing=thing, field=field, why=why)


class NameTaken(TaskyardError):
    """There is a user, tenant, alert rule or channel of this name already."""

    code = "TY334"
    exit_code = 5

    thing: str

    def __init__(self, thing: str) -> None:
        super().__init__(f"{thing} is there already.", "Choose another name.", thing=thing)


class LastSuperuser(TaskyardError):
    """The last enabled superuser cannot be removed, disabled or given another role."""

    code = "TY335"
    exit_code = 5

    username: str

    def __init__(self, username: str) -> None:
        super().__init__(
            f'"{username}" is the last enabled superuser.',
            "Make another user a superuser first.",
            username=username,
        )


# --- alerts --------------------------------------------------------------------------------------


class RuleUnknown(TaskyardError):
    """There is no alert rule of this id or name, or several tenants have one."""

    code = "TY350"
    exit_code = 3

    rule: str

    def __init__(self, rule: str, known: Iterable[str] = ()) -> None:
        super().__init__(
            f'There is no one alert rule "{rule}".{did_you_mean(rule, known)}',
            "`taskyard alert-rule list` lists them with their ids.",
            rule=rule,
        )


class ChannelUnknown(TaskyardError):
    """There is no channel of this id or name, or several tenants have one."""

    code = "TY351"
    exit_code = 3

    channel: str

    def __init__(self, channel: str, known: Iterable[str] = ()) -> None:
        super().__init__(
            f'There is no one channel "{channel}".{did_you_mean(channel, known)}',
            "`taskyard channel list` lists them with their ids.",
            channel=channel,
        )


class IncidentUnknown(TaskyardError):
    """There is no incident of this id (any more)."""

    code = "TY352"
    exit_code = 3

    incident: int

    def __init__(self, incident: int) -> None:
        super().__init__(
            f"There is no incident {incident}.",
            "`taskyard alert list` lists them; those resolved a year ago are removed.",
            incident=incident,
        )


class AlertInvalid(TaskyardError):
    """An alert rule, channel or silence cannot be so; `field` says which part, `why` a clause."""

    code = "TY353"
    exit_code = 2

    thing: str
    field: str
    why: str

    def __init__(self, thing: str, field: str, why: str, fix: str) -> None:
        end = "" if why.endswith("?") else "."
        why = why.strip().rstrip(".")
        super().__init__(f"{thing}, {field}: {why}{end}", fix, thing=thing, field=field, why=why)


class NotSent(TaskyardError):
    """A message did not get out; it is tried again."""

    code = "TY354"

    why: str

    def __init__(self, why: str, fix: str = "It is tried again for about an hour.") -> None:
        why = why.strip().rstrip(".")
        super().__init__(f"The message was not sent: {why}.", fix, why=why)


class Undeliverable(NotSent):
    """A message cannot get out as things are; it is not tried again."""

    code = "TY355"

    def __init__(self, why: str, fix: str = "Correct it, and use the channel's test.") -> None:
        super().__init__(why, fix)


class AddressRefused(Undeliverable):
    """Messages may not go to this host: its address is not one of the public internet."""

    code = "TY356"
    exit_code = 2

    host: str

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"{host} is {why}",
            "If messages are to go there, list the host or its network in the setting alert_hosts.",
        )
        self.text = f"Messages may not go to {host}: it is {why}."
        self.host = self.params["host"] = host


# --- TY4xx: permissions --------------------------------------------------------------------------


class NotAllowed(TaskyardError):
    """The caller lacks a permission."""

    code = "TY401"
    exit_code = 4

    permission: str
    role: str

    def __init__(self, permission: str, role: str) -> None:
        super().__init__(
            f"Needs permission {permission}; your role is {role}.",
            "Ask a superuser, or a tenant admin for things of your tenant.",
            permission=permission,
            role=role,
        )


# --- TY5xx: HTTP ---------------------------------------------------------------------------------


class PortInUse(TaskyardError):
    """Another program listens on the port; `pid` is its process, if it can be seen."""

    code = "TY501"
    exit_code = 5

    host: str
    port: int
    pid: int | None

    def __init__(self, host: str, port: int, pid: int | None = None) -> None:
        by = f"process {pid}" if pid is not None else "another program"
        super().__init__(
            f"Port {port} of {host} is used by {by}.",
            "Stop it, or take another port: --port, setting `port`, TASKYARD_PORT.",
            host=host,
            port=port,
            pid=pid,
        )


class ConsoleNotBuilt(TaskyardError):
    """A source checkout whose console was not built; wheels carry it."""

    code = "TY502"
    exit_code = 1

    def __init__(self) -> None:
        super().__init__(
            "This source checkout has no built console.",
            "Run `python3 dev.py web` in the clone (it needs no Node.js), or install a wheel.",
        )


class UnsafeAddress(TaskyardError):
    """The API was asked to listen where it must not as it is set up; `why` says what is missing."""

    code = "TY503"
    exit_code = 2

    host: str
    why: str

    def __init__(self, host: str, why: str, fix: str) -> None:
        super().__init__(f"Will not listen on {host}: {why}.", fix, host=host, why=why)


class RequestInvalid(TaskyardError):
    """The request is not what this address takes; `problems` has one line a field."""

    code = "TY504"
    exit_code = 2

    problems: list[str]

    def __init__(self, problems: Sequence[str], fix: str = "") -> None:
        lines = [line.strip().rstrip(".") for line in problems]
        super().__init__(
            f"{'; '.join(lines)}.",
            fix or "/openapi.json says what each address takes; `taskyard api schema` prints it.",
            problems=lines,
        )


class NotJson(TaskyardError):
    """The body is no JSON, or does not say that it is; `why` says where."""

    code = "TY505"
    exit_code = 2

    why: str

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The body cannot be read: {why}.",
            "Send one JSON value with `Content-Type: application/json`.",
            why=why,
        )


class WrongContentType(NotJson):
    """The body is said to be something else than JSON."""

    code = "TY506"

    why: str


class BodyTooLarge(TaskyardError):
    """The body has more bytes than are read."""

    code = "TY507"
    exit_code = 2

    limit: int

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The body has more than {limit:,} bytes.",
            "Send it in parts, or raise the setting `max_body` (TASKYARD_MAX_BODY).",
            limit=limit,
        )


class HostUnknown(TaskyardError):
    """The request is for a host name that is not ours: a page may have rebound its DNS name."""

    code = "TY508"
    exit_code = 4

    host: str

    def __init__(self, host: str) -> None:
        super().__init__(
            f'"{host}" is no name of this server.',
            "Add it to the setting `allowed_hosts` (TASKYARD_ALLOWED_HOSTS), or set `public_url`.",
            host=host,
        )


class CrossSite(TaskyardError):
    """A change was asked for by another site's page, or by a browser that does not say by which."""

    code = "TY509"
    exit_code = 4

    origin: str

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"The request comes from {origin}, not from a page of this server.",
            "Programs sign in with a token: `Authorization: Bearer …`; `taskyard token create`"
            " makes one.",
            origin=origin,
        )


class AddressUnknown(TaskyardError):
    """There is nothing at this path."""

    code = "TY510"
    exit_code = 3

    path: str

    def __init__(self, path: str) -> None:
        super().__init__(f"There is nothing at {path}.", "/openapi.json lists all.", path=path)


class MethodUnknown(TaskyardError):
    """There is something at this path, but not by this method."""

    code = "TY511"
    exit_code = 2

    method: str
    allowed: list[str]

    def __init__(self, method: str, allowed: Iterable[str]) -> None:
        methods = sorted(allowed)
        super().__init__(
            f"{method} cannot be used here.",
            f"Use {' or '.join(methods)}." if methods else "/openapi.json lists all.",
            method=method,
            allowed=methods,
        )


class KeyReused(TaskyardError):
    """An Idempotency-Key came again with another request."""

    code = "TY512"
    exit_code = 5

    key: str

    def __init__(self, key: str) -> None:
        super().__init__(
            f'Idempotency-Key "{key}" was used for another request.',
            "Use a new key for a new request; keys are remembered for a day.",
            key=key,
        )


class KeyBusy(TaskyardError):
    """An Idempotency-Key came again while its first request has no answer yet."""

    code = "TY513"
    exit_code = 5

    key: str

    def __init__(self, key: str) -> None:
        super().__init__(
            f'The first request with Idempotency-Key "{key}" has not been answered.',
            "Ask again in a while; if it stays so, that request was cut off: look whether it was"
            " done before you use a new key.",
            key=key,
        )


class NotReady(TaskyardError):
    """No task can be worked now: the database does not answer, or no server takes tasks."""

    code = "TY514"
    exit_code = 6

    database: bool
    server: bool

    def __init__(self, *, database: bool, server: bool) -> None:
        why = "no server takes tasks" if database else "the database does not answer"
        super().__init__(
            f"Not ready: {why}.",
            "`taskyard worker` starts a server; `taskyard doctor` looks for what is wrong.",
            database=database,
            server=server,
        )


class TooManyListeners(TaskyardError):
    """So many clients listen for events that one more is turned away."""

    code = "TY515"
    exit_code = 6

    limit: int

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} clients listen for events already, which is the most.",
            "Close pages that are not looked at; without events a page still asks now and then.",
            limit=limit,
        )


class Unexpected(TaskyardError):
    """Something failed that we did not foresee; the server's log has it under the request's id."""

    code = "TY599"

    request_id: str

    def __init__(self, request_id: str) -> None:
        super().__init__(
            "Something went wrong that is not your fault.",
            f"The server's log says more, under request {request_id}.",
            request_id=request_id,
        )


class NotSignedIn(TaskyardError):
    """Nobody is signed in: no token or session was shown, or none that is known."""

    code = "TY403"
    exit_code = 4

    def __init__(self, text: str = "Not signed in.") -> None:
        super().__init__(
            text,
            "Sign in, or send a token: `Authorization: Bearer ty_…`"
            " (`taskyard token create --user NAME --name WHAT_FOR` makes one).",
        )


class SignInFailed(TaskyardError):
    """Wrong username or password; which of the two is not said."""

    code = "TY404"
    exit_code = 4

    def __init__(self, text: str = "Wrong username or password.") -> None:
        super().__init__(
            text, "Try again; a superuser can set a password: `taskyard user passwd NAME`."
        )


class TooManyAttempts(TaskyardError):
    """Too many sign-ins failed; `retry_after` is the seconds to wait."""

    code = "TY405"
    exit_code = 4

    retry_after: int

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"Too many sign-ins failed; try again in {retry_after} s.",
            "Wait; a superuser can set another password meanwhile: `taskyard user passwd NAME`."
            " Tokens go on working.",
            retry_after=retry_after,
        )


class TokenEnded(TaskyardError):
    """A token is right, but no longer good; `why` is "expired", "revoked" or "user disabled"."""

    code = "TY406"
    exit_code = 4

    public_id: str
    why: str

    def __init__(self, public_id: str, why: str) -> None:
        super().__init__(
            f"Token {public_id} is no longer good: {why}.",
            "Make another: `taskyard token create --user NAME --name WHAT_FOR`.",
            public_id=public_id,
            why=why,
        )


# --- Steering: how a handler tells what shall become of its own task -----------------------------


class Steering(Exception):
    """Base of what a handler may raise to steer its task; none of them is an error."""


class Retry(Steering):
    """Raise in a handler: this attempt failed, run the task again.

    Uses up one retry, like any exception, but says when. `after` is a duration (seconds, timedelta,
    "5m"); None leaves it to the handler's retry policy. Raises ValueError if it is no duration.
    """

    after: float | None
    reason: str

    def __init__(self, after: Duration | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.after = None if after is None else _seconds(after)
        self.reason = reason


class Snooze(Steering):
    """Raise in a handler: not now; run the task again after a while (seconds, timedelta, "5m").

    Uses up no retry. Raises ValueError if `after` is no duration.
    """

    after: float
    reason: str

    def __init__(self, after: Duration, reason: str = "") -> None:
        super().__init__(reason)
        self.after = _seconds(after)
        self.reason = reason


class Cancel(Steering):
    """Raise in a handler: end the task as cancelled, with this reason; no retry."""

    reason: str

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class RefreshNeeded(Exception):
    """Raise in the handler of a batch: what `setup` gave has expired.

    It is renewed, and the item processed once more, which costs it no attempt; an item that raises
    it twice in a row has failed.
    """


def _seconds(value: Duration) -> float:
    from taskyard.core.durations import parse_duration

    return parse_duration(value)


def all_errors() -> list[type[TaskyardError]]:
    """Return every error class in the order of the codes: for the documentation and its test."""
    found = {TaskyardError}
    grown = True
    while grown:
        children = {child for kind in found for child in kind.__subclasses__()}
        grown = not children <= found
        found |= children
    return sorted(found - {TaskyardError}, key=lambda kind: kind.code)
