"""What is printed for other balancers: their own programs take it, and what they cannot do is refused."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.support import namespaces
from tests.lb.files import KEY, lb_file, lb_path, lb_text
from wtgateway.cli import main
from wtgateway.config.balancing import HIDDEN, KEPT, LbFile
from wtgateway.errors import ConfigError, TransportError
from wtgateway.lb import envoy, nft, nftables, nlb
from wtgateway.lb.routing import NodeState

NFT = shutil.which("nft") or shutil.which("nft", path="/usr/sbin")
needs_nft = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-")
TWO_VERSIONS = {"a": ("10.0.0.11", "fd00::11"), "b": ("10.0.0.12",), "c": ("fd00::13",)}
NODES = {"a": "10.0.0.11:4433", "b": "10.0.0.12:4434", "c": "[fd00::13]:4433"}


def rules(lb: LbFile, mode: str = nftables.DNAT, **states: NodeState) -> str:
    return nftables.ruleset(lb, nftables.targets(lb, TWO_VERSIONS, states), mode=mode)


def in_a_network_of_its_own(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-n", *command], input=stdin, capture_output=True, text=True, timeout=60
    )


# --- nftables ---------------------------------------------------------------------------------------


@needs_nft
@pytest.mark.parametrize("listen", ["[::]:4433", "0.0.0.0:443", "192.0.2.1:4433", "[2001:db8::1]:4433"])
@pytest.mark.parametrize("addresses", [KEPT, HIDDEN])
@pytest.mark.parametrize("mode", [nftables.DNAT, nftables.FORWARD])
def test_nft_takes_the_rules_again_and_again(tmp_path: Path, listen: str, addresses: str, mode: str) -> None:
    lb = lb_file(tmp_path, lb_text(nodes=NODES, listen=listen, client_addresses=addresses))
    if mode == nftables.FORWARD and (addresses == HIDDEN or listen in ("[::]:4433", "0.0.0.0:443")):
        with pytest.raises(ConfigError):
            rules(lb, mode)
        return
    up = rules(lb, mode)
    changed = rules(lb, mode, a=NodeState.DOWN, b=NodeState.DRAINING, c=NodeState.DOWN)
    # with a table of somebody else's, which stays as it is
    other = "table inet other {\nchain input {\ntype filter hook input priority 0;\n}\n}\n"
    script = other + up + changed + up + nftables.removal() + nftables.removal() + "list ruleset\n"
    done = in_a_network_of_its_own(str(NFT), "-f", "-", stdin=script)
    assert done.returncode == 0, done.stderr
    assert "table inet other" in done.stdout
    assert nftables.TABLE not in done.stdout
    checked = in_a_network_of_its_own(str(NFT), "-c", "-f", "-", stdin=up)
    assert checked.returncode == 0, checked.stderr


@needs_nft
def test_server_ids_of_all_lengths_can_be_matched(tmp_path: Path) -> None:
    for length in (1, 3, 4, 8, 13):
        lb = lb_file(tmp_path, lb_text(nodes=NODES, server_id_bytes=length))
        done = in_a_network_of_its_own(str(NFT), "-c", "-f", "-", stdin=rules(lb))
        assert done.returncode == 0, f"{length}: {done.stderr}"


@needs_nft
def test_rules_are_loaded_and_taken_away_by_the_command(tmp_path: Path) -> None:
    path = lb_path(tmp_path, lb_text(nodes={"a": "10.0.0.11:4433"}))
    command = f"{sys.executable} -m wtgateway lb nftables -c {path}"
    done = in_a_network_of_its_own(
        "sh", "-ec", f"{command} --apply; {NFT} list tables; {command} --remove; echo --; {NFT} list tables"
    )
    assert (done.returncode, done.stdout) == (0, f"table inet {nftables.TABLE}\n--\n"), done.stderr
    assert "does not forward IPv4: sysctl -w net.ipv4.ip_forward=1" in done.stderr


def test_what_nft_complains_of_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(
            [], 1, "", "Error: Could not process rule:\n Operation not permitted"
        )

    monkeypatch.setattr(shutil, "which", lambda *words, **more: "nft")
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(TransportError, match="Operation not permitted; it needs root or CAP_NET_ADMIN"):
        nft.load("table")


@needs_nft
def test_each_configuration_is_matched_by_its_codepoint_and_ids(tmp_path: Path) -> None:
    text = lb_text(nodes={"a": "10.0.0.11:4433"})
    text = text.replace(
        "nonce_length: 6}",
        "nonce_length: 6, active: true}\n  - {rotation: 5, server_id_length: 3, nonce_length: 4}",
    )
    lb = lb_file(tmp_path, text.replace('server_id: "0001"', 'server_ids: {0: "0001", 5: "aabbcc"}'))
    printed = rules(lb)
    # UDP's header has 8 octets; the ID is behind 1 octet of a short header, 6 of a long one
    for long, first in ((0, 72), (1, 112)):
        for rotation, bits, server_id in ((0, 16, "0x0001"), (5, 24, "0xaabbcc")):
            match = f"@th,64,1 {long} @th,{first},3 {rotation} @th,{first + 8},{bits}"
            assert f"{match} vmap {{ {server_id} : goto node0 }}" in printed
    done = in_a_network_of_its_own(str(NFT), "-c", "-f", "-", stdin=printed)
    assert done.returncode == 0, done.stderr


def test_who_gets_new_connections(tmp_path: Path) -> None:
    lb = lb_file(tmp_path, lb_text(nodes=NODES, listen="[::]:4433"))

    def slots(text: str) -> str:
        return text.partition("chain new4 {")[2].partition("chain ")[0]

    everybody = rules(lb)
    assert {f"goto node{n}" in slots(everybody) for n in (0, 1)} == {True}
    assert "goto node2" not in slots(everybody)  # has no IPv4 address
    drained = rules(lb, b=NodeState.DRAINING)
    assert "goto node1" not in slots(drained)
    assert drained.count("0x0002 : goto node1") == 2  # what it has it keeps, short headers and long ones
    dead = rules(lb, b=NodeState.DOWN)
    assert dead.count("0x0002 : goto node1") == 1  # short ones are dropped there, and counted
    assert "dnat ip to 10.0.0.12" not in dead
    assert "vmap" not in slots(rules(lb, a=NodeState.DOWN, b=NodeState.DOWN))


def test_only_the_slots_of_a_lost_node_move(tmp_path: Path) -> None:
    lb = lb_file(tmp_path, lb_text(nodes={**NODES, "d": "10.0.0.14:4433"}))

    def by_slot(**states: NodeState) -> list[str]:
        all_targets = nftables.targets(lb, {**TWO_VERSIONS, "d": ("10.0.0.14",)}, states)
        lines = nftables._slots_chain(all_targets, 4)
        found = [""] * nftables.SLOTS
        for item in " ".join(lines).partition("{")[2].partition("vmap {")[2].partition("}")[0].split(","):
            if item.strip():
                span, _, node = item.strip().partition(" : goto ")
                low, _, high = span.partition("-")
                for slot in range(int(low), int(high or low) + 1):
                    found[slot] = node
        assert all(found)
        return found

    before, after = by_slot(), by_slot(b=NodeState.DOWN)
    assert set(before) == {"node0", "node1", "node3"}
    assert all(new == old or old == "node1" for old, new in zip(before, after, strict=True))
    assert min(before.count(name) for name in set(before)) > 50


def test_encrypted_ids_are_refused_with_what_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lb_path(tmp_path, lb_text(key=KEY))
    path.chmod(0o600)
    assert main(["lb", "nftables", "-c", str(path)]) == 2
    error = capsys.readouterr().err
    assert "nftables cannot decrypt connection IDs; `wtgateway lb run` can" in error
    assert KEY.hex() not in error


def test_without_nft_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *words, **more: None)
    with pytest.raises(ConfigError, match="nftables to be installed"):
        nft.remove()


# --- nginx ------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="needs Debian's nginx")
@pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-")
@pytest.mark.parametrize("addresses", [KEPT, HIDDEN])
def test_nginx_takes_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], addresses: str
) -> None:
    path = lb_path(tmp_path, lb_text(nodes=NODES, listen="127.0.0.1:4433", client_addresses=addresses))
    assert main(["lb", "nginx", "-c", str(path)]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "nginx.conf").write_text(printed)
    test = f"nginx -t -e {tmp_path}/log -g 'pid {tmp_path}/pid;' -c {tmp_path}/nginx.conf"
    done = in_a_network_of_its_own("sh", "-c", f"ip link set lo up && {test}")
    assert done.returncode == 0, done.stderr
    assert ("transparent" in printed.partition("stream {")[2]) == (addresses == KEPT)
    for address in NODES.values():
        assert f"server {address} " in printed


# --- Envoy ------------------------------------------------------------------------------------------


def test_envoys_proxy_knows_all_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lb_path(tmp_path, lb_text(nodes=NODES, listen="[::]:443"))
    assert main(["lb", "envoy", "-c", str(path)]) == 0
    resources = yaml.safe_load(capsys.readouterr().out)["static_resources"]
    (listener,), (cluster,) = resources["listeners"], resources["clusters"]
    address = listener["address"]["socket_address"]
    assert address == {"protocol": "UDP", "address": "::", "port_value": 443, "ipv4_compat": True}
    proxy = listener["listener_filters"][0]["typed_config"]
    assert proxy["hash_policies"] == [{"source_ip": True}]
    assert proxy["matcher"]["on_no_match"]["action"]["typed_config"]["cluster"] == cluster["name"]
    ends = [item["endpoint"] for item in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]]
    found = [end["address"]["socket_address"] for end in ends]
    assert [(end["address"], end["port_value"]) for end in found] == [
        ("10.0.0.11", 4433),
        ("10.0.0.12", 4434),
        ("fd00::13", 4433),
    ]
    assert {end["health_check_config"]["port_value"] for end in ends} == {8080}
    assert cluster["health_checks"][0]["http_health_check"] == {"path": "/readyz"}


@pytest.mark.parametrize("key", [None, KEY])
def test_envoys_quic_lb_is_that_of_the_file(tmp_path: Path, key: bytes | None) -> None:
    lb = lb_file(tmp_path, lb_text(nodes=NODES, key=key))
    options, secret = yaml.safe_load_all(envoy.listener(lb, "b"))
    generator = options["udp_listener_config"]["quic_options"]["connection_id_generator_config"]
    assert generator["name"] == "envoy.quic.connection_id_generator.quic_lb"
    config = generator["typed_config"]
    assert base64.b64decode(config["server_id"]["inline_bytes"]) == b"\0\2"
    assert (config["nonce_length_bytes"], config["self_encode_length"]) == (6, True)
    assert config["unsafe_unencrypted_testing_mode"] == (key is None)
    secrets = secret["resources"][0]["generic_secret"]["secrets"]
    assert base64.b64decode(secrets["configuration_version"]["inline_bytes"]) == b"\0"
    assert base64.b64decode(secrets["encryption_key"]["inline_bytes"]) == (key or bytes(16))
    if key:
        assert base64.b64encode(key).decode() not in yaml.safe_dump(options)
    with pytest.raises(ConfigError, match="a node of LB file: a, b, c"):
        envoy.listener(lb, "z")


def test_an_id_longer_than_envoy_takes_is_refused(tmp_path: Path) -> None:
    lb = lb_file(tmp_path, lb_text(server_id_bytes=13))
    with pytest.raises(ConfigError, match="at most 18"):
        envoy.listener(lb, "a")


# --- NLB --------------------------------------------------------------------------------------------


def test_the_nlb_gets_server_ids_as_it_wants_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = {"a": "10.0.0.11:4433", "b": "10.0.0.12:4434"}
    path = lb_path(tmp_path, lb_text(nodes=nodes, server_id_bytes=8))
    assert main(["lb", "nlb", "-c", str(path)]) == 0
    resources = json.loads(capsys.readouterr().out)["Resources"]
    group = resources["Nodes"]["Properties"]
    assert group["Targets"] == [
        {"Id": "10.0.0.11", "Port": 4433, "QuicServerId": "0x0000000000000001"},
        {"Id": "10.0.0.12", "Port": 4434, "QuicServerId": "0x0000000000000002"},
    ]
    assert (group["Protocol"], group["IpAddressType"]) == ("QUIC", "ipv4")
    assert (group["HealthCheckPath"], group["HealthCheckPort"]) == ("/readyz", "8080")
    assert resources["Quic"]["Properties"]["Protocol"] == "QUIC"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"server_id_bytes": 2}, "server_id_length: 2 is not usable; expected 8"),
        ({"key": KEY}, "plaintext"),
        ({"client_addresses": HIDDEN}, "client_addresses: 'hidden' is not usable; expected kept"),
        ({"nodes": NODES}, "nodes of one IP version"),
        ({"nodes": {"a": "gateway-1:4433"}}, "an IP address"),
    ],
)
def test_what_the_nlb_cannot_do_is_refused(tmp_path: Path, changed: dict[str, object], expected: str) -> None:
    lb = lb_file(tmp_path, lb_text(**{"server_id_bytes": 8, **changed}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=expected):
        nlb.template(lb)


def test_the_nlb_knows_no_rotation(tmp_path: Path) -> None:
    text = lb_text(server_id_bytes=8)
    more = "configs:\n  - {rotation: 1, server_id_length: 8, nonce_length: 4, active: true}\n"
    lb = lb_file(tmp_path, text.replace("configs:\n", more))
    with pytest.raises(ConfigError, match="no rotation"):
        nlb.template(lb)
