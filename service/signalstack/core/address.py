"""Where a webhook may go: URLs that mean one thing only, and addresses that are public.

A name is judged again by what it resolves to: `check_ip` is called on every address at the moment
of connecting, and that call is what keeps requests out of private networks. What `check_url`
refuses earlier is for the sender of a bad URL to see at once.
"""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final, Literal, NoReturn

import msgspec

from signalstack.core.errors import InvalidError

MAX_URL: Final = 2_048

_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)[^#]*")
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?"
)
# RFC 3986 has no place for these, and parsers differ in what they make of them.
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_NAME: Final = 253
_MAX_PORT: Final = 65_535
_PORTS: Final = {"http": 80, "https": 443}
# Where servers of other protocols listen, who might act on lines of a request ("bad ports" of the
# WHATWG Fetch standard, and databases and caches).
_FOREIGN_PORTS: Final = frozenset(
    {
        *(1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95),
        *(101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161),
        *(179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563),
        *(587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061),
        *(6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
        *(1433, 1521, 3306, 5432, 6379, 6432, 9042, 11211, 27017),
    }
)
_PRIVATE_NAMES: Final = (".localhost", ".localdomain", ".local", ".internal", ".home.arpa")

# The IANA IPv4 Special-Purpose Address Registry, multicast, and what clouds keep for themselves.
_V4: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared with a carrier's customers"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),  # 169.254.169.254: instance metadata of most clouds
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "for protocol assignments"),  # 192.0.0.192: Oracle's metadata
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "AS112"),
        ("192.52.193.0/24", "AMT"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "AS112"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("168.63.129.16/32", "Azure's host"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
# The IANA IPv6 Special-Purpose Address Registry and what is deprecated; whatever else is not
# global unicast (2000::/3) is refused as well.
_V6: Final = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "an IPv4 address in disguise"),
        ("::/96", "an IPv4 address in disguise"),
        ("64:ff9b:1::/48", "a local translation to IPv4"),
        ("100::/64", "a black hole"),
        ("100:0:0:1::/64", "a dummy prefix"),
        ("2001::/32", "a Teredo tunnel"),
        ("2001::/23", "for protocol assignments"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "a 6to4 tunnel"),
        ("2620:4f:8000::/48", "AS112"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "a segment identifier"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a URL leads: `host` is a lower-case name or an address without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int


def check_url(url: str, *, allow_private: bool, pointer: str = "/url") -> Target:
    """Refuse a URL that is not plain http(s), or whose host could be read in two ways.

    Args:
        url: as its owner wrote it.
        allow_private: let through hosts that are visibly not public, and ports of other protocols
            (for demo, tests and what the operator names).
        pointer: where the URL stands in the body; faults point there.

    Raises:
        InvalidError: with a sentence on what is wrong.
    """
    try:
        return _target(url, allow_private=allow_private)
    except _RefusedError as error:
        raise InvalidError.at(pointer, str(error)) from None


def check_ip(ip: str | IPv4Address | IPv6Address) -> str | None:
    """Say why nothing may be sent to an address; None when it is public."""
    try:
        address = ip_address(ip)
    except ValueError:
        return f"{str(ip)[:60]!r} is no IP address"
    kind = _kind(address)
    return None if kind is None else f"{address} is {kind}, not a public address"


class _RefusedError(Exception):
    """A sentence on what is wrong with a URL."""


def _target(url: str, *, allow_private: bool) -> Target:
    if len(url) > MAX_URL:
        _refuse(f"at most {MAX_URL} characters")
    if unsafe := _UNSAFE.search(url):
        _refuse(f"the character {unsafe[0]!a} must be percent-encoded, in a host as punycode")
    if "#" in url:
        _refuse("a fragment is never sent; leave it out")
    match = _URL.fullmatch(url)
    scheme = match["scheme"].lower() if match else None
    if match is None or scheme not in ("http", "https"):
        _refuse("must begin with https:// or http://")
    authority = _AUTHORITY.fullmatch(match["authority"])
    if "@" in match["authority"]:
        _refuse("must not carry a user name or password")
    if authority is None:
        _refuse("the host or the port is malformed")
    host = _host_v6(authority["v6"]) if authority["v6"] else _host(authority["name"])
    port = _port(authority["port"], _PORTS[scheme])
    if not allow_private:
        _check_public(host, port)
    return Target(scheme=scheme, host=host, port=port)


def _port(text: str | None, default: int) -> int:
    port = default if text is None else int(text)
    if not 1 <= port <= _MAX_PORT:
        _refuse(f"the port must be between 1 and {_MAX_PORT}")
    return port


def _host_v6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        _refuse("the host is no IPv6 address")


def _host(text: str) -> str:
    host = text.lower()
    if not host:
        _refuse("the host is missing")
    labels = host.split(".")
    # getaddrinfo reads 2130706433, 0x7f.1, 127.1 and 0177.0.0.1 as 127.0.0.1 (WHATWG URL, 3.5).
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            _refuse("write an IPv4 address as four decimal numbers")
    if len(host) > _MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        _refuse("the host is no DNS name")
    return host


def _check_public(host: str, port: int) -> None:
    if port in _FOREIGN_PORTS:
        _refuse(f"the port {port} belongs to another protocol than HTTP")
    if ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]):
        if reason := check_ip(host):
            _refuse(reason)
    elif "." not in host or host.endswith(_PRIVATE_NAMES):
        _refuse(f"{host} is a name of a private network")


def _kind(address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _V4 if address in network), None)
    if address in _NAT64:
        # What IPv4-only hosts resolve to in an IPv6-only network (RFC 6147): judged by the
        # IPv4 address in it, or nothing could be delivered from there.
        kind = _kind(IPv4Address(int(address) & 0xFFFF_FFFF))
        return kind and f"a translation to an address that is {kind}"
    for network, kind in _V6:
        if address in network:
            return kind
    return None if address in _GLOBAL_UNICAST else "not global unicast"


def _refuse(sentence: str) -> NoReturn:
    raise _RefusedError(sentence)
