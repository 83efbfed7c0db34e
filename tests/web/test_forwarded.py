"""What proxies say of a request: read from trusted ones only, and only what they have added themselves."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.web.forwarded import Origin, origin, parse_address

PROXIES = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "::1", "2001:db8:ffff::/48")]
CLIENT = ipaddress.ip_address("203.0.113.7")


def told(peer: str = "10.0.0.1", **headers: str) -> Origin:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return origin(peer, raw, PROXIES)


def test_of_a_stranger_nothing_is_believed() -> None:
    for peer in ("203.0.113.7", "2001:db8::1", "not an address", ""):
        assert (
            told(
                peer,
                x_forwarded_for="10.0.0.1",
                x_forwarded_proto="https",
                x_forwarded_host="evil.example",
                x_forwarded_prefix="/live",
                forwarded="for=10.0.0.1;host=evil.example",
            )
            == Origin()
        )


def test_of_a_trusted_proxy_all_of_it_holds() -> None:
    assert told(
        x_forwarded_for="203.0.113.7",
        X_Forwarded_Proto="https",
        x_forwarded_host="cams.example:8443",
        x_forwarded_prefix="/live/",
    ) == Origin(CLIENT, "https", "cams.example:8443", "/live")
    assert told("::ffff:10.0.0.1", x_forwarded_for="203.0.113.7").client == CLIENT, (
        "a socket for both families"
    )
    assert told() == Origin(ipaddress.ip_address("10.0.0.1")), "one that says nothing"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first one is what the client claims
        ("10.9.9.9, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.2", "203.0.113.7"),  # through two proxies
        ("198.51.100.1, 203.0.113.7, 10.0.0.2, 10.0.0.3", "203.0.113.7"),
        ("10.0.0.5, 10.0.0.2", "10.0.0.5"),  # a client of the proxies' own network
        ("unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.7, unknown", "10.0.0.1"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("", "10.0.0.1"),
    ],
)
def test_the_way_back_ends_at_the_first_who_is_not_trusted(header: str, client: str) -> None:
    assert told(x_forwarded_for=header).client == ipaddress.ip_address(client)


def test_many_strangers_before_it_change_nothing() -> None:
    claimed = ", ".join(["198.51.100.1"] * 10_000)
    assert told(x_forwarded_for=f"{claimed}, 203.0.113.7").client == CLIENT


def test_several_headers_of_one_name_are_one_list() -> None:
    raw = [(b"X-Forwarded-For", b"198.51.100.1"), (b"x-forwarded-for", b"203.0.113.7")]
    assert origin("10.0.0.1", raw, PROXIES).client == CLIENT


def test_scheme_and_host_are_those_of_the_hop_where_the_client_came_in() -> None:
    both = told(
        x_forwarded_for="198.51.100.1, 203.0.113.7, 10.0.0.2",
        x_forwarded_proto="http, https, http",
        x_forwarded_host="evil.example, cams.example, inner",
    )
    assert (both.client, both.scheme, both.host) == (CLIENT, "https", "cams.example")
    single = told(
        x_forwarded_for="203.0.113.7, 10.0.0.2", x_forwarded_proto="https", x_forwarded_host="inner"
    )
    assert (single.scheme, single.host) == ("https", "inner")
    alone = told(x_forwarded_proto="HTTPS", x_forwarded_host="cams.example")
    assert (alone.scheme, alone.host) == ("https", "cams.example")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=203.0.113.7;proto=https;host=cams.example", Origin(CLIENT, "https", "cams.example")),
        (
            'For="203.0.113.7:47";Proto=https;Host="cams.example:8443"',
            Origin(CLIENT, "https", "cams.example:8443"),
        ),
        ('for="[2001:db8::7]:47"', Origin(ipaddress.ip_address("2001:db8::7"))),
        ("for=198.51.100.1;host=evil, for=203.0.113.7;host=a.example", Origin(CLIENT, "", "a.example")),
        ("for=203.0.113.7;proto=https;host=a.example, for=10.0.0.2", Origin(CLIENT, "https", "a.example")),
        ('for=203.0.113.7;by="a,b;c=\\"d\\""; proto=https', Origin(CLIENT, "https")),
        ("for=_hidden", Origin(ipaddress.ip_address("10.0.0.1"))),
        ("for=203.0.113.7;proto=https;;", Origin(ipaddress.ip_address("10.0.0.1"))),  # malformed: none of it
        ("for=203.0.113.7 host=x", Origin(ipaddress.ip_address("10.0.0.1"))),
        ('for="203.0.113.7', Origin(ipaddress.ip_address("10.0.0.1"))),
    ],
)
def test_the_standard_header(header: str, expected: Origin) -> None:
    assert told(forwarded=header) == expected


def test_where_both_are_there_the_one_that_most_proxies_write_holds() -> None:
    assert told(forwarded="for=198.51.100.1;host=evil.example", x_forwarded_for="203.0.113.7") == Origin(
        CLIENT
    )


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", "<x>", "a:b", "[::1", "x" * 254, "a\r\nb"])
def test_a_host_that_is_none_is_left_out(host: str) -> None:
    assert told(x_forwarded_host=host).host == ""
    assert told(x_forwarded_proto="javascript").scheme == ""
    assert told(x_forwarded_prefix=f"/{host}?").prefix is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("192.0.2.1", "192.0.2.1"), ("192.0.2.1:80", "192.0.2.1"), ("[::1]:80", "::1"), ("[::1]", "::1")),
        *(("fe80::1%eth0", "fe80::1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("name", None), ("1.2.3", None)),
    ],
)
def test_addresses_in_all_forms(text: str, expected: str | None) -> None:
    assert parse_address(text) == (ipaddress.ip_address(expected) if expected else None)


HEADER_TEXT = st.text(alphabet='abcfor=;,"\\ :[]10.x-_%hostpruky/', max_size=80) | st.binary(max_size=60).map(
    lambda data: data.decode("latin-1")
)


@given(
    st.sampled_from(["10.0.0.1", "::1", "203.0.113.7"]),
    st.dictionaries(
        st.sampled_from(
            ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix"]
        ),
        HEADER_TEXT,
    ),
)
def test_any_headers_are_an_origin(peer: str, headers: dict[str, str]) -> None:
    found = origin(peer, [(n.encode(), v.encode("latin-1")) for n, v in headers.items()], PROXIES)
    assert found.scheme in ("", "http", "https")
    assert found.host.isascii() and not set(found.host) & set(" /@<>\"'\r\n")
    assert found.client is None if peer == "203.0.113.7" else found.client is not None
    assert found.prefix is None or not found.prefix.endswith("/")
