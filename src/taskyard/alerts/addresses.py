"""Addresses: to which machines a message may go.

Owns the check of one address, the list of what an operator has allowed, and how a host becomes
addresses. Whoever may make a channel must not be able to make a server of ours talk to what only
that server can reach: so whatever is not on the public internet is refused unless the setting
`alert_hosts` names it. The check is of the address that is then connected to; a name that resolves
otherwise a moment later gains nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from taskyard.core.errors import AddressRefused

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

METADATA = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # most clouds
            "169.254.170.2",  # containers on AWS
            "169.254.170.23",
            "169.254.0.23",  # Tencent
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure; a public address
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",  # Google
        ),
    )
)
"""Where clouds tell a machine its credentials; allowed only when listed as just that address."""

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_LAST_32_BITS = (IPv6Network("::/96"), IPv6Network("::ffff:0:0:0/96"), *_NAT64)


@dataclass(frozen=True, slots=True)
class Allowed:
    """What an operator has listed: networks, and names of hosts."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, words: Iterable[str]) -> Allowed:
        """The list in the setting `alert_hosts`."""
        networks, names = [], set()
        for word in words:
            try:
                networks.append(ip_network(word.strip("[]")))
            except ValueError:
                names.add(_plain(word))
        return cls(tuple(networks), frozenset(names))

    def names_host(self, host: str) -> bool:
        """Is this very host listed, as a name or as an address?"""
        literal = literal_of(host)
        return _plain(host) in self.names or any(ip in n for n in self.networks for ip in literal)

    def lets(self, address: Address, host: str) -> bool:
        """May this address of a host be connected to although it is not public?"""
        if address in METADATA:
            return any(n.num_addresses == 1 and address in n for n in self.networks)
        return _plain(host) in self.names or any(address in n for n in self.networks)


def check(address: str, host: str, allowed: Allowed) -> None:
    """Raise AddressRefused unless a message may go to this address of a host."""
    found = ip_address(address)
    for each in _meant(found):
        why = _trouble(each)
        as_it_is = each not in METADATA and allowed.lets(found, host)
        if why and not as_it_is and not allowed.lets(each, host):
            raise AddressRefused(host, why)


def check_literal(host: str, allowed: Allowed) -> None:
    """Raise AddressRefused for a host that is an address (in any spelling) and may not be."""
    for address in literal_of(host):
        check(str(address), host, allowed)


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, at least one. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def literal_of(host: str) -> list[Address]:
    """The address that a host already is: `127.0.0.1`, `2130706433`, `0177.1`, `::1`; else none.

    It is read by the system that would connect to it, so there is no spelling that we do not know.
    """
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except (OSError, UnicodeError):
        return []
    return [ip_address(entry[4][0]) for entry in found]


def _meant(address: Address) -> Iterator[Address]:
    """The address, and the one of the older kind that is wrapped in it."""
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _LAST_32_BITS):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _trouble(address: Address) -> str:
    """What is wrong with an address; "" when it is one of the public internet."""
    if address in METADATA:
        return "where a cloud keeps its machines' credentials"
    if address.is_loopback or address.is_unspecified:
        return "this machine itself"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None or any(address in network for network in _NAT64):
            return ""  # it is as good as what is wrapped in it
        if address.is_site_local:
            return "a private address"
    return "" if address.is_global else "a private or reserved address"


def _plain(host: str) -> str:
    return host.strip().strip("[]").rstrip(".").lower()
