"""`taskyard token`: how programs sign in.

Owns the words; the verbs are `access/tokens.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from taskyard.access.caller import LOCAL
from taskyard.cli.invocation import invocation
from taskyard.cli.options import After, AsJson, Limit, duration, new_app
from taskyard.cli.output import Column, print_json, print_list, say

app = new_app("API tokens: create, list and revoke them.")


COLUMNS = (
    Column("public_id", "token"),
    Column("state", show="state"),
    Column("name"),
    Column("username", "user"),
    Column("expires_at", "expires", "ago"),
    Column("last_used_at", "last used", "ago"),
    Column("tenants"),
    Column("scopes", wide=True),
)
"""The columns of `token list`."""


@app.command()
def create(
    ctx: typer.Context,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whose token it is.")],
    name: Annotated[str, typer.Option("--name", help="What it is for.")],
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", metavar="ID", help="Only this tenant (repeat it)."),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="PERMISSION", help="Only this permission (repeat it)."),
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="DURATION", help="How long it is good.")
    ] = "90d",
    as_json: AsJson = False,
) -> None:
    """Make a token and print it: this once, it cannot be shown again.

    \b
    Example:
      TOKEN=$(taskyard token create --user ci --name deploy --scope tasks.write --expires 30d)
      curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:9999/api/v1/me
    """
    from taskyard.access.tokens import create_token

    seconds = duration(expires, "--expires")
    assert seconds is not None
    database = invocation(ctx).database()
    made = create_token(
        database,
        LOCAL,
        name,
        username=user,
        scopes=scope or None,
        tenants=tenant or None,
        expires_in=seconds,
    )
    if as_json:
        print_json({"token": made.text} | made.token.to_dict())
        return
    print(made.text)
    say(f"It is shown this once and is good until {made.token.expires_at:%Y-%m-%d %H:%M} UTC.")


@app.command("list")
def list_(
    ctx: typer.Context,
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="Of this user.")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    as_json: AsJson = False,
) -> None:
    """List tokens, the newest first, never with their secrets."""
    from taskyard.access.tokens import list_tokens
    from taskyard.db.listing import Query

    here = invocation(ctx)
    query = Query({"username": user}, limit=limit, cursor=after)
    page = list_tokens(here.database(), LOCAL, query)
    rows = [row | {"state": _state(row)} for row in page.rows]
    if not as_json:
        rows = [row | {name: _limit(row[name]) for name in ("tenants", "scopes")} for row in rows]
    empty = "No tokens. `taskyard token create --user NAME --name WHAT_FOR` makes one."
    print_list(rows, COLUMNS, as_json=as_json, color=here.color, empty=empty)
    if page.next_cursor:
        say(f"There are more: --after {page.next_cursor}")


@app.command()
def revoke(
    ctx: typer.Context,
    public_id: Annotated[
        str, typer.Argument(metavar="ID", help="The part of the token between its two _.")
    ],
) -> None:
    """End a token at once."""
    from taskyard.access.tokens import revoke_token

    token = revoke_token(invocation(ctx).database(), LOCAL, public_id)
    say(f'Token {token.public_id} ("{token.name}" of {token.username}) is revoked.')


def _limit(words: Sequence[str] | None) -> str:
    """What a token is limited to, in words."""
    return "the user's" if words is None else ", ".join(words)


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    return "expired" if row["expires_at"] <= datetime.now(UTC) else "good"
