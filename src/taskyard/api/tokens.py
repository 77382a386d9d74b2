"""API tokens over HTTP; a token's text is shown once. The verbs are `access.tokens`'."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from taskyard.access import tokens
from taskyard.access.permissions import Permission
from taskyard.api import asked, wire
from taskyard.api.fields import Body, Duration, OneOf, lasting, told
from taskyard.api.gate import Ask, Entry
from taskyard.api.noun import Noun
from taskyard.core.errors import (
    AccessInvalid,
    QueryInvalid,
    TenantUnknown,
    TokenUnknown,
    UserUnknown,
)

noun = Noun("tokens")


class Token(BaseModel):
    """How a program signs in, without its secret."""

    id: int
    public_id: str
    name: str
    username: str
    scopes: list[Permission] | None = Field(description="Its permissions; null: its user's.")
    tenants: list[str] | None = Field(description="Its tenants; null: its user's.")
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


class MadeToken(Token):
    """A token that was just made; `text` cannot be had again."""

    text: str = Field(description="Send it as `Authorization: Bearer …`.")


class NewToken(Body):
    """A token to be."""

    name: Annotated[str, told(minLength=1, maxLength=100)] = Field(description="What it is for.")
    username: str | None = Field(None, description="Whose it is; by default one's own.")
    scopes: Annotated[list[OneOf[Permission]], Field(min_length=1)] | None = Field(
        None, description="Limit it to these."
    )
    tenants: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Limit it to these tenants."
    )
    expires_in: Annotated[Duration, lasting(60, tokens.LONGEST_LIFE, null=False)] = Field(
        tokens.DEFAULT_LIFE, description="At most a year."
    )


@noun.get(
    "/tokens",
    needs=Entry.SIGNED_IN,
    answers=wire.page_of(Token),
    takes=asked.of_list(tokens.TOKENS),
    raises=(QueryInvalid,),
)
def list_tokens(ask: Ask) -> dict[str, Any]:
    """The tokens that one may revoke, the newest first."""
    query = asked.query_of(ask.query, tokens.TOKENS)
    return wire.listed(tokens.list_tokens(ask.db, ask.caller, query))


@noun.create(
    "/tokens",
    needs=Entry.SIGNED_IN,
    audit="token.create",
    answers=MadeToken,
    raises=(UserUnknown, AccessInvalid, TenantUnknown),
    once=False,  # Its answer holds a secret, which must not be kept.
)
def create_token(ask: Ask, new: NewToken) -> dict[str, Any]:
    """Make a token; its text is in this answer and nowhere else."""
    made = tokens.create_token(ask.db, ask.caller, **new.model_dump())
    return {**made.token.to_dict(), "text": made.text}


@noun.delete(
    "/tokens/{public_id}", needs=Entry.SIGNED_IN, audit="token.revoke", raises=(TokenUnknown,)
)
def revoke_token(ask: Ask, public_id: str) -> None:
    """End a token at once."""
    tokens.revoke_token(ask.db, ask.caller, public_id)
