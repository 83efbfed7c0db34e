"""What each command does. Rooms are imported inside: a command pays only for what it uses.

Raises the errors of :mod:`wtgateway.errors`; the caller prints them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wtgateway.errors import ConfigError

if TYPE_CHECKING:
    from wtgateway.certs import Certificate, CertificateStore
    from wtgateway.config import BroadcastConfig, GatewayConfig

_NO_SETTINGS = frozenset({"command", "config", "json", "overlap"})


def say(text: str = "") -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")


def load_config(arguments: argparse.Namespace) -> GatewayConfig:
    """The merged configuration of a command. Raises :exc:`ConfigError`."""
    from wtgateway.config import load

    overrides = {key: value for key, value in vars(arguments).items() if key not in _NO_SETTINGS}
    return load(overrides, os.environ, Path(arguments.config) if arguments.config else None)


def run(arguments: argparse.Namespace) -> int:
    """`wtgateway run`: until a signal."""
    config = load_config(arguments)
    from wtgateway.log import setup

    setup(json_log=config.logs_json(sys.stderr.isatty()), level=config.log_level)
    from wtgateway.announce import announce
    from wtgateway.gateway import run_gateway

    return run_gateway(config, announce)


def check(arguments: argparse.Namespace) -> int:
    """`wtgateway check`: the settings that hold, or the first that is wrong."""
    config = load_config(arguments)
    from wtgateway.config import format_duration
    from wtgateway.pipeline.recipe import check_sources

    check_sources(config.broadcasts, str(arguments.config or os.environ.get("WTG_CONFIG") or "command line"))
    scheme = "https" if config.public or config.web_tls_cert else "http"
    told = f", viewers are told {config.advertise.host}" if config.advertise else ""
    told += f":{config.advertise.port}" if config.advertise and config.advertise.port else ""
    say(f"QUIC          {config.bind} (UDP){told}")
    if config.lb.config is not None:
        say(f"balancing     {_balancing(config)}")
    say(f"workers       {config.workers or 'as many as there are cores to spare'}")
    seen = f", seen as {config.public_url}" if config.public_url else ""
    say(f"pages         {scheme}://{config.web}/{seen}")
    if config.trusted_proxies:
        say(f"proxies       {', '.join(map(str, config.trusted_proxies))}")
    kept = f"derived from {config.cluster.secret}" if config.cluster.secret else config.certs_dir
    say(f"certificates  {kept}, each used for {format_duration(config.cert_rotate_s)}")
    _say_table([("BROADCAST", "SOURCE", "VIDEO", "AUDIO", ""), *map(_broadcast_row, config.broadcasts)])
    if scheme == "http" and not config.web.is_loopback and not config.public_url.startswith("https:"):
        say("note: browsers play only from HTTPS or localhost; use --public, --web-tls-cert or a TLS proxy")
    return 0


def _balancing(config: GatewayConfig) -> str:
    """What a balancer reads of this node. Raises ConfigError."""
    from wtgateway.config.balancing import load_lb_file, own_server_id

    assert config.lb.config is not None
    lb = load_lb_file(config.lb.config)
    server_id = own_server_id(lb, config.lb.server_id, config.node)
    return f"server ID {server_id.hex()}, one of {len(lb.nodes)}; LB file {lb.fingerprint}"


def _broadcast_row(broadcast: BroadcastConfig) -> tuple[str, ...]:
    from wtgateway.log import redact_url
    from wtgateway.pipeline.plan import wants_forwarding

    video, audio = broadcast.video, broadcast.audio
    picture = sound = "off"
    if video:
        size = f"{video.width}x{video.height}" if video.width and video.height else "source's size"
        words = [
            "forwarded" if wants_forwarding(video) else "",
            "" if video.reencode == "never" else f"{video.codec or 'h264'} {size}",
            _rate(video.bitrate_bps) if video.bitrate_bps else "",
            f"{video.fps:g} fps" if video.fps else "",
            f"{len(video.renditions)} renditions" if video.renditions else "",
        ]
        picture = " ".join(filter(None, words))
    if audio:
        sound = f"{audio.codec} {_rate(audio.bitrate_bps)}"
    notes = [word for word, on in (("on demand", broadcast.on_demand), ("once", not broadcast.loop)) if on]
    return f"/{broadcast.name}", redact_url(broadcast.source), picture, sound, ", ".join(notes)


def _rate(bits_per_second: int) -> str:
    return (
        f"{bits_per_second / 1e6:g} Mbit/s" if bits_per_second >= 1e6 else f"{bits_per_second / 1e3:g} kbit/s"
    )


def _say_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def probe(arguments: argparse.Namespace) -> int:
    """`wtgateway probe`: tracks of a source, encoders of this machine."""
    timeout_s = _duration("--timeout", arguments.timeout)
    if arguments.source is None:
        if not arguments.encoders:
            raise ConfigError("command line", "SOURCE", "", "a source to look at, or --encoders")
        return _probe_encoders(arguments)
    from wtgateway.encoders import available_encoders
    from wtgateway.sources import SourceOptions
    from wtgateway.sources import probe as probe_source

    options = SourceOptions(open_timeout_s=timeout_s, read_timeout_s=timeout_s)
    found = probe_source(arguments.source, options)
    encoders = list(available_encoders())
    if arguments.json:
        measured = {"measurements": _measurements(arguments)} if arguments.encoders else {}
        say(json.dumps({**dataclasses.asdict(found), "encoders": encoders, **measured}, default=str))
        return 0
    say(found.description + (f" ({found.format})" if found.format else ""))
    if found.duration_s:
        say(f"duration  {found.duration_s:.1f} s")
    for track in found.tracks:
        say(f"{track.kind!s:<9} {_track_line(track)}")
        for finding in track.findings:
            say(f"  {finding.severity!s:<8}{finding.message} [{finding.code}]")
    if arguments.encoders:
        say()
        return _probe_encoders(arguments)
    say(f"encoders  {', '.join(encoders) or 'none: install FFmpeg with libx264 and libopus'}")
    return 0


def _measurements(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What each encoder gave, in the order of preference; says which one is being tried."""
    from wtgateway.encoders import available_encoders
    from wtgateway.encoders.measurements import cache_directory
    from wtgateway.encoders.probe import measured_encoders
    from wtgateway.encoders.profiles import PROFILES

    found = []
    for name in (name for name in available_encoders() if name in PROFILES):
        if sys.stderr.isatty():
            print(f"\rtrying {name} …\x1b[K", end="", file=sys.stderr, flush=True)
        found += measured_encoders(cache_directory(), names=[name], again=arguments.again)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return [dataclasses.asdict(measurement) for measurement in found]


def _probe_encoders(arguments: argparse.Namespace) -> int:
    found = _measurements(arguments)
    if arguments.json:
        say(json.dumps({"measurements": found}))
        return 0
    rows: list[tuple[str, ...]] = [("encoder", "codec", "by", "ms a frame", "delay", "")]
    for one in found:
        by = "hardware" if one["hardware"] else "processor"
        figures = (f"{one['ms_per_frame']:.1f}", f"{one['delay_frames']} frames") if one["ok"] else ("-", "-")
        rows.append((one["encoder"], one["codec"], by, *figures, one["reason"] if not one["ok"] else "works"))
    _say_table(rows)
    say("1280x720 pictures that move all over; a frame of 60 a second has 16.7 ms, of 30 a second 33.3 ms")
    return 0


def _track_line(track: Any) -> str:
    named = (track.codec, track.profile, f"({track.codec_string})" if track.codec_string else "")
    parts = [" ".join(word for word in named if word), track.pixel_format]
    parts += [
        f"{track.width}x{track.height}" if track.width else "",
        f"{track.fps:g} fps" if track.fps else "",
    ]
    parts += [f"{track.sample_rate} Hz" if track.sample_rate else ""]
    parts += [f"{track.channels} channels" if track.channels else ""]
    parts += [_rate(track.bitrate_bps) if track.bitrate_bps else ""]
    return ", ".join(part for part in parts if part)


def certs_show(arguments: argparse.Namespace) -> int:
    """`wtgateway certs show`: what is stored, or derived; changes nothing."""
    config, now = load_config(arguments), time.time()
    certificates = _derived(config, now) if config.cluster.secret else _store(config).read()
    if arguments.json:
        say(json.dumps([_certificate_facts(c, certificates, now) for c in certificates]))
    elif not certificates:
        say(f"no certificates in {config.certs_dir}; `wtgateway run` makes them")
    else:
        _say_certificates(certificates, now)
    return 0


def certs_rotate(arguments: argparse.Namespace) -> int:
    """`wtgateway certs rotate`: a new certificate takes over after the overlap."""
    overlap_s = _duration("--in", arguments.overlap)
    config, now = load_config(arguments), time.time()
    if config.cluster.secret:
        expected = (
            "no cluster secret: certificates that come from it change with the clock alone; "
            "to replace them, give all nodes a new secret"
        )
        raise ConfigError("certs rotate", "cluster.secret", str(config.cluster.secret), expected)
    made = _store(config).rotate(now, overlap_s)
    _say_certificates(list(made.certificates), now)
    return 0


def _store(config: GatewayConfig) -> CertificateStore:
    from wtgateway.certs import CertificateStore, subject_names
    from wtgateway.log import setup

    setup(level="warning")
    names = subject_names([config.bind.host, *config.public_hosts])
    return CertificateStore(config.certs_dir, config.cert_rotate_s, names)


def _derived(config: GatewayConfig, now: float) -> list[Certificate]:
    from wtgateway.certs import DerivedCertificates, shared_names
    from wtgateway.cluster import ClusterSecret
    from wtgateway.log import setup

    setup(level="warning")
    assert config.cluster.secret is not None
    secret = ClusterSecret.load(config.cluster.secret)
    made = DerivedCertificates(secret, config.cert_rotate_s, shared_names(config.public_hosts)).begin(now)
    return sorted((*made.previous, *made.certificates), key=lambda certificate: certificate.window)


def _use(certificate: Certificate, certificates: list[Certificate], now: float) -> str:
    """What a certificate is to a gateway that looks at the store now."""
    from wtgateway.certs import in_turn

    current, following = in_turn(now, [c.window for c in certificates])
    uses = {current: "current", following: "next"}
    earlier = [c.window for c in certificates if current and c.window.active_from < current.active_from]
    uses |= dict.fromkeys(earlier, "previous")
    return uses.get(certificate.window, "expired" if certificate.not_after.timestamp() <= now else "unused")


def _certificate_facts(
    certificate: Certificate, certificates: list[Certificate], now: float
) -> dict[str, str]:
    info, form = certificate.info, "%Y-%m-%dT%H:%M:%SZ"
    return {
        "use": _use(certificate, certificates, now),
        "sha256": info.fingerprint.hex(),
        "activeFrom": info.active_from.strftime(form),
        "notBefore": info.not_before.strftime(form),
        "notAfter": info.not_after.strftime(form),
    }


def _say_certificates(certificates: list[Certificate], now: float) -> None:
    facts = [_certificate_facts(c, certificates, now) for c in certificates]
    header = ("USE", "SHA-256", "USED FROM", "VALID FROM", "VALID UNTIL")
    _say_table([header, *(tuple(fact.values()) for fact in facts)])


def cluster_secret(arguments: argparse.Namespace) -> int:
    """`wtgateway cluster secret`: a new secret in a file of its own."""
    from wtgateway.cluster import ClusterSecret, make_secret

    file = Path(arguments.file)
    if arguments.if_missing and file.exists():
        say(f"{file} is there already (fingerprint {ClusterSecret.load(file).fingerprint})")
        return 0
    secret = make_secret(file)
    say(f"wrote a new cluster secret to {file} (fingerprint {secret.fingerprint})")
    say("Next: copy it to every node, readable by the gateway's user alone (mode 0600), by a way that nobody")
    say(f"else sees, and start each node with --cluster-secret {file}")
    return 0


def view(arguments: argparse.Namespace) -> int:
    """`wtgateway view`: the native viewer."""
    seconds = None if arguments.seconds is None else _duration("--seconds", arguments.seconds)
    hashes = tuple(_hash(text) for text in arguments.hash)
    deadline_ms = 0 if arguments.deadline is None else _deadline_ms(arguments.deadline)
    from wtgateway.config import load
    from wtgateway.log import setup

    names = ("json_log", "log_format", "log_level")
    level = load({name: getattr(arguments, name) for name in names}, os.environ, None)
    setup(json_log=level.speaks_json, level=level.log_level)  # a tool's words are for who runs it
    from wtgateway.viewer import ViewOptions, run_view

    options = ViewOptions(
        url=arguments.url,
        record=Path(arguments.record) if arguments.record else None,
        seconds=seconds,
        hashes=hashes,
        insecure=arguments.insecure,
        json=arguments.json,
        delivery=arguments.delivery,
        deadline_ms=deadline_ms,
        transport=arguments.transport,
        token=sys.stdin.readline().strip() if arguments.token == "-" else arguments.token,  # noqa: S105
    )
    return int(run_view(options))


def _hash(text: str) -> bytes:
    try:
        value = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ConfigError(
            "command line", "--hash", text, "a SHA-256 of 64 hexadecimal digits (/certificate.sha256)"
        )
    return value


def _deadline_ms(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 60_000:
        return int(text)
    raise ConfigError("command line", "--deadline", text, "a whole number of ms from 1 to 60000")


def _duration(flag: str, text: str) -> float:
    from wtgateway.config import parse_duration

    try:
        return parse_duration(text)
    except ConfigError as error:
        raise ConfigError("command line", flag, text, error.expected) from None


def version(_arguments: argparse.Namespace) -> int:
    """`wtgateway version`: what to put into a bug report."""
    import platform
    from importlib import metadata

    from wtgateway import __version__

    say(f"wtgateway {__version__}")
    say(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in ("aioquic", "av", "cryptography", "hypercorn", "uvloop"):
        try:
            say(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            say(f"{package} is not installed")
    return 0
