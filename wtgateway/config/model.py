"""The configuration as one tree of frozen values.

Units are in the names (``_s`` seconds, ``_bps`` bits a second). Nothing here reads files, flags or
the environment: :mod:`wtgateway.config.load` does and fills this tree. Imports this room only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from wtgateway.config.access import AccessConfig
from wtgateway.config.allowed_sources import SourceRules
from wtgateway.config.hooks_model import Hooks, WebhookConfig

if TYPE_CHECKING:
    from wtgateway.config.origin import Origin
    from wtgateway.config.template import Template

DAY_S = 86400.0
BALANCED_DRAIN_S = 30.0


class Address(NamedTuple):
    """Where to listen. ``host`` is a name or an IP without brackets; port 0: the system chooses.

    ``localhost`` means both loopback addresses (127.0.0.1 and ::1), ``::`` all addresses of both families.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


# loopback unless told otherwise
DEFAULT_BIND = Address("localhost", 4433)
DEFAULT_WEB = Address("127.0.0.1", 8080)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenditionConfig:
    """One way to encode the pictures. Empty or zero: as the source has it, or the default of recipe.py."""

    codec: str = ""  # h264, hevc, av1, vp9 or auto
    bitrate_bps: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    preset: str = ""  # empty: the encoder room's choice


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig(RenditionConfig):
    """How pictures are encoded, or forwarded as they come.

    ``renditions`` are offered beside each other, best first; what one leaves open is as here. Without
    any there is one, which is as here.
    """

    reencode: str = "auto"  # auto, always or never
    keyframe_interval_s: float = 10.0  # 0: only on demand
    adapt: str = "fit-most"  # fit-most, fit-all or off: what viewers' paths and screens have to say
    min_bitrate_bps: int = 100_000  # adaptation goes no lower
    droppable: str = "off"  # auto or off: encode so that some frames can be left out, where the encoder can
    renditions: tuple[RenditionConfig, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """How sound is encoded, or forwarded as it comes."""

    codec: str = "opus"
    reencode: str = "auto"  # auto, always or never
    bitrate_bps: int = 128_000
    channels: int = 0  # 0: the source's
    frame_ms: int = 20
    fec: bool = False  # for viewers that can use it; browsers cannot
    dtx: bool = False  # silence takes next to nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastLimits:
    """What the viewers of one broadcast may have together and each; 0: as the gateway's limits have it."""

    sessions: int = 0
    bitrate_bps: int = 0
    bitrate_per_session_bps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BroadcastConfig:
    """One broadcast: what it shows and how. ``video`` or ``audio`` None: that medium is off."""

    name: str
    source: str
    on_demand: bool = False
    loop: bool = True
    capture: str = "auto"  # x11: "damage", "poll" or "auto"
    isolate: bool | None = None  # the source has a process of its own; None: where it is on the network
    isolate_memory_bytes: int = 0  # of address space that such a process may have; 0: no bound
    options: Mapping[str, str] = field(default_factory=dict)
    limits: BroadcastLimits = field(default_factory=BroadcastLimits)
    hooks: Hooks = field(default_factory=dict)  # run_on_*, by name; those of the gateway where there are none
    video: VideoConfig | None = field(default_factory=VideoConfig)
    audio: AudioConfig | None = field(default_factory=AudioConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """What new connections may cost the gateway."""

    retry_above: float = 100.0  # new connections a second, above which each proves its address; 0: always
    half_open_per_address: int = 64  # handshakes under way of one IPv4 address, or one IPv6 /64


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What viewers may have of the gateway (:mod:`wtgateway.limits`); 0: no such limit."""

    sessions: int = 1000
    sessions_per_broadcast: int = 0
    sessions_per_address: int = 0  # of one IPv4 address, or one IPv6 /64
    sessions_per_identity: int = 0  # of one that a token names
    bitrate_bps: int = 0
    bitrate_per_broadcast_bps: int = 0
    bitrate_per_session_bps: int = 0
    control_messages_per_s: int = 50  # of one viewer, and four times as many at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """What may be done over the API."""

    allowed_sources: SourceRules = ()  # that it may add; none: no source at all


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """What the nodes of a cluster share."""

    secret: Path | None = None  # a file (wtgateway.cluster); None: this gateway stands alone


@dataclass(frozen=True, slots=True, kw_only=True)
class LbSettings:
    """How a balancer finds this gateway (:mod:`wtgateway.config.balancing`)."""

    config: Path | None = None  # the LB file; None: no balancer reads connection IDs
    server_id: str = ""  # hex digits; empty: that of `node` in the LB file


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """Everything `wtgateway run` needs to know."""

    bind: Address = DEFAULT_BIND
    web: Address = DEFAULT_WEB
    web_tls_cert: Path | None = None
    web_tls_key: Path | None = None
    frame_ancestors: tuple[str, ...] = ("'self'",)  # whose pages may show ours in a frame
    websocket: bool = True  # whether viewers may come over a WebSocket of the pages' server
    public: bool = False
    cert_rotate_s: float = 13 * DAY_S
    certs_dir: Path = Path("certs")
    log_format: str = "auto"  # text, json, or auto: text on a terminal, JSON otherwise
    json_log: bool = False  # log_format: json
    log_level: str = "info"
    watch: bool = True  # read the file again when it has changed
    workers: int = 1  # processes that serve viewers; 0 (auto): as many as there are cores to spare
    node: str = ""  # this gateway's name among others, in logs, API and `welcome`
    drain_timeout_s: float | None = None  # viewers have so long to go elsewhere; None: see drain_s
    advertise: Address | None = None  # the QUIC address that pages are told; port 0: the one that is bound
    public_url: str = ""  # of the pages as viewers see them, with a slash at the end; empty: as bound
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()  # whose X-Forwarded-* and Forwarded hold
    transport: TransportConfig = field(default_factory=TransportConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    api: ApiConfig = field(default_factory=ApiConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    lb: LbSettings = field(default_factory=LbSettings)
    hooks: Hooks = field(default_factory=dict)  # run_on_* of all broadcasts that have none of their own
    webhooks: tuple[WebhookConfig, ...] = ()  # who is told of events
    broadcasts: tuple[BroadcastConfig, ...] = (BroadcastConfig(name="test", source="test:"),)
    # Makes broadcasts that come later (wtgateway.config.template); no setting, so it makes no difference.
    template: Template | None = field(default=None, compare=False, repr=False)
    origin: Origin | None = field(default=None, compare=False, repr=False)  # where it can be read again

    @property
    def speaks_json(self) -> bool:
        """Whether all that is said is to be JSON, whoever reads it."""
        return self.json_log or self.log_format == "json"

    def logs_json(self, terminal: bool) -> bool:
        """Whether the log is JSON, where it is or is not read on a terminal."""
        return self.speaks_json or (self.log_format == "auto" and not terminal)

    @property
    def drain_s(self) -> float:
        """How long viewers have at the end: none where nobody would send them to another node."""
        if self.drain_timeout_s is not None:
            return self.drain_timeout_s
        return BALANCED_DRAIN_S if self.lb.config is not None else 0.0

    @property
    def public_host(self) -> str:
        """The host of the public URL, without brackets; empty where there is none."""
        return urlsplit(self.public_url).hostname or ""

    @property
    def public_path(self) -> str:
        """The path of the public URL, with a slash at both ends."""
        return urlsplit(self.public_url).path or "/"

    @property
    def public_hosts(self) -> tuple[str, ...]:
        """The names under which viewers know this gateway, or its whole cluster."""
        advertised = self.advertise.host if self.advertise else ""
        return tuple(host for host in (advertised, self.public_host) if host)
