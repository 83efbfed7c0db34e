"""What a source URI means: which kind of source, and how FFmpeg is asked for it.

Pure: does no I/O and imports errors, log's redaction, sources.base and srt only. The rule: what is shown to
anyone (``Plan.description``) holds no password.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from wtgateway.errors import ConfigError
from wtgateway.log import redact_url
from wtgateway.sources.base import SourceOptions
from wtgateway.sources.srt import check_query

DEFAULT_FPS = 30.0  # of screens and the test picture
EXPECTED = (
    "a file, or a URI that begins with rtsp:, rtsps:, rtmp:, rtmps:, srt:, http:, https:, v4l2:, alsa:, "
    "x11:, lavfi:, test: or file:"
)
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")
_NETWORK = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "http", "https"})
# What FFmpeg may open on behalf of a source from the network, nested (playlists, keys) or redirected: else
# the author of a playlist or a description could have files of this machine read, or ports of it opened.
_PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,httpproxy",
    "rtmp": "rtmp,rtmps,tcp,tls",
    "http": "http,https,httpproxy,tcp,tls,crypto",
}
_SIZE = re.compile(r"^([1-9]\d{0,4})x([1-9]\d{0,4})$")
_DISPLAY = re.compile(r"^([^+?]*:\d+(?:\.\d+)?)?(?:\+(\d+),(\d+))?$")


class Mode(enum.Enum):
    """Who sets the pace."""

    FILE = enum.auto()  # we do, by the file's timestamps; it may be looped
    GENERATED = enum.auto()  # we do; never looped (lavfi)
    WEB = enum.auto()  # decided when it is open: a file, HLS or a live stream over HTTP
    LIVE = enum.auto()  # the peer does
    DEVICE = enum.auto()  # the device does, and it stamps with the wall clock
    SCREEN = enum.auto()
    TEST = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to open a source: FFmpeg's URL, format (None: found out) and options."""

    mode: Mode
    url: str
    description: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenRegion:
    """A part of an X display; width and height 0: up to its edges."""

    display: str  # "" is $DISPLAY
    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0
    fps: float = DEFAULT_FPS
    cursor: bool = False


def scheme_of(uri: str) -> str:
    """The scheme in lower case; "file" for a bare path. Raises ConfigError."""
    match = _SCHEME.match(uri)
    if not uri or "\0" in uri:
        raise ConfigError("source", "", uri, EXPECTED)
    scheme = match.group(1).lower() if match else "file"
    if scheme not in _NETWORK | {"file", "v4l2", "alsa", "x11", "lavfi", "test"}:
        hint = f"{EXPECTED} (a file of that name: write ./{uri})"
        raise ConfigError("source", "", redact_url(uri), hint)
    return scheme


def is_network(uri: str) -> bool:
    """Whether a source is reached over the network. Raises ConfigError."""
    return scheme_of(uri) in _NETWORK


def make_plan(uri: str, options: SourceOptions) -> Plan:
    """Map a URI to a Plan. Raises ConfigError."""
    scheme = scheme_of(uri)
    if scheme in _NETWORK:
        return _network(scheme, uri, options)
    if scheme == "file":
        return _file(uri, options)
    rest = uri.split(":", 1)[1]
    if scheme == "lavfi":
        return _plan(Mode.GENERATED, _needed(rest, uri, "a filter graph"), uri, options, format="lavfi")
    if scheme == "v4l2":
        device, query = _split_query(rest, uri)
        return _plan(
            Mode.DEVICE,
            _needed(device, uri, "a device, as in v4l2:/dev/video0"),
            uri,
            options,
            format="v4l2",
            extra={**_picture(options), "timestamps": "abs", **query},
        )
    if scheme == "alsa":
        device, query = _split_query(rest, uri)
        return _plan(Mode.DEVICE, device or "default", uri, options, format="alsa", extra=query)
    return _plan(Mode.SCREEN if scheme == "x11" else Mode.TEST, uri, uri, options)


def parse_screen(uri: str, options: SourceOptions) -> ScreenRegion:
    """``x11::0.0+10,20?size=640x480&cursor=1&fps=60``. Raises ConfigError."""
    place, query = _split_query(uri.split(":", 1)[1], uri)
    match = _DISPLAY.match(place)
    unknown = set(query) - {"size", "cursor", "fps"}
    if match is None or unknown:
        raise ConfigError("source", "", uri, "x11:DISPLAY[+X,Y][?size=WxH&cursor=1&fps=N], as in x11::0")
    width, height = parse_size(query["size"], uri) if "size" in query else (options.width, options.height)
    return ScreenRegion(
        display=match.group(1) or "",
        x=int(match.group(2) or 0),
        y=int(match.group(3) or 0),
        width=width,
        height=height,
        fps=parse_number(query.get("fps", ""), uri) or options.fps or DEFAULT_FPS,
        cursor=query.get("cursor", "0") not in ("0", "no", "false", ""),
    )


def grab_plan(region: ScreenRegion, uri: str, options: SourceOptions) -> Plan:
    """The same region by FFmpeg's polled x11grab."""
    extra = {"framerate": f"{region.fps:g}", "draw_mouse": str(int(region.cursor))}
    if region.width and region.height:
        extra["video_size"] = f"{region.width}x{region.height}"
    url = f"{region.display}+{region.x},{region.y}"
    return _plan(Mode.DEVICE, url, uri, options, format="x11grab", extra=extra)


def parse_size(text: str, uri: str) -> tuple[int, int]:
    """``1280x720`` to (1280, 720). Raises ConfigError."""
    match = _SIZE.match(text)
    if match is None:
        raise ConfigError("source", "size", text, f"WIDTHxHEIGHT, as in 1280x720 (in {redact_url(uri)})")
    return int(match.group(1)), int(match.group(2))


def parse_number(text: str, uri: str) -> float:
    """A number >= 0, "" is 0. Raises ConfigError."""
    try:
        value = float(text or 0)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ConfigError("source", "", text, f"a number from 0 on (in {redact_url(uri)})")
    return value


def parse_query(uri: str) -> dict[str, str]:
    """The part behind ``?`` as a map."""
    return _split_query(uri, uri)[1]


def _plan(
    mode: Mode,
    url: str,
    uri: str,
    options: SourceOptions,
    *,
    format: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> Plan:
    merged = {**(extra or {}), **options.options}
    return Plan(mode=mode, url=url, description=redact_url(uri), format=format, options=merged)


def _network(scheme: str, uri: str, options: SourceOptions) -> Plan:
    try:
        host, _ = urlsplit(uri).hostname, urlsplit(uri).port
    except ValueError as error:
        raise ConfigError(
            "source", "", redact_url(uri), f"a URL with a valid host and port ({error})"
        ) from None
    if not host and scheme != "srt":  # srt://:9000?mode=listener has none
        raise ConfigError("source", "", redact_url(uri), f"{scheme}://HOST[:PORT]/...")
    read_us = str(round(options.read_timeout_s * 1e6))
    whitelist = _PROTOCOLS.get(scheme.removesuffix("s"), "")
    extra = {"analyzeduration": "2000000"}  # of a stream whose second track never comes
    if scheme in ("rtsp", "rtsps"):
        extra |= {"rtsp_transport": "tcp", "timeout": read_us, "protocol_whitelist": whitelist}
    elif scheme == "srt":
        query = parse_query(uri)
        if not host and query.get("mode") != "listener":
            raise ConfigError("source", "", redact_url(uri), "srt://HOST:PORT, or srt://:PORT?mode=listener")
        check_query(query, redact_url(uri))
        return _plan(Mode.LIVE, uri, uri, options, format="mpegts", extra=extra)
    elif scheme in ("http", "https"):
        extra = {"timeout": read_us, "protocol_whitelist": whitelist}
        return _plan(Mode.WEB, uri, uri, options, extra=extra)
    else:
        extra["protocol_whitelist"] = whitelist
    return _plan(Mode.LIVE, uri, uri, options, extra=extra)


def _file(uri: str, options: SourceOptions) -> Plan:
    path = uri
    if _SCHEME.match(uri):
        path = unquote(uri.split(":", 1)[1])
        path = re.sub(r"^//(localhost)?(?=/)", "", path)
    return _plan(Mode.FILE, "file:" + _needed(path, uri, "a path"), uri, options)


def _picture(options: SourceOptions) -> dict[str, str]:
    extra = {}
    if options.fps:
        extra["framerate"] = f"{options.fps:g}"
    if options.width and options.height:
        extra["video_size"] = f"{options.width}x{options.height}"
    return extra


def _split_query(text: str, uri: str) -> tuple[str, dict[str, str]]:
    head, _, query = text.partition("?")
    try:
        return head, dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else ())
    except ValueError:
        raise ConfigError("source", "", redact_url(uri), "KEY=VALUE&KEY=VALUE behind the ?") from None


def _needed(text: str, uri: str, what: str) -> str:
    if not text:
        raise ConfigError("source", "", redact_url(uri), what)
    return text
