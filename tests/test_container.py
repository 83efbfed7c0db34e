"""Dockerfile and compose.yaml against the project: what they copy exists, what they set is understood.

How the services do together is in tests/e2e/cluster/test_compose.py.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.compose import ROOT, Service, document, services, stages
from wtgateway.cli import balancing, commands, main, parse
from wtgateway.config import load
from wtgateway.config.balancing import LbFile, load_lb_file

DOCKERFILE = (ROOT / "Dockerfile").read_text()
OURS = sorted(name for name, service in services().items() if service.argv[0] == "wtgateway")
LASTING = sorted(name for name, service in services().items() if service.raw["restart"] != "no")
NODES = ("node-a", "node-b")


def lb_file() -> LbFile:
    return load_lb_file(services()["balancer"].configs["/etc/wtgateway/lb.yml"])


def option(service: Service, name: str) -> str:
    """The value of a flag on its command line."""
    words = [part for word in service.argv for part in word.split("=", 1)]
    return words[words.index(name) + 1]


def seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text.removesuffix("s"))


# --- Dockerfile -------------------------------------------------------------------------------------


def test_everything_that_is_copied_exists_and_is_not_ignored() -> None:
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    ]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name.rstrip("/") in allowed, name


def test_the_environment_it_sets_is_a_configuration() -> None:
    config = load({}, {k: v for k, v in stages()[""].environment.items() if k.startswith("WTG_")})
    assert (str(config.bind), str(config.web)) == ("[::]:4433", "0.0.0.0:8080")
    assert config.certs_dir == Path("/certs")
    assert config.json_log


def test_the_build_is_a_wheel_that_carries_the_client() -> None:
    assert "client/src" in DOCKERFILE
    assert '"client/src" = "wtgateway/_client"' in (ROOT / "pyproject.toml").read_text()


def test_the_gateway_is_what_is_built_when_no_stage_is_named() -> None:
    assert list(stages())[-1] == ""
    assert stages()[""].entrypoint == ("wtgateway",)


# --- compose.yaml -----------------------------------------------------------------------------------


def test_compose_follows_the_specification() -> None:
    """The JSON schema of the Compose specification."""
    words = ("--builtin-schema", "vendor.compose-spec", "--no-cache", str(ROOT / "compose.yaml"))
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_mounted_that_does_not_exist_nor_defined_that_is_not_used() -> None:
    whole = document()
    used = {name for service in services().values() for name, _ in service.volumes.values()}
    assert used == set(whole["volumes"])
    sources = {given["source"] for raw in whole["services"].values() for given in raw.get("configs", ())}
    assert sources == set(whole["configs"])
    for given in whole["configs"].values():
        assert (ROOT / given["file"]).is_file()
    for service in services().values():
        assert set(service.needs) <= set(services())


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    raw = services()[name].raw
    user, group = map(int, raw["user"].split(":"))
    assert user
    assert group
    assert raw["read_only"] is True
    assert raw["cap_drop"] == ["ALL"]
    assert raw.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert "no-new-privileges:true" in raw["security_opt"]
    assert "privileged" not in raw
    if name in LASTING:
        assert raw["restart"] == "unless-stopped"
        assert services()[name].check
        assert seconds(raw["stop_grace_period"]) >= 5


@pytest.mark.parametrize("name", OURS)
def test_command_lines_are_understood(name: str) -> None:
    command = parse(services()[name].argv[1:]).command
    assert callable(getattr(commands, command, None) or getattr(balancing, command))


@pytest.mark.parametrize("name", [*NODES, "gateway"])
def test_a_gateway_understands_its_flags_and_environment(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `wtgateway check`, which reads the files as well; those stand elsewhere here."""
    service = services()[name]
    secret = tmp_path / "secret"
    secret.write_text("ab" * 32)
    secret.chmod(0o600)
    moved = {str(path): str(file) for path, file in service.configs.items()}
    moved["/cluster/secret"] = str(secret)
    words = [_moved(word, moved) for word in service.argv[2:]]
    for key, value in service.environment.items():
        if key.startswith("WTG_"):
            monkeypatch.setenv(key, value)
    arguments = parse(["check", *words])
    assert commands.check(arguments) == 0


def _moved(word: str, moved: dict[str, str]) -> str:
    flag, equals, value = word.rpartition("=")
    return f"{flag}{equals}{moved.get(value, value)}"


@pytest.mark.parametrize("name", [*NODES, "gateway"])
def test_what_is_looked_after_is_what_is_served(name: str) -> None:
    """The health check asks where the pages are, and mounts are where the image looks."""
    service = services()[name]
    config = load({}, {k: v for k, v in service.environment.items() if k.startswith("WTG_")})
    assert f"http://127.0.0.1:{config.web.port}/readyz" in service.check[-1]
    assert service.check[-1] in DOCKERFILE, "the image's own check is another one"
    assert str(config.certs_dir) in {**service.volumes, **service.tmpfs}
    assert stages()[""].exposed == {f"{config.web.port}/tcp", f"{config.bind.port}/udp"}


def test_everything_is_published_on_loopback_only() -> None:
    for service in services().values():
        assert all(host == "127.0.0.1" for host, *_ in service.ports), service.name
    inside = {(port, protocol) for _, _, port, protocol in services()["gateway"].ports}
    assert {f"{port}/{protocol}" for port, protocol in inside} == stages()[""].exposed


def test_one_gateway_and_the_cluster_are_reached_at_the_same_ports() -> None:
    """Pages say the port that the gateways have, and nothing translates it."""
    alone = {(outside, protocol) for _, outside, _, protocol in services()["gateway"].ports}
    cluster = {
        (outside, protocol)
        for name in ("balancer", "proxy")
        for _, outside, _, protocol in services()[name].ports
    }
    assert alone <= cluster
    assert (lb_file().listen.port, "udp") in cluster
    assert all(outside == inside for s in services().values() for _, outside, inside, _ in s.ports)
    assert [name for name, raw in document()["services"].items() if "profiles" in raw] == ["gateway"]


def test_nodes_and_balancer_agree() -> None:
    lb = lb_file()
    assert {services()[name].environment["WTG_NODE"] for name in NODES} == {node.name for node in lb.nodes}
    for node in lb.nodes:
        service = services()[node.name]
        config = load({}, {k: v for k, v in service.environment.items() if k.startswith("WTG_")})
        assert (node.address.host, node.address.port) == (service.address, config.bind.port)
        health = urlsplit(node.health)
        assert (health.hostname, health.port, health.path) == (service.address, config.web.port, "/readyz")
        assert service.configs == services()["balancer"].configs
        assert option(service, "--trusted-proxy") == services()["proxy"].address
        assert option(service, "--cluster-secret") == services()["secret"].argv[-1]
        assert seconds(service.raw["stop_grace_period"]) >= seconds(option(service, "--drain-timeout")) + 5
        assert service.needs == {
            "secret": "service_completed_successfully",
            "source": "service_healthy",
        }
        folder = str(Path(option(service, "--cluster-secret")).parent)
        assert service.volumes[folder] == ("cluster", True), "only who makes it may write it"
    assert services()["secret"].volumes == {folder: ("cluster", False)}
    assert f"-m 0700 {' '.join(sorted({'/certs', folder}))}" in DOCKERFILE, (
        "a new volume has the owner of the image's folder"
    )
    web = option(services()["balancer"], "--web")
    assert f"http://127.0.0.1:{web.rpartition(':')[2]}/readyz" in services()["balancer"].check[-1]


def test_the_secret_is_made_by_the_first_start_alone(tmp_path: Path) -> None:
    """A cluster that is started again keeps its secret; one that is damaged does not pass for one."""
    [*words, path] = services()["secret"].argv[1:]
    file = tmp_path / Path(path).name
    assert main([*words, str(file)]) == 0
    made = file.read_bytes()
    assert main([*words, str(file)]) == 0
    assert file.read_bytes() == made
    file.write_text("ab")
    assert main([*words, str(file)]) == 2


def test_addresses_are_of_the_network_and_each_is_one_service_s() -> None:
    [given] = document()["networks"]["cluster"]["ipam"]["config"]
    network = ipaddress.ip_network(given["subnet"])
    addresses = [service.address for service in services().values() if service.address]
    assert len(set(addresses)) == len(addresses) == 5
    for address in addresses:
        assert ipaddress.ip_address(address) in network
        assert ipaddress.ip_address(address) != network[1], "the bridge's own"


def test_the_proxy_serves_the_pages_of_all_nodes() -> None:
    proxy = services()["proxy"]
    text = proxy.configs[proxy.argv[proxy.argv.index("--config") + 1]].read_text()
    upstreams = set(re.findall(r"\b10\.77\.0\.\d+:\d+", text))
    assert upstreams == {urlsplit(node.health).netloc for node in lb_file().nodes}
    listened = {int(port) for port in re.findall(r"^\s*https?_port (\d+)$", text, re.MULTILINE)}
    assert listened == {inside for _, _, inside, _ in proxy.ports}
    assert urlsplit(proxy.check[-1]).port in listened


def test_the_source_is_what_the_nodes_read() -> None:
    source = services()["source"]
    assert source.argv[-1] in source.configs
    text = source.configs[source.argv[-1]].read_text()
    [published] = re.findall(r"rtmp://127\.0\.0\.1:(\d+)(/\S+);", text)
    assert f"listen {published[0]};" in text
    assert stages()["test-source"].exposed == {f"{published[0]}/tcp"}
    assert f"/dev/tcp/127.0.0.1/{published[0]}" in source.check[-1]
    for name in NODES:
        assert services()[name].argv[2] == f"rtmp://{source.address}{published[1]}"


def test_what_the_docs_say_to_type_is_there() -> None:
    """`docker compose up gateway` and `docker compose stop node-a` name services."""
    text = (ROOT / "compose.yaml").read_text() + (ROOT / "docs" / "operations.md").read_text()
    named = re.findall(r"docker compose (?:up(?: -d)?|stop|kill|restart) ([a-z-]+)", text)
    assert {"gateway", "node-a"} <= set(named)
    assert set(named) <= set(services())
