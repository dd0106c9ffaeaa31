"""URLs that a webhook may go to, and addresses that it may not."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalstack.core.address import Target, check_ip, check_url
from signalstack.core.errors import InvalidError


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", ("https", "example.com", 443)),
        ("http://example.com/a?b=c%20d", ("http", "example.com", 80)),
        ("HTTPS://Hooks.Example.COM:8443/", ("https", "hooks.example.com", 8443)),
        ("https://example.com?x=1", ("https", "example.com", 443)),
        ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443)),
        ("https://a_b.example-host.com/", ("https", "a_b.example-host.com", 443)),
        ("https://8.8.8.8/", ("https", "8.8.8.8", 443)),
        ("https://[2606:4700:0:0::1111]:80/", ("https", "2606:4700::1111", 80)),
        ("https://example.com/@user:pass", ("https", "example.com", 443)),
    ],
)
def test_plain_urls_are_taken_apart(url: str, target: tuple[str, str, int]) -> None:
    found = check_url(url, allow_private=False)

    assert (found.scheme, found.host, found.port) == target


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must begin with"),
        ("example.com", "must begin with"),
        ("//example.com", "must begin with"),
        ("ftp://example.com", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("https:/example.com", "must begin with"),
        ("https:example.com", "must begin with"),
        ("https://", "host is missing"),
        ("https:///path", "host is missing"),
        ("https://:443/", "host is missing"),
        ("https://user@example.com", "user name"),
        ("https://user:pw@example.com", "user name"),
        ("https://example.com@10.0.0.1/", "user name"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:999999/", "port"),
        ("https://example.com:/", "port"),
        ("https://example.com:80:80/", "port"),
        ("https://example.com:+80/", "port"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com#@evil.example/", "fragment"),
        ("https://example.com\\@evil.example/", "percent-encoded"),
        ("https://exam\tple.com/", "percent-encoded"),
        ("https://example.com/\r\nHost: x", "percent-encoded"),
        (" https://example.com/", "percent-encoded"),
        ("https://example.com/a b", "percent-encoded"),
        ("https://example.com/\0", "percent-encoded"),
        ("https://bücher.example/", "punycode"),
        ("https://127\uff0e0.0.1/", "punycode"),
        ("https://\uff11\uff12\uff17.0.0.1/", "punycode"),
        ("https://\u2460.example/", "punycode"),
        ("https://example.com/" + "a" * 2_048, "2048"),
        ("https://2130706433/", "four decimal numbers"),
        ("https://0x7f000001/", "four decimal numbers"),
        ("https://0X7F.1/", "four decimal numbers"),
        ("https://127.1/", "four decimal numbers"),
        ("https://0177.0.0.1/", "four decimal numbers"),
        ("https://127.0.0.0x1/", "four decimal numbers"),
        ("https://127.0.0.256/", "four decimal numbers"),
        ("https://1.2.3.4.5/", "four decimal numbers"),
        ("https://example.0x/", "four decimal numbers"),
        ("https://127.0.0.1./", "no DNS name"),
        ("https://example.com./", "no DNS name"),
        ("https://a..example.com/", "no DNS name"),
        ("https://-a.example.com/", "no DNS name"),
        ("https://%31%32%37.0.0.1/", "four decimal numbers|no DNS name"),
        ("https://exa%6dple.com/", "no DNS name"),
        ("https://" + "a" * 64 + ".com/", "no DNS name"),
        ("https://" + "a." * 127 + "com/", "no DNS name"),
        ("https://[::1", "malformed"),
        ("https://[fe80::1%25eth0]/", "malformed"),
        ("https://[v1.x]/", "malformed"),
        ("https://[:::]/", "no IPv6 address"),
        ("https://[127.0.0.1]/", "no IPv6 address"),
    ],
)
@pytest.mark.parametrize("allow_private", [False, True])
def test_urls_that_mean_nothing_or_two_things_are_refused(
    url: str, reason: str, *, allow_private: bool
) -> None:
    with pytest.raises(InvalidError, match=reason) as caught:
        check_url(url, allow_private=allow_private)

    assert caught.value.faults[0].pointer == "/url"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/",
        "http://app.localhost/",
        "http://printer.local/",
        "http://metadata.google.internal/",
        "http://intranet/",
        "http://127.0.0.1/",
        "http://10.1.2.3/",
        "http://[::1]/",
        "http://[::ffff:8.8.8.8]/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_visibly_private_hosts_are_refused_unless_allowed(url: str) -> None:
    with pytest.raises(InvalidError):
        check_url(url, allow_private=False)

    assert isinstance(check_url(url, allow_private=True), Target)


@pytest.mark.parametrize(
    "ip",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "168.63.129.15",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2a00:1450:4001::1",
        "64:ff9b::808:808",
    ],
)
def test_public_addresses_are_allowed(ip: str) -> None:
    assert check_ip(ip) is None


@pytest.mark.parametrize(
    "ip",
    [
        # The first and last address of every special range.
        *("0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255"),  # noqa: S104 - nothing is bound
        *("100.64.0.0", "100.127.255.255", "100.100.100.200", "127.0.0.0", "127.255.255.255"),
        *("169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255"),
        *("192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.10", "192.0.0.170", "192.0.0.192"),
        *("192.0.0.255", "192.0.2.0", "192.0.2.255", "192.31.196.1", "192.52.193.1"),
        *("192.88.99.0", "192.88.99.255", "192.168.0.0", "192.168.255.255", "192.175.48.1"),
        *("198.18.0.0", "198.19.255.255", "198.51.100.0", "203.0.113.255", "168.63.129.16"),
        *("224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.254", "255.255.255.255"),
        *("::", "::1", "::2", "::7f00:1", "::808:808", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
        *("::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1"),
        *("64:ff9b:1::1", "64:ff9b:1:ffff::808:808", "64:ff9c::1", "100::1", "100:0:0:1::1"),
        *("2001::1", "2001:0:ffff::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:10::1"),
        *("2001:20::1", "2001:30::1", "2001:1ff:ffff::1", "2001:db8::1", "2002:7f00:1::"),
        *("2002:808:808::1", "2620:4f:8000::1", "3fff::1", "3fff:fff:ffff::1", "5f00::1"),
        *("4000::1", "fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0", "febf::1"),
        *("fec0::1", "feff::1", "ff02::1", "ffff::1"),
    ],
)
def test_special_addresses_are_refused_by_name(ip: str) -> None:
    reason = check_ip(ip)

    assert reason is not None
    assert reason.startswith(str(ip_address(ip)))


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.0.0.1", "1.1.1.1/32", "::g"])
def test_what_is_no_address_is_refused(text: str) -> None:
    assert check_ip(text) == f"{text!r} is no IP address"


@given(st.ip_addresses())
def test_whatever_the_standard_library_calls_special_is_refused(
    address: IPv4Address | IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        assert check_ip(address) is not None
