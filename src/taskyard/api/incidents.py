"""Incidents over HTTP: what the alert rules have seen. The verbs are `alerts.incidents`'."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from taskyard.access.permissions import Permission
from taskyard.alerts import incidents
from taskyard.alerts.incident import State
from taskyard.alerts.kinds import RuleKind
from taskyard.api import asked, wire
from taskyard.api.alert_rules import Silence
from taskyard.api.gate import Ask
from taskyard.api.noun import Noun
from taskyard.core.errors import AlertInvalid, IncidentUnknown, NotNow, QueryInvalid

noun = Noun("alerts")

IncidentId = Annotated[int, Path(ge=1, lt=2**63)]


class Incident(BaseModel):
    """One occurrence of what a rule watches."""

    id: int
    rule_id: int
    rule_name: str
    kind: RuleKind
    subject: str = Field(
        description="What it is about; one incident of a rule is open for each.",
        examples=["task_type:backup", "schedule:7"],
    )
    summary: str
    state: State
    count: int = Field(description="How many runs (or other things) it is about.")
    first_at: datetime
    last_at: datetime
    run_id: int | None = Field(description="The newest run of them.")
    details: dict[str, Any]
    tenant_id: str
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    silenced_until: datetime | None
    resolved_by: str | None = Field(description="Null where it was over by itself.")
    resolved_at: datetime | None
    notified_at: datetime | None
    messages: int = Field(description="How many messages were sent of it.")


@noun.get(
    "/incidents",
    needs=Permission.ALERTS_READ,
    answers=wire.page_of(Incident),
    takes=asked.of_list(incidents.INCIDENTS),
    raises=(QueryInvalid,),
)
def list_incidents(ask: Ask) -> dict[str, Any]:
    """Incidents, the newest first."""
    query = asked.query_of(ask.query, incidents.INCIDENTS)
    return wire.listed(incidents.list_incidents(ask.db, ask.caller, query))


@noun.get(
    "/incidents/{incident_id}",
    needs=Permission.ALERTS_READ,
    answers=Incident,
    raises=(IncidentUnknown,),
)
def show_incident(ask: Ask, incident_id: IncidentId) -> dict[str, Any]:
    """One incident."""
    return incidents.show_incident(ask.db, ask.caller, incident_id).to_dict()


@noun.post(
    "/incidents/{incident_id}/ack",
    needs=Permission.ALERTS_WRITE,
    audit="incident.acknowledge",
    answers=Incident,
    raises=(IncidentUnknown, NotNow),
)
def acknowledge_incident(ask: Ask, incident_id: IncidentId) -> dict[str, Any]:
    """Look after it: nobody is reminded any more, all are told when it is over."""
    return incidents.acknowledge(ask.db, ask.caller, incident_id).to_dict()


@noun.post(
    "/incidents/{incident_id}/resolve",
    needs=Permission.ALERTS_WRITE,
    audit="incident.resolve",
    answers=Incident,
    raises=(IncidentUnknown, NotNow),
)
def resolve_incident(ask: Ask, incident_id: IncidentId) -> dict[str, Any]:
    """Say that it is over; while it still holds, no other is opened."""
    return incidents.resolve(ask.db, ask.caller, incident_id).to_dict()


@noun.post(
    "/incidents/{incident_id}/silence",
    needs=Permission.ALERTS_WRITE,
    audit="incident.silence",
    answers=Incident,
    raises=(IncidentUnknown, NotNow, AlertInvalid),
)
def silence_incident(ask: Ask, incident_id: IncidentId, silence: Silence) -> dict[str, Any]:
    """Tell nobody of it for so long; 0 ends a silence."""
    return incidents.silence(ask.db, ask.caller, incident_id, silence.for_).to_dict()
