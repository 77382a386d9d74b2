"""Settings: what an operator may set, in one frozen object that knows where each value came from.

Owns names, defaults, limits, the files that are read and the order of precedence: arguments, then
the environment (``TASKYARD_*``), ``taskyard.toml`` or ``config.json``, and defaults. Leaves to the
parts that use a setting what it does. Queues are no settings: they live in the database.
"""

from __future__ import annotations

import json
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from taskyard.core.durations import parse_duration
from taskyard.core.errors import BadSetting, did_you_mean
from taskyard.core.payload import MASK, is_secret, mask_url

FILES = ("taskyard.toml", "config.json")
"""Names of the configuration files, the better one first."""

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_FAMILIES = ("sqlite", "postgresql", "mysql", "mariadb")


def normal_url(url: str) -> str:
    """Return a database URL as people write it, with the driver that Taskyard uses.

    "postgresql://", "postgres://", "mysql://", "mariadb://" and "sqlite:///FILE" are understood; a
    driver that is named ("mysql+mysqldb://") is kept. Raises ValueError, which never shows the
    URL's password, for everything else.
    """
    scheme, colon, rest = url.strip().partition("://")
    family = scheme.lower().partition("+")[0]
    if not colon or (family not in _FAMILIES and family not in _DRIVERS):
        raise ValueError(
            f"{mask_url(url)!r} is not a database address; write sqlite:///FILE,"
            " postgresql://USER:PASSWORD@HOST/DATABASE or mysql://USER:PASSWORD@HOST/DATABASE"
        )
    return f"{_DRIVERS.get(scheme.lower(), scheme.lower())}://{rest}"


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'"{name}" is not an IANA time zone like "Europe/Berlin"') from None
    return name


def _time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f'"{text}" is not a time of day like "00:00"')
    return text


def _host_name() -> str:
    return socket.gethostname()[:50] or "server"


def _cores() -> int:
    # Not os.cpu_count(): in a container or under taskset we may have fewer than the machine.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _words(value: Any) -> Any:
    """A list that may be written as a text with commas."""
    if not isinstance(value, str):
        return value
    return [word.strip() for word in value.split(",") if word.strip()]


def _networks(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        try:
            ip_network(word)
        except ValueError as error:
            raise ValueError(f'{error}; write a network like "10.0.0.0/8"') from None
    return words


def _hosts(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if "/" in word:
            _networks((word,))
        elif not re.fullmatch(r"[\w.-]+|\[?[0-9A-Fa-f:.]+\]?", word):
            raise ValueError(f'"{word}" is no host like "chat.example.com", and no network')
    return words


Seconds = Annotated[float, BeforeValidator(parse_duration)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Name = Annotated[str, Field(min_length=1, max_length=50)]


class TypeRetention(BaseModel):
    """How many Runs of one task type are kept; its limits alone count for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs_max_rows: Annotated[int, Field(ge=0)] | None = None
    """Finished runs of the type that are kept; None keeps any number."""
    runs_max_age: Seconds | None = None
    """Age in seconds at which a finished run of the type is removed; None keeps it."""


class Retention(BaseModel):
    """How much of the past is kept; what is beyond is removed by the nightly prune."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs_max_rows: Annotated[int, Field(ge=0)] = 100_000
    """Finished runs that are kept, the newest by their end; 0 keeps all."""
    runs_max_age: Seconds | None = None
    """Age in seconds at which a finished run is removed; None keeps it."""
    tasks_max_age: Seconds | None = None
    """Age in seconds, since their end, at which ended tasks are removed; None keeps them."""
    task_types: dict[str, TypeRetention] = Field(default_factory=dict)
    """Task types with limits of their own (`runs_max_rows`, `runs_max_age`), for which those above
    do not count."""
    audit_max_age: Seconds | None = None
    """Age in seconds at which the audit's rows are removed, by servers each hour; None keeps
    them."""


class Settings(BaseSettings):
    """All settings. Make one with `Settings.load()`; the constructor takes arguments only."""

    model_config = SettingsConfigDict(
        env_prefix="TASKYARD_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        # An error's text must not show the password of a wrong database_url.
        hide_input_in_errors=True,
    )

    database_url: Annotated[str, AfterValidator(normal_url)] = "sqlite:///taskyard.db"
    """Where the database is; normalised by `normal_url`. A relative SQLite file of a configuration
    file, or of the default, is looked for beside that file."""
    server_id: Name = Field(default_factory=_host_name)
    """The name of this server, unique within one database; queues are pinned to it."""
    app: str | None = None
    """Where the Yard is, as "module:attribute"; None looks for handlers.py."""
    folder: Path = Field(default_factory=Path.cwd)
    """Where `app` is imported from: the folder of the configuration file, else the working one."""
    host: str = "127.0.0.1"
    """The address that the API and the console listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 9999
    """The port of the API and the console."""
    tls_cert: Path | None = None
    """File with the certificate (PEM) that the API shows; with it, it speaks HTTPS only."""
    tls_key: Path | None = None
    """File with the key of `tls_cert`; None finds it in the same file."""
    behind_proxy: Annotated[Words, AfterValidator(_networks)] = ()
    """Networks (CIDR, with commas) of the reverse proxies that end TLS; only what they say of a
    client (X-Forwarded-For, X-Forwarded-Proto) is believed."""
    allowed_hosts: Words = ()
    """Names (with commas) that requests may be for, beside localhost, `host` and `public_url`."""
    max_body: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    """Bytes that the body of a request may have."""
    open_docs: bool = False
    """Whether /docs and /openapi.json are shown without sign-in."""
    open_metrics: bool = False
    """Whether /metrics is shown without sign-in; else it needs the permission `monitoring`."""
    runners: int = Field(default_factory=_cores, ge=1)
    """Runner processes that share the work; default one a usable core."""
    thread_slots: Annotated[int, Field(ge=1)] = 40
    """Threads of a shared runner, for handlers that are plain functions."""
    lease: Annotated[Seconds, Field(ge=1.0)] = 30.0
    """Seconds that a server may be silent before others take over its tasks."""
    config_sync_interval: Annotated[Seconds, Field(gt=0)] = 10.0
    """Seconds between two looks at queue_configs."""
    grace: Annotated[Seconds, Field(ge=0)] = 25.0
    """Seconds that running handlers get at a graceful stop."""
    max_crashes: Annotated[int, Field(ge=1)] = 5
    """Times that a task may take its server or runner down before it is parked as failed."""
    max_tasks_per_child: Annotated[int, Field(ge=1)] = 1_000
    """Tasks after which a runner for isolated handlers is replaced."""
    queue_enable: bool = True
    """Whether this server takes tasks from queues at all."""
    reload: bool = False
    """Whether runners are replaced when the application's code changes (for development)."""
    default_time_zone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    """The IANA zone of times that name none."""
    retention: Retention = Retention()
    """What the nightly prune keeps."""
    prune_at: Annotated[str, AfterValidator(_time_of_day)] = "00:00"
    """When the prune runs, HH:MM in the default time zone."""
    advanced_permissions: bool = False
    """Whether the permission `monitoring` opens the task history, which superusers always see."""
    log_dir: Path | None = None
    """Folder for executor-DATE.log and job-RUN-DATE.log; None writes none."""
    spool_dir: Path | None = None
    """Folder for results that could not be written while the database was away."""
    pooler: bool = False
    """Whether PostgreSQL is reached through a transaction pooler: no session state, no LISTEN."""
    notify: bool = True
    """Whether PostgreSQL's LISTEN/NOTIFY wakes servers up."""
    sqlite_synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
    """NORMAL may lose the last commits at a power cut, FULL costs a disk flush a transaction."""
    public_url: str | None = None
    """Under which address people reach the console, for links in mails."""
    smtp_host: str | None = None
    """The mail server that alerts are sent by; None sends no mails."""
    smtp_port: Annotated[int, Field(ge=1, le=65_535)] = 587
    """The port of the mail server: usually 587 with `starttls`, 465 with `ssl`, 25 with `none`."""
    smtp_tls: Literal["starttls", "ssl", "none"] = "starttls"
    """How the talk with the mail server is encrypted: after its start, from the start, or not."""
    smtp_user: str | None = None
    """The name to sign in with at the mail server; None does not sign in."""
    smtp_password: str | None = None
    """The password of `smtp_user`."""
    smtp_from: str | None = None
    """The sender of mails, like "Taskyard <jobs@example.com>"; None is taskyard@ this machine."""
    alert_hosts: Annotated[Words, AfterValidator(_hosts)] = ()
    """Hosts and networks (CIDR, with commas) that alerts may go to although they are not public, or
    are chosen by a channel's address; a cloud's metadata address only if it is listed itself."""

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def load(cls, cwd: Path | str | None = None, /, **overrides: Any) -> Self:
        """Return the settings in force.

        `cwd`: where the search for a configuration file starts, upwards (default: the working
        folder). `overrides`: settings by name; None means not given. Raises BadSetting, which names
        the setting and where its value came from.
        """
        start = Path(cwd or Path.cwd()).resolve()
        file, from_file = _read_nearest(start)
        layers = [
            (f"{file}", from_file),
            ("environment", _environment(cls)),
            ("argument", {name: value for name, value in overrides.items() if value is not None}),
        ]
        values, sources = _merge(layers)
        for name in values:
            if name not in cls.model_fields:
                hint = did_you_mean(name, cls.model_fields)
                raise BadSetting(name, "unknown." + hint, sources[name])
        home = file.parent if file else start
        _anchor(values, sources, home, start)
        try:
            settings = cls(**values)
        except ValidationError as error:
            raise _bad_setting(error, sources) from None
        settings._sources.update(sources)
        return settings

    def source(self, name: str) -> str:
        """Return where the value of a setting ("lease", "retention.runs_max_age") came from."""
        return self._sources.get(name, "default")

    def shown(self) -> list[tuple[str, Any, str]]:
        """Return (name, value, source) of each setting, secrets masked, for `config show`."""
        flat = _flat({name: getattr(self, name) for name in type(self).model_fields})
        return [(name, _masked(name, value), self.source(name)) for name, value in flat.items()]

    def to_json(self) -> str:
        """All values, secrets too, and where each came from: for a process of our own."""
        return json.dumps({"values": self.model_dump(mode="json"), "sources": self._sources})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings that `to_json` wrote."""
        told = json.loads(text)
        settings = cls(**told["values"])
        settings._sources.update(told["sources"])
        return settings

    @property
    def beat(self) -> float:
        """Seconds between two beats of a server."""
        return self.lease / 6

    @property
    def margin(self) -> float:
        """Seconds before the end of its lease at which a server stops trusting itself."""
        return self.lease / 6

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [(name, value) for name, value, _ in self.shown()]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` merges the sources itself, because only then can it say where a value came from.
        return (init_settings,)


# --- Reading the sources -------------------------------------------------------------------------


def _environment(cls: type[Settings]) -> dict[str, Any]:
    try:
        return EnvSettingsSource(cls)()
    except ValueError as error:
        raise BadSetting("TASKYARD_*", str(error.__cause__ or error), "environment") from None


def _read_nearest(start: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the nearest configuration file, from `start` upwards, and its settings."""
    for folder in (start, *start.parents):
        for name in FILES:
            path = folder / name
            if path.is_file():
                values = _read_toml(path) if path.suffix == ".toml" else _read_json(path)
                if values is not None:
                    return path, values
    return None, {}


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BadSetting(path.name, f"cannot be read: {error}", str(path)) from None


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the settings in a config.json, or None if the file is some other program's.

    Many programs have a file of this name; ours has one of the sections that only we know.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    if not isinstance(content, dict):
        return None
    sections = [content.get(name) for name in ("database", "executor", "queue")]
    database, executor, queue = ({} if part is None else part for part in sections)
    if not all(isinstance(part, dict) for part in (database, executor, queue)):
        return None
    ours = "server_id" in executor or {"enable", "config_sync_interval"} & queue.keys()
    if not (ours or {"username", "database"} <= database.keys()):
        return None
    values = {
        "server_id": executor.get("server_id"),
        "queue_enable": queue.get("enable"),
        "config_sync_interval": queue.get("config_sync_interval"),
        "database_url": _mysql_url(database) if database else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _mysql_url(database: Mapping[str, Any]) -> str:
    user = quote(str(database.get("username", "root")), safe="")
    if password := str(database.get("password", "")):
        user += ":" + quote(password, safe="")
    host, port = database.get("host", "localhost"), database.get("port", 3306)
    name = quote(str(database.get("database", "")), safe="")
    query = urlencode({"charset": database.get("charset", "utf8mb4")})
    return f"mysql+pymysql://{user}@{host}:{port}/{name}?{query}"


# --- Putting them together -----------------------------------------------------------------------


def _merge(layers: list[tuple[str, dict[str, Any]]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of all layers, later ones first in rank, and each value's source."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        for name, value in _flat(layer).items():
            group, dot, member = name.partition(".")
            if dot:
                values.setdefault(group, {})[member] = value
            else:
                values[name] = value
            is_env = source == "environment"
            shown = f"environment TASKYARD_{name.upper().replace('.', '__')}" if is_env else source
            sources[name] = sources[group] = shown
    return values, sources


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"retention": {"runs_max_rows": 1}} as {"retention.runs_max_rows": 1}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = dict(value) if isinstance(value, BaseModel) else value
        if isinstance(inner, dict):
            flat.update({f"{name}.{member}": child for member, child in inner.items()})
        else:
            flat[name] = inner
    return flat


def _anchor(values: dict[str, Any], sources: dict[str, str], home: Path, start: Path) -> None:
    """Make relative paths absolute: those of a file count from its folder, others from `start`.

    Otherwise the same configuration would mean another database in each sub-folder.
    """
    values.setdefault("folder", home)
    values.setdefault("database_url", Settings.model_fields["database_url"].default)
    for name in ("database_url", "folder", "log_dir", "spool_dir", "tls_cert", "tls_key"):
        value = values.get(name)
        if not isinstance(value, str | Path):
            continue
        explicit = sources.get(name, "").startswith(("environment", "argument"))
        base = start if explicit else home
        values[name] = _absolute_sqlite(value, base) if name == "database_url" else base / value


def _absolute_sqlite(url: str | Path, base: Path) -> str:
    head, colon, rest = str(url).partition(":///")
    path, question, query = rest.partition("?")
    named_file = path and not path.startswith((":memory:", "file:"))
    if not colon or not head.startswith("sqlite") or not named_file:
        return str(url)
    return f"{head}:///{base / path}{question}{query}"


def _bad_setting(error: ValidationError, sources: Mapping[str, str]) -> BadSetting:
    first = error.errors(include_input=False, include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    why = first["msg"].removeprefix("Value error, ")
    return BadSetting(name, why[:1].lower() + why[1:], sources.get(name, "default"))


def _masked(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "database_url":
        return mask_url(value)
    return MASK if is_secret(name) else value
