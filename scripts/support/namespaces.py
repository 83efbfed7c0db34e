"""Networks of this machine's own: namespaces joined by veth pairs, for tests and benchmarks. Linux, root.

    async with network("client", "router", "node") as net:
        await net.link("client", "router", "10.1.0.2/24", "10.1.0.1/24", name="wifi")
        await net.link("router", "node", ("10.9.0.1/24", "fd09::1/64"), ("10.9.0.2/24", "fd09::2/64"))
        await net.forward("router")
        await net.route("client", "default", "10.1.0.1", link="wifi")
        async with running(*net.command("node", sys.executable, "-m", "http.server")): ...
        await net.down("client", "wifi")

A namespace is called ``wtg-<pid>-<network>-<name>``, so that any number of processes may have networks.
At the end whatever still runs inside is killed and all of it is removed; what a crash left behind is
removed when the next network is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import ipaddress
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_HANDLES = Path("/run/netns")  # where iproute2 keeps namespaces that have a name
_FILES = Path("/etc/netns")  # and what is to stand in /etc of programs inside (ip-netns(8))
_OURS = re.compile(r"wtg-(\d+)-\d+-.+")
_INTERFACE_LETTERS = 15  # IFNAMSIZ without its end
_CLONE_NEWNET = 0x40000000
_COMMAND_SECONDS = 20.0
_numbers = itertools.count()


class NetworkError(RuntimeError):
    """A command inside failed, or names do not fit; the text says which and why."""


@dataclass(slots=True)
class _Interface:
    """One end of a link, with what the kernel forgets when it goes down."""

    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]
    routes: list[tuple[str, ...]] = field(default_factory=list)  # arguments of `ip route replace`


class Network:
    """Namespaces by short names, and the links between them; made by :func:`network`."""

    def __init__(self, prefix: str, names: Sequence[str]) -> None:
        self._prefix, self._names = prefix, tuple(names)
        self._interfaces: dict[tuple[str, str], _Interface] = {}

    def namespace(self, name: str) -> str:
        """What iproute2 calls it; NetworkError for a name that is none of this network's."""
        if name not in self._names:
            raise NetworkError(f"no namespace is called {name!r}; there are {', '.join(self._names)}")
        return f"{self._prefix}{name}"

    def command(self, name: str, *argv: str | Path) -> tuple[str, ...]:
        """``argv`` with what starts it inside; without ``argv`` the prefix alone."""
        namespace = self.namespace(name)
        if (_FILES / namespace).exists():  # only iproute2 puts them into their places
            return ("ip", "netns", "exec", namespace, *map(str, argv))
        return ("nsenter", f"--net={_HANDLES / namespace}", "--", *map(str, argv))

    async def run(self, name: str, *argv: str | Path, stdin: str = "") -> str:
        """What a command prints that is run inside; NetworkError with its complaint when it fails."""
        return await _run(self.command(name, *argv), stdin)

    def hosts(self, name: str, addresses: Mapping[str, Sequence[str]]) -> None:
        """All host names there are for programs that are started inside from now on, beside `localhost`."""
        folder = _FILES / self.namespace(name)
        folder.mkdir(parents=True, exist_ok=True)
        known = {"localhost": ("127.0.0.1", "::1"), **addresses}
        lines = [f"{address} {host}\n" for host, listed in known.items() for address in listed]
        (folder / "hosts").write_text("".join(lines))
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # nobody there, which is told at once

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Sockets that this thread makes in the block belong to that namespace, and stay there.

        Never await inside: everything on the loop would be in there meanwhile.
        """
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            _enter(_HANDLES / self.namespace(name))
            try:
                yield
            finally:
                _enter(f"/proc/self/fd/{home.fileno()}")

    async def link(
        self,
        one: str,
        other: str,
        one_addresses: str | Sequence[str],
        other_addresses: str | Sequence[str],
        *,
        name: str = "",
        mtu: int = 1500,
    ) -> None:
        """A veth pair, up. Both ends are called ``name``; without one each is called as the other side.

        Addresses are written with their prefix length (``10.1.0.2/24``), IPv4 and IPv6 as many as wanted.
        """
        ends = (
            (one, name or other, _interfaces(one_addresses)),
            (other, name or one, _interfaces(other_addresses)),
        )
        for where, interface, _ in ends:
            if len(interface) > _INTERFACE_LETTERS or (where, interface) in self._interfaces:
                raise NetworkError(f"{where} cannot have an interface {interface!r}: too long, or taken")
        (_, first, _), (_, second, _) = ends
        inside, peer = self.namespace(one), self.namespace(other)
        pair = ("mtu", str(mtu), "type", "veth", "peer", "name", second, "netns", peer, "mtu", str(mtu))
        await _ip("-n", inside, "link", "add", "name", first, *pair)
        for where, interface, addresses in ends:
            self._interfaces[where, interface] = _Interface(addresses)
            await self.up(where, interface)

    async def up(self, name: str, link: str) -> None:
        """Up, with the addresses and routes that it has been given: the kernel forgets most of them."""
        interface = self._interface(name, link)
        lines = [f"link set dev {link} up"]
        lines += [
            f"address replace {address} dev {link}{' nodad' if address.version == 6 else ''}"
            for address in interface.addresses
        ]
        lines += [" ".join(route) for route in interface.routes]
        await _run(("ip", "-n", self.namespace(name), "-batch", "-"), "\n".join(lines) + "\n")

    async def down(self, name: str, link: str) -> None:
        """Down, as when a cable is pulled: both ends lose their carrier, this one its routes as well."""
        self._interface(name, link)
        await _ip("-n", self.namespace(name), "link", "set", "dev", link, "down")

    async def route(self, name: str, target: str, via: str, *, link: str, metric: int = 100) -> None:
        """``target`` (a network or ``default``) over ``via``, which is at the other end of ``link``.

        Lower metrics win; of one metric there is one route to a target. It is there again when the link is.
        """
        words = ("route", "replace", target, "via", via, "dev", link, "metric", str(metric))
        interface = self._interface(name, link)
        await _ip("-n", self.namespace(name), *words)
        interface.routes.append(words)

    async def forward(self, name: str) -> None:
        """Make a router of it: it hands on what is not for itself, IPv4 and IPv6."""
        await self.setting(name, "ipv4/ip_forward", 1)
        await self.setting(name, "ipv6/conf/all/forwarding", 1)

    async def setting(self, name: str, key: str, value: int) -> None:
        """Set what is below ``/proc/sys/net``; NetworkError when there is no such key, or no right to."""
        await self.run(name, "sh", "-c", _SETTING.format(key, value))

    def address_of(
        self, name: str, link: str | None = None, family: socket.AddressFamily = socket.AF_INET
    ) -> str:
        """Its first address of that family: on that link, or on the first link that has one."""
        version = 6 if family == socket.AF_INET6 else 4
        for (where, interface), end in self._interfaces.items():
            if where == name and link in (None, interface):
                for address in end.addresses:
                    if address.version == version:
                        return str(address.ip)
        raise NetworkError(f"{name} has no address of IPv{version}" + (f" on {link}" if link else ""))

    def _interface(self, name: str, link: str) -> _Interface:
        try:
            return self._interfaces[name, link]
        except KeyError:
            raise NetworkError(f"{name} has no interface {link!r}") from None


_SETTING = "echo {1} > /proc/sys/net/{0}"  # which is that of the namespace of who opens it
# Nobody else is on a veth pair, so IPv6 need not listen for a second first (RFC 4862, section 5.4).
_AT_ONCE = ("ipv6/conf/default/accept_dad", 0)


@contextlib.asynccontextmanager
async def network(*names: str) -> AsyncIterator[Network]:
    """Namespaces with a loopback interface each, and no way between them yet; removed with the block."""
    await asyncio.to_thread(_remove_left_behind)
    net = Network(f"wtg-{os.getpid()}-{next(_numbers)}-", names)
    try:
        for name in names:
            await _ip("netns", "add", net.namespace(name))
            await _ip("-n", net.namespace(name), "link", "set", "lo", "up")
            await net.setting(name, *_AT_ONCE)
        yield net
    finally:
        await asyncio.to_thread(_remove, [net.namespace(name) for name in names])


@functools.cache
def why_not() -> str:
    """Why networks cannot be made here, in words for a skipped test; empty when they can."""
    if sys.platform != "linux":
        return "network namespaces are a thing of Linux"
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    needed = {"ip": "iproute2", "nsenter": "util-linux", "nft": "nftables", "conntrack": "conntrack"}
    for program, package in needed.items():
        if shutil.which(program) is None:
            return f"network namespaces need {program} (Debian's package {package})"
    return _attempt()


def _attempt() -> str:
    """Make all that a network is made of once; what the kernel says when it will not."""
    name = f"wtg-{os.getpid()}-{next(_numbers)}-attempt"
    steps = (
        ("ip", "netns", "add", name),
        ("ip", "-n", name, "link", "add", "one", "type", "veth", "peer", "name", "other"),
        ("nsenter", f"--net={_HANDLES / name}", "--", "sh", "-c", _SETTING.format(*_AT_ONCE)),
        ("nsenter", f"--net={_HANDLES / name}", "--", "nft", "add table inet attempt"),
    )
    try:
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, timeout=_COMMAND_SECONDS)
            if done.returncode:
                return f"network namespaces cannot be used here: {' '.join(step)}: {done.stderr.strip()}"
    except (OSError, subprocess.SubprocessError) as error:
        return f"network namespaces cannot be used here: {error}"
    finally:
        _remove([name])
    return ""


def _interfaces(
    written: str | Sequence[str],
) -> tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]:
    texts = (written,) if isinstance(written, str) else tuple(written)
    return tuple(ipaddress.ip_interface(text) for text in texts)


def _enter(handle: str | Path) -> None:
    """Move the calling thread into the namespace."""
    with Path(handle).open("rb") as opened:
        library = ctypes.CDLL(None, use_errno=True)
        if library.setns(opened.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, f"setns {handle}: {os.strerror(number)}")


async def _ip(*words: str) -> str:
    return await _run(("ip", *words))


async def _run(command: Sequence[str], stdin: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            out, complaint = await process.communicate(stdin.encode())
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise NetworkError(f"{' '.join(command)}: {complaint.decode(errors='replace').strip()}")
    return out.decode(errors="replace")


def _remove(namespaces: Sequence[str]) -> None:
    """Kill what runs inside, and take the names away; silent about what is gone already."""
    for namespace in namespaces:
        if not (_HANDLES / namespace).exists():
            continue
        inside = subprocess.run(("ip", "netns", "pids", namespace), capture_output=True, text=True)
        for number in map(int, inside.stdout.split()):
            with contextlib.suppress(ProcessLookupError):
                if number != os.getpid():
                    os.kill(number, signal.SIGKILL)
        subprocess.run(("ip", "netns", "delete", namespace), capture_output=True)
        shutil.rmtree(_FILES / namespace, ignore_errors=True)


def _remove_left_behind() -> None:
    """Remove networks whose process is no more."""
    if not _HANDLES.exists():
        return
    dead = [
        handle.name
        for handle in _HANDLES.iterdir()
        if (made := _OURS.fullmatch(handle.name)) and not Path(f"/proc/{made[1]}").exists()
    ]
    _remove(dead)
