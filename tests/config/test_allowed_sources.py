"""Which sources the API may add: what a rule allows, and that nothing gets past it by being written oddly."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.config.allowed_sources import NETWORK, check_source, parse_rules
from wtgateway.errors import ConfigError

NAMES = {
    "door.cams.example": ["203.0.114.7"],
    "both.cams.example": ["203.0.114.7", "2a00:1450::1"],
    "inside.cams.example": ["10.1.2.3"],
    "mixed.cams.example": ["203.0.114.7", "127.0.0.1"],
    "lan.cams.example": ["192.168.1.9"],
    "mapped.cams.example": ["::ffff:127.0.0.1"],
    "nat64.cams.example": ["64:ff9b::7f00:1"],
    "metadata.cams.example": ["169.254.169.254"],
    "2130706433": ["127.0.0.1"],
    "evil.example": ["203.0.114.66"],
    "localhost": ["::1", "127.0.0.1"],
}


def resolve(host: str) -> list[str]:
    if host not in NAMES:
        raise OSError(host)
    return NAMES[host]


def allows(uri: str, rules: str, **options: str) -> bool:
    try:
        check_source(uri, parse_rules(rules), options=options, resolve=resolve)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    ("uri", "rules"),
    [
        ("rtsp://door.cams.example/stream?x=1", "rtsp://*.cams.example"),
        ("rtsp://user:secret@door.cams.example:554/a/b", "rtsp://door.cams.example"),
        ("rtsp://DOOR.cams.example./s", "rtsp://*.cams.example"),
        ("rtsp://both.cams.example", "rtsp://*"),
        ("http://door.cams.example:8080/live.m3u8", "http://*.cams.example:8080"),
        ("rtsp://192.168.1.9/s", "rtsp://192.168.1.0/24"),
        ("rtsp://lan.cams.example/s", "rtsp://192.168.1.0/24"),
        ("rtsp://[fd00::9]:554/s", "rtsp://[fd00::]/8"),
        ("rtsp://127.0.0.1:8554/s", "rtsp://127.0.0.1"),
        ("rtsp://8.8.8.8/s", "rtsp://*"),
        ("srt://door.cams.example:9000?mode=caller&latency=1", "srt://door.cams.example"),
        ("test:", "rtsp://x.example, test:"),
        ("test:?size=320x180", "test:"),
        ("test:?size=3840x2160&fps=60", "test:"),
    ],
)
def test_what_a_rule_names_is_allowed(uri: str, rules: str) -> None:
    assert allows(uri, rules)


@pytest.mark.parametrize(
    ("uri", "rules"),
    [
        ("rtsp://door.cams.example/s", ""),
        ("rtsps://door.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://evil.example/s", "rtsp://*.cams.example"),
        ("rtsp://evil.example/door.cams.example", "rtsp://*.cams.example"),
        ("rtsp://door.cams.example@evil.example/s", "rtsp://*.cams.example"),
        ("rtsp://a@b@door.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://evil.example#@door.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://evil.example?@door.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://evil.example\\@door.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://door.cams.example/s\r\nHost: x", "rtsp://*.cams.example"),
        ("rtsp://door.cams.example /s", "rtsp://*.cams.example"),
        ("rtsp://inside.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://inside.cams.example/s", "rtsp://*.cams.example, http://10.0.0.0/8"),
        ("rtsp://mixed.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://mapped.cams.example/s", "rtsp://*.cams.example"),
        ("rtsp://nat64.cams.example/s", "rtsp://*.cams.example"),
        ("http://metadata.cams.example/latest", "http://*"),
        ("http://169.254.169.254/latest", "http://*"),
        ("http://2130706433/", "http://*"),
        ("http://localhost/", "http://*"),
        ("http://[::1]/", "http://*"),
        ("http://[::ffff:7f00:1]/", "http://*"),
        ("http://0.0.0.0/", "http://*"),
        ("http://224.0.0.1/", "http://*"),
        ("http://nobody.example/", "http://*"),
        ("http://door.cams.example:81/", "http://*:80"),
        ("http://door.cams.example/", "http://*:80"),
        ("http://door.cams.example:99999/", "http://*"),
        ("srt://:9000?mode=listener", "srt://*"),
        ("srt://door.cams.example:1?mode=listener", "srt://*"),
        ("srt://door.cams.example:1?%6dode=listener", "srt://*"),
        ("lavfi:movie=/etc/passwd", "test:"),
        ("x11::0", "test:"),
        ("v4l2:/dev/video0", "file:/dev/*"),
        ("alsa:default", "test:"),
        ("concat:file:/etc/passwd", "file:/etc/*"),
        ("subfile,,start,0,end,9,,:/etc/passwd", "file:/etc/*"),
        ("crypto+http://door.cams.example/", "http://*"),
        ("test:x", "test:"),
        ("test:?size=9999x9999", "test:"),
        ("test:?size=99999x1", "test:"),
        ("test:?size=320x180", "rtsp://*"),
        ("", "test:"),
    ],
)
def test_what_no_rule_names_is_refused(uri: str, rules: str) -> None:
    assert not allows(uri, rules)


@pytest.mark.parametrize(
    "rule",
    [
        "lavfi:x",
        "x11:*",
        "v4l2:*",
        "alsa:*",
        "*://x",
        "file:*",
        "file:/*",
        "file:media/*",
        "rtsp://10.0.0.0/99",
        "rtsp://*/24",
        "rtsp://host:77777",
        "rtsp://a b",
        "concat:*",
        "rtsp:",
        "file:/a*b",
    ],
)
def test_rules_that_cannot_be_are_refused(rule: str) -> None:
    with pytest.raises(ConfigError):
        parse_rules(rule)


def test_files_are_those_of_a_folder_wherever_links_lead(tmp_path: Path) -> None:
    media, secret = tmp_path / "media", tmp_path / "secret.mp4"
    (media / "deep").mkdir(parents=True)
    secret.touch()
    for name in ("a.mp4", "deep/b 100%.mp4"):
        (media / name).touch()
    (media / "link.mp4").symlink_to(secret)
    (media / "up").symlink_to(tmp_path)
    (tmp_path / "other").symlink_to(media)
    rules = f"file:{media}/*"
    assert check_source(f"file:{media}/a.mp4", parse_rules(rules))[0] == f"file:{media}/a.mp4"
    assert check_source(f"{tmp_path}/other/a.mp4", parse_rules(rules))[0] == f"file:{media}/a.mp4"
    assert allows(f"file://{media}/{quote('deep/b 100%.mp4')}", rules)
    assert allows(f"file:{media}/a.mp4", f"file:{tmp_path}/other/*")
    for path in ("link.mp4", "up/secret.mp4", "../secret.mp4", "%2e%2e/secret.mp4", "", "..", "a.mp4\n"):
        assert not allows(f"file:{media}/{path}", rules), path
    assert not allows("secret.mp4", rules)
    assert allows(f"file:{secret}", f"file:{secret}")
    assert not allows(f"file:{secret}.bak", f"file:{secret}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol_whitelist", "file"), ("headers", "x: y"), ("user_agent", "a\r\nHost: b"), ("key", "00"),
        ("http_proxy", "http://10.0.0.1"), ("rtsp_flags", "listen"), ("listen", "1"), ("dump_separator", "x"),
        ("max_redirects", "9"), ("user_agent", "ü"),
    ],
)  # fmt: skip
def test_options_that_lead_elsewhere_are_refused(name: str, value: str) -> None:
    assert not allows("rtsp://door.cams.example/s", "rtsp://*", **{name: value})


def test_http_is_not_led_on_by_redirects() -> None:
    rules = parse_rules("http://*, rtsp://*")
    found = check_source("http://door.cams.example/", rules, options={"user_agent": "me"}, resolve=resolve)
    assert found == ("http://door.cams.example/", {"user_agent": "me", "max_redirects": "0"})
    assert check_source("rtsp://door.cams.example/", rules, resolve=resolve)[1] == {}


def test_a_refusal_tells_nothing_of_what_is_inside() -> None:
    said = set()
    for uri in ("rtsp://inside.cams.example/s?token=1", "rtsp://nobody.example", "rtsp://u:p@evil.example/"):
        with pytest.raises(ConfigError) as caught:
            check_source(uri, parse_rules("rtsp://*.cams.example"), resolve=resolve)
        said.add(str(caught.value))
    assert len(said) == 1


PIECES = st.sampled_from(
    [
        "rtsp",
        "http",
        "file",
        "://",
        ":",
        "/",
        "//",
        "@",
        "#",
        "?",
        "\\",
        "%2f",
        "%40",
        "%00",
        "[",
        "]",
        "::1",
        ".",
        "door.cams.example",
        "evil.example",
        "127.0.0.1",
        "..",
        "listener",
        " ",
        "\n",
        "é",
        "8080",
        "0x7f.1",
        "-",
    ]
)


@given(st.lists(PIECES, max_size=10).map("".join) | st.text(max_size=60))
def test_whatever_is_allowed_leads_where_the_rule_says(uri: str) -> None:
    """Seen by another parser: of what is allowed the host is the rule's, whoever reads the address."""
    asked: list[str] = []

    def public(host: str) -> list[str]:
        asked.append(host)
        return ["203.0.114.7"]

    rules = parse_rules("rtsp://*.cams.example, http://*.cams.example")
    try:
        found, _ = check_source(uri, rules, resolve=public)
    except ConfigError:
        return
    split = urlsplit(found)
    assert split.scheme in NETWORK
    assert (split.hostname or "").rstrip(".") == asked[-1]
    assert asked[-1].endswith(".cams.example")
    authority = found.split("://", 1)[1].replace("?", "/").replace("#", "/").split("/")[0]
    assert authority.rpartition("@")[2].partition(":")[0].lower().rstrip(".") == asked[-1]


@given(st.ip_addresses())
def test_no_address_inside_is_reached_by_a_public_name(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    shown = f"[{address}]" if address.version == 6 else str(address)
    if allows(f"rtsp://{shown}/", "rtsp://*"):
        assert address.is_global
        assert not address.is_multicast


@given(st.lists(st.sampled_from(["..", "a", ".", "", "%2e%2e", "media", "x"]), max_size=8))
def test_no_path_leaves_its_folder(parts: list[str]) -> None:
    try:
        found, _ = check_source("file:/srv/media/" + "/".join(parts), parse_rules("file:/srv/media/*"))
    except ConfigError:
        return
    assert os.path.commonpath([found.removeprefix("file:"), "/srv/media"]) == "/srv/media"
