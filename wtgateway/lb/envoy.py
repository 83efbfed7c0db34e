"""Configuration for Envoy. Pure: YAML text from values.

Envoy's QUIC-LB (``envoy.quic.connection_id_generator.quic_lb``) is the *server's* side of the draft: it makes
an Envoy that ends QUIC itself issue connection IDs that other balancers can route by. It does not route by
them, and an Envoy that ends QUIC cannot hand WebTransport on. So there are two things to print:

* :func:`proxy`: Envoy as a balancer in front of gateways: its UDP proxy, by the viewer's address;
* :func:`listener`: for an Envoy that serves pages over HTTP/3 beside the gateways, as one more node of the LB
  file: the listener's part that makes its connection IDs routable by the balancers of that file.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

from wtgateway.config.balancing import LbFile, LbNode
from wtgateway.errors import ConfigError
from wtgateway.lb.resolved import has_name

_TYPES = "type.googleapis.com/envoy"

_PROXY_HEAD = """\
# wtgateway lb envoy: Envoy's UDP proxy in front of the gateways, by viewers' addresses. Envoy 1.26 or newer.
#
# It does not look into datagrams (its QUIC-LB is for QUIC that ends at Envoy), so:
#  - a NAT that gives a viewer another port is survived: the address hashes to the same node;
#  - a viewer with another address may come to another node, which answers with a stateless reset if the nodes
#    share a cluster secret; the page then opens a new session;
#  - nodes see Envoy's address (use_original_src_ip would keep it, but not the port, which QUIC needs), so the
#    LB file of the gateways has to say client_addresses: hidden;
#  - a node that is not ready (it drains, or is gone) gets nothing any more: Envoy takes its sessions to
#    another node with their next datagram, which breaks them.
"""

_LISTENER_HEAD = """\
# wtgateway lb envoy --quic-listener {name}: makes an Envoy that ends QUIC itself (HTTP/3 for pages) issue
# connection IDs with the server ID of node {name}, so that balancers of the LB file lead its clients to it.
# For a listener that has a QUIC transport socket and an HTTP connection manager with codec HTTP3.
# Envoy documents it as work in progress, of poor performance, and never tested for interoperability.
# WebTransport does not pass such a listener: gateways stay nodes of their own.
"""


def proxy(lb: LbFile) -> str:
    """A bootstrap for Envoy as the balancer."""
    config: dict[str, Any] = {
        "static_resources": {"listeners": [_udp_listener(lb)], "clusters": [_cluster(lb)]},
    }
    return _PROXY_HEAD + _yaml(config)


def _udp_listener(lb: LbFile) -> dict[str, Any]:
    action = {
        "name": "route",
        "typed_config": {
            "@type": f"{_TYPES}.extensions.filters.udp.udp_proxy.v3.Route",
            "cluster": "wtgateway",
        },
    }
    return {
        "name": "quic",
        "address": _socket_address(lb.listen.host, lb.listen.port, listens=True),
        "udp_listener_config": {"downstream_socket_config": {"max_rx_datagram_size": 1500}},
        "listener_filters": [
            {
                "name": "envoy.filters.udp_listener.udp_proxy",
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
                    "stat_prefix": "quic",
                    "matcher": {"on_no_match": {"action": action}},
                    "idle_timeout": "60s",
                    "hash_policies": [{"source_ip": True}],
                    "upstream_socket_config": {"max_rx_datagram_size": 1500},
                },
            }
        ],
    }


def _cluster(lb: LbFile) -> dict[str, Any]:
    names = any(has_name(node) for node in lb.nodes)
    cluster: dict[str, Any] = {
        "name": "wtgateway",
        "type": "STRICT_DNS" if names else "STATIC",
        "lb_policy": "MAGLEV",
        "load_assignment": {
            "cluster_name": "wtgateway",
            "endpoints": [{"lb_endpoints": [_endpoint(node) for node in lb.nodes]}],
        },
    }
    # A session counts as a connection here, and 1024 would be all.
    cluster["circuit_breakers"] = {"thresholds": [{"max_connections": 65536}]}
    checked = [urlsplit(node.health) for node in lb.nodes if node.health]
    if checked:
        cluster["health_checks"] = [
            {
                "timeout": "0.5s",
                "interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 2,
                "http_health_check": {"path": checked[0].path or "/"},
            }
        ]
    return cluster


def _endpoint(node: LbNode) -> dict[str, Any]:
    endpoint: dict[str, Any] = {"address": _socket_address(node.address.host, node.address.port)}
    if node.health:
        port = urlsplit(node.health).port or 80
        endpoint["health_check_config"] = {"port_value": port}
    return {"endpoint": endpoint}


def _socket_address(host: str, port: int, *, listens: bool = False) -> dict[str, Any]:
    address: dict[str, Any] = {"protocol": "UDP", "address": host, "port_value": port}
    if listens and host == "::":
        address["ipv4_compat"] = True
    return {"socket_address": address}


def listener(lb: LbFile, name: str, where: str = "LB file") -> str:
    """The QUIC options of a listener that is node ``name``. Raises ConfigError for an unknown node."""
    node = next((node for node in lb.nodes if node.name == name), None)
    if node is None:
        names = ", ".join(node.name for node in lb.nodes)
        raise ConfigError("command line", "--quic-listener", name, f"a node of {where}: {names}")
    active = lb.active
    if active.nonce_bytes > 16 or active.plaintext_bytes > 18:
        raise ConfigError(
            where,
            f"configs (rotation {active.rotation})",
            f"{active.server_id_bytes} and {active.nonce_bytes} octets",
            "a nonce of at most 16 octets, and at most 18 with the server ID: Envoy takes no more",
        )
    # Without a key in the LB file there is nothing secret, but Envoy asks for one all the same.
    secrets = {"encryption_key": active.key or bytes(16), "configuration_version": bytes([active.rotation])}
    config = {
        "@type": f"{_TYPES}.extensions.quic.connection_id_generator.quic_lb.v3.Config",
        "unsafe_unencrypted_testing_mode": active.key is None,
        "server_id": {"inline_bytes": base64.b64encode(node.server_id).decode()},
        "nonce_length_bytes": active.nonce_bytes,
        "self_encode_length": active.encode_length,
        "encryption_parameters": {
            "name": "quic_lb",
            "sds_config": {"path_config_source": {"path": "/etc/envoy/quic_lb_secret.yaml"}},
        },
    }
    generator = {"name": "envoy.quic.connection_id_generator.quic_lb", "typed_config": config}
    options = {"udp_listener_config": {"quic_options": {"connection_id_generator_config": generator}}}
    return _LISTENER_HEAD.format(name=name) + _yaml(options) + _secret(secrets)


def _secret(secrets: dict[str, bytes]) -> str:
    """The second document: what belongs into the file of secrets, which nobody else may read."""
    encoded = {
        name: {"inline_bytes": base64.b64encode(value).decode()} for name, value in sorted(secrets.items())
    }
    resource = {
        "@type": f"{_TYPES}.extensions.transport_sockets.tls.v3.Secret",
        "name": "quic_lb",
        "generic_secret": {"secrets": encoded},
    }
    head = "---\n# /etc/envoy/quic_lb_secret.yaml (mode 0600)\n"
    return head + _yaml({"resources": [resource]})


def _yaml(config: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(config, sort_keys=False, default_flow_style=False, width=100)
    return text
