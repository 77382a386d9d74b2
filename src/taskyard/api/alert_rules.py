"""Alert rules over HTTP: what is watched, and how often it would have fired. The verbs are
`alerts.rules`' and `alerts.preview`'s."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from taskyard.access.permissions import Permission
from taskyard.alerts import preview as previews
from taskyard.alerts import rules
from taskyard.alerts.kinds import KINDS, RuleKind
from taskyard.api import asked, wire
from taskyard.api.fields import Absent, Body, Duration, OneOf, lasting, told
from taskyard.api.gate import Ask
from taskyard.api.noun import PREFIX, Noun
from taskyard.core.errors import (
    AlertInvalid,
    NameTaken,
    QueryInvalid,
    RuleUnknown,
    TenantUnknown,
)

noun = Noun("alerts")

RuleId = Annotated[int, Path(ge=1, lt=2**63)]

NAME = told(minLength=1, maxLength=100, pattern=r"\S")

_FILTERS = Field(
    description="Only what has one of these values, by task_type, queue, schedule_id, …;"
    " which there are depends on the kind.",
    examples=[{"task_type": ["backup"]}],
)
_SETTINGS = Field(
    description="The numbers and words of its kind (see the kinds).",
    examples=[{"count": 5, "window": "10m"}],
)
_CHANNELS = Field(description="Ids of the channels that are told; null is all of its tenant.")
_REMIND = Field(description="Seconds after which people are told again; 0 is never.")
_RESOLVE = Field(description="Seconds for which it must have been over.")


class Rule(BaseModel):
    """What is watched, and who is told."""

    id: int
    name: str
    kind: RuleKind
    filters: dict[str, list[Any]] = _FILTERS
    settings: dict[str, Any] = _SETTINGS
    channels: list[int] | None = _CHANNELS
    remind_every: float = _REMIND
    resolve_after: float = _RESOLVE
    silenced_until: datetime | None
    tenant_id: str
    status: int = Field(description="1, or 0 for disabled.")
    problem: str | None = Field(description="Why it could not be judged the last time.")
    created_at: datetime
    updated_at: datetime


class Watch(Body):
    """What of a rule can be set beside its name; what is left out stays, or has its default."""

    filters: Annotated[dict[str, Any] | None, _FILTERS] = None
    settings: Annotated[dict[str, Any] | None, _SETTINGS] = None
    channels: Annotated[list[int] | None, told(maxItems=20)] = None
    remind_every: Duration | None = None
    resolve_after: Duration | None = None


class RuleChanges(Watch):
    """What is to be different; filters and settings are replaced as a whole."""

    name: Annotated[str | Absent, NAME] = None
    status: int = Field(1, ge=0, le=1)


class RuleDraft(Watch):
    """A rule that is only thought of."""

    kind: OneOf[RuleKind]
    tenant_id: str | None = Field(None, description="Whose it is; empty is the platform's.")


class NewRule(RuleDraft):
    """A rule to be."""

    name: Annotated[str, NAME]
    status: int = Field(1, ge=0, le=1)


class Preview(BaseModel):
    """How often a rule would have opened an incident in the last seven days."""

    fired: int | None = Field(description="Null where the past does not tell.")
    times: list[datetime] = Field(description="The newest, at most 20.")
    since: datetime
    note: str | None = Field(description="What the number leaves out.")


class Silence(Body):
    """For how long nobody is told; 0 ends a silence."""

    for_: Annotated[Duration, lasting(0, 366 * 86_400, null=False)] = Field(
        alias="for", examples=["2h"]
    )


class KindSetting(BaseModel):
    """A number or a word that rules of a kind take."""

    name: str
    help: str
    required: bool
    default: float | str | None


class Kind(BaseModel):
    """What a rule can watch."""

    kind: RuleKind
    help: str
    over: str = Field(description="When an incident of it is over.")
    settings: list[KindSetting]
    filters: list[str] = Field(description="By what it can be narrowed.")
    needs: list[str] = Field(description="The filters that must be given.")
    platform: bool = Field(description="It is about what belongs to no tenant.")


class Kinds(BaseModel):
    """All there is to watch."""

    data: list[Kind]


@noun.get(
    "/alert-rules",
    needs=Permission.ALERTS_READ,
    answers=wire.page_of(Rule),
    takes=asked.of_list(rules.RULES),
    raises=(QueryInvalid,),
)
def list_alert_rules(ask: Ask) -> dict[str, Any]:
    """Alert rules by name."""
    return wire.listed(rules.list_rules(ask.db, ask.caller, asked.query_of(ask.query, rules.RULES)))


@noun.create(
    "/alert-rules",
    needs=Permission.ALERTS_WRITE,
    audit="alert-rule.create",
    answers=Rule,
    raises=(AlertInvalid, NameTaken, TenantUnknown),
)
def create_alert_rule(ask: Ask, new: NewRule) -> wire.Created:
    """Make a rule; it watches what happens from now on."""
    fields = new.model_dump(exclude_unset=True)
    tenant_id = ask.tenant(fields.pop("tenant_id", None))
    made = rules.create_rule(ask.db, ask.caller, tenant_id=tenant_id, **fields)
    return wire.Created(made.to_dict(), f"{PREFIX}/alert-rules/{made.id}")


@noun.get("/alert-rules/kinds", needs=Permission.ALERTS_READ, answers=Kinds)
def list_alert_kinds(ask: Ask) -> dict[str, Any]:
    """What can be watched, and which settings and filters each kind takes."""
    return {"data": [_kind(name) for name in KINDS]}


@noun.post(
    "/alert-rules/preview",
    needs=Permission.ALERTS_READ,
    audit="nothing",
    answers=Preview,
    raises=(AlertInvalid,),
)
def preview_alert_rule(ask: Ask, draft: RuleDraft) -> dict[str, Any]:
    """How often a rule would have fired in the last seven days, before it is made."""
    fields = draft.model_dump(exclude_unset=True)
    tenant_id = ask.tenant(fields.pop("tenant_id", None))
    return previews.preview_rule(ask.db, ask.caller, tenant_id=tenant_id, **fields).to_dict()


@noun.get(
    "/alert-rules/{rule_id:int}",
    needs=Permission.ALERTS_READ,
    answers=Rule,
    raises=(RuleUnknown,),
)
def show_alert_rule(ask: Ask, rule_id: RuleId) -> dict[str, Any]:
    """One rule."""
    return rules.show_rule(ask.db, ask.caller, rule_id).to_dict()


@noun.get(
    "/alert-rules/{rule_id:int}/preview",
    needs=Permission.ALERTS_READ,
    answers=Preview,
    raises=(RuleUnknown,),
)
def preview_saved_alert_rule(ask: Ask, rule_id: RuleId) -> dict[str, Any]:
    """How often a rule would have fired in the last seven days, as it is now."""
    return previews.preview_saved(ask.db, ask.caller, rule_id).to_dict()


@noun.patch(
    "/alert-rules/{rule_id:int}",
    needs=Permission.ALERTS_WRITE,
    audit="alert-rule.update",
    answers=Rule,
    raises=(RuleUnknown, AlertInvalid, NameTaken),
)
def update_alert_rule(ask: Ask, rule_id: RuleId, changes: RuleChanges) -> dict[str, Any]:
    """Change a rule; what is left out stays."""
    fields = changes.model_dump(exclude_unset=True)
    return rules.update_rule(ask.db, ask.caller, rule_id, **fields).to_dict()


@noun.delete(
    "/alert-rules/{rule_id:int}",
    needs=Permission.ALERTS_WRITE,
    audit="alert-rule.delete",
    raises=(RuleUnknown,),
)
def delete_alert_rule(ask: Ask, rule_id: RuleId) -> None:
    """Delete a rule; its incidents are resolved and stay."""
    rules.delete_rule(ask.db, ask.caller, rule_id)


@noun.post(
    "/alert-rules/{rule_id:int}/silence",
    needs=Permission.ALERTS_WRITE,
    audit="alert-rule.silence",
    answers=Rule,
    raises=(RuleUnknown, AlertInvalid),
)
def silence_alert_rule(ask: Ask, rule_id: RuleId, silence: Silence) -> dict[str, Any]:
    """Tell nobody of a rule's incidents for so long; they are opened and counted all the same."""
    return rules.silence_rule(ask.db, ask.caller, rule_id, silence.for_).to_dict()


def _kind(name: RuleKind) -> dict[str, Any]:
    kind = KINDS[name]
    settings = [
        {
            "name": setting,
            "help": one.help,
            "required": one.default is None and not one.open,
            "default": one.default,
        }
        for setting, one in kind.settings.items()
    ]
    return {
        "kind": name,
        "help": kind.help,
        "over": kind.over,
        "settings": settings,
        "filters": kind.filters,
        "needs": kind.needs,
        "platform": kind.platform,
    }
