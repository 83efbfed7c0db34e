"""The file that gateways and balancers of one cluster share: how connection IDs name the node they lead to.

One YAML file for all of them (docs/configuration.md has the whole of it), after
draft-ietf-quic-load-balancers-21: the configurations by rotation codepoint, the nodes with their server
IDs, the balancer's own address. Everything that cannot work is a :exc:`ConfigError` that names file, key,
value and what was expected, but never a key of encryption. Imports only errors, YAML when there is a file.
"""

from __future__ import annotations

import functools
import logging
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wtgateway.config.balancing_model import (
    HIDDEN,
    KEPT,
    KEY_BYTES,
    MAX_PLAINTEXT_BYTES,
    LbConfig,
    LbFile,
    LbNode,
)
from wtgateway.config.document import Listing, Section, Text, parsed, read_document, unknown_key
from wtgateway.config.model import Address
from wtgateway.config.values import between, one_of, parse_address, parse_bool
from wtgateway.errors import ConfigError

__all__ = [
    "HIDDEN",
    "KEPT",
    "LbConfig",
    "LbFile",
    "LbNode",
    "load_lb_file",
    "own_server_id",
    "parse_hex",
    "parse_node_name",
]

log = logging.getLogger("wtgateway")

_NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
NODE_NAME_HINT = "a name of up to 64 letters, digits, '.', '_' and '-', such as gateway-1"


def load_lb_file(path: Path) -> LbFile:
    """Read and check the file; it blocks. Raises :exc:`ConfigError`."""
    root = read_document(path)
    file = str(path)
    top = _fields(root, ("configs", "listen", "nodes", "client_addresses"), lists=("configs", "nodes"))
    configs, active = _configs(_list(top, "configs", file), file)
    _warn_if_open(path, configs)
    return LbFile(
        configs,
        active,
        parsed(_single(top, "listen", file, "", "the balancer's own HOST:PORT"), _endpoint),
        _nodes(_list(top, "nodes", file), configs, active),
        parsed(top["client_addresses"], one_of(KEPT, HIDDEN)) if "client_addresses" in top else KEPT,
    )


def own_server_id(lb: LbFile, given: str, node: str, *, where: str = "configuration") -> bytes:
    """The server ID of a gateway: ``given`` as hex digits (--lb-server-id), or that of ``node``.

    Raises :exc:`ConfigError` unless the file knows a node with it, so that the balancer does too.
    """
    names = ", ".join(f"{n.name} ({n.server_id.hex()})" for n in lb.nodes)
    if not given:
        for known in lb.nodes:
            if node and known.name == node:
                return known.server_id
        if node:
            raise ConfigError(where, "node", node, f"a node of the LB file ({names}), or --lb-server-id")
        raise ConfigError(where, "lb.server_id", "", f"--lb-server-id or --node, one of {names}")
    try:
        server_id = parse_hex(given)
    except ConfigError as error:
        raise ConfigError(where, "lb.server_id", given, error.expected) from None
    found = lb.node(lb.active.rotation, server_id)
    if found is None:
        raise ConfigError(where, "lb.server_id", given, f"the server ID of a node of the LB file: {names}")
    if node and found.name != node and any(known.name == node for known in lb.nodes):
        raise ConfigError(where, "lb.server_id", given, f"the one of --node {node}; this is {found.name}'s")
    return server_id


def parse_hex(text: str) -> bytes:
    """``00:1f`` or ``001f`` to octets. Raises :exc:`ConfigError`."""
    digits = text.strip().replace(":", "")
    if not digits or len(digits) % 2 or not re.fullmatch(r"[0-9A-Fa-f]+", digits):
        raise ConfigError("server ID", "", text, "hex digits, two an octet, such as 0001")
    return bytes.fromhex(digits)


def parse_node_name(text: str) -> str:
    """A node's name. Raises :exc:`ConfigError`."""
    name = text.strip()
    if not _NODE_NAME.fullmatch(name):
        raise ConfigError("node", "", text, NODE_NAME_HINT)
    return name


# --- configurations ---------------------------------------------------------------------------------

_ROTATION = between(int, 0, 6, "a rotation codepoint from 0 to 6 (7 is for connection IDs without a server)")
_SERVER_ID_LENGTH = between(int, 1, 15, "1 to 15 octets")
_NONCE_LENGTH = between(int, 4, 18, "4 to 18 octets")
_CONFIG_KEYS = ("rotation", "server_id_length", "nonce_length", "key", "encode_length", "active")


def _configs(listing: Listing, file: str) -> tuple[dict[int, LbConfig], LbConfig]:
    configs: dict[int, LbConfig] = {}
    active: list[tuple[LbConfig, Text | Section]] = []
    for item in listing.items():
        section = _section(item, "a mapping such as {rotation: 0, server_id_length: 2, nonce_length: 6}")
        fields = _fields(section, _CONFIG_KEYS)
        config = _config(section, fields)
        if config.rotation in configs:
            given = fields["rotation"]
            raise ConfigError(given.where, given.key, config.rotation, "each rotation codepoint once")
        configs[config.rotation] = config
        if "active" in fields and parsed(fields["active"], parse_bool):
            active.append((config, fields["active"]))
    if len(active) > 1:
        given = active[1][1]
        raise ConfigError(given.where, given.key, "true", "one active configuration: gateways issue by one")
    if not active and len(configs) != 1:
        expected = "active: true in the configuration that gateways are to issue by"
        raise ConfigError(listing.where, "configs", f"{len(configs)} configurations", expected)
    return configs, active[0][0] if active else next(iter(configs.values()))


def _config(section: Section, fields: Mapping[str, Text | Section]) -> LbConfig:
    def needed(name: str, parse: Callable[[str], int]) -> int:
        return int(parsed(_single(fields, name, section.where, section.key, "a number"), parse))

    rotation = needed("rotation", _ROTATION)
    server_id_bytes = needed("server_id_length", _SERVER_ID_LENGTH)
    nonce_bytes = needed("nonce_length", _NONCE_LENGTH)
    if server_id_bytes + nonce_bytes > MAX_PLAINTEXT_BYTES:
        given = fields["nonce_length"]
        most = MAX_PLAINTEXT_BYTES - server_id_bytes
        expected = f"at most {most} beside a server ID of {server_id_bytes}: a connection ID has 20 octets"
        raise ConfigError(given.where, given.key, nonce_bytes, expected)
    key = _key(fields["key"]) if "key" in fields else None
    encode = parsed(fields["encode_length"], parse_bool) if "encode_length" in fields else True
    return LbConfig(rotation, server_id_bytes, nonce_bytes, key, encode)


def _key(given: Text | Section) -> bytes:
    """The key; what is wrong about it is told without it."""
    expected = f"{2 * KEY_BYTES} hex digits, as of `openssl rand -hex {KEY_BYTES}`; without a key: plaintext"
    if isinstance(given, Section):
        raise ConfigError(given.where, given.key, "a mapping", expected)
    digits = given.text.strip().replace(":", "")
    if len(digits) != 2 * KEY_BYTES or not re.fullmatch(r"[0-9A-Fa-f]+", digits):
        raise ConfigError(given.where, given.key, f"a text of {len(digits)} characters", expected)
    return bytes.fromhex(digits)


def _warn_if_open(path: Path, configs: Mapping[int, LbConfig]) -> None:
    """Whoever has the key can tell which of a viewer's addresses belong together."""
    if any(config.key is not None for config in configs.values()):
        try:
            open_to_all = stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH
        except OSError:  # it was there a moment ago
            return
        if open_to_all:
            log.warning("everybody on this machine can read the keys in %s; use chmod 640", path)


# --- nodes ------------------------------------------------------------------------------------------

_NODE_KEYS = ("name", "server_id", "server_ids", "address", "health")


def _nodes(listing: Listing, configs: Mapping[int, LbConfig], active: LbConfig) -> tuple[LbNode, ...]:
    nodes: list[LbNode] = []
    taken: dict[tuple[str, object], str] = {}
    for item in listing.items():
        section = _section(item, 'a mapping such as {name: a, server_id: "0001", address: "10.0.0.11:4433"}')
        fields = _fields(section, _NODE_KEYS)

        def single(
            name: str, expected: str, section: Section = section, fields: Mapping[str, Any] = fields
        ) -> Text | Section:
            return _single(fields, name, section.where, section.key, expected)

        name = parsed(single("name", NODE_NAME_HINT), parse_node_name)
        address = parsed(single("address", "the node's HOST:PORT"), _endpoint)
        health = parsed(fields["health"], _url) if "health" in fields else ""
        server_ids = _server_ids(section, fields, configs)
        _once(taken, ("name", name), name, fields["name"], name)
        _once(taken, ("address", address), name, fields["address"], str(address))
        for rotation, (server_id, given) in server_ids.items():
            _once(taken, (f"server ID of {rotation}", server_id), name, given, server_id.hex())
        ids = {rotation: server_id for rotation, (server_id, _) in server_ids.items()}
        nodes.append(LbNode(name, ids[active.rotation], address, health, ids))
    if not nodes:
        raise ConfigError(listing.where, "nodes", "an empty list", "at least one node")
    return tuple(nodes)


def _once(
    taken: dict[tuple[str, object], str],
    what: tuple[str, object],
    node: str,
    given: Text | Section,
    value: str,
) -> None:
    if what in taken:
        raise ConfigError(given.where, given.key, value, f"one of its own: node {taken[what]} has it already")
    taken[what] = node


def _server_ids(
    section: Section, fields: Mapping[str, Text | Section], configs: Mapping[int, LbConfig]
) -> dict[int, tuple[bytes, Text | Section]]:
    """The node's server ID in each configuration, and where that was written."""
    if ("server_id" in fields) == ("server_ids" in fields):
        both = "server_id" in fields
        expected = 'one of server_id: "0001" (for all configurations) and server_ids: {0: "0001", 1: "a7"}'
        raise ConfigError(section.where, section.key, "both" if both else "neither", expected)
    if "server_id" in fields:
        given = fields["server_id"]
        if len({config.key is None for config in configs.values()}) > 1:
            # Else whoever looks learns pairs of plain and encrypted text (section 9.7).
            expected = "server_ids with others for the configuration without a key than for those with one"
            raise ConfigError(given.where, given.key, _shown(given), expected)
        found = dict.fromkeys(configs, given)
    else:
        found = _by_rotation(fields["server_ids"], configs)
    ids = {
        rotation: (parsed(given, functools.partial(_server_id, config=configs[rotation])), given)
        for rotation, given in found.items()
    }
    _keep_apart(ids, configs)
    return ids


def _keep_apart(ids: Mapping[int, tuple[bytes, Text | Section]], configs: Mapping[int, LbConfig]) -> None:
    """Section 9.7: a server ID in the clear must not be one of an encrypted configuration too."""
    plain = {server_id for rotation, (server_id, _) in ids.items() if configs[rotation].key is None}
    for rotation, (server_id, given) in ids.items():
        if configs[rotation].key is not None and server_id in plain:
            expected = "another one than in the configuration without a key"
            raise ConfigError(given.where, given.key, server_id.hex(), expected)


def _by_rotation(given: Text | Section, configs: Mapping[int, LbConfig]) -> dict[int, Text | Section]:
    section = _section(given, 'a mapping of rotation codepoints such as {0: "0001", 1: "a7"}')
    known = [str(rotation) for rotation in configs]
    found = _fields(section, known)
    missing = [rotation for rotation in known if rotation not in found]
    if missing:
        expected = f"a server ID for each configuration; {', '.join(missing)} lacks one"
        raise ConfigError(section.where, section.key, ", ".join(found), expected)
    return {int(rotation): value for rotation, value in found.items()}


def _server_id(text: str, *, config: LbConfig) -> bytes:
    server_id = parse_hex(text)
    if len(server_id) != config.server_id_bytes:
        digits = 2 * config.server_id_bytes
        raise ConfigError("", "", text, f"{digits} hex digits: server_id_length is {config.server_id_bytes}")
    return server_id


def _endpoint(text: str) -> Address:
    address = parse_address(text)
    if not address.port:
        raise ConfigError("address", "", text, "HOST:PORT with a port that is not 0")
    return address


def _url(text: str) -> str:
    url = text.strip()
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, an address that does not close its bracket
        good = False
    if not good:
        raise ConfigError("URL", "", text, "a URL such as http://10.0.0.11:8080/readyz")
    return url


# --- shapes -----------------------------------------------------------------------------------------


def _fields(section: Section, known: Any, *, lists: tuple[str, ...] = ()) -> dict[str, Any]:
    """The entries that are there and not null. Raises :exc:`ConfigError` for a key that is not known."""
    fields: dict[str, Any] = {}
    for name, given in section.items_with_lists(*lists):
        if name not in known:
            raise unknown_key(given.where, given.key, name, known)
        if not (isinstance(given, Text) and given.is_null):
            fields[name] = given
    return fields


def _list(top: Mapping[str, Any], name: str, file: str) -> Listing:
    given = top.get(name)
    if isinstance(given, Listing):
        return given
    where = given.where if given is not None else file
    raise ConfigError(where, name, _shown(given), "a list of mappings: lines that begin with '- '")


def _single(fields: Mapping[str, Any], name: str, where: str, prefix: str, expected: str) -> Text | Section:
    given: Text | Section | None = fields.get(name)
    if given is None:
        raise ConfigError(where, f"{prefix}.{name}" if prefix else name, "nothing", expected)
    return given


def _section(given: Text | Section, expected: str) -> Section:
    if isinstance(given, Section):
        return given
    raise ConfigError(given.where, given.key, given.text, expected)


def _shown(given: Any) -> str:
    return given.text if isinstance(given, Text) else "nothing" if given is None else "a mapping"
