"""The network between two addresses of this machine, at IP level: TCP and UDP alike. Linux, root.

A TUN device here and one in a network namespace of its own; whatever goes between them passes through
this process. Both devices and the namespace vanish with it, however it ends. IPv4 alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import struct
import subprocess
import threading
from collections.abc import Callable

from scripts.netsimulator.loop import Loop
from scripts.netsimulator.path import Direction, Packet

MTU = 1_500
_QUEUE_PACKETS = 2_000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_CLONE_NEWNET = 0x40000000
_AT_ONCE = 64
_NETWORKS = [ipaddress.IPv4Network(f"10.199.{n}.0/30") for n in range(256)]


class TunError(RuntimeError):
    """The devices or the namespace cannot be made; the text says why."""


def _device(name: str) -> int:
    """A TUN device in the namespace of the calling thread; its descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _ip(*words: str, inside: tuple[str, ...] = ()) -> str:
    done = subprocess.run([*inside, "ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise TunError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _free_network() -> ipaddress.IPv4Network:
    taken = _ip("-4", "-o", "address")
    for network in _NETWORKS:
        if f" {network[1]} " not in taken and f" {network[1]}/" not in taken:
            return network
    raise TunError("all of 10.199.0.0/16 is taken")


class TunRelay:
    """``near`` and ``far`` are the two addresses; ``enter`` is what a command is to be prefixed with."""

    def __init__(self, loop: Loop, up: Direction, down: Direction) -> None:
        self._loop = loop
        network = _free_network()
        self.near, self.far = str(network[1]), str(network[2])
        suffix = network[0].packed[2]
        names = (f"netsim{suffix}n", f"netsim{suffix}f")
        self.refused = 0
        try:
            self._near = _device(names[0])
            self._make_far(names[1])
        except OSError as error:
            raise TunError(f"{error}; --tun needs Linux, root and /dev/net/tun") from error
        self.enter = ("nsenter", f"--net=/proc/{os.getpid()}/fd/{self._namespace}")
        self._configure(names[0], self.near, self.far, ())
        self._configure(names[1], self.far, self.near, self.enter)
        _ip("link", "set", "lo", "up", inside=self.enter)
        # Browsers offer WebRTC only the addresses that lead to everywhere.
        _ip("route", "add", "default", "via", self.near, inside=self.enter)
        loop.add(self._near, lambda: self._pass(self._near, down, self._to_far))
        loop.add(self._far, lambda: self._pass(self._far, up, self._to_near))

    def close(self) -> None:
        """Close the devices; they and the namespace are gone when nobody is left inside."""
        for descriptor in (self._near, self._far):
            self._loop.remove(descriptor)
            os.close(descriptor)
        os.close(self._namespace)

    def _make_far(self, name: str) -> None:
        """The namespace belongs to a thread that ends at once; its descriptor keeps it."""
        failed: list[OSError] = []

        def make() -> None:
            library = ctypes.CDLL(None, use_errno=True)
            try:
                if library.unshare(_CLONE_NEWNET):
                    number = ctypes.get_errno()
                    raise OSError(number, f"unshare: {os.strerror(number)}")
                self._far = _device(name)
                self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    @staticmethod
    def _configure(name: str, own: str, peer: str, inside: tuple[str, ...]) -> None:
        _ip("address", "add", own, "peer", peer, "dev", name, inside=inside)
        _ip("link", "set", name, "mtu", str(MTU), "txqueuelen", str(_QUEUE_PACKETS), "up", inside=inside)

    def _pass(self, source: int, direction: Direction, forward: Callable[[bytes], None]) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = os.read(source, 65536)
            except OSError:  # nothing left
                return
            if data[:1] and data[0] >> 4 == 4:  # IPv6 says hello to its neighbours by itself
                packet = Packet(data)
                packet.forward = forward
                direction.send(packet)

    def _to_far(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._far, data)

    def _to_near(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._near, data)
