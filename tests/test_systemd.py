"""docs/deploy/systemd/wtgateway.service under a real systemd: with its hardening, a viewer, a death, an end.

systemd is PID 1 of namespaces of its own, with a network, /run and /var/lib that nobody else sees. Only where
Python is, the time of the watchdog and where its words go are other than in the example.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.support import namespaces

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "docs" / "deploy" / "systemd" / "wtgateway.service"
SYSTEMD = Path("/lib/systemd/systemd")
PATIENCE_S = 60.0
WATCHDOG_S = 3

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-"),
    pytest.mark.skipif(
        not SYSTEMD.exists() or not shutil.which("nsenter"), reason="needs systemd and util-linux"
    ),
]

# What is mounted before systemd begins. `/` must be shared, or the credentials that it mounts stay in the
# process that mounts them.
BEGIN = f"""set -eu
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /mnt
mkdir /mnt/source /mnt/python /mnt/site
mount --bind {ROOT} /mnt/source
mount --bind {sys.base_prefix} /mnt/python
mount --bind {sysconfig.get_paths()["purelib"]} /mnt/site
for place in /run /var/lib /var/cache /tmp; do mount -t tmpfs -o mode=755 tmpfs $place; done
chmod 755 /mnt
chmod 1777 /tmp
ip link set lo up
mkdir -p /run/systemd/system
printf '[Unit]\\nDefaultDependencies=no\\n' > /run/systemd/system/only.target
mount --make-rshared /
export container=lxc
exec {SYSTEMD} --system --unit=only.target --log-target=null --show-status=0
"""
PYTHON = f"/mnt/python/bin/python3.{sys.version_info.minor}"
NO_CACHE = "PYTHONDONTWRITEBYTECODE=1"
HERE = f"""[Unit]
DefaultDependencies=no
Wants=
[Service]
LoadCredential=
LoadCredential=wtgateway.yml:/run/wtgateway.yml
ExecStart=
ExecStart={PYTHON} -m wtgateway run --json-log -c ${{CREDENTIALS_DIRECTORY}}/wtgateway.yml
Environment=LD_LIBRARY_PATH=/mnt/python/lib PYTHONPATH=/mnt/source:/mnt/site {NO_CACHE}
WatchdogSec={WATCHDOG_S}
StandardOutput=append:/run/gateway.out
StandardError=append:/run/gateway.err
"""
CONFIGURATION = """
broadcasts: {test: {source: "test:"}}
workers: 2
"""


class Machine:
    """Where systemd is PID 1."""

    def __init__(self, pid: int) -> None:
        self._enter = ("nsenter", "-t", str(pid), "-m", "-u", "-i", "-p", "-n", "-C", "--wd=/")

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root."""
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        done = subprocess.run(
            [*self._enter, *words], capture_output=True, text=True, timeout=PATIENCE_S, env=environment
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.told()}"
        return done

    def put(self, path: str, text: str) -> None:
        """Write a file inside, for root alone."""
        subprocess.run(
            [*self._enter, "sh", "-c", f"umask 077; mkdir -p {Path(path).parent}; cat > {path}"],
            input=text.encode(),
            check=True,
            timeout=PATIENCE_S,
        )

    def shown(self, *names: str) -> dict[str, str]:
        """What systemd says of the unit."""
        lines = self.run("systemctl", "show", "wtgateway", "-p", ",".join(names)).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def until(self, condition: Callable[[dict[str, str]], bool], *names: str) -> dict[str, str]:
        """Ask until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(shown := self.shown(*names)):
            assert time.monotonic() < deadline, f"{shown}\n{self.told()}"
            time.sleep(0.05)
        return shown

    def told(self) -> str:
        """What the gateway wrote."""
        done = subprocess.run(
            [*self._enter, "sh", "-c", "cat /run/gateway.out /run/gateway.err"],
            capture_output=True,
            text=True,
        )
        return done.stdout[-4000:]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    begin = tmp_path / "begin.sh"
    begin.write_text(BEGIN)
    namespaced = ("--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")
    with contextlib.ExitStack() as stack:
        outer = stack.enter_context(
            subprocess.Popen(["unshare", *namespaced, "bash", begin], stdin=subprocess.DEVNULL)
        )
        stack.callback(outer.kill)
        made = Machine(_systemd_of(outer))
        deadline = time.monotonic() + PATIENCE_S
        while made.run("systemctl", "is-system-running", check=False).stdout.strip() != "running":
            assert outer.poll() is None, "systemd ended"
            assert time.monotonic() < deadline, "systemd does not begin"
            time.sleep(0.05)
        made.put("/run/systemd/system/wtgateway.service", UNIT.read_text())
        made.put("/run/systemd/system/wtgateway.service.d/here.conf", HERE)
        made.put("/run/wtgateway.yml", CONFIGURATION)
        made.run("systemctl", "daemon-reload")
        yield made


def _systemd_of(outer: subprocess.Popen[bytes]) -> int:
    """The process that is PID 1 inside, once it is systemd."""
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        for pid in children.read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return int(pid)
        assert outer.poll() is None, "systemd does not begin"
        assert time.monotonic() < deadline, "systemd does not begin"
        time.sleep(0.02)


def test_the_unit_runs_hardened_is_watched_and_ends(machine: Machine) -> None:
    machine.run("systemctl", "start", "wtgateway")  # comes back when READY=1 was sent
    begun = machine.shown("ActiveState", "MainPID", "StatusText", "UID")
    assert begun["ActiveState"] == "active", machine.told()
    assert re.fullmatch(r"\d of 1 broadcasts live, 0 viewers", begun["StatusText"])
    assert int(begun["UID"]) > 60_000, "a user of its own (DynamicUser)"

    viewed = _view(machine)
    assert viewed["framesReceived"] >= 30
    assert viewed["framesDecoded"] == viewed["framesReceived"]

    processes = _processes(machine)
    assert len(processes) > 2, "the gateway and two workers"
    machine.run("kill", "-STOP", begun["MainPID"])
    again = machine.until(
        lambda shown: shown["NRestarts"] == "1" and shown["ActiveState"] == "active",
        "NRestarts", "ActiveState", "MainPID",
    )  # fmt: skip
    assert again["MainPID"] != begun["MainPID"]
    assert _view(machine)["framesReceived"] >= 30
    assert len(_processes(machine)) == len(processes), "none is left over, none is missing"
    assert not set(_processes(machine)) & set(processes)

    machine.run("systemctl", "stop", "wtgateway")
    ended = machine.shown("ActiveState", "Result", "ExecMainStatus")
    assert ended == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert not _processes(machine)
    assert "Traceback" not in machine.told()


def test_a_wrong_setting_is_said_and_not_tried_again(machine: Machine) -> None:
    machine.put("/run/wtgateway.yml", "broadcasts: {test: {sauce: 'test:'}}")
    assert machine.run("systemctl", "start", "wtgateway", check=False).returncode != 0
    ended = machine.shown("ActiveState", "ExecMainStatus", "NRestarts")
    assert ended == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    assert "broadcasts.test.sauce" in machine.told()


def _processes(machine: Machine) -> list[str]:
    """The gateway and its workers."""
    return machine.run("pgrep", "-f", "wtgateway", check=False).stdout.split()


def _view(machine: Machine) -> dict[str, int]:
    """A native viewer beside it, for 2 s."""
    environment = f"LD_LIBRARY_PATH=/mnt/python/lib PYTHONPATH=/mnt/source:/mnt/site {NO_CACHE}".split()
    words = ["-m", "wtgateway", "view", "http://localhost:8080/test", "--seconds", "2", "--json"]
    viewed = machine.run("env", *environment, PYTHON, *words)
    return json.loads(viewed.stdout.splitlines()[-1])  # type: ignore[no-any-return]
