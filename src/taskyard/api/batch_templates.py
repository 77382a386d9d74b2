"""Batch templates over HTTP: saved forms for batches, with variables.

The verbs are those of `batches/templates.py`; `POST batches` with `template_id` uses one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.fields import Absent, Body, told
from taskyard.api.gate import Ask
from taskyard.api.noun import PREFIX, Noun
from taskyard.batches import templates
from taskyard.core.errors import (
    BatchInvalid,
    ParamsNotJson,
    PayloadTooLarge,
    QueryInvalid,
    TemplateTwice,
    TemplateUnknown,
)

noun = Noun("batch-templates")

TemplateId = Annotated[int, Path(ge=1, lt=2**63)]


class BatchTemplate(BaseModel):
    """A saved form for batches."""

    id: int
    tenant_id: str
    name: str
    task_type: str
    fields: dict[str, Any] = Field(
        description="Fields of a batch; `{{name}}` in their texts is a variable."
    )
    variables: dict[str, Any] = Field(description="Their defaults; null where one must be given.")
    created_by: str
    created_at: datetime
    updated_at: datetime


class NewTemplate(Body):
    """A template to be."""

    name: Annotated[str, told(minLength=1, maxLength=100)]
    task_type: str = Field(min_length=1, max_length=50)
    fields: dict[str, Any] = Field(default_factory=dict)
    variables: dict[str, Any] = Field(default_factory=dict)
    tenant_id: str | None = Field(
        None, max_length=64, description="Whose it is; by default one's own, or the platform's."
    )


class TemplateChanges(Body):
    """What is to be otherwise."""

    name: Annotated[str | Absent, told(minLength=1, maxLength=100)] = None
    task_type: Annotated[str, Field(min_length=1, max_length=50)] | Absent = None
    fields: dict[str, Any] | Absent = None
    variables: dict[str, Any] | Absent = None


_INVALID = (BatchInvalid, ParamsNotJson, PayloadTooLarge, TemplateTwice)


@noun.get(
    "/batch-templates",
    needs=Permission.BATCHES_READ,
    answers=wire.page_of(BatchTemplate),
    takes=asked.of_list(templates.TEMPLATES),
    raises=(QueryInvalid,),
)
def list_batch_templates(ask: Ask) -> dict[str, Any]:
    """Templates by name."""
    query = asked.query_of(ask.query, templates.TEMPLATES)
    return wire.listed(templates.list_templates(ask.db, ask.caller, query))


@noun.create(
    "/batch-templates",
    needs=Permission.TEMPLATES_WRITE,
    audit="batch-template.create",
    answers=BatchTemplate,
    raises=_INVALID,
)
def create_batch_template(ask: Ask, new: NewTemplate) -> wire.Created:
    """Save a template."""
    tenant_id = ask.tenant(new.tenant_id)
    made = templates.create_template(
        ask.db, ask.caller, new.name, new.task_type, new.fields, new.variables, tenant_id=tenant_id
    )
    return wire.Created(made, f"{PREFIX}/batch-templates/{made['id']}")


@noun.get(
    "/batch-templates/{template_id:int}",
    needs=Permission.BATCHES_READ,
    answers=BatchTemplate,
    raises=(TemplateUnknown,),
)
def show_batch_template(ask: Ask, template_id: TemplateId) -> dict[str, Any]:
    """One template."""
    return templates.show_template(ask.db, ask.caller, template_id)


@noun.patch(
    "/batch-templates/{template_id:int}",
    needs=Permission.TEMPLATES_WRITE,
    audit="batch-template.update",
    answers=BatchTemplate,
    raises=(*_INVALID, TemplateUnknown),
)
def update_batch_template(
    ask: Ask, template_id: TemplateId, changes: TemplateChanges
) -> dict[str, Any]:
    """Change a template; what is left out stays."""
    fields = changes.model_dump(exclude_unset=True)
    return templates.update_template(ask.db, ask.caller, template_id, fields)


@noun.delete(
    "/batch-templates/{template_id:int}",
    needs=Permission.TEMPLATES_WRITE,
    audit="batch-template.delete",
    raises=(TemplateUnknown,),
)
def delete_batch_template(ask: Ask, template_id: TemplateId) -> None:
    """Delete a template; batches made from it stay."""
    templates.delete_template(ask.db, ask.caller, template_id)
