"""Audit: who changed what, written in the same transaction as the change.

Owns what is written to `ty_audit` and how it is listed: append-only; the columns `before` and
`after` are JSON with secrets masked. That nothing is changed afterwards is `seals.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.payload import mask, storable
from taskyard.db.database import Database, Tx
from taskyard.db.listing import (
    Filter,
    Listing,
    Operator,
    Page,
    Query,
    Source,
    integer,
    microseconds,
    page,
    read_filter,
    utc,
)

_INSERT = """
INSERT INTO ty_audit (at, actor, user_id, token_id, address, request_id, action, object, tenant_id,
                      {before}, {after})
VALUES ({now}, :actor, :user_id, :token_id, :address, :request_id, :action, :object, :tenant_id,
        :before, :after)
"""


AUDIT = Listing(
    columns=(
        "id",
        "at",
        "actor",
        "user_id",
        "token_id",
        "address",
        "request_id",
        "action",
        "object",
        "tenant_id",
        "seal",
    ),
    large=("before_", "after_"),
    filters={
        "actor": Filter("actor"),
        "action": Filter("action"),
        "object": Filter("object"),
        "tenant_id": Filter("tenant_id"),
        "user_id": Filter("user_id", read=integer),
        "token_id": Filter("token_id", read=integer),
        "from": Filter("at", Operator.FROM, microseconds),
        "to": Filter("at", Operator.TO, microseconds),
    },
    # Rows are written in the order of their ids, give or take the length of a transaction.
    sorts={"at": "id"},
    sort="-at",
)
"""What may be asked of the audit; the newest first unless asked otherwise."""


def write(
    tx: Tx,
    caller: Caller,
    action: str,
    thing: str,
    *,
    tenant_id: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Record a change inside the transaction that makes it.

    `action` is noun and verb ("queue.update"), `thing` what was changed ("queue/mail").
    """
    quote = tx.dialect.quote  # `before` is a reserved word of MySQL
    tx.execute(
        _INSERT.format(now=tx.dialect.utc_now, before=quote("before"), after=quote("after")),
        actor=caller.name[:150],
        user_id=caller.user_id,
        token_id=caller.token_id,
        address=_cut(caller.address),
        request_id=_cut(caller.request_id),
        action=action,
        object=thing[:190],
        tenant_id=tenant_id,
        before=_json(before),
        after=_json(after),
    )


def list_audit(db: Database, caller: Caller, query: Query) -> Page:
    """One page of the audit, with `before` and `after`. Raises QueryInvalid or NotAllowed."""
    caller.require(Permission.AUDIT_READ)
    asked = replace(query, filters=caller.narrow(query.filters), large=AUDIT.large)
    found = db.read(partial(_page, query=asked))
    return replace(found, rows=[_presented(row) for row in found.rows])


def _page(tx: Tx, query: Query) -> Page:
    where, moments = _between(tx, query)
    columns = {"before_": tx.dialect.quote("before"), "after_": tx.dialect.quote("after")}
    rest = {name: value for name, value in query.filters.items() if name not in ("from", "to")}
    source = Source("ty_audit", columns, where=where, parameters=moments)
    return page(tx, AUDIT, [source], replace(query, filters=rest))


def _between(tx: Tx, query: Query) -> tuple[str, dict[str, float]]:
    """The filters `from` and `to` as a condition that an index serves, whatever `at` is made of."""
    conditions, moments = [], {}
    for name, sign in (("from", ">="), ("to", "<")):
        if query.filters.get(name) is not None:
            [micros] = read_filter(AUDIT, name, query.filters[name])
            moments[f"{name}_"] = micros / 1_000_000
            since_now = f":{name}_ - {tx.dialect.epoch(tx.dialect.utc_now)}"
            conditions.append(f"at {sign} {tx.dialect.utc_after(since_now)}")
    return " AND ".join(conditions), moments


def _presented(row: dict[str, Any]) -> dict[str, Any]:
    before, after = row.pop("before_"), row.pop("after_")
    return row | {
        "at": utc(row["at"]),
        "before": None if before is None else orjson.loads(before),
        "after": None if after is None else orjson.loads(after),
    }


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else orjson.dumps(mask(value), default=str).decode()


def _cut(text: str | None) -> str | None:
    return None if text is None else storable(text)[:64]
