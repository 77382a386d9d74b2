"""Posture: where the API may listen, and the socket it listens on.

Owns that nothing unsafe is started by mistake: beyond this machine only with sign-in and TLS (our
own, or a reverse proxy's), without sign-in only on this machine. Imports no web framework: `up`
binds the socket in the supervisor's process and hands it to the process of the API.
"""

from __future__ import annotations

import errno
import socket
import ssl
from ipaddress import ip_address

import psutil

from taskyard.core.errors import BadSetting, PortInUse, UnsafeAddress
from taskyard.settings import Settings

_BACKLOG = 1024


def require_safe(settings: Settings, *, no_auth: bool) -> None:
    """Raise UnsafeAddress or BadSetting for an address that must not be listened on like this."""
    if settings.tls_cert is not None:
        _require_certificate(settings)
    if is_loopback(settings.host):
        return
    if no_auth:
        raise UnsafeAddress(
            settings.host,
            "--no-auth lets everybody in, so it is for this machine alone",
            "Leave out --no-auth, or listen on 127.0.0.1.",
        )
    if settings.tls_cert is None and not settings.behind_proxy:
        raise UnsafeAddress(
            settings.host,
            "passwords and tokens would pass the network in the clear",
            "Give a certificate (--tls-cert FILE --tls-key FILE), or say where the reverse proxy is"
            " that ends TLS (--behind-proxy CIDR, such as 10.0.0.0/8).",
        )


def is_loopback(host: str) -> bool:
    """Is this an address of this machine alone?"""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; raises PortInUse, or BadSetting where `host` is none of ours."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise BadSetting("host", f'"{host}" is no address: {error}') from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except PermissionError:
        listener.close()
        raise BadSetting("port", f"this user may not listen on {port}") from None
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port, _holder(port)) from None
        raise BadSetting("host", f"cannot listen on {host}: {error.strerror}") from None
    return listener


def url_of(settings: Settings, listener: socket.socket) -> str:
    """The address for a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1"
    scheme = "https" if settings.tls_cert is not None else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _holder(port: int) -> int | None:
    """The process that listens on a port, where we may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN
        if listens and connection.laddr and connection.laddr.port == port:
            return connection.pid
    return None


def _require_certificate(settings: Settings) -> None:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(settings.tls_cert), settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        why = f"{settings.tls_cert} cannot be used: {error.strerror or error}"
        raise BadSetting("tls_cert", why, settings.source("tls_cert")) from None
