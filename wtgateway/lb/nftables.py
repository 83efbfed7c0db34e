"""A ruleset for nftables that routes QUIC by the bytes of its packets. Pure: text from values.

Modes:

* ``dnat``: connection tracking translates the address. The rules see the first datagram of a tuple only, so
  that is what is routed: by server ID after a rebinding or when the kernel's table was emptied, else by a
  hash of address and port. ``client_addresses: hidden`` masquerades as well.
* ``forward``: no connection tracking; each datagram is routed by its own bytes and its address rewritten, and
  that of the answers. Nothing is remembered, so nothing can be lost or run full. Viewers' addresses are kept.

The hash goes over 256 slots, which nodes get by rendezvous hashing: when a node comes or goes, only its own
slots move. Long headers are looked at too: from a viewer's second flight on they carry a server ID.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wtgateway.config.balancing import KEPT, LbConfig, LbFile
from wtgateway.errors import ConfigError
from wtgateway.lb.packets import LONG_CID_AT
from wtgateway.lb.resolved import of_version
from wtgateway.lb.routing import NodeState, score

TABLE = "wtgateway_lb"
DNAT, FORWARD = "dnat", "forward"
SLOTS = 256
_SEED = 0x77746777  # the same on all balancers, so that they agree
VERSIONS = {4: "ip", 6: "ip6"}
_UDP_HEADER_BITS = 64
_SHORT_CID_AT = 1


@dataclass(frozen=True, slots=True)
class Target:
    """A node as the rules know it: ``addresses`` of its host by IP version, empty where it has none."""

    name: str
    server_ids: Mapping[int, bytes]
    port: int
    addresses: Mapping[int, str] = field(default_factory=dict)
    state: NodeState = NodeState.UP


def targets(
    lb: LbFile, addresses: Mapping[str, Sequence[str]], states: Mapping[str, NodeState]
) -> list[Target]:
    """The nodes of a file. ``addresses``: of each, by name; ``states``: by name, up where it has none."""
    return [
        Target(
            node.name,
            node.server_ids,
            node.address.port,
            {version: of_version(addresses[node.name], version) for version in VERSIONS},
            states.get(node.name, NodeState.UP),
        )
        for node in lb.nodes
    ]


def check(lb: LbFile, mode: str, where: str) -> None:
    """Raises ConfigError for what rules cannot do, saying what can."""
    for rotation, config in sorted(lb.configs.items()):
        if config.key is not None:
            expected = (
                "plaintext (no key): nftables cannot decrypt connection IDs; `wtgateway lb run` can, and so "
                "can balancers that speak QUIC-LB"
            )
            raise ConfigError(where, f"configs (rotation {rotation}).key", "a key", expected)
    if mode == FORWARD and lb.client_addresses != KEPT:
        expected = "kept: without connection tracking (--mode forward) addresses cannot be hidden"
        raise ConfigError(where, "client_addresses", lb.client_addresses, expected)
    if mode == FORWARD and _version(lb.listen.host) == 0:
        expected = "the one IP address that viewers use: with --mode forward answers are given it back"
        raise ConfigError(where, "listen", str(lb.listen), expected)


def ruleset(lb: LbFile, nodes: Sequence[Target], *, mode: str = DNAT, where: str = "LB file") -> str:
    """The whole of our table, in place of what was there. Raises ConfigError as :func:`check` does."""
    check(lb, mode, where)
    lines = [
        *_comment(lb, nodes, mode),
        f"table inet {TABLE} {{}}",  # so that there is one to delete: the same text loads again and again
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
    ]
    for number, node in enumerate(nodes):
        lines += _indented(_node_chain(node, number, mode, lb))
    for version in _versions(lb, nodes):
        lines += _indented(_slots_chain(nodes, version))
    lines += _indented(_route_chain(lb, nodes))
    lines += _indented(_forward_hooks(lb, nodes) if mode == FORWARD else _dnat_hooks(lb, nodes))
    return "\n".join([*lines, "}", ""])


def removal() -> str:
    """What takes our table away, whether it is there or not."""
    return f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\n"


def _comment(lb: LbFile, nodes: Sequence[Target], mode: str) -> list[str]:
    lines = [
        f"# QUIC for {lb.listen}, --mode {mode}, viewers' addresses {lb.client_addresses}.",
        "# Nothing but this table is touched. The host has to forward: sysctl net.ipv4.ip_forward=1,",
        "# net.ipv6.conf.all.forwarding=1, and no other table may drop what is forwarded.",
    ]
    if lb.client_addresses == KEPT:
        lines.append("# Nodes have to answer by way of this host: it is their gateway towards viewers.")
    for version in VERSIONS:
        lacking = [node.name for node in nodes if not node.addresses.get(version)]
        if lacking and version in _listens(lb):
            lines.append(f"# No IPv{version} viewers for {', '.join(lacking)}: no such address.")
    return lines


# --- where to -----------------------------------------------------------------------------------------


def _node_chain(node: Target, number: int, mode: str, lb: LbFile) -> list[str]:
    rules = []
    if node.state is not NodeState.DOWN:
        for version, family in VERSIONS.items():
            address = node.addresses.get(version)
            if address and mode == FORWARD:
                action = f"{family} daddr set {address} udp dport set {node.port} notrack accept"
                rules.append(f"meta nfproto ipv{version} counter {action}")
            elif address:
                shown = f"[{address}]" if version == 6 else address
                action = f"dnat {family} to {shown}:{node.port}"
                rules.append(f"meta nfproto ipv{version} meta l4proto udp counter {action}")
    state = "" if node.state is NodeState.UP else f", {node.state.value}"
    rules.append(f'counter drop comment "{node.name}{state}: nothing else gets there"')
    return _chain(_name(number), [f"# {node.name} {state}".rstrip(" ,"), *rules])


def _slots_chain(nodes: Sequence[Target], version: int) -> list[str]:
    """New connections: a hash of address and port, over the nodes that take them."""
    takers = [
        (number, node)
        for number, node in enumerate(nodes)
        if node.state is NodeState.UP and node.addresses.get(version)
    ]
    family, rules = VERSIONS[version], []
    if takers:
        slots = [max(takers, key=lambda item: score(bytes([n]), item[1].name))[0] for n in range(SLOTS)]
        verdicts = [f"{span} : goto {_name(node)}" for span, node in _runs(slots)]
        rules.append(f"jhash {family} saddr . udp sport mod {SLOTS} seed {_SEED} vmap {{")
        rules += [f"    {', '.join(verdicts[at : at + 6])}," for at in range(0, len(verdicts), 6)]
        rules.append("}")
    rules.append('counter drop comment "no node takes new connections"')
    return _chain(f"new{version}", rules)


def _runs(slots: Sequence[int]) -> Iterable[tuple[str, int]]:
    """Neighbours that are equal, as (range in nft's words, value)."""
    start = 0
    for end in range(1, len(slots) + 1):
        if end == len(slots) or slots[end] != slots[start]:
            yield (f"{start}-{end - 1}" if end - 1 > start else str(start)), slots[start]
            start = end


def _route_chain(lb: LbFile, nodes: Sequence[Target]) -> list[str]:
    """Long headers with bit 0 set, else short ones. What a map does not know goes on to the next rule."""
    configs = sorted(lb.configs.items())
    rules = [
        *(_server_rule(config, rotation, nodes, long=True) for rotation, config in configs),
        *(
            f"meta nfproto ipv{version} @th,{_UDP_HEADER_BITS},1 1 goto new{version}"
            for version in _versions(lb, nodes)
        ),
        *(_server_rule(config, rotation, nodes, long=False) for rotation, config in configs),
        'counter drop comment "no node has this server ID"',
    ]
    return _chain("route", filter(None, rules))


def _server_rule(config: LbConfig, rotation: int, nodes: Sequence[Target], *, long: bool) -> str:
    """Server ID to node; where a long header names one that is down, it begins anew elsewhere."""
    known = [
        (node.server_ids[rotation], number)
        for number, node in enumerate(nodes)
        if rotation in node.server_ids and not (long and node.state is NodeState.DOWN)
    ]
    if not known:
        return ""
    at = _UDP_HEADER_BITS + 8 * (LONG_CID_AT if long else _SHORT_CID_AT)
    verdicts = ", ".join(f"0x{server_id.hex()} : goto {_name(number)}" for server_id, number in known)
    return (
        f"@th,{_UDP_HEADER_BITS},1 {int(long)} @th,{at},3 {rotation} "
        f"@th,{at + 8},{8 * config.server_id_bytes} vmap {{ {verdicts} }}"
    )


# --- hooks ------------------------------------------------------------------------------------------


def _dnat_hooks(lb: LbFile, nodes: Sequence[Target]) -> list[str]:
    incoming = [f"{_destination(lb)} udp dport {lb.listen.port} goto route"]
    # A node's packet that connection tracking does not know (its table was emptied) would leave with the
    # node's own address, and make an entry that is in the viewer's way: the viewer's next packet makes one.
    stray = [f"{rule} ct state new counter drop" for rule in _from_nodes(nodes)]
    lines = [
        *_chain("prerouting", ["type nat hook prerouting priority dstnat; policy accept;", *incoming]),
        *_chain("stray", ["type filter hook prerouting priority mangle; policy accept;", *stray]),
    ]
    if lb.client_addresses != KEPT:
        hide = [f"ct status dnat {rule} masquerade" for rule in _to_nodes(nodes)]
        lines += _chain("postrouting", ["type nat hook postrouting priority srcnat; policy accept;", *hide])
    return lines


def _forward_hooks(lb: LbFile, nodes: Sequence[Target]) -> list[str]:
    version = _version(lb.listen.host)
    family = VERSIONS[version]
    incoming = [f"{_destination(lb)} udp dport {lb.listen.port} goto route"]
    answers = [rule for rule in _from_nodes(nodes) if rule.startswith(f"{family} ")]
    back = f"{family} saddr set {lb.listen.host} udp sport set {lb.listen.port}"
    raw = "type filter hook prerouting priority raw; policy accept;"
    # Not before routing: a packet from one of the host's own addresses would be taken for a forgery.
    out = "type filter hook postrouting priority srcnat; policy accept;"
    return [
        *_chain("prerouting", [raw, *incoming, *(f"{rule} notrack" for rule in answers)]),
        *_chain("postrouting", [out, *(f"{rule} {back}" for rule in answers)]),
    ]


def _from_nodes(nodes: Sequence[Target]) -> list[str]:
    return [f"{family} saddr {address} udp sport {port}" for family, address, port in _endpoints(nodes)]


def _to_nodes(nodes: Sequence[Target]) -> list[str]:
    return [f"{family} daddr {address} udp dport {port}" for family, address, port in _endpoints(nodes)]


def _endpoints(nodes: Sequence[Target]) -> list[tuple[str, str, int]]:
    return [
        (family, node.addresses[version], node.port)
        for node in nodes
        for version, family in VERSIONS.items()
        if node.addresses.get(version)
    ]


def _destination(lb: LbFile) -> str:
    """What picks the packets that are for the balancer."""
    version = _version(lb.listen.host)
    if version:
        return f"{VERSIONS[version]} daddr {lb.listen.host}"
    return "fib daddr type local" + (" meta nfproto ipv4" if lb.listen.host == "0.0.0.0" else "")  # noqa: S104


def _version(host: str) -> int:
    """4 or 6 for an IP address that is one machine's, else 0."""
    if host in ("::", "0.0.0.0", "localhost"):  # noqa: S104 - a comparison
        return 0
    if ":" in host:
        return 6
    return 4 if host.replace(".", "").isdigit() else 0


def _listens(lb: LbFile) -> set[int]:
    version = _version(lb.listen.host)
    if version:
        return {version}
    return {4} if lb.listen.host == "0.0.0.0" else {4, 6}  # noqa: S104


def _versions(lb: LbFile, nodes: Sequence[Target]) -> list[int]:
    """IP versions in which there is anything to do."""
    return [v for v in sorted(_listens(lb)) if any(node.addresses.get(v) for node in nodes)]


# --- text -------------------------------------------------------------------------------------------


def _name(number: int) -> str:
    return f"node{number}"


def _chain(name: str, rules: Iterable[str]) -> list[str]:
    return [f"chain {name} {{", *(f"    {rule}" for rule in rules), "}"]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
