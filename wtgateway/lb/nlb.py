"""A Network Load Balancer of AWS that passes QUIC through, as a template for CloudFormation. Pure.

It routes by plaintext server IDs of eight octets (``QuicServerId``: 0x and 16 lowercase hex digits, unique at
the listener, fixed for as long as a target is registered), keeps viewers' addresses, and speaks QUIC version
1 only. What an LB file has that this cannot do is an error here, so that it is no surprise there.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from wtgateway.config.balancing import KEPT, LbFile, LbNode
from wtgateway.errors import ConfigError
from wtgateway.lb.resolved import has_name

SERVER_ID_BYTES = 8
_NOTES = [
    "One QUIC or TCP_QUIC listener a load balancer, and none of UDP or TCP_UDP beside it.",
    "Neither dualstack nor with security groups: those of the targets let viewers in.",
    "QUIC version 1 only; no version negotiation.",
    "Viewers' addresses are kept and that cannot be changed; targets are in the same VPC or a peered one.",
    "A server ID cannot be changed while its target is registered: deregister it, and register it anew.",
    "Register a node when it is ready; let it drain (SIGTERM, --drain-timeout) before it is deregistered.",
]


def check(lb: LbFile, where: str) -> None:
    """Raises ConfigError for what does not fit, with the reason."""
    active = lb.active
    key = f"configs (rotation {active.rotation})"
    if active.key is not None:
        expected = "plaintext (no key): this balancer cannot decrypt connection IDs"
        raise ConfigError(where, f"{key}.key", "a key", expected)
    if active.server_id_bytes != SERVER_ID_BYTES:
        expected = f"{SERVER_ID_BYTES}: a QuicServerId has {SERVER_ID_BYTES} octets"
        raise ConfigError(where, f"{key}.server_id_length", active.server_id_bytes, expected)
    if len(lb.configs) > 1:
        expected = "one configuration: a target has one QuicServerId, so there is no rotation"
        raise ConfigError(where, "configs", f"{len(lb.configs)} configurations", expected)
    if lb.client_addresses != KEPT:
        expected = "kept: this balancer keeps viewers' addresses of QUIC, always"
        raise ConfigError(where, "client_addresses", lb.client_addresses, expected)
    for node in lb.nodes:
        _check_node(node, where)
    if len({":" in node.address.host for node in lb.nodes}) > 1:
        raise ConfigError(where, "nodes", "IPv4 and IPv6", "nodes of one IP version: a target group has one")


def _check_node(node: LbNode, where: str) -> None:
    if has_name(node):
        expected = "an IP address: targets are registered by it"
        raise ConfigError(where, f"nodes.{node.name}.address", str(node.address), expected)
    if node.health and urlsplit(node.health).hostname != node.address.host:
        expected = f"a URL at {node.address.host}: a target is asked at its own address"
        raise ConfigError(where, f"nodes.{node.name}.health", node.health, expected)


def template(lb: LbFile, where: str = "LB file") -> str:
    """A CloudFormation template with target group and listener. Raises ConfigError as :func:`check` does."""
    check(lb, where)
    parameters = {
        "LoadBalancerArn": {"Type": "String", "Description": "An NLB without security groups, not dualstack"},
        "VpcId": {"Type": "AWS::EC2::VPC::Id"},
    }
    resources = {
        "Nodes": {"Type": "AWS::ElasticLoadBalancingV2::TargetGroup", "Properties": _target_group(lb)},
        "Quic": {
            "Type": "AWS::ElasticLoadBalancingV2::Listener",
            "Properties": {
                "LoadBalancerArn": {"Ref": "LoadBalancerArn"},
                "Port": lb.listen.port,
                "Protocol": "QUIC",
                "DefaultActions": [{"Type": "forward", "TargetGroupArn": {"Ref": "Nodes"}}],
            },
        },
    }
    whole = {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "QUIC passthrough to wtgateway nodes by server ID",
        "Metadata": {"Notes": _NOTES},
        "Parameters": parameters,
        "Resources": resources,
    }
    return json.dumps(whole, indent=2) + "\n"


def _target_group(lb: LbFile) -> dict[str, Any]:
    group: dict[str, Any] = {
        "VpcId": {"Ref": "VpcId"},
        "TargetType": "ip",
        "IpAddressType": "ipv6" if ":" in lb.nodes[0].address.host else "ipv4",
        "Protocol": "QUIC",
        "Port": lb.nodes[0].address.port,
        "Targets": [
            {
                "Id": node.address.host,
                "Port": node.address.port,
                "QuicServerId": f"0x{node.server_id.hex()}",
            }
            for node in lb.nodes
        ],
    }
    return group | _health_check(lb.nodes[0].health)


def _health_check(url: str) -> dict[str, Any]:
    if not url:
        return {}
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    return {
        "HealthCheckProtocol": "HTTPS" if secure else "HTTP",
        "HealthCheckPort": str(parts.port or (443 if secure else 80)),
        "HealthCheckPath": parts.path or "/",
        "HealthCheckIntervalSeconds": 5,
        "HealthCheckTimeoutSeconds": 2,
        "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 2,
        "Matcher": {"HttpCode": "200"},
    }
