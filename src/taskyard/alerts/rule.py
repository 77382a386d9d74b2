"""Rule: what a row of `ty_alert_rules` is, and what it may be.

Owns the Rule as an object, how it is read, and the check of what somebody wants it to be. The verbs
are `rules.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import orjson

from taskyard.access.caller import PLATFORM
from taskyard.alerts.kinds import DAY, KINDS, Kind, RuleKind, SettingRefused, seconds, settings_of
from taskyard.core.errors import AlertInvalid, did_you_mean
from taskyard.db.database import Tx
from taskyard.db.listing import integer, utc

COLUMNS = (
    "id",
    "name",
    "kind",
    "filters",
    "settings",
    "channels",
    "remind_every",
    "resolve_after",
    "silenced_until",
    "tenant_id",
    "status",
    "problem",
    "created_at",
    "updated_at",
)
"""The columns of a rule; beside them stands `state`, which is the check's own."""

REMIND_EVERY = DAY
"""Seconds after which people are reminded of an open incident, unless a rule says otherwise."""

_LONGEST_NAME = 100
_MOST_WORDS = 100
_MOST_CHANNELS = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """What is watched, and who is told.

    `filters` narrow it to task types, queues, …; `settings` are its kind's. `channels` are ids,
    None is every enabled channel of its tenant. `remind_every` and `resolve_after` are seconds; 0
    never reminds. `problem` says why it could not be judged the last time.
    """

    id: int
    name: str
    kind: RuleKind
    filters: dict[str, list[Any]]
    settings: dict[str, Any]
    channels: list[int] | None
    remind_every: float
    resolve_after: float
    silenced_until: datetime | None
    tenant_id: str
    status: int
    problem: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def what(self) -> Kind:
        """What there is to know of its kind."""
        return KINDS[self.kind]

    def is_silent(self, now: datetime) -> bool:
        """Is nobody to be told now?"""
        return self.silenced_until is not None and self.silenced_until > now

    def fits(self, thing: Mapping[str, Any]) -> bool:
        """Is a thing with these values what it is about? A tenant's rule is about the tenant's."""
        ours = self.tenant_id in (PLATFORM, thing.get("tenant_id"))
        return ours and all(thing[name] in words for name, words in self.filters.items())

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def of_row(row: Mapping[str, Any]) -> Rule:
    """The rule of a row with `COLUMNS`."""
    times = {name: utc(row[name]) for name in ("silenced_until", "created_at", "updated_at")}
    texts = {name: orjson.loads(row[name]) for name in ("filters", "settings", "channels")}
    return Rule(**{**row, **times, **texts, "kind": RuleKind(row["kind"])})


def read(tx: Tx, rule_id: int) -> Rule | None:
    """The rule of an id, whoever asks."""
    sql = f"SELECT {', '.join(COLUMNS)} FROM ty_alert_rules WHERE id = :id"
    rows = tx.rows(sql, id=rule_id)
    return of_row(rows[0]) if rows else None


def thing(name: str) -> str:
    """How messages name a rule."""
    return f'Alert rule "{name}"'


# --- what may be ----------------------------------------------------------------------------------


def valid_name(name: str) -> str:
    """The name as it is kept; raises AlertInvalid."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise AlertInvalid(
            thing(name[:_LONGEST_NAME]),
            "name",
            "it is empty, too long, or has a character that cannot be",
            f"Use 1–{_LONGEST_NAME} characters on one line.",
        )
    return name.strip()


def valid_kind(name: str, kind: str) -> RuleKind:
    """The kind of a rule to be; raises AlertInvalid."""
    try:
        return RuleKind(kind)
    except ValueError:
        why = f'there is no kind "{kind}".{did_you_mean(kind, RuleKind)}'
        raise AlertInvalid(thing(name), "kind", why, f"There are: {', '.join(RuleKind)}.") from None


def valid_fields(
    name: str, kind: RuleKind, tenant_id: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """What a rule of this name is to be, by column, as values; raises AlertInvalid.

    `given` may have `filters`, `settings`, `channels`, `remind_every`, `resolve_after`, `status`.
    """
    what = KINDS[kind]
    if what.platform and tenant_id != PLATFORM:
        raise AlertInvalid(
            thing(name),
            "kind",
            f"{kind} is about what belongs to no tenant",
            "Make it a rule of the platform, without a tenant_id.",
        )
    checks: dict[str, Callable[[Any], Any]] = {
        "filters": lambda value: _filters(name, kind, tenant_id, value or {}),
        "settings": lambda value: _settings(name, kind, value or {}),
        "channels": lambda value: _channels(name, value),
        "remind_every": lambda value: _seconds(name, "remind_every", value, REMIND_EVERY),
        "resolve_after": lambda value: _seconds(name, "resolve_after", value, what.resolve_after),
        "status": lambda value: _status(name, value),
    }
    for field in given:
        if field not in checks:
            known = f"There are: {', '.join(checks)}."
            raise AlertInvalid(thing(name), field, f'there is no field "{field}"', known)
    return {field: checks[field](value) for field, value in given.items()}


def as_texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same as it is stored: what is no plain value, as JSON."""
    nested = ("filters", "settings", "channels")
    return {
        field: orjson.dumps(value).decode() if field in nested else value
        for field, value in fields.items()
    }


def _filters(
    name: str, kind: RuleKind, tenant_id: str, given: Mapping[str, Any]
) -> dict[str, list[Any]]:
    what, found = KINDS[kind], {}
    for field, value in given.items():
        if field not in what.filters:
            why = f'a {kind} rule cannot be narrowed by "{field}"'
            known = f"There are: {', '.join(what.filters)}." if what.filters else "Leave it out."
            raise AlertInvalid(thing(name), "filters", why, known)
        if value is not None and value != []:
            found[field] = _words(name, field, value)
    for field in what.needs:
        if field not in found:
            why = f"a {kind} rule needs to know which {field}"
            raise AlertInvalid(thing(name), "filters", why, f"Give at least one {field}.")
    if tenant_id != PLATFORM and found.get("tenant_id", [tenant_id]) != [tenant_id]:
        why = f'a rule of tenant "{tenant_id}" sees no other tenant'
        raise AlertInvalid(thing(name), "filters", why, "Leave tenant_id out.")
    return found


def _words(name: str, field: str, value: Any) -> list[Any]:
    words = list(value) if isinstance(value, list | tuple) else [value]
    if len(words) > _MOST_WORDS:
        why = f"{field} has {len(words)} values"
        raise AlertInvalid(thing(name), "filters", why, f"Give at most {_MOST_WORDS}.")
    try:
        return [integer(word) if field == "schedule_id" else _text(word) for word in words]
    except ValueError as error:
        raise AlertInvalid(thing(name), "filters", f"{field}: {error}", "Correct it.") from None


def _text(word: Any) -> str:
    if not isinstance(word, str) or len(word) > 255 or "\0" in word:
        raise ValueError(f"{word!r:.80} is not a text of at most 255 characters")
    return word


def _settings(name: str, kind: RuleKind, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return settings_of(kind, given)
    except SettingRefused as error:
        raise AlertInvalid(thing(name), error.name, error.why, error.fix) from None


def _channels(name: str, value: Any) -> list[int] | None:
    if value is None:
        return None
    sound = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not sound or len(value) > _MOST_CHANNELS:
        why = f"channels cannot be {value!r:.80}"
        fix = f"Give a list of at most {_MOST_CHANNELS} ids, or null for every channel."
        raise AlertInvalid(thing(name), "channels", why, fix)
    try:
        return list(dict.fromkeys(integer(channel) for channel in value))
    except ValueError as error:
        raise AlertInvalid(thing(name), "channels", str(error), "Give ids of channels.") from None


def _seconds(name: str, field: str, value: Any, default: float) -> float:
    if value is None:
        return default
    try:
        found: float = seconds(0, 366 * DAY)(value)
    except ValueError as error:
        fix = f"{str(error).capitalize()}."
        raise AlertInvalid(thing(name), field, f"it cannot be {value!r}", fix) from None
    if field == "remind_every" and 0 < found < 60:
        raise AlertInvalid(
            thing(name), field, "it is too short", "Give 1m or more, or 0 for never."
        )
    return found


def _status(name: str, value: Any) -> int:
    if isinstance(value, bool) or value not in (0, 1):
        raise AlertInvalid(thing(name), "status", f"it cannot be {value!r}", "Give 1 or 0.")
    return int(value)
