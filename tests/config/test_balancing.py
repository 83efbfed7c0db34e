"""The file that gateways and balancers share: what is taken, and how each mistake in it is told."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wtgateway.cli import main
from wtgateway.config import Address, LbSettings, load
from wtgateway.config.balancing import LbConfig, LbFile, load_lb_file, own_server_id
from wtgateway.errors import ConfigError

KEY = "8f95f09245765f80256934e50c66207f"
WHOLE = f"""
configs:
  - rotation: 0
    server_id_length: 2
    nonce_length: 6
    key: {KEY}
    active: true
  - {{rotation: 3, server_id_length: 4, nonce_length: 12, key: "8f95:f09245765f80:256934e50c66207f"}}
  - {{rotation: 6, server_id_length: 1, nonce_length: 18, encode_length: false}}
listen: "[::]:4433"
nodes:
  - name: a
    server_ids: {{0: "0001", 3: "00000001", 6: "0a"}}
    address: "10.0.0.11:4433"
    health: "http://10.0.0.11:8080/readyz"
  - {{name: b, server_ids: {{0: "00:02", 3: 00000002, 6: 0b}}, address: gateway-b.example:4433}}
client_addresses: hidden
"""
LEAST = """
configs: [{rotation: 0, server_id_length: 2, nonce_length: 6}]
listen: ":4433"
nodes:
  - {name: a, server_id: 0001, address: "10.0.0.11:4433"}
  - {name: b, server_id: 0002, address: "10.0.0.12:4433"}
"""
Read = Callable[[str], LbFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_text(text: str) -> LbFile:
        path = tmp_path / "lb.yml"
        path.write_text(text)
        path.chmod(0o640)
        return load_lb_file(path)

    return from_text


def test_a_whole_file(read: Read) -> None:
    lb = read(WHOLE)
    key = bytes.fromhex(KEY)
    assert dict(lb.configs) == {
        0: LbConfig(0, 2, 6, key),
        3: LbConfig(3, 4, 12, key),
        6: LbConfig(6, 1, 18, None, encode_length=False),
    }
    assert lb.active is lb.configs[0]
    assert lb.listen == Address("::", 4433)
    assert lb.client_addresses == "hidden"
    a, b = lb.nodes
    assert (a.name, a.server_id, a.address) == ("a", b"\0\1", Address("10.0.0.11", 4433))
    assert (a.health, b.health) == ("http://10.0.0.11:8080/readyz", "")
    assert dict(b.server_ids) == {0: b"\0\2", 3: b"\0\0\0\2", 6: b"\x0b"}
    assert b.address == Address("gateway-b.example", 4433)
    assert lb.node(3, b"\0\0\0\2") is b
    assert lb.node(0, b"\0\0\0\2") is lb.node(1, b"\0\2") is None


def test_the_least_that_is_needed(read: Read) -> None:
    lb = read(LEAST)
    assert lb.active == LbConfig(0, 2, 6, None)
    assert lb.client_addresses == "kept"
    assert [dict(node.server_ids) for node in lb.nodes] == [{0: b"\0\1"}, {0: b"\0\2"}]


def test_the_documents_example(read: Read) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    (example,) = (block for block in re.findall(r"```\n(.*?)```", docs, re.DOTALL) if "configs:" in block)
    lb = read(example)
    assert [node.server_id for node in lb.nodes] == [b"\0\1", b"\0\2"]
    assert lb.active.plaintext_bytes <= 18


def test_one_server_id_serves_configurations_of_one_length(read: Read) -> None:
    twice = f"[{{rotation: 0, server_id_length: 2, nonce_length: 6, key: {KEY}, active: yes}}, "
    twice += f"{{rotation: 1, server_id_length: 2, nonce_length: 8, key: {KEY[::-1]}}}]"
    lb = read(LEAST.replace("[{rotation: 0, server_id_length: 2, nonce_length: 6}]", twice))
    assert dict(lb.nodes[0].server_ids) == {0: b"\0\1", 1: b"\0\1"}


ONE = "{rotation: 0, server_id_length: 2, nonce_length: 6}"
TWO = f"{ONE[:-1]}, key: {KEY}}}, {{rotation: 1, server_id_length: 2, nonce_length: 6, active: yes}}"
A = '{name: a, server_id: 0001, address: "10.0.0.11:4433"}'


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        (ONE, "{rotation: 7, server_id_length: 2, nonce_length: 6}", "configs[0].rotation", "0 to 6"),
        (ONE, "{rotation: x, server_id_length: 2, nonce_length: 6}", "configs[0].rotation", "'x'"),
        (ONE, "{rotation: 0, server_id_length: 0, nonce_length: 6}", "configs[0].server_id_length",
         "1 to 15"),
        (ONE, "{rotation: 0, server_id_length: 2, nonce_length: 3}", "configs[0].nonce_length", "4 to 18"),
        (ONE, "{rotation: 0, server_id_length: 9, nonce_length: 11}", "configs[0].nonce_length",
         "at most 10"),
        (ONE, "{rotation: 0, nonce_length: 6}", "configs[0].server_id_length", "a number"),
        (ONE, "{rotation: 0, server_id_length: [2], nonce_length: 6}", "configs[0].server_id_length",
         "a list"),
        (ONE, f"{ONE[:-1]}, kee: {KEY}}}", "configs[0].kee", "'key'?"),
        (ONE, f"{ONE[:-1]}, key: {KEY[2:]}}}", "configs[0].key", "a text of 30 characters"),
        (ONE, f"{ONE[:-1]}, key: zz{KEY[2:]}}}", "configs[0].key", "32 hex digits"),
        (ONE, f"{ONE[:-1]}, key: {{a: 1}}}}", "configs[0].key", "a mapping"),
        (ONE, f"{ONE}, {ONE}", "configs[1].rotation", "each rotation codepoint once"),
        (ONE, TWO.replace(", active: yes", ""), "configs", "active: true in the configuration"),
        (ONE, f"{ONE[:-1]}, active: on}}, {ONE[:-1]}, active: on}}".replace("0", "1", 1), "configs[1].active",
         "one active"),
        (ONE, TWO, "nodes[0].server_id", "server_ids with others"),
        (ONE, "plain", "configs[0]", "'plain'"),
        (f"[{ONE}]", "0", "configs", "a list of mappings"),
        (f"[{ONE}]", "[]", "configs", "0 configurations"),
        ('listen: ":4433"', "", "listen", "the balancer's own HOST:PORT"),
        ('listen: ":4433"', "listen: [::]:4433", "", "need"),
        ('listen: ":4433"', "listen: [4433]", "listen", "quotes"),
        ('listen: ":4433"', "listen: ':0'", "listen", "not 0"),
        ('listen: ":4433"', "listen: ':4433'\nclient_addresses: lost", "client_addresses", "kept, hidden"),
        ('listen: ":4433"', "listen: ':4433'\nnode: 1", "node", "'nodes'?"),
        (A, A.replace("0001", "0002"), "nodes[1].server_id", "node a has it already"),
        (A, A.replace("a, s", "b, s"), "nodes[1].name", "node b has it already"),
        (A, A.replace("0.11", "0.12"), "nodes[1].address", "node a has it already"),
        (A, A.replace("0001", "000001"), "nodes[0].server_id", "4 hex digits"),
        (A, A.replace("0001", "001"), "nodes[0].server_id", "two an octet"),
        (A, A.replace("0001", "00g1"), "nodes[0].server_id", "hex digits"),
        (A, A.replace("server_id: 0001, ", ""), "nodes[0]", "one of server_id"),
        (A, A.replace("0001", "0001, server_ids: {0: 0001}"), "nodes[0]", "'both'"),
        (A, A.replace("server_id: 0001", "server_ids: {1: 0001}"), "nodes[0].server_ids.1", "one of 0"),
        (A, A.replace("server_id: 0001", "server_ids: {}"), "nodes[0].server_ids", "0 lacks one"),
        (A, A.replace("server_id: 0001", "server_ids: 0001"), "nodes[0].server_ids", "a mapping of rotation"),
        (A, A.replace("name: a", "name: a b"), "nodes[0].name", "a name of up to 64"),
        (A, A.replace("name: a, ", ""), "nodes[0].name", "a name of up to 64"),
        (A, A.replace("10.0.0.11:4433", "10.0.0.11"), "nodes[0].address", "HOST:PORT"),
        (A, A.replace("4433\"}", "4433\", health: 8080}"), "nodes[0].health", "http://"),
        (A, A.replace("4433\"}", "4433\", health: 'http://[::1/'}"), "nodes[0].health", "http://"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_where_it_is(read: Read, old: str, new: str, key: str, says: str) -> None:
    assert old in LEAST
    with pytest.raises(ConfigError) as caught:
        read(LEAST.replace(old, new, 1))
    assert "lb.yml" in caught.value.where
    assert caught.value.key == key
    assert says in str(caught.value)
    assert KEY[4:] not in str(caught.value)


def test_a_server_id_in_the_clear_is_none_of_an_encrypted_configuration(read: Read) -> None:
    text = LEAST.replace(ONE, TWO).replace("server_id: 0002", "server_ids: {0: 0003, 1: 0004}")
    read(text.replace("server_id: 0001", "server_ids: {0: 0001, 1: 0002}"))
    with pytest.raises(ConfigError, match="another one than in the configuration without a key"):
        read(text.replace("server_id: 0001", "server_ids: {0: 0001, 1: 0001}"))


def test_no_nodes_and_no_file(read: Read, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one node"):
        read(LEAST[: LEAST.index("nodes:")] + "nodes: []\n")
    with pytest.raises(ConfigError, match="a file that can be read"):
        load_lb_file(tmp_path / "none.yml")


def test_a_key_that_all_can_read_is_warned_of(
    read: Read, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read(WHOLE)
        read(LEAST)
        assert not caplog.records
        (tmp_path / "lb.yml").chmod(0o644)
        load_lb_file(tmp_path / "lb.yml")  # without a key there is nothing to hide
        assert not caplog.records
        read(WHOLE)
        (tmp_path / "lb.yml").chmod(0o644)
        load_lb_file(tmp_path / "lb.yml")
    assert "chmod 640" in caplog.text


def test_the_fingerprint_is_of_what_reads_connection_ids(read: Read) -> None:
    same = {read(LEAST).fingerprint, read(LEAST.replace("0.12", "0.13")).fingerprint}
    assert len(same) == 1
    others = [
        LEAST.replace("nonce_length: 6", "nonce_length: 7"),
        LEAST.replace("rotation: 0", "rotation: 1"),
        LEAST.replace("nonce_length: 6", f"nonce_length: 6, key: {KEY}"),
        LEAST.replace("nonce_length: 6", f"nonce_length: 6, key: {KEY[::-1]}"),
    ]
    assert len(same | {read(other).fingerprint for other in others}) == 5
    assert KEY[:8] not in read(others[2]).fingerprint


def test_a_gateway_finds_its_server_id(read: Read) -> None:
    lb = read(LEAST)
    assert own_server_id(lb, "0002", "") == b"\0\2"
    assert own_server_id(lb, "00:02", "somebody") == b"\0\2"  # a node name that is for people only
    assert own_server_id(lb, "", "b") == own_server_id(lb, "0002", "b") == b"\0\2"


@pytest.mark.parametrize(
    ("given_id", "node", "says"),
    [
        ("0003", "", "the server ID of a node of the LB file: a (0001), b (0002)"),
        ("02", "", "the server ID of a node"),
        ("zz", "", "hex digits"),
        ("", "c", "a node of the LB file (a (0001), b (0002)), or --lb-server-id"),
        ("", "", "--lb-server-id or --node, one of a (0001)"),
        ("0002", "a", "this is b's"),
    ],
)
def test_a_gateway_that_is_none_of_the_nodes(read: Read, given_id: str, node: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        own_server_id(read(LEAST), given_id, node)
    assert says in str(caught.value)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")), st.data())
def test_any_file_is_taken_or_refused_in_words(read: Read, noise: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(WHOLE)))
    for text in (noise, WHOLE[:at] + noise + WHOLE[at:], WHOLE[:at]):
        try:
            read(text.encode("utf-8", "replace").decode())
        except ConfigError as error:
            assert str(error)


# --- a gateway's settings ---------------------------------------------------------------------------


def test_the_block_and_its_layers(tmp_path: Path) -> None:
    file = tmp_path / "wtgateway.yml"
    file.write_text("node: a\nlb: {config: lb.yml, server_id: 00:0A}\n")
    config = load({}, {}, file)
    assert (config.lb.config, config.lb.server_id, config.node) == (Path("lb.yml"), "000a", "a")
    environ = {"WTG_LB_SERVER_ID": "0b", "WTG_LB_CONFIG": "env.yml"}
    assert load({}, environ, file).lb == LbSettings(config=Path("env.yml"), server_id="0b")
    assert load({"lb_server_id": "0c"}, environ, file).lb.server_id == "0c"
    assert load({}, {}).lb == LbSettings()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"lb_server_id": "0c"}, "lb.config (--lb-config FILE) beside it"),
        ({"lb_config": "lb.yml", "lb_server_id": "0"}, "hex digits"),
        ({"lb_config": "lb.yml", "lb_server_id": "xx"}, "--lb-server-id"),
        ({"lb_config": " "}, "a path"),
    ],
)
def test_settings_that_cannot_be(overrides: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(overrides, {})
    assert says in str(caught.value)


def test_check_says_which_node_this_is(
    read: Read, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fingerprint = read(LEAST).fingerprint
    lb = str(tmp_path / "lb.yml")
    assert main(["check", "--lb-config", lb, "--node", "b"]) == 0
    assert f"server ID 0002, one of 2; LB file {fingerprint}" in capsys.readouterr().out
    for arguments in (["--node", "c"], [], ["--lb-server-id", "0009"]):
        assert main(["check", "--lb-config", lb, *arguments]) == 2
        assert "a (0001), b (0002)" in capsys.readouterr().err
