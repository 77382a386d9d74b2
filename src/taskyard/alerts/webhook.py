"""Webhook: a message as a signed POST to an address that a channel names.

Owns the request and its signature, in the form of Standard Webhooks, so that receivers find ready
code to verify it. The host is resolved, each of its addresses is checked, and the connection goes
to one that was checked: a name cannot lead elsewhere a moment later. No redirect is followed, no
proxy or cookie is used, the whole takes five seconds at most, and of the answer no more than 64 KiB
is read and nothing is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import orjson

from taskyard.alerts import addresses
from taskyard.alerts.addresses import Allowed
from taskyard.alerts.channel import key_of
from taskyard.alerts.messages import Message
from taskyard.core.errors import NotSent, Undeliverable
from taskyard.core.version import VERSION

SECONDS = 5.0
"""How long a message may take, from looking up the name to the last byte of the answer."""
MOST_BYTES = 64 * 1024
"""Bytes of an answer that are read."""

_AGAIN = frozenset({408, 425, 429})


def send(
    url: str, secret: str, message: Message, delivery: str, allowed: Allowed
) -> dict[str, Any]:
    """Post a message; returns the answer's status. Raises NotSent or Undeliverable."""
    body = body_of(message)
    headers = signed(secret, delivery, int(time.time()), body)
    try:
        status = anyio.run(_post_in_time, url, body, headers, allowed)
    except TimeoutError:
        raise NotSent(f"{_host(url)} did not answer within {SECONDS:g} s") from None
    except (httpx2.TransportError, OSError) as error:
        raise NotSent(f"{_host(url)}: {str(error) or type(error).__name__}") from None
    _judge(_host(url), status)
    return {"status": status}


def body_of(message: Message) -> bytes:
    """The body: what happened, when it was written, and the facts."""
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return orjson.dumps({"type": message.kind, "timestamp": written, "data": message.data})


def signed(secret: str, delivery: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers that prove who sent a body, and when."""
    content = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(key_of(secret), content, hashlib.sha256).digest()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


async def _post_in_time(url: str, body: bytes, headers: dict[str, str], allowed: Allowed) -> int:
    with anyio.fail_after(SECONDS):
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        # A name server may never answer, and a thread that asks it cannot be stopped.
        found = await anyio.to_thread.run_sync(
            addresses.resolve, host, port, abandon_on_cancel=True
        )
        for address in found:
            addresses.check(address, host, allowed)
        return await _post_to(found, url, body, headers)


async def _post_to(found: Sequence[str], url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post to the first of a host's addresses that can be reached; returns the answer's status."""
    for address in found[:-1]:
        try:
            return await _post(address, url, body, headers)
        except httpx2.ConnectError:
            continue
    return await _post(found[-1], url, body, headers)


async def _post(address: str, url: str, body: bytes, headers: dict[str, str]) -> int:
    given = httpx2.URL(url)
    request = httpx2.Request(
        "POST",
        given.copy_with(host=address, fragment=None),
        content=body,
        headers={
            "Host": given.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": f"taskyard/{VERSION}",
            "Connection": "close",
            **headers,
        },
        # The certificate must be the name's, not the address's.
        extensions={"sni_hostname": given.raw_host.decode("ascii").strip("[]")},
    )
    # The transport alone: a client would log the address, which may hold a token.
    async with httpx2.AsyncHTTPTransport(verify=_tls(), trust_env=False) as transport:
        response = await transport.handle_async_request(request)
        size = 0
        async for chunk in response.aiter_raw():
            size += len(chunk)
            if size > MOST_BYTES:
                break
        await response.aclose()
        return response.status_code


def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def _judge(host: str, status: int) -> None:
    """Raise unless the receiver took it."""
    if 200 <= status < 300:
        return
    if status >= 500 or status in _AGAIN:
        raise NotSent(f"{host} answered {status}")
    if 300 <= status < 400:
        raise Undeliverable(f"{host} answered {status}, and redirects are not followed")
    raise Undeliverable(f"{host} answered {status}")


def _host(url: str) -> str:
    return urlsplit(url).netloc
