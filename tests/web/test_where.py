"""Where pages are told that QUIC is."""

from __future__ import annotations

import pytest

from wtgateway.config import Address, GatewayConfig
from wtgateway.web.where import quic_url

BOTH = [("127.0.0.1", 4433), ("::1", 4433)]
ALL = [("::", 4433)]


@pytest.mark.parametrize(
    ("page_host", "bound", "expected"),
    [
        ("localhost:8080", BOTH, "https://localhost:4433"),
        ("localhost:8080", [("127.0.0.1", 4433)], "https://127.0.0.1:4433"),
        ("localhost", [("::1", 4433)], "https://[::1]:4433"),
        ("[::1]:8080", [("::1", 4433)], "https://[::1]:4433"),
        ("[2001:db8::1]", ALL, "https://[2001:db8::1]:4433"),
        ("localhost:8080", ALL, "https://localhost:4433"),
        ("cams.example", ALL, "https://cams.example:4433"),
        ("", ALL, "https://localhost:4433"),
    ],
)
def test_without_a_word_the_pages_own_host(
    page_host: str, bound: list[tuple[str, int]], expected: str
) -> None:
    assert quic_url(page_host, bound) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GatewayConfig(advertise=Address("media.example", 0)), "https://media.example:4433"),
        (GatewayConfig(advertise=Address("media.example", 443)), "https://media.example:443"),
        (GatewayConfig(advertise=Address("2001:db8::7", 0)), "https://[2001:db8::7]:4433"),
        (GatewayConfig(public_url="https://cams.example:8443/live/"), "https://cams.example:4433"),
        (GatewayConfig(public_url="https://[2001:db8::8]/"), "https://[2001:db8::8]:4433"),
        (
            GatewayConfig(public_url="https://cams.example/", advertise=Address("203.0.113.9", 1)),
            "https://203.0.113.9:1",
        ),
    ],
)
def test_what_is_advertised_wins_over_any_host_that_a_page_has(config: GatewayConfig, expected: str) -> None:
    for page_host in ("localhost:8080", "evil.example", ""):
        told = quic_url(page_host, ALL, advertise=config.advertise, public_host=config.public_host)
        assert told == expected


def test_names_of_a_configuration() -> None:
    config = GatewayConfig(public_url="https://cams.example/live/", advertise=Address("media.example", 443))
    assert (config.public_host, config.public_path) == ("cams.example", "/live/")
    assert config.public_hosts == ("media.example", "cams.example")
    assert (GatewayConfig().public_path, GatewayConfig().public_hosts) == ("/", ())
