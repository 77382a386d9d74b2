"""Messages: what people are told, as a mail, a chat and a program read it.

Owns the words: subject, text, HTML and JSON, all made of the same facts. The templates stand beside
this file; nothing of them comes from the database, and HTML escapes whatever does. Secrets in
errors' URLs are masked. Ways out are others' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from taskyard.alerts.incident import Incident
from taskyard.alerts.judge import Event
from taskyard.alerts.kinds import KINDS, RuleKind
from taskyard.core.payload import cut_error, mask_url
from taskyard.db.listing import utc

if TYPE_CHECKING:
    from jinja2 import Environment

    from taskyard.alerts.channel import Channel
    from taskyard.settings import Settings

_ERROR_BYTES = 4_000
_SHOWN = 20
"""Incidents that a message shows one by one."""

_HEADS = {Event.OPENED: "", Event.REMINDED: "Still: ", Event.RESOLVED: "Resolved: "}


class Mood(Enum):
    """How a message is meant."""

    BAD = "bad"
    GOOD = "good"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told. `kind` and `data` are for programs."""

    kind: str
    subject: str
    text: str
    html: str
    data: dict[str, Any]
    mood: Mood


def of_incidents(
    event: str,
    incidents: Sequence[Incident],
    runs: Sequence[Mapping[str, Any] | None],
    settings: Settings,
) -> Message:
    """The message of an event of incidents of one rule; `runs` are the Runs that the first show."""
    known = Event(event)
    shown = [
        _shown(one, runs[number] if number < len(runs) else None, settings)
        for number, one in enumerate(incidents[:_SHOWN])
    ]
    first = incidents[0]
    others = f", and {len(incidents) - 1} more" if len(incidents) > 1 else ""
    title = f"{_HEADS[known]}{first.summary}{others}"
    facts = {
        "title": title,
        "event": known,
        "incidents": shown,
        "left_out": len(incidents) - len(shown),
        "rule": first.rule_name,
        "watches": KINDS[RuleKind(first.kind)].help,
        "over": KINDS[RuleKind(first.kind)].over,
        "all_link": _link(settings, "/alerts"),
    }
    data = {
        "event": known.value,
        "rule": {"id": first.rule_id, "name": first.rule_name, "kind": first.kind},
        "tenant_id": first.tenant_id,
        "incidents": shown,
        "total": len(incidents),
    }
    mood = Mood.GOOD if known is Event.RESOLVED else Mood.BAD
    return _message(f"incident.{known}", title, "incident", facts, data, mood)


def of_test(channel: Channel, settings: Settings) -> Message:
    """The message that only shows that messages arrive."""
    title = f'Test: channel "{channel.name}" works'
    now = datetime.now(UTC)
    facts = {
        "title": title,
        "channel": channel.name,
        "at": _time(now, settings),
        "link": _link(settings, "/alerts"),
    }
    data = {"event": "test", "channel": {"id": channel.id, "name": channel.name}}
    return _message("channel.test", title, "test", facts, data, Mood.PLAIN)


def of_batch(batch: Mapping[str, Any], settings: Settings) -> Message:
    """The message that a batch (a row of `ty_batches`) has ended."""
    failed = batch["status"] == "failed" or batch["failed_count"] > 0
    ended = {"failed": "failed", "cancelled": "was cancelled"}.get(batch["status"], "has completed")
    some = f" with {batch['failed_count']} failed" if batch["failed_count"] else ""
    title = f"batch {batch['name'] or batch['id']} {ended}{some}"
    counts = ("total_count", "success_count", "failed_count", "skipped_count")
    shown = {
        **{name: batch[name] for name in ("id", "name", "task_type", "status", "tenant_id")},
        **{name: batch[name] for name in counts},
        "error": batch["error"],
        "created_by": batch["created_by"],
        "started_at": _time(utc(batch["started_at"]), settings),
        "completed_at": _time(utc(batch["completed_at"]), settings),
        "link": _link(settings, f"/batches/{batch['id']}"),
    }
    facts = {"title": title, "batch": shown, "failed": failed}
    mood = Mood.BAD if failed else Mood.GOOD
    return _message("batch.finished", title, "batch", facts, {"batch": shown}, mood)


# --- facts ----------------------------------------------------------------------------------------


def _shown(incident: Incident, run: Mapping[str, Any] | None, settings: Settings) -> dict[str, Any]:
    """What of an incident is told, by name."""
    return {
        "id": incident.id,
        "summary": incident.summary,
        "subject": incident.subject,
        "state": incident.state.value,
        "count": incident.count,
        "first_at": _time(incident.first_at, settings),
        "last_at": _time(incident.last_at, settings),
        "resolved_at": _time(incident.resolved_at, settings),
        "details": incident.details,
        "run_id": incident.run_id,
        "run": None if run is None else _run(run, settings),
    }


def _run(run: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    error = run.get("error")
    return {
        **{
            name: run[name]
            for name in ("id", "task_type", "queue", "status", "attempt", "server_id", "tenant_id")
        },
        "started_at": _time(run["started_at"], settings),
        "completed_at": _time(run["completed_at"], settings),
        "execution_time": run["execution_time"],
        "error": None if error is None else cut_error(mask_url(error), _ERROR_BYTES),
        "link": _link(settings, f"/runs/{run['id']}"),
    }


def _time(moment: datetime | None, settings: Settings) -> str | None:
    if moment is None:
        return None
    local = moment.astimezone(ZoneInfo(settings.default_time_zone))
    return local.isoformat(sep=" ", timespec="seconds")


def _link(settings: Settings, path: str) -> str | None:
    return None if settings.public_url is None else settings.public_url.rstrip("/") + path


# --- forms ----------------------------------------------------------------------------------------


def _message(
    kind: str, title: str, template: str, facts: Mapping[str, Any], data: dict[str, Any], mood: Mood
) -> Message:
    forms = _templates()
    text = forms.get_template(f"{template}.txt").render(facts).strip() + "\n"
    html = forms.get_template(f"{template}.html").render(facts)
    subject = " ".join(title.split())[:200]
    return Message(kind, subject, text, html, {**data, "text": text}, mood)


@cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("taskyard.alerts"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
