"""Durations, bit rates, addresses, sizes and names: what is taken, what is refused, and how it is told."""

from __future__ import annotations

import ipaddress
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.config import (
    Address,
    derive_name,
    format_duration,
    parse_address,
    parse_bitrate,
    parse_duration,
    parse_name,
    parse_size,
)
from wtgateway.config.values import MAX_NAME_LENGTH, RESERVED_NAMES, parse_bool
from wtgateway.errors import ConfigError

ALL_PARSERS = [parse_duration, parse_bitrate, parse_address, parse_size, parse_name, parse_bool]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("13d", 1_123_200),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2w", 1_209_600),
        ("0s", 0),
        ("45", 45),
        (" 1D2H ", 93_600),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1x", "1 h 2", "1h-2m", "inf", "nan", "1e3s", "٣s", "1h30"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a duration such as 500ms, 90s, 1h30m or 13d"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("4M", 4_000_000),
        ("800k", 800_000),
        ("2.5M", 2_500_000),
        ("64000", 64_000),
        ("1G", 10**9),
        ("6 Mbps", 6 * 10**6),
    ],
)
def test_bit_rates(text: str, bps: int) -> None:
    assert parse_bitrate(text) == bps


@pytest.mark.parametrize("text", ["", "M", "-4M", "4T", "4MM", "4 M B", "0x10", "1e6"])
def test_no_bit_rates(text: str) -> None:
    with pytest.raises(ConfigError, match="a bit rate such as 4M"):
        parse_bitrate(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("[::]:4433", ("::", 4433)),
        ("0.0.0.0:4433", ("0.0.0.0", 4433)),
        (":4433", ("::", 4433)),
        ("*:4433", ("::", 4433)),
        ("localhost:4433", ("localhost", 4433)),
        ("[2001:DB8::1]:1", ("2001:db8::1", 1)),
        ("[fe80::1%eth0]:0", ("fe80::1%eth0", 0)),
        ("Media.Example.:65535", ("media.example.", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(str(parse_address(text))) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4433",
        "localhost",
        "localhost:",
        "::1:4433x",
        "::1:4433",
        "[::1]",
        "[127.0.0.1]:1",
        "a b:1",
        "h:65536",
        "h:-1",
        "h:٣",
        "1.2.3:5",
        "300.1.1.1:5",
        "http://h:1",
        "h:1/x",
        "[::1:4433",
        "-h:1",
    ],
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT such as"):
        parse_address(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_reads_back(host: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> None:
    assert parse_address(str(Address(str(host), port))) == (str(host), port)


def test_sizes() -> None:
    assert parse_size("1280x720") == (1280, 720)
    assert parse_size("1920X1080") == (1920, 1080)
    for text in ("", "720", "1281x720", "0x0", "8194x16", "1280*720", "-2x16"):
        with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
            parse_size(text)


@pytest.mark.parametrize("text", ["cam1", "/cam1", "a/b/c", "A-b_c.d~e", "1", "x" * MAX_NAME_LENGTH, "a/api"])
def test_names(text: str) -> None:
    assert parse_name(text) == text.removeprefix("/")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//a",
        "a//b",
        "a/",
        "_client",
        "_",
        "api",
        "api/x",
        "healthz",
        "readyz",
        "certificate.sha256",
        ".",
        "..",
        "a/../b",
        "a b",
        "ä",
        "a?b",
        "a%20b",
        "x" * (MAX_NAME_LENGTH + 1),
        "a\nb",
    ],
)
def test_no_names(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a name of letters"):
        parse_name(text)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("movie.mp4", "movie"),
        ("/data/My Movie (1).final.mkv", "My-Movie-1-.final"),
        ("file:///data/a.webm", "a"),
        ("file:clips/b.mp4", "b"),
        ("rtsp://u:p@cam:554/Streaming/Channels/101?x=1", "Streaming/Channels/101"),
        ("rtsp://cam:8554", "cam-8554"),
        ("rtmp://h/live/key", "live/key"),
        ("srt://h:9000?streamid=live/door", "live/door"),
        ("srt://h:9000?streamid=%23!::r=yard,m=request", "yard"),
        ("srt://:9000?mode=listener", "9000"),
        ("https://h/tv/index.m3u8", "tv"),
        ("https://h/tv/news.m3u8", "tv/news"),
        ("v4l2:/dev/video0", "video0"),
        ("alsa:default", "alsa-default"),
        ("alsa:hw:0,0", "alsa-hw-0-0"),
        ("x11::0.0+10,20", "screen"),
        ("test:?size=640x360", "test"),
        ("lavfi:testsrc2", "lavfi"),
        ("api.mp4", "source-api"),
        ("_private.mp4", "private"),
        ("....mp4", "source"),
        ("日本.mp4", "source"),
        ("rtsp://[broken/x", "rtsp"),
    ],
)
def test_names_from_sources(source: str, name: str) -> None:
    assert derive_name(source) == name


@given(st.text(max_size=300), st.sets(st.sampled_from(["test", "source", "source-2", "0"])))
def test_a_derived_name_is_always_legal_and_free(source: str, taken: set[str]) -> None:
    name = derive_name(source, taken)
    assert parse_name(name) == name
    assert name not in taken


@given(st.lists(st.sampled_from(["a.mp4", "b/a.mp4", "test:", "x11::0", "rtsp://h/a"]), max_size=12))
def test_derived_names_are_unique(sources: list[str]) -> None:
    taken: list[str] = []
    for source in sources:
        taken.append(derive_name(source, taken))
    assert len(set(taken)) == len(sources)


def test_no_name_is_a_route() -> None:
    for route in RESERVED_NAMES:
        assert derive_name(f"rtsp://h/{route}") not in RESERVED_NAMES


@pytest.mark.parametrize("parse", ALL_PARSERS)
@given(text=st.text(max_size=60))
def test_any_text_is_a_value_or_a_typed_error(parse: object, text: str) -> None:
    try:
        value = parse(text)  # type: ignore[operator]
    except ConfigError as error:
        assert error.value == text
    else:
        assert not isinstance(value, float) or (math.isfinite(value) and value >= 0)
