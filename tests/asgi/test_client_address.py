"""The address by which a client is known, which it cannot choose."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reinhardt_backends.asgi import ClientAddress

from .driving import http

PROXY = ("10.0.0.1", 80)


def behind(*forwarded: str, client: tuple[str, int] | None = PROXY, **options: Any) -> str:
    options.setdefault("trusted_proxies", ["10.0.0.0/8", "2001:db8:ffff::/48"])
    return ClientAddress(**options)(http([("x-forwarded-for", value) for value in forwarded], client=client))


def test_it_is_the_address_of_the_socket() -> None:
    assert ClientAddress()(http()) == "203.0.113.7"


def test_without_trusted_proxies_the_field_is_ignored() -> None:
    assert behind("198.51.100.1", trusted_proxies=()) == "10.0.0.1"


def test_a_client_that_is_no_proxy_is_not_believed() -> None:
    assert behind("198.51.100.1", client=("203.0.113.7", 5)) == "203.0.113.7"


def test_behind_a_proxy_it_is_what_the_proxy_saw() -> None:
    assert behind("203.0.113.7") == "203.0.113.7"


def test_behind_several_proxies_it_is_what_the_outermost_saw() -> None:
    assert behind("203.0.113.7, 10.9.9.9, 2001:db8:ffff::1, 10.0.0.2") == "203.0.113.7"


def test_several_fields_are_one_list() -> None:
    assert behind("6.6.6.6, 203.0.113.7", "10.0.0.2") == "203.0.113.7"


@given(st.lists(st.one_of(st.ip_addresses().map(str), st.text(st.characters(codec="latin-1"))), max_size=40))
@example(["203.0.113.8", ""])
@example(["unknown", "10.0.0.1", '"'])
@example(["1," * 30_000])
def test_what_a_client_sends_never_changes_its_key(spoofed: list[str]) -> None:
    """The proxy appends the true address to what the client has sent, in one field or in several."""
    assert behind(*spoofed, "203.0.113.7") == "203.0.113.7"
    assert behind(",".join([*spoofed, " 203.0.113.7"])) == "203.0.113.7"
    assert behind(*spoofed, client=("203.0.113.7", 5)) == "203.0.113.7"


@pytest.mark.parametrize(
    "entry", ["unknown", "_hidden", "", "1.2.3", "999.1.1.1", "1.2.3.4.5", "0x7f.1", "é", "[", "x" * 999]
)
def test_an_entry_that_is_no_address_leaves_the_proxy_that_appended_it(entry: str) -> None:
    assert behind(f"6.6.6.6, {entry}") == "10.0.0.1"
    assert behind(f"6.6.6.6, {entry}, 10.0.0.2") == "10.0.0.2"


def test_of_proxies_alone_it_is_the_farthest() -> None:
    assert behind("10.0.0.3, 10.0.0.2") == "10.0.0.3"
    assert behind() == "10.0.0.1"


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("203.0.113.7:5555", "203.0.113.7"),
        ("[2001:db8::1]:5555", "2001:db8::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("2001:DB8:0::1", "2001:db8::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
        ("64:ff9b::cb00:7107", "203.0.113.7"),
        ("[64:ff9b::203.0.113.7]:5555", "203.0.113.7"),
        ("64:ff9b:1::203.0.113.7", "64:ff9b:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_one_client_has_one_key_however_it_is_written(entry: str, address: str) -> None:
    assert behind(entry) == address
    if ":5555" not in entry and "[" not in entry:
        assert ClientAddress()(http(client=(entry, 5))) == address


def test_a_proxy_may_come_over_a_socket_for_both_kinds_of_address() -> None:
    assert behind("203.0.113.7", client=("::ffff:10.0.0.1", 80)) == "203.0.113.7"


def test_how_much_of_an_ipv6_address_makes_a_client() -> None:
    scope = http(client=("2001:db8:1:2:3::4", 5))
    assert ClientAddress(ipv6_prefix=48)(scope) == "2001:db8:1::/48"
    assert ClientAddress(ipv6_prefix=128)(scope) == "2001:db8:1:2:3::4"
    assert ClientAddress(ipv6_prefix=128)(http(client=("fe80::1%eth0", 5))) == "fe80::1"


@pytest.mark.parametrize("client", [None, ("", 0), (None, None)])
def test_clients_without_an_address_share_one_key(client: Any) -> None:
    assert behind("203.0.113.7", client=client) == "unknown"
    assert behind("6.6.6.6, 203.0.113.7", client=client, trusted_proxies=["unix"]) == "203.0.113.7"
    assert behind(client=client, trusted_proxies=["unix"]) == "unknown"


def test_a_name_of_the_server_s_own_is_the_key() -> None:
    assert ClientAddress(["unix"])(http([("x-forwarded-for", "6.6.6.6")], client=("testclient", 5))) == "testclient"


@pytest.mark.parametrize("proxies", ["10.0.0.1", b"10.0.0.1", [1], [None], 5])
def test_proxies_of_another_type_are_a_type_error(proxies: Any) -> None:
    with pytest.raises(TypeError):
        ClientAddress(proxies)


@pytest.mark.parametrize("proxy", ["", "localhost", "10.0.0.1/8", "10.0.0.0/99", "*"])
def test_proxies_that_are_no_addresses_are_a_value_error(proxy: str) -> None:
    with pytest.raises(ValueError, match=r"does not appear|host bits"):
        ClientAddress([proxy])


def test_proxies_may_be_objects() -> None:
    for proxy in (ipaddress.ip_address("10.0.0.1"), ipaddress.ip_network("10.0.0.0/8")):
        assert behind("203.0.113.7", trusted_proxies=[proxy]) == "203.0.113.7"


@pytest.mark.parametrize(
    ("prefix", "error"), [(0, ValueError), (129, ValueError), (True, TypeError), ("64", TypeError)]
)
def test_a_prefix_is_checked(prefix: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ClientAddress(ipv6_prefix=prefix)
