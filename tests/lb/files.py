"""LB files and connection IDs for the tests of balancers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wtgateway.config.balancing import KEPT, LbFile, load_lb_file
from wtgateway.config.balancing_model import LbConfig
from wtgateway.transport.quic_lb import encode

KEY = bytes(range(16))
PLAIN = LbConfig(0, 2, 6)
FOUR_PASS = LbConfig(1, 3, 7, KEY)
SINGLE_PASS = LbConfig(2, 4, 12, KEY[::-1])
LONGEST = LbConfig(6, 15, 4, encode_length=False)
CONFIGS: Mapping[int, LbConfig] = {c.rotation: c for c in (PLAIN, FOUR_PASS, SINGLE_PASS, LONGEST)}
NAMES = ("a", "b", "c")


def server_ids(number: int) -> dict[int, bytes]:
    """Those of the node of that number, in each of CONFIGS."""
    return {r: bytes([number + 1] * c.server_id_bytes) for r, c in CONFIGS.items()}


def short_header(config: LbConfig, server_id: bytes, nonce: bytes | None = None, rest: bytes = b"") -> bytes:
    """A packet of a connection's, as anybody sees it."""
    cid = encode(
        config,
        server_id,
        nonce or bytes(config.nonce_bytes),
        server_use=b"\x05"[: 19 - config.plaintext_bytes],
    )
    return b"\x41" + cid + (rest or bytes(24))


def long_header(cid: bytes, rest: bytes = bytes(1200), version: bytes = b"\0\0\0\1") -> bytes:
    """An Initial."""
    return b"\xc3" + version + bytes([len(cid)]) + cid + b"\0" + rest


def lb_text(
    *,
    nodes: Mapping[str, str] | None = None,
    listen: str = "127.0.0.1:4433",
    client_addresses: str = KEPT,
    server_id_bytes: int = 2,
    key: bytes | None = None,
    health: bool = True,
) -> str:
    """The text of an LB file: one configuration, and nodes (addresses by name) with the IDs 1, 2, ..."""
    nodes = nodes or {"a": "10.0.0.11:4433", "b": "10.0.0.12:4433"}
    secret = f", key: {key.hex()}" if key else ""
    lines = [
        "configs:",
        f"  - {{rotation: 0, server_id_length: {server_id_bytes}, nonce_length: 6{secret}}}",
        f'listen: "{listen}"',
        f"client_addresses: {client_addresses}",
        "nodes:",
    ]
    for number, (name, address) in enumerate(nodes.items(), 1):
        server_id = number.to_bytes(server_id_bytes, "big").hex()
        url = f', health: "http://{address.rpartition(":")[0]}:8080/readyz"' if health else ""
        lines.append(f'  - {{name: {name}, server_id: "{server_id}", address: "{address}"{url}}}')
    return "\n".join([*lines, ""])


def lb_path(directory: Path, text: str) -> Path:
    """It as a file."""
    path = directory / "lb.yml"
    path.write_text(text)
    return path


def lb_file(directory: Path, text: str) -> LbFile:
    """It as values."""
    return load_lb_file(lb_path(directory, text))
