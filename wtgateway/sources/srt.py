"""SRT by the machine's libsrt, as a file FFmpeg reads: PyAV's own FFmpeg is built without it.

May import errors; ctypes only. The rule: no call blocks for longer than a tick, but connecting,
which has its own timeout. Source: the SRT API (github.com/Haivision/srt, docs/API).
"""

from __future__ import annotations

import ctypes as ct
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from wtgateway.errors import ConfigError, SourceError

_NAMES = ("libsrt-gnutls.so.1.5", "libsrt-openssl.so.1.5", "libsrt.so.1.5", "libsrt.so.1", "libsrt.so")
_TICK_MS = 100
_MAX_MESSAGE = 1456  # SRT_LIVE_MAX_PLSIZE
_AGAIN = (6002, 6003)  # SRT_EASYNCRCV, SRT_ETIMEOUT
_EPOLL_IN = 1
# Numbers of SRT_SOCKOPT.
_RCVSYN, _RCVTIMEO, _LATENCY, _PASSPHRASE, _PBKEYLEN, _CONNTIMEO, _STREAMID = 2, 14, 23, 26, 27, 36, 46
KEYS = frozenset(
    {"mode", "latency", "passphrase", "pbkeylen", "streamid", "connect_timeout", "pkt_size", "transtype"}
)

_library: Any = None


def check_query(query: Mapping[str, str], shown: str) -> None:
    """Raises ConfigError for parameters that would be silently ignored or are no numbers."""
    if unknown := set(query) - KEYS:
        raise ConfigError("source", "", shown, f"SRT parameters among {sorted(KEYS)}, not {sorted(unknown)}")
    if query.get("mode", "caller") not in ("caller", "listener"):
        raise ConfigError("source", "mode", query["mode"], f"caller or listener (in {shown})")
    for key in ("latency", "pbkeylen", "connect_timeout"):
        if key in query and not query[key].isdecimal():
            raise ConfigError("source", key, query[key], f"a whole number (in {shown})")


def _load() -> Any:
    """libsrt, started. Raises SourceError."""
    global _library
    if _library is not None:
        return _library
    for name in _NAMES:
        try:
            library = ct.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise SourceError(
            "srt: this machine has no libsrt; install it (Debian: apt install libsrt1.5-gnutls)"
        )
    p, i = ct.c_void_p, ct.c_int
    library.srt_getlasterror_str.restype = ct.c_char_p
    library.srt_getlasterror.argtypes = [p]
    library.srt_setsockflag.argtypes = [i, i, p, i]
    library.srt_connect.argtypes = library.srt_bind.argtypes = [i, ct.c_char_p, i]
    library.srt_listen.argtypes = [i, i]
    library.srt_accept.argtypes = [i, p, p]
    library.srt_recv.argtypes = [i, p, i]
    library.srt_close.argtypes = [i]
    library.srt_epoll_add_usock.argtypes = [i, i, p]
    library.srt_epoll_wait.argtypes = [i, p, p, p, p, ct.c_int64, p, p, p, p]
    library.srt_startup()
    _library = library
    return library


class SrtInput:
    """One SRT connection, read like a file. Used by one thread.

    ``closed`` is asked once a tick. URL parameters as FFmpeg has them (``latency`` in µs).
    """

    def __init__(
        self, url: str, *, open_timeout_s: float, read_timeout_s: float, closed: Callable[[], bool]
    ) -> None:
        """Connect, or listen until somebody does. Raises SourceError."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self._lib = _load()
        self._closed = closed
        self._read_timeout_s = read_timeout_s
        self._buffer = ct.create_string_buffer(_MAX_MESSAGE)
        listen = query.get("mode", "caller") == "listener"
        address = _resolve(parts.hostname, parts.port or 0, listen)
        self._socket = self._lib.srt_create_socket()
        try:
            self._set_options(query, open_timeout_s)
            if listen:
                self._accept(address, open_timeout_s)
            elif self._lib.srt_connect(self._socket, address, len(address)) < 0:
                raise self._error("cannot connect")
        except SourceError:
            self.close()
            raise

    def read(self, _size: int = -1) -> bytes:
        """The next message, b"" at the end. Raises SourceError: closed, or nothing in time."""
        deadline_s = time.monotonic() + self._read_timeout_s
        while not self._closed():
            count = self._lib.srt_recv(self._socket, self._buffer, _MAX_MESSAGE)
            if count > 0:
                return self._buffer.raw[:count]
            if count == 0 or self._lib.srt_getlasterror(None) not in _AGAIN:
                return b""  # the peer closed, or was given up on
            if time.monotonic() > deadline_s:
                raise SourceError(f"srt: nothing came for {self._read_timeout_s:g} s; is the peer sending?")
        raise SourceError("srt: closed")

    def close(self) -> None:
        """Close the connection; idempotent."""
        handle, self._socket = self._socket, -1
        if handle >= 0:
            self._lib.srt_close(handle)

    def _set_options(self, query: Mapping[str, str], open_timeout_s: float) -> None:
        self._set(_RCVTIMEO, _TICK_MS)
        self._set(_CONNTIMEO, int(query.get("connect_timeout", open_timeout_s * 1000)))
        if "latency" in query:
            self._set(_LATENCY, int(query["latency"]) // 1000)
        if "pbkeylen" in query:
            self._set(_PBKEYLEN, int(query["pbkeylen"]))
        for option, key in ((_PASSPHRASE, "passphrase"), (_STREAMID, "streamid")):
            if key in query:
                text = query[key].encode()
                self._check(
                    self._lib.srt_setsockflag(self._socket, option, text, len(text)), f"{key} refused"
                )

    def _accept(self, address: bytes, open_timeout_s: float) -> None:
        lib, listener = self._lib, self._socket
        self._set(_RCVSYN, 0)
        self._check(lib.srt_bind(listener, address, len(address)), "cannot bind")
        self._check(lib.srt_listen(listener, 1), "cannot listen")
        epoll = lib.srt_epoll_create()
        lib.srt_epoll_add_usock(epoll, listener, ct.byref(ct.c_int(_EPOLL_IN)))
        deadline_s = time.monotonic() + open_timeout_s
        try:
            while True:
                ready, count = (ct.c_int * 1)(), ct.c_int(1)
                lib.srt_epoll_wait(
                    epoll, ready, ct.byref(count), None, None, _TICK_MS, None, None, None, None
                )
                accepted = lib.srt_accept(listener, None, None)
                if accepted >= 0:
                    break
                if self._closed() or time.monotonic() > deadline_s:
                    raise SourceError("srt: nobody connected in time; is the sender running?")
        finally:
            lib.srt_epoll_release(epoll)
        self._socket = accepted
        lib.srt_close(listener)
        self._set(_RCVSYN, 1)
        self._set(_RCVTIMEO, _TICK_MS)

    def _set(self, option: int, value: int) -> None:
        number = ct.c_int(value)
        result = self._lib.srt_setsockflag(self._socket, option, ct.byref(number), ct.sizeof(number))
        self._check(result, f"option {option} refused")

    def _check(self, result: int, doing: str) -> None:
        if result < 0:
            raise self._error(doing)

    def _error(self, doing: str) -> SourceError:
        cause = self._lib.srt_getlasterror_str().decode(errors="replace")
        return SourceError(
            f"srt: {doing}: {cause}; is the peer running, and host, port and passphrase right?"
        )


def _resolve(host: str | None, port: int, listen: bool) -> bytes:
    """A sockaddr as C has it. Raises SourceError."""
    flags = socket.AI_PASSIVE if listen else 0  # no host: all addresses, as srt://:9000 says
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    except OSError as error:
        raise SourceError(f"srt: the host {host} is not known ({error})") from error
    family, address = found[0][0], found[0][4]
    packed = socket.inet_pton(family, str(address[0]))
    head = struct.pack("=H", family) + struct.pack("!H", port)
    if family == socket.AF_INET6:
        scope = int(address[3]) if len(address) > 3 else 0
        return head + bytes(4) + packed + struct.pack("=I", scope)
    return head + packed + bytes(8)
