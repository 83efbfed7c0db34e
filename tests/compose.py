"""compose.yaml as values, and its services as processes: containers without Docker. Linux, root, for tests.

A service has what compose.yaml and the Dockerfile give it, and nothing is rewritten for it: the same command
line and environment, a root of its own that is read-only, its configs and volumes at the same paths, its
user, no capabilities. Only the programs are those of this machine, mounted read-only into that root.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "compose.yaml"
_SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64")  # folders, or links into /usr
_ETC = ("alternatives", "group", "ld.so.cache", "nsswitch.conf", "passwd", "ssl")
_STEP = re.compile(r"^(?P<word>[A-Z]+)\s+(?P<rest>.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a stage of the Dockerfile says about the processes of its image."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    exposed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service. ``configs`` and ``volumes``: what is mounted, by its path in the container.

    ``argv`` and ``environment`` are whole: the image's and the service's.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    address: str  # in the network; empty: it has none
    configs: Mapping[str, Path]
    volumes: Mapping[str, tuple[str, bool]]  # path: name, read-only
    tmpfs: Mapping[str, str]  # path: options of mount
    ports: tuple[tuple[str, int, int, str], ...]  # host's address and port, the container's, protocol
    check: tuple[str, ...]
    needs: Mapping[str, str]  # service: condition
    raw: Mapping[str, Any]


@functools.cache
def document() -> dict[str, Any]:
    """The file, with merged keys as Compose sees them."""
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


@functools.cache
def services() -> dict[str, Service]:
    """All services by name, those of profiles too."""
    return {name: _service(name, raw) for name, raw in document()["services"].items()}


@functools.cache
def stages() -> dict[str, Stage]:
    """The Dockerfile's stages by name; the last one's is empty."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    found: dict[str, Stage] = {}
    for part in re.split(r"(?m)^(?=FROM )", text)[1:]:
        name = re.match(r"FROM \S+(?: AS (\S+))?", part)
        steps = [m.groupdict() for line in part.splitlines() if (m := _STEP.match(line))]
        words = {step["word"]: step["rest"] for step in steps}
        found[(name and name[1]) or ""] = Stage(
            entrypoint=tuple(json.loads(words.get("ENTRYPOINT", "[]"))),
            command=tuple(json.loads(words.get("CMD", "[]"))),
            environment=dict(item.split("=", 1) for item in shlex.split(words.get("ENV", ""))),
            exposed=frozenset(words.get("EXPOSE", "").split()),
        )
    return found


def _service(name: str, raw: Mapping[str, Any]) -> Service:
    build = raw.get("build")
    target = build.get("target", "") if isinstance(build, Mapping) else ""
    stage = Stage() if build is None else stages()[target]
    files = document()["configs"]
    networks = raw.get("networks", {})
    return Service(
        name=name,
        argv=(*stage.entrypoint, *raw.get("command", stage.command)),
        environment={**stage.environment, **raw.get("environment", {})},
        address=next((given["ipv4_address"] for given in networks.values()), ""),
        configs={given["target"]: ROOT / files[given["source"]]["file"] for given in raw.get("configs", ())},
        volumes=dict(_volume(text) for text in raw.get("volumes", ())),
        tmpfs=dict(_pair(text) for text in raw.get("tmpfs", ())),
        ports=tuple(_port(text) for text in raw.get("ports", ())),
        check=tuple(raw.get("healthcheck", {}).get("test", ())[1:]),
        needs=_needs(raw.get("depends_on", {})),
        raw=raw,
    )


def _volume(text: str) -> tuple[str, tuple[str, bool]]:
    name, path, *mode = text.split(":")
    return path, (name, mode == ["ro"])


def _pair(text: str) -> tuple[str, str]:
    path, _, options = text.partition(":")
    return path, options


def _port(text: str) -> tuple[str, int, int, str]:
    where, protocol = text.split("/")
    host, outside, inside = where.split(":")
    return host, int(outside), int(inside), protocol


def _needs(given: Sequence[str] | Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    if isinstance(given, Mapping):
        return {name: wanted["condition"] for name, wanted in given.items()}
    return dict.fromkeys(given, "service_started")


# --- as processes -----------------------------------------------------------------------------------


def command(service: Service, directory: Path, *argv: str) -> tuple[str, ...]:
    """A command line that runs ``argv`` (the service's own, if none) as its container would. Needs root.

    ``directory`` holds the volumes of all services.
    """
    root = directory / "root"
    root.mkdir(exist_ok=True)
    return (*_UNSHARE, "sh", "-e", "-c", _script(service, root, directory, argv or service.argv))


_UNSHARE = ("unshare", "--mount", "--propagation", "private", "--")


def _script(service: Service, root: Path, directory: Path, argv: Sequence[str]) -> str:
    """Mounts, one a line, and the program in place of the shell."""
    lines = [_mount("-t tmpfs -o mode=755", "root", root)]
    for path, options in service.tmpfs.items():
        how = f"-t tmpfs -o {options or 'mode=1777'}"
        lines.append(_folder(path, root) + _mount(how, "tmpfs", f"{root}{path}"))
    lines += [_bind(path, root) for path in _programs()]  # behind /tmp: the checkout may be there
    lines += [f"ln -s {Path(path).readlink()} {root}{path}" for path in _SYSTEM if Path(path).is_symlink()]
    lines += [_bind(f"/etc/{name}", root) for name in _ETC if Path("/etc", name).exists()]
    for path in ("/proc", "/dev", "/sys"):
        lines.append(_folder(path, root) + _mount("--rbind", path, f"{root}{path}"))
    for path, file in service.configs.items():
        lines.append(_bind(file, root, path))
    for path, (name, read_only) in service.volumes.items():
        lines.append(_bind(_made(directory / name, service), root, path, read_only=read_only))
    if service.raw.get("read_only"):
        lines.append(f"mount -o remount,ro {shlex.quote(str(root))}")
    path = f"{Path(sys.prefix) / 'bin'}:/usr/sbin:/usr/bin"
    environment = {"PATH": path, "HOME": "/", **service.environment}
    words = ["env", "-i", *(f"{key}={value}" for key, value in environment.items()), *argv]
    lines.append(f"exec chroot {shlex.quote(str(root))} {_privileges(service)} {shlex.join(words)}")
    return "\n".join(lines)


def _programs() -> list[str]:
    """Where this machine's programs are: Debian's, Python and what is installed for it, the checkout."""
    wanted = ["/usr", *(p for p in _SYSTEM if Path(p).is_dir() and not Path(p).is_symlink())]
    for path in (str(ROOT), sys.base_prefix, sys.prefix):
        if not any(Path(path).is_relative_to(known) for known in wanted):
            wanted.append(path)
    return wanted


def _privileges(service: Service) -> str:
    user, group = str(service.raw["user"]).split(":")
    added = "".join(f",+{name.lower()}" for name in service.raw.get("cap_add", ()))
    words = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--inh-caps=-all"]
    if service.raw.get("cap_drop") == ["ALL"]:
        words.append(f"--bounding-set=-all{added}")
    if "no-new-privileges:true" in service.raw.get("security_opt", ()):
        words.append("--no-new-privs")
    return shlex.join(["setpriv", *words])


def _made(volume: Path, service: Service) -> Path:
    """A new volume has the owner and mode that the image's folder has, which are these."""
    if not volume.exists():
        volume.mkdir(mode=0o700)
        user, group = str(service.raw["user"]).split(":")
        os.chown(volume, int(user), int(group))
    return volume


def _folder(path: str | Path, root: Path) -> str:
    return f"mkdir -p {shlex.quote(f'{root}{path}')}; "


def _bind(source: str | Path, root: Path, path: str = "", *, read_only: bool = True) -> str:
    target = shlex.quote(f"{root}{path or source}")
    made = f"mkdir -p {target}" if Path(source).is_dir() else f"mkdir -p $(dirname {target}); touch {target}"
    again = f"; mount -o remount,bind,ro {target}" if read_only else ""
    return f"{made}; mount --bind {shlex.quote(str(source))} {target}{again}"


def _mount(how: str, source: str, target: str | Path) -> str:
    return f"mount {how} {shlex.quote(source)} {shlex.quote(str(target))}"
