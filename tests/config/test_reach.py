"""How viewers reach a gateway behind other things: what may be said, in all layers, and what is refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.config import Address, load
from wtgateway.config.reach import parse_advertise, parse_networks, parse_public_url
from wtgateway.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("media.example", Address("media.example", 0)),
        (" Media.Example:443 ", Address("media.example", 443)),
        ("203.0.113.9", Address("203.0.113.9", 0)),
        ("203.0.113.9:4433", Address("203.0.113.9", 4433)),
        ("[2001:db8::1]", Address("2001:db8::1", 0)),
        ("[2001:DB8:0::1]:65535", Address("2001:db8::1", 65535)),
    ],
)
def test_what_pages_may_be_told(text: str, expected: Address) -> None:
    assert parse_advertise(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", ":4433", "media.example:", "media.example:0", "media.example:65536", "media.example:x"),
        *(
            "0.0.0.0",
            "[::]:4433",
            "2001:db8::1",
            "2001:db8::1:4433",
            "[2001:db8::1",
            "1.2.3",
            "a b",
            "[::1]x:1",
        ),
        *("https://media.example", "media.example/live", "*", "[media.example]:1"),
    ],
)
def test_what_is_no_address_of_quic(text: str) -> None:
    with pytest.raises(ConfigError, match=r"media\.example:443"):
        parse_advertise(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://cams.example", "https://cams.example/"),
        ("https://cams.example/live", "https://cams.example/live/"),
        ("https://Cams.Example:8443/a/b~c//", "https://cams.example:8443/a/b~c/"),
        ("http://[2001:db8::1]:8080/", "http://[2001:db8::1]:8080/"),
    ],
)
def test_where_pages_may_be_seen(text: str, expected: str) -> None:
    assert parse_public_url(text) == expected
    assert parse_public_url(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "cams.example", "cams.example/live", "ftp://cams.example/", "https://", "https:///live"),
        *("https://user:pw@cams.example/", "https://@cams.example/", "https://cams.example/a?b=1"),
        *(
            "https://cams.example/a#b",
            "https://cams.example/a//b",
            "https://cams.example/../x",
            "https://[::1/",
        ),
        *(
            "https://cams.example/%41",
            'https://cams.example/"x',
            "https://cams.example:0x50/",
            "https://1.2.3/",
        ),
    ],
)
def test_what_is_no_address_of_pages(text: str) -> None:
    with pytest.raises(ConfigError, match=r"https://cams\.example/live/"):
        parse_public_url(text)


@given(st.text(max_size=60) | st.text(alphabet="htps:/.[]@?#%-_~ab1", max_size=40).map("https://a".__add__))
def test_any_text_is_an_address_or_a_typed_error(text: str) -> None:
    for parse in (parse_advertise, parse_public_url, parse_networks):
        try:
            value = parse(text)
        except ConfigError:
            continue
        if isinstance(value, str):
            parts = urlsplit(value)
            assert parts.hostname and parts.path.endswith("/") and value.isascii()


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy.example", "::1/129", "10.0.0.0/8;::1"])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ConfigError, match=r"10\.0\.0\.0/8"):
        parse_networks(text)


def test_proxies_are_named_in_every_layer(tmp_path: Path) -> None:
    expected = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))
    file = tmp_path / "wtgateway.yml"
    file.write_text('trusted_proxies: [10.0.0.0/8, "::1"]')
    assert load({}, {}, file).trusted_proxies == expected
    file.write_text('trusted_proxies: "10.0.0.0/8 ::1"')
    assert load({}, {}, file).trusted_proxies == expected
    assert load({}, {"WTG_TRUSTED_PROXY": "10.0.0.0/8,::1"}).trusted_proxies == expected
    given_twice = {"trusted_proxy": ["10.0.0.0/8", "::1"]}
    assert load(given_twice, {"WTG_TRUSTED_PROXY": "192.0.2.1"}).trusted_proxies == expected
    file.write_text("trusted_proxies: [{a: b}]")
    with pytest.raises(ConfigError, match=r"trusted_proxies\[0\].*a single value"):
        load({}, {}, file)
    file.write_text("advertise: [media.example]")
    with pytest.raises(ConfigError, match="a single value or a mapping"):
        load({}, {}, file)


def test_the_clusters_secret_is_a_file_in_a_block(tmp_path: Path) -> None:
    file = tmp_path / "wtgateway.yml"
    file.write_text("cluster: {secret: a}")
    assert load({}, {}, file).cluster.secret == Path("a")
    assert load({}, {"WTG_CLUSTER_SECRET": "b"}, file).cluster.secret == Path("b")
    assert load({"cluster_secret": "c"}, {"WTG_CLUSTER_SECRET": "b"}, file).cluster.secret == Path("c")
    file.write_text("cluster: a")
    with pytest.raises(ConfigError, match=r"cluster: 'a'.*a mapping such as \{secret: \.\.\.\}"):
        load({}, {}, file)
    file.write_text("cluster: {sekret: a}")
    with pytest.raises(ConfigError, match="'secret'"):
        load({}, {}, file)
