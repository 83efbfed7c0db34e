"""The table of all settings: file key, field of the model, parser, and in which layers it may be given.

The loader, the command line, the documentation's test and `wtgateway check` all read this one table.
Pure; imports only errors (through values).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wtgateway.config import access
from wtgateway.config.allowed_sources import parse_rules
from wtgateway.config.balancing import parse_hex, parse_node_name
from wtgateway.config.model import DAY_S
from wtgateway.config.reach import (
    parse_advertise,
    parse_frame_ancestors,
    parse_networks,
    parse_public_url,
)
from wtgateway.config.values import between, one_of, parse_address, parse_bitrate, parse_bool, parse_duration
from wtgateway.config.values import parse_size as parse_size
from wtgateway.errors import ConfigError

MIN_ROTATE_S = 1.0
MAX_ROTATE_S = 13 * DAY_S


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``fields``: where its value goes (two for a pair such as ``size``).

    ``layer_key``: its name on the command line and, as ``WTG_<upper case>``, in the environment; empty
    for a setting that only the file has.
    """

    key: str
    fields: tuple[str, ...]
    parse: Callable[[str], object]
    layer_key: str = ""

    @property
    def variable(self) -> str:
        """The environment variable, or an empty text."""
        return f"WTG_{self.layer_key.upper()}" if self.layer_key else ""


def _path(text: str) -> Path:
    if not text.strip() or "\0" in text:
        raise ConfigError("path", "", text, "a path")
    try:
        return Path(text.strip()).expanduser()
    except RuntimeError:  # "~nobody"
        raise ConfigError("path", "", text, "a path of a user that exists; ./~name for such a file") from None


def _readable_file(text: str) -> Path:
    path = _path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise ConfigError("path", "", text, f"a PEM file that can be read ({error.strerror})") from None


def _preset(text: str) -> str:
    if not text.isascii() or not text.replace("-", "").isalnum():
        raise ConfigError("preset", "", text, "a preset of the encoder such as ultrafast or veryfast")
    return text.lower()


def _server_id(text: str) -> str:
    return parse_hex(text).hex()


def _workers(text: str) -> int:
    if text.strip().lower() == "auto":
        return 0
    return _WORKERS(text)


def _isolate(text: str) -> bool | None:
    if text.strip().lower() == "auto":
        return None
    try:
        return parse_bool(text)
    except ConfigError:
        raise ConfigError("isolate", "", text, "auto, true or false") from None


def _memory(text: str) -> int:
    bits = text.strip().upper().removesuffix("B")
    return 0 if bits in ("0", "") else _MEMORY(bits)


def _of_numbers(*numbers: int) -> Callable[[str], int]:
    choose = one_of(*(str(number) for number in numbers))
    return lambda text: int(choose(text))


def _side(text: str) -> int:
    return parse_size(f"{text.strip()}x16")[0]


def _same(key: str, parse: Callable[[str], object], layer_key: str | None = None) -> Setting:
    return Setting(key, (key,), parse, key if layer_key is None else layer_key)


_ROTATE = between(parse_duration, MIN_ROTATE_S, MAX_ROTATE_S, "a duration from 1s to 13d, such as 90s or 13d")
_DRAIN = between(parse_duration, 0.0, 3600.0, "a duration from 0s (at once) to 1h")
_FPS = between(float, 0.0, 240.0, "frames a second from 0 (the source's own) to 240")
_INTERVAL = between(parse_duration, 0.0, 3600.0, "a duration from 0s (only on demand) to 1h")
_WORKERS = between(int, 1, 64, "a number of processes from 1 to 64, or auto")
_RETRY_ABOVE = between(
    lambda text: float(text.strip().removesuffix("/s")),
    0.0,
    100_000.0,
    "connections a second from 0 (prove each address) to 100000",
)
_HALF_OPEN = between(int, 1, 512, "a number of connections from 1 to 512")
_SESSIONS = between(int, 0, 1_000_000, "a number of sessions from 0 (no limit) to 1000000")
_CAP_BPS = between(parse_bitrate, 0, 10**12, "a bit rate such as 500M, or 0 (no limit)")
_MESSAGES = between(int, 10, 10_000, "messages a second from 10 to 10000")
_MEMORY = between(parse_bitrate, 10**9, 10**12, "a size from 1G to 1000G such as 4G, or 0 (no bound)")
_VIDEO_BPS = between(parse_bitrate, 50_000, 200_000_000, "a bit rate from 50k to 200M, such as 4M")
_AUDIO_BPS = between(parse_bitrate, 6_000, 512_000, "a bit rate from 6k to 512k, such as 128k")

_CALLBACK_TIMEOUT = between(parse_duration, 0.1, 4.0, "a duration from 100ms to 4s")
_CALLBACK_CACHE = between(parse_duration, 0.0, 300.0, "a duration from 0s (ask each time) to 5m")

GATEWAY: Final = (
    _same("bind", parse_address),
    _same("web", parse_address),
    _same("web_tls_cert", _readable_file),
    _same("web_tls_key", _readable_file),
    _same("frame_ancestors", parse_frame_ancestors, ""),
    _same("websocket", parse_bool),
    _same("public", parse_bool),
    Setting("cert_rotate", ("cert_rotate_s",), _ROTATE, "cert_rotate"),
    _same("certs_dir", _path),
    _same("log_format", one_of("auto", "text", "json")),
    _same("json_log", parse_bool),
    _same("log_level", one_of("debug", "info", "warning", "error")),
    _same("watch", parse_bool),
    _same("workers", _workers),
    _same("node", parse_node_name),
    Setting("drain_timeout", ("drain_timeout_s",), _DRAIN, "drain_timeout"),
    _same("advertise", parse_advertise),
    _same("public_url", parse_public_url),
    Setting("trusted_proxies", ("trusted_proxies",), parse_networks, "trusted_proxy"),
)
CLUSTER: Final = (Setting("secret", ("secret",), _path, "cluster_secret"),)
LB: Final = (
    Setting("config", ("config",), _path, "lb_config"),
    Setting("server_id", ("server_id",), _server_id, "lb_server_id"),
)
TRANSPORT: Final = (
    _same("retry_above", _RETRY_ABOVE, ""),
    _same("half_open_per_address", _HALF_OPEN, ""),
)
LIMITS: Final = (
    _same("sessions", _SESSIONS, ""),
    _same("sessions_per_broadcast", _SESSIONS, ""),
    _same("sessions_per_address", _SESSIONS, ""),
    _same("sessions_per_identity", _SESSIONS, ""),
    Setting("bitrate", ("bitrate_bps",), _CAP_BPS),
    Setting("bitrate_per_broadcast", ("bitrate_per_broadcast_bps",), _CAP_BPS),
    Setting("bitrate_per_session", ("bitrate_per_session_bps",), _CAP_BPS),
    _same("control_messages_per_s", _MESSAGES, ""),
)
BROADCAST_LIMITS: Final = (
    _same("sessions", _SESSIONS, ""),
    Setting("bitrate", ("bitrate_bps",), _CAP_BPS),
    Setting("bitrate_per_session", ("bitrate_per_session_bps",), _CAP_BPS),
)
API: Final = (_same("allowed_sources", parse_rules, ""),)
ACCESS: Final = (
    _same("mode", access.parse_modes, "access"),
    _same("key", _path, ""),
    _same("users", _path, ""),
    _same("jwt_key", _path, ""),
    _same("jwt_keys", access.parse_jwt_keys, ""),
    _same("jwt_algorithms", access.parse_algorithms, ""),
    _same("jwt_issuer", str.strip, ""),
    _same("jwt_audience", str.strip, ""),
    _same("jwt_claim", str.strip, ""),
    _same("callback", access.parse_url, ""),
    Setting("callback_timeout", ("callback_timeout_s",), _CALLBACK_TIMEOUT, ""),
    Setting("callback_cache", ("callback_cache_s",), _CALLBACK_CACHE, ""),
    _same("anonymous", access.parse_permissions, ""),
    _same("origins", access.parse_origins, ""),
)
BROADCAST: Final = (
    _same("on_demand", parse_bool),
    _same("loop", parse_bool),
    _same("capture", one_of("auto", "damage", "poll")),
    _same("isolate", _isolate),
    Setting("isolate_memory", ("isolate_memory_bytes",), _memory, ""),
)
VIDEO: Final = (
    _same("codec", one_of("auto", "h264", "hevc", "av1", "vp9"), "video_codec"),
    _same("reencode", one_of("auto", "always", "never")),
    Setting("bitrate", ("bitrate_bps",), _VIDEO_BPS, "video_bitrate"),
    _same("fps", _FPS),
    Setting("size", ("width", "height"), parse_size, "size"),
    _same("width", _side, ""),
    _same("height", _side, ""),
    _same("preset", _preset, ""),
    Setting("keyframe_interval", ("keyframe_interval_s",), _INTERVAL, "keyframe_interval"),
    _same("adapt", one_of("fit-most", "fit-all", "off"), ""),
    Setting("min_bitrate", ("min_bitrate_bps",), _VIDEO_BPS, ""),
    _same("droppable", one_of("auto", "off"), ""),
)
RENDITION_KEYS: Final = ("codec", "bitrate", "fps", "size", "width", "height", "preset")
AUDIO: Final = (
    _same("codec", one_of("opus"), ""),
    _same("reencode", one_of("auto", "always", "never"), ""),
    Setting("bitrate", ("bitrate_bps",), _AUDIO_BPS, "audio_bitrate"),
    _same("channels", _of_numbers(0, 1, 2, 6), ""),
    _same("frame_ms", _of_numbers(10, 20), ""),
    _same("fec", parse_bool, ""),
    _same("dtx", parse_bool, ""),
)
# switches of a whole medium, and the sources themselves: keys of no dataclass field
MEDIA_SWITCHES: Final = (_same("video", parse_bool), _same("audio", parse_bool))
LIST_KEYS: Final = ("source", "name")
# that the file may write as lists; a flag may be given several times
LISTS: Final = (
    *("trusted_proxies", "allowed_sources", "frame_ancestors"),
    *("mode", "jwt_algorithms", "anonymous", "origins"),
)


def layer_keys() -> dict[str, str]:
    """Every key that the command line and the environment know, with its variable."""
    tables = (GATEWAY, ACCESS, CLUSTER, LB, BROADCAST, VIDEO, AUDIO, MEDIA_SWITCHES)
    keys = {s.layer_key: s.variable for table in tables for s in table if s.layer_key}
    return keys | {key: f"WTG_{key.upper()}" for key in LIST_KEYS} | {"config": "WTG_CONFIG"}
