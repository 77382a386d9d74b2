"""Addresses: what is not on the public internet is refused, however it is spelled."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from taskyard.alerts.addresses import Allowed, check, check_literal, resolve
from taskyard.core.errors import AddressRefused

NOBODY = Allowed()

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "169.254.1.1",
    "168.63.129.16",
    "100.100.100.200",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2001:0:7f00:1::1",
]
OUTSIDE = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]

SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "0",
    "0x7f000001",
    "0x7f.1",
    "2130706433",
    "0177.0.0.1",
    "017700000001",
    "[::1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:0:0:1]",
    "2852039166",  # 169.254.169.254
    "0xa9fea9fe",
    "0251.0376.0251.0376",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused, match=r"hook\.example"):
        check(address, "hook.example", NOBODY)


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_internet_is_not(address: str) -> None:
    check(address, "hook.example", NOBODY)


@pytest.mark.parametrize("host", SPELLINGS)
def test_an_address_is_known_in_every_spelling(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_literal(host, NOBODY)


def test_a_name_is_no_literal() -> None:
    check_literal("localhost", NOBODY)
    check_literal("hook.example", NOBODY)
    check_literal("1.1.1.1", NOBODY)


@pytest.mark.parametrize(
    ("words", "address", "host"),
    [
        (["127.0.0.1"], "127.0.0.1", "127.0.0.1"),
        (["10.0.0.0/8"], "10.1.2.3", "hook.example"),
        (["hook.example"], "10.1.2.3", "Hook.Example."),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", "hook.example"),
        (["fc00::/7"], "fc00::1", "hook.example"),
        (["169.254.169.254"], "169.254.169.254", "169.254.169.254"),
        (["169.254.169.254/32"], "169.254.169.254", "hook.example"),
    ],
)
def test_what_an_operator_lists_is_allowed(words: list[str], address: str, host: str) -> None:
    check(address, host, Allowed.of(words))


@pytest.mark.parametrize(
    ("words", "address"),
    [
        (["10.0.0.0/8"], "192.168.1.1"),
        (["other.example"], "10.1.2.3"),
        (["0.0.0.0/0", "::/0"], "169.254.169.254"),
        (["169.254.0.0/16"], "169.254.169.254"),
        (["hook.example"], "169.254.169.254"),
        (["hook.example"], "::ffff:169.254.169.254"),
        (["::/0"], "fd00:ec2::254"),
    ],
)
def test_nothing_else_is_and_metadata_only_by_itself(words: list[str], address: str) -> None:
    with pytest.raises(AddressRefused):
        check(address, "hook.example", Allowed.of(words))


def test_a_host_has_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", ("1.1.1.1", 80)), (0, 0, 0, "", ("::1", 80, 0, 0))] * 2

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    assert resolve("hook.example", 80) == ["1.1.1.1", "::1"]
