"""The names and addresses that a certificate of this machine carries. No name service is asked.

Imports nothing of the project.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_ADDRESSES = 64
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*")
_LINUX_SIOCGIFADDR = 0x8915
_LINUX_IF_INET6 = Path("/proc/net/if_inet6")


@dataclass(frozen=True, slots=True)
class SubjectNames:
    """What goes into subjectAltName; sorted and without repetition."""

    hosts: tuple[str, ...]
    addresses: tuple[IpAddress, ...]

    def covers(self, other: SubjectNames) -> bool:
        """Whether every name of ``other`` is here."""
        return set(other.hosts) <= set(self.hosts) and set(other.addresses) <= set(self.addresses)


def subject_names(extra_hosts: Iterable[str] = ()) -> SubjectNames:
    """localhost, this machine's name, loopback and interface addresses, and ``extra_hosts`` (names or IPs).

    Unspecified addresses (``::``) and texts that no certificate may carry are left out.
    """
    interfaces = list(_interface_addresses())[:MAX_ADDRESSES]
    return _subject_names([socket.gethostname(), *map(str, interfaces), *extra_hosts])


def shared_names(hosts: Iterable[str] = ()) -> SubjectNames:
    """localhost, loopback addresses and ``hosts``: nothing of this machine, so the same on all nodes."""
    return _subject_names(hosts)


def _subject_names(names: Iterable[str]) -> SubjectNames:
    hosts, addresses = {"localhost"}, {ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")}
    for host in names:
        try:
            addresses.add(_plain(ipaddress.ip_address(host.strip("[]"))))
        except ValueError:
            if _HOST.fullmatch(host):
                hosts.add(host.lower())
    addresses = {address for address in addresses if not address.is_unspecified}
    return SubjectNames(tuple(sorted(hosts)), tuple(sorted(addresses, key=lambda a: (a.version, a))))


def _plain(address: IpAddress) -> IpAddress:
    """Without a zone: certificates know none."""
    return ipaddress.ip_address(address.packed)


def _interface_addresses() -> Iterator[IpAddress]:
    yield from _addresses_of_routes()
    yield from _linux_ipv4()
    yield from _linux_ipv6()


def _addresses_of_routes() -> Iterator[IpAddress]:
    """The address that the system would send from; connecting a UDP socket sends nothing."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            yield _plain(ipaddress.ip_address(probe.getsockname()[0]))


def _linux_ipv4() -> Iterator[IpAddress]:
    try:
        import fcntl
    except ImportError:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = name.encode()[:15].ljust(256, b"\0")
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                answer = fcntl.ioctl(probe.fileno(), _LINUX_SIOCGIFADDR, request)
                yield ipaddress.IPv4Address(answer[20:24])


def _linux_ipv6() -> Iterator[IpAddress]:
    with contextlib.suppress(OSError, ValueError):
        for line in _LINUX_IF_INET6.read_text().splitlines():
            address = ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))
            if not address.is_link_local:  # useless without a zone
                yield address
