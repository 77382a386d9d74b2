"""Town: two tenants that are not to know of each other, and everybody who may ask.

Owns the callers and the things that the tests from outside share. A town is made once for many
requests; what a request changes is made for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import quote

from api.house import Client, House
from conformance.spine import Spine, ended
from taskyard import servers
from taskyard.access import logins, tokens, users
from taskyard.access.caller import LOCAL
from taskyard.alerts import channels, rules
from taskyard.batches.create import create_batch
from taskyard.batches.manage import pause_batch
from taskyard.batches.templates import create_template
from taskyard.handlers import HandlerSpec
from taskyard.schedules.manage import create_schedule
from taskyard.tasks import manage

OWN, OTHER, PLATFORM = "acme", "globex", ""
TENANTS = {"own": OWN, "other": OTHER, "platform": PLATFORM}
"""Whose a thing is, seen from the callers: all who have a tenant have OWN."""

PASSWORD = "correct horse battery"
CHECK = HandlerSpec("check", queue="batches", batch={"concurrency": 1})
REPORT = HandlerSpec("report", queue="mail", location="handlers.py:3")


class Town:
    """The callers by name, each a client; `advanced` has the setting advanced_permissions on."""

    def __init__(self, url: str) -> None:
        self.house = House(url)
        self.advanced = House(url, advanced_permissions=True)
        self.spine = Spine(url)
        self.spine.queue("mail", "mail_tasks")
        self.spine.queue("history", "history_tasks")
        self.house.server("one", REPORT, CHECK)
        self.house.tenant(OWN)
        self.house.tenant(OTHER)
        self.names = count(1)
        self.whose: dict[str, str] = {}
        """The username of each caller."""
        self.callers: dict[str, Client] = {}
        self._add_users()
        self._add_tokens()

    def close(self) -> None:
        with closing(self.spine.db), closing(self.advanced), closing(self.house):
            pass

    @property
    def db(self) -> Any:
        return self.house.db

    def ask(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """An answer; whatever cookie came with it is forgotten."""
        client = self.callers[who]
        answer = client.ask(method, path, json=body, follow_redirects=False)
        client.inner.cookies.clear()
        return answer

    def new_name(self, kind: str) -> str:
        return f"{kind}-{next(self.names)}"

    def _add_users(self) -> None:
        for name in ("viewer", "operator", "tenant_admin"):
            users.add_user(self.db, LOCAL, name, role=name, tenants=[OWN])
        users.add_user(self.db, LOCAL, "granted", tenants=[OWN], grants=["monitoring"])
        raw: dict[str, Any] = {"role": "tenant_admin", "grants": ["payload.raw"]}
        users.add_user(self.db, LOCAL, "trusted", tenants=[OWN], **raw)
        users.add_user(self.db, LOCAL, "monitor", role="monitor")
        users.add_user(self.db, LOCAL, "root", role="superuser")
        users.add_user(self.db, LOCAL, "gone", role="superuser")
        users.add_user(self.db, LOCAL, "pat", tenants=[OWN], password=PASSWORD)
        users.add_user(self.db, LOCAL, "nell", tenants=[OTHER])
        users.add_user(self.db, LOCAL, "platon")

    def _add_tokens(self) -> None:
        for name in ("viewer", "operator", "tenant_admin", "trusted", "monitor", "root"):
            self._add(name, name)
        self._add("monitor on", "monitor", self.advanced)
        self._add("granted on", "granted", self.advanced)
        self._add("limited", "root", tenants=[OWN])
        self._add("narrow", "root", scopes=["templates.write"])
        self.callers["nobody"] = self.house.anon
        self.callers["unknown"] = self.house.client(f"ty_{'a' * 8}_{'b' * 43}")
        self._add("expired", "root")
        self._end("expired", "expires_at = created_at")
        self._add("revoked", "root")
        tokens.revoke_token(self.db, LOCAL, self._public_id("revoked"))
        self._add("disabled", "gone")
        users.update_user(self.db, LOCAL, "gone", status=0)

    def _add(self, who: str, username: str, house: House | None = None, **options: Any) -> None:
        made = tokens.create_token(self.db, LOCAL, who, username=username, **options)
        self.whose[who] = username
        self.callers[who] = (house or self.house).client(made.text)

    def _public_id(self, who: str) -> str:
        sql = "SELECT public_id FROM ty_tokens WHERE name = :name"
        return str(self.house.value(sql, name=who))

    def _end(self, who: str, change: str) -> None:
        sql = f"UPDATE ty_tokens SET {change} WHERE name = :name"
        assert self.db.run(lambda tx: tx.execute(sql, name=who)) == 1


class Things:
    """One thing of a kind: its name as it stands in an address, of whom it is asked for."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self._runs = {whose: self._run(tenant) for whose, tenant in TENANTS.items()}

    def fill(self, path: str, whose: str, who: str) -> str:
        """The path with things in its places: of `whose`, or `who` asks ("self"), or "missing"."""
        if "{task_id}" in path:
            path = path.replace("{queue_name}", "mail")
            if path.endswith("/retry"):
                path = path.replace("{task_id}", "{ended_task}")
        if path.endswith("/start"):
            path = path.replace("{schedule_id}", "{stopped_schedule}")
            path = path.replace("{batch_id}", "{new_batch}")
        for end, kind in _BATCHES.items():
            if path.endswith(end):
                path = path.replace("{batch_id}", f"{{{kind}}}")
        return re.sub(r"{(\w+)}", lambda place: self._one(place[1], whose, who), path)

    def _one(self, name: str, whose: str, who: str) -> str:
        if whose == "missing":
            return MISSING[name]
        make: Callable[[str, str], str] = getattr(self, name)
        return quote(make(whose, who), safe="")

    def run_id(self, whose: str, who: str) -> str:
        return str(self._runs[whose])

    id = run_id

    def task_id(self, whose: str, who: str) -> str:
        return str(self.town.spine.put("report", queue="mail", tenant_id=TENANTS[whose]))

    def ended_task(self, whose: str, who: str) -> str:
        ref = self.town.spine.ref("report", queue="mail", tenant_id=TENANTS[whose])
        manage.cancel(self.town.db, LOCAL, ref)
        return str(ref.id)

    def queue_name(self, whose: str, who: str) -> str:
        name = self.town.new_name("queue")
        sql = "INSERT INTO queue_configs (queue_name, table_name) VALUES (:name, 'mail_tasks')"
        self.town.db.run(lambda tx: tx.execute(sql, name=name))
        return name

    def queue_id(self, whose: str, who: str) -> str:
        name = self.queue_name(whose, who)
        return str(
            self.town.house.value("SELECT id FROM queue_configs WHERE queue_name = :n", n=name)
        )

    def table(self, whose: str, who: str) -> str:
        return "mail_tasks"

    def server_id(self, whose: str, who: str) -> str:
        name = self.town.new_name("server")
        servers.register(self.town.db, name, name, lease=60.0, runners=1)
        return name

    def schedule_id(self, whose: str, who: str, status: int = 1) -> str:
        rule = {"name": self.town.new_name("schedule"), "cron_expression": "@daily"}
        fields = {"task_type": "report", "tenant_id": TENANTS[whose], "status": status}
        return str(create_schedule(self.town.db, LOCAL, rule | fields)["id"])

    def stopped_schedule(self, whose: str, who: str) -> str:
        return self.schedule_id(whose, who, 0)

    def batch_id(self, whose: str, who: str, *, start: bool = True) -> str:
        spec = replace(CHECK, name=self.town.new_name("check"))
        fields = {"task_type": spec.name, "tenant_id": TENANTS[whose]}
        made = create_batch(self.town.db, LOCAL, fields, ["a", "b"], spec=spec, start=start)
        return str(made["id"])

    def new_batch(self, whose: str, who: str) -> str:
        return self.batch_id(whose, who, start=False)

    def paused_batch(self, whose: str, who: str) -> str:
        batch = self.batch_id(whose, who)
        pause_batch(self.town.db, LOCAL, int(batch))
        return batch

    def failed_batch(self, whose: str, who: str) -> str:
        batch = self.paused_batch(whose, who)
        sql = "UPDATE ty_batch_items SET status = 'failed' WHERE batch_id = :b AND item_id = 'a'"
        self.town.db.run(lambda tx: tx.execute(sql, b=int(batch)))
        return batch

    def template_id(self, whose: str, who: str) -> str:
        name, tenant_id = self.town.new_name("template"), TENANTS[whose]
        made = create_template(self.town.db, LOCAL, name, "check", tenant_id=tenant_id)
        return str(made["id"])

    def task_type(self, whose: str, who: str) -> str:
        return "report"

    def username(self, whose: str, who: str) -> str:
        if whose == "self":
            return self.town.whose[who]
        name = self.town.new_name("user")
        users.add_user(self.town.db, LOCAL, name, tenants=[TENANTS[whose]])
        return name

    def tenant_id(self, whose: str, who: str) -> str:
        return TENANTS[whose]

    def public_id(self, whose: str, who: str) -> str:
        owner = {"own": "pat", "other": "nell", "platform": "platon"}.get(whose)
        owner = owner or self.town.whose[who]
        made = tokens.create_token(self.town.db, LOCAL, "spare", username=owner)
        return made.token.public_id

    def rule_id(self, whose: str, who: str) -> str:
        return str(add_rule(self.town, TENANTS[whose]))

    def channel_id(self, whose: str, who: str) -> str:
        return str(add_channel(self.town, TENANTS[whose]))

    def incident_id(self, whose: str, who: str) -> str:
        return str(add_incident(self.town, TENANTS[whose]))

    def link(self, whose: str, who: str) -> str:
        return logins.make_link(self.town.db, LOCAL, "pat")

    def _run(self, tenant_id: str) -> int:
        spine, place = self.town.spine, {"queue": "history", "table": "history_tasks"}
        spine.put("report", queue="history", tenant_id=tenant_id)
        [row] = spine.claim(1, known=frozenset({"report"}), **place)
        spine.settle(ended(row, output='{"ok": true}'), **place)
        return row.run_id


# --- alerts ---------------------------------------------------------------------------------------

_INCIDENT = """
INSERT INTO ty_incidents (rule_id, rule_name, kind, subject, active_key, summary, state, {count},
                          first_at, last_at, details, tenant_id, created_at, updated_at)
VALUES (:rule_id, :name, 'run_failed', :subject, :key, :summary, 'open', 1, {now}, {now}, :details,
        :tenant_id, {now}, {now})
"""


def add_rule(town: Town, tenant_id: str, word: str = "rule") -> int:
    """A rule that is about nothing that happens here."""
    name, filters = town.new_name(word), {"task_type": ["nothing"]}
    made = rules.create_rule(
        town.db, LOCAL, name, "run_failed", tenant_id=tenant_id, filters=filters
    )
    return made.id


def add_channel(town: Town, tenant_id: str, word: str = "channel") -> int:
    """A channel that leads to people."""
    settings = {"to": [f"{word}@example.com"]}
    made = channels.create_channel(
        town.db, LOCAL, town.new_name(word), "mail", settings, tenant_id=tenant_id
    )
    return made.channel.id


def add_incident(town: Town, tenant_id: str, word: str = "incident") -> int:
    """An incident that is open."""
    key = town.new_name(word)
    values = {
        "rule_id": add_rule(town, tenant_id, word),
        **dict.fromkeys(("name", "subject", "summary"), word),
        "key": key,
        "details": f'{{"word": "{word}"}}',
        "tenant_id": tenant_id,
    }
    dialect = town.db.dialect
    sql = _INCIDENT.format(count=dialect.quote("count"), now=dialect.utc_now)
    town.db.run(lambda tx: tx.execute(sql, **values))
    return int(town.house.value("SELECT id FROM ty_incidents WHERE active_key = :k", k=key))


_BATCHES = {
    "/items": "new_batch",
    "/resume": "paused_batch",
    "/retry": "failed_batch",
    "/retry-failed": "failed_batch",
}
"""The batches for whose addresses not any will do."""

MISSING = {
    **dict.fromkeys(("batch_id", "new_batch", "paused_batch", "failed_batch"), "987654321"),
    "template_id": "987654321",
    "rule_id": "987654321",
    "channel_id": "987654321",
    "incident_id": "987654321",
    "id": "987654321",
    "run_id": "987654321",
    "task_id": "987654321",
    "ended_task": "987654321",
    "queue_id": "987654321",
    "queue_name": "nowhere",
    "table": "nowhere",
    "server_id": "nowhere",
    "schedule_id": "987654321",
    "stopped_schedule": "987654321",
    "task_type": "nothing",
    "username": "noone",
    "tenant_id": "nowhere",
    "public_id": "aaaaaaaa",
    "link": "nothing",
}
"""What there is not."""
