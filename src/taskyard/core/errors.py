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
