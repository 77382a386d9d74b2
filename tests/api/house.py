"""House: an API on a database, and clients of it with and without a name.

Owns how the tests of the API ask: through the application itself, without a socket. What needs a
real process stands in `test_process.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from httpx2 import Response
from starlette.testclient import TestClient

from taskyard import servers
from taskyard.access import tenants, tokens, users
from taskyard.access.caller import LOCAL
from taskyard.api.app import build
from taskyard.api.site import Site, open_database
from taskyard.handlers import HandlerSpec
from taskyard.settings import Settings

ORIGIN = "http://127.0.0.1:9999"
V1 = "/api/v1"


class House:
    """The API of one database."""

    def __init__(
        self, url: str, *, no_auth: bool = False, live: bool = False, **settings: Any
    ) -> None:
        """`live` leaves the stream of events open: a client here waits for the end of an answer."""
        self.settings = Settings(database_url=url, **settings)
        self.db = open_database(self.settings)
        self.site = Site(self.settings, self.db, no_auth=no_auth)
        self.app = build(self.site)
        if not live:
            self.site.listeners.close()
        self._stack = ExitStack()
        self.anon = self.client()
        """Whoever has not signed in."""

    def close(self) -> None:
        self._stack.close()
        self.db.close()

    def client(self, token: str | None = None) -> Client:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        inner = TestClient(
            self.app, base_url=ORIGIN, headers=headers, raise_server_exceptions=False
        )
        return Client(self._stack.enter_context(inner))

    def user(self, username: str, role: str = "superuser", **fields: Any) -> Client:
        """A client with a token of a new user."""
        for tenant_id in fields.get("tenants", ()):
            self.tenant(tenant_id)
        users.add_user(self.db, LOCAL, username, role=role, **fields)
        return self.client(self.token(username))

    def token(self, username: str, **options: Any) -> str:
        """The text of a new token."""
        return tokens.create_token(self.db, LOCAL, "test", username=username, **options).text

    def tenant(self, tenant_id: str) -> None:
        """A tenant, if it is not there."""
        known = {row["tenant_id"] for row in self.anon_rows(tenant_id)}
        if tenant_id not in known:
            tenants.create_tenant(self.db, LOCAL, tenant_id)

    def anon_rows(self, tenant_id: str) -> list[dict[str, Any]]:
        sql = "SELECT tenant_id FROM ty_tenants WHERE tenant_id = :id"
        return self.db.read(lambda tx: tx.rows(sql, id=tenant_id))

    def server(self, name: str, *specs: HandlerSpec, lease: float = 60.0) -> None:
        """A live server with these handlers."""
        servers.register(self.db, name, f"server-{name}", lease=lease, runners=1)
        servers.publish(self.db, name, [spec.to_dict() for spec in specs], [])

    def value(self, sql: str, **values: Any) -> Any:
        return self.db.read(lambda tx: tx.value(sql, **values))


class Client:
    """A client that expects a status, and gives what the answer says."""

    def __init__(self, inner: TestClient) -> None:
        self.inner = inner

    def ask(self, method: str, path: str, **request: Any) -> Response:
        """The answer, whatever it is."""
        return self.inner.request(method, path, **request)

    def get(self, path: str, status: int = 200, /, **query: Any) -> Any:
        response = self.ask("GET", f"{V1}{path}", params=query or None)
        return _expect(response, status)

    def post(
        self,
        path: str,
        body: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        response = self.ask("POST", f"{V1}{path}", json=body, headers=headers)
        return _expect(response, status)

    def patch(self, path: str, body: Any, status: int = 200) -> Any:
        return _expect(self.ask("PATCH", f"{V1}{path}", json=body), status)

    def delete(self, path: str, status: int = 204) -> Any:
        return _expect(self.ask("DELETE", f"{V1}{path}"), status)


def _expect(response: Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json() if response.content else None
