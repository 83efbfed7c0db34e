"""The examples in docs/deploy against the project and those who read them: Kubernetes, systemd, proxies."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from wtgateway.cli import balancing, commands, main, parse
from wtgateway.config import load
from wtgateway.config.balancing import load_lb_file, own_server_id
from wtgateway.config.settings import layer_keys

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "docs" / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SOCKETS = sorted((DEPLOY / "systemd").glob("*.socket"))
DROP_INS = sorted((DEPLOY / "systemd").glob("*.service.d/*.conf"))
Manifest = dict[str, Any]


# --- Kubernetes -------------------------------------------------------------------------------------


@cache
def manifests() -> dict[tuple[str, str], Manifest]:
    """All objects by kind and name; each name is one object's."""
    every = [item for path in MANIFESTS for item in yaml.safe_load_all(path.read_text())]
    found = {(item["kind"], item["metadata"]["name"]): item for item in every}
    assert len(found) == len(every)
    return found


def pod(kind: str, name: str) -> Manifest:
    template: Manifest = manifests()[kind, name]["spec"]["template"]
    return template


def container(kind: str, name: str) -> Manifest:
    [one] = pod(kind, name)["spec"]["containers"]
    return dict(one)


STATEFUL, BALANCER = ("StatefulSet", "wtgateway"), ("Deployment", "wtgateway-balancer")


def test_manifests_follow_the_schema_of_kubernetes() -> None:
    """Strictly: a field that does not exist is an error, where the server would only drop it."""
    words = ("--strict", "--kubernetes-version", "1.31", *map(str, MANIFESTS))
    program = str(Path(sys.executable).parent / "kubernetes-validate")
    done = subprocess.run((program, *words), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(MANIFESTS) >= 4


def test_nodes_in_the_config_map_are_the_pods(tmp_path: Path) -> None:
    data = manifests()["ConfigMap", "wtgateway-lb"]["data"]
    (tmp_path / "lb.yml").write_text(data["lb.yml"])
    lb = load_lb_file(tmp_path / "lb.yml")
    replicas = manifests()[STATEFUL]["spec"]["replicas"]
    assert [node.name for node in lb.nodes] == [f"wtgateway-{n}" for n in range(replicas)]
    [named] = [entry for entry in container(*STATEFUL)["env"] if entry["name"] == "WTG_NODE"]
    assert named["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    for node in lb.nodes:
        assert own_server_id(lb, "", node.name) == node.server_id, "found by the pod's name alone"
        service = manifests()["Service", node.name]["spec"]
        assert node.address.host == node.name, "the Service that has the pod's name"
        assert service["selector"] == {"statefulset.kubernetes.io/pod-name": node.name}
        assert service["publishNotReadyAddresses"], "a node that drains still has its viewers"
        assert "clusterIP" not in service, "an address that stays when the pod comes again"
        assert {port["port"] for port in service["ports"]} == {node.address.port, 8080}
        assert node.health == f"http://{node.name}:8080/readyz"
    assert (str(lb.listen), lb.client_addresses) == ("[::]:4433", "hidden")


def test_the_config_map_is_a_configuration_and_the_arguments_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("wtgateway-config", "wtgateway.yml"), ("wtgateway-lb", "lb.yml")):
        (tmp_path / kind).write_text(manifests()["ConfigMap", name]["data"][kind])
    secret = tmp_path / "secret"
    secret.write_text("ab" * 32)
    secret.chmod(0o600)
    text = (tmp_path / "wtgateway.yml").read_text()
    for mount, file in (("/etc/wtgateway-lb/lb.yml", "lb.yml"), ("/run/secrets/wtgateway/secret", "secret")):
        assert mount in text
        assert str(Path(mount).parent) in {v["mountPath"] for v in container(*STATEFUL)["volumeMounts"]}
        text = text.replace(mount, str(tmp_path / file))
    (tmp_path / "wtgateway.yml").write_text(text)
    args = container(*STATEFUL)["args"]
    assert args[:2] == ["run", "-c"]
    assert str(Path(args[2]).parent) in {v["mountPath"] for v in container(*STATEFUL)["volumeMounts"]}
    monkeypatch.setenv("WTG_NODE", "wtgateway-0")
    assert commands.check(parse(["check", "-c", str(tmp_path / "wtgateway.yml"), *args[3:]])) == 0
    assert callable(getattr(balancing, parse(container(*BALANCER)["args"]).command))


def test_a_node_has_the_time_that_its_drain_takes() -> None:
    text = manifests()["ConfigMap", "wtgateway-config"]["data"]["wtgateway.yml"]
    drain = float(yaml.safe_load(text)["drain_timeout"].removesuffix("s"))
    spec = pod(*STATEFUL)["spec"]
    assert drain >= 10
    assert spec["terminationGracePeriodSeconds"] >= drain + 10
    assert "lifecycle" not in container(*STATEFUL), "the gateway drains by itself"
    stop = container(*BALANCER)["lifecycle"]["preStop"]["exec"]["command"]
    assert float(stop[1]) < pod(*BALANCER)["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("which", [STATEFUL, BALANCER], ids=str)
def test_pods_are_probed_where_they_answer_and_have_no_rights(which: tuple[str, str]) -> None:
    one, spec = container(*which), pod(*which)["spec"]
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "web"}
    assert one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "web"}
    names = {port["name"]: port for port in one["ports"]}
    assert set(names) == {"quic", "web"}
    assert (names["quic"]["containerPort"], names["quic"]["protocol"]) == (4433, "UDP")
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["name"] for mount in one["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}
    assert "cpu" not in one["resources"]["limits"], "throttled for 100 ms is late for 100 ms"


def test_the_secret_is_readable_by_the_gateway_alone_and_in_no_manifest() -> None:
    [volume] = [v for v in pod(*STATEFUL)["spec"]["volumes"] if v["name"] == "cluster"]
    assert volume["secret"] == {"secretName": "wtgateway-cluster", "defaultMode": 0o440}
    assert pod(*STATEFUL)["spec"]["securityContext"]["fsGroup"] == 10001, "the group that 0440 is for"
    assert not [kind for kind, _ in manifests() if kind == "Secret"]


def test_services_select_pods_that_exist_and_ports_that_these_have() -> None:
    labels = {name: pod(kind, name)["metadata"]["labels"] for kind, name in (STATEFUL, BALANCER)}
    ports = {name: {p["name"] for p in container(kind, name)["ports"]} for kind, name in (STATEFUL, BALANCER)}
    services = [m for (kind, _), m in manifests().items() if kind == "Service"]
    assert len(services) == 5
    for service in services:
        selector = service["spec"]["selector"]
        by_name = selector.get("statefulset.kubernetes.io/pod-name", "").rpartition("-")[0]
        chosen = [n for n, own in labels.items() if n == by_name or selector.items() <= own.items()]
        assert len(chosen) == 1, service["metadata"]["name"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[chosen[0]]
    headless = manifests()["Service", manifests()[STATEFUL]["spec"]["serviceName"]]["spec"]
    assert headless["clusterIP"] == "None"
    public = manifests()["Service", "wtgateway-quic"]["spec"]
    assert (public["type"], public["externalTrafficPolicy"]) == ("LoadBalancer", "Local")


# --- systemd ----------------------------------------------------------------------------------------


def settings(path: Path) -> dict[str, list[str]]:
    """Settings of a unit file; one that is given several times is a list."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith(("#", ";")):
            found.setdefault(key, []).append(value)
    return found


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = ("systemd-analyze", "--man=no", *map(str, words))
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they are installed, but with a program that is here."""
    program = tmp_path / "wtgateway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    shutil.copytree(DEPLOY / "systemd", tmp_path / "systemd")
    for path in (tmp_path / "systemd").glob("*.service"):
        path.write_text(path.read_text().replace("/opt/wtgateway/bin/wtgateway", str(program)))
    return tmp_path / "systemd"


@needs_systemd
def test_units_are_understood_by_systemd(installed: Path) -> None:
    units = [installed / path.name for path in (*UNITS, *SOCKETS)]
    done = analyze("verify", "--recursive-errors=no", *units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    broken = installed / "wtgateway.service"
    broken.write_text(broken.read_text().replace("ProtectProc=invisible", "ProtectProk=invisible"))
    assert "ProtectProk" in analyze("verify", "--recursive-errors=no", broken).stderr


@needs_systemd
@pytest.mark.parametrize(
    ("unit", "most"),
    [("wtgateway.service", 20), ("wtgateway-lb.service", 25), ("wtgateway-nftables.service", 25)],
)
def test_units_expose_little(installed: Path, unit: str, most: int) -> None:
    """Of 100 that a service without any setting would have: systemd's own judgement."""
    done = analyze("security", "--offline=true", f"--threshold={most}", installed / unit)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("path", [*UNITS, *DROP_INS], ids=lambda path: path.name)
def test_units_start_what_there_is_with_credentials_that_are_loaded(path: Path) -> None:
    unit = settings(path)
    loaded = {text.partition(":")[0] for text in unit.get("LoadCredential", [])}
    text = path.read_text()
    assert set(re.findall(r"(?:\$\{CREDENTIALS_DIRECTORY\}|%d)/([a-z.]+)", text)) == loaded
    for line in unit.get("ExecStart", []):
        program, *words = line.split()
        assert program == "/opt/wtgateway/bin/wtgateway"
        command = parse(words).command
        assert callable(getattr(commands, command, None) or getattr(balancing, command))
    variables = dict(item.split("=", 1) for line in unit.get("Environment", []) for item in line.split())
    ours = {key: value for key, value in variables.items() if key.startswith("WTG_")}
    expanded = {key: re.sub("%[lSCd]", "x", value) for key, value in ours.items()}
    files = {key: expanded.pop(key) for key in ("WTG_CLUSTER_SECRET", "WTG_LB_CONFIG") if key in expanded}
    load({}, expanded)
    assert set(files) <= set(layer_keys().values())


def test_a_socket_is_the_one_of_a_service_and_of_the_lb_file() -> None:
    for path in SOCKETS:
        assert path.with_suffix(".service") in UNITS
        assert settings(path)["ListenDatagram"] == [str(load_lb_file(DEPLOY / "lb.example.yml").listen)]


def test_a_service_is_stopped_in_order() -> None:
    """The main process tells its workers; killed are only those that outlast the default drain."""
    unit = settings(DEPLOY / "systemd" / "wtgateway.service")
    assert unit["KillMode"] == ["mixed"]
    drain = load({"lb_config": str(DEPLOY / "compose" / "lb.yml"), "node": "node-a"}, {}).drain_s
    assert int(unit["TimeoutStopSec"][0]) >= drain + 10
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == ["2"], "a wrong setting does not become right by itself"
    assert unit["DynamicUser"] == ["yes"]
    assert unit["Type"] == ["notify"]
    assert int(unit["WatchdogSec"][0]) >= 10, "a machine may be busy for some seconds"


# --- reverse proxies --------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy")
@pytest.mark.parametrize("path", sorted((DEPLOY / "caddy").iterdir()), ids=lambda path: path.name)
def test_caddy_understands_its_files(path: Path, tmp_path: Path) -> None:
    words = ("caddy", "validate", "--adapter", "caddyfile", "--config", str(path))
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, env={"HOME": str(tmp_path), "PATH": "/usr/bin"}
    )
    assert done.returncode == 0, done.stderr
    assert "Valid configuration" in done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_understands_its_file(tmp_path: Path) -> None:
    """With a certificate of this moment in the place of the one it names."""
    text = (DEPLOY / "nginx" / "wtgateway.conf").read_text()
    make = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    files = ("-keyout", str(tmp_path / "privkey.pem"), "-out", str(tmp_path / "fullchain.pem"))
    subprocess.run((*make, *files, "-subj", "/CN=media.example"), check=True, capture_output=True, timeout=60)
    (tmp_path / "site.conf").write_text(text.replace("/etc/letsencrypt/live/media.example", str(tmp_path)))
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; include site.conf; }}"
    )
    words = ("nginx", "-t", "-p", str(tmp_path), "-e", "stderr", "-c", "nginx.conf")
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_proxies_pages_and_balancers_of_the_examples_fit_together() -> None:
    """All of them speak of the nodes of one LB file, and of one public URL."""
    lb = load_lb_file(DEPLOY / "lb.example.yml")
    pages = {urlsplit(node.health).netloc for node in lb.nodes}
    for path in (DEPLOY / "nginx" / "wtgateway.conf", DEPLOY / "caddy" / "Caddyfile"):
        text = path.read_text()
        assert set(re.findall(r"\b10\.0\.0\.\d+:\d+", text)) == pages, path.name
        [flags] = re.findall(r"^# The gateways: (.+) --trusted-proxy", text, re.MULTILINE)
        arguments = parse(["run", *flags.split()])
        url = urlsplit(arguments.public_url)
        assert url.hostname in text
        assert f"{url.path}" in text
        assert arguments.advertise.endswith(f":{lb.listen.port}")


def test_the_example_of_an_lb_file_is_one_for_the_kernel() -> None:
    assert main(["lb", "nftables", "-c", str(DEPLOY / "lb.example.yml")]) == 0


def test_files_that_the_docs_name_are_there_and_the_docs_name_all() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    linked = {target.split("#")[0] for target in re.findall(r"\]\(((?:\.\./|deploy)[^)]*)\)", text)}
    for target in linked:
        assert (ROOT / "docs" / target).exists(), target
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
    for folder in DEPLOY.iterdir():
        assert folder.name in text, folder.name
