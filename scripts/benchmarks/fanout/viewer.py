"""One viewer: joins with aioquic (QUIC, HTTP/3, WebTransport), then receives with ``Receiver``.

It speaks draft 02 of WebTransport over HTTP/3, as Chromium and Firefox do, or draft 15 to servers that know
nothing else; either way a stream begins with 0x54 and a session's number, and nothing differs thereafter.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aioquic.h3.connection import H3_ALPN, H3Connection, Setting
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated

from scripts.benchmarks.fanout.keys import CIPHER_SUITES
from scripts.benchmarks.fanout.quicframes import encode_varint
from scripts.benchmarks.fanout.receiver import Receiver

Address = tuple[str, int]

_SOL_UDP, _UDP_GRO = 17, 104
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _SO_MEMINFO = 35, 33, 55
_MEMINFO = struct.Struct("9I")
_TIMESPEC = struct.Struct("qq")
_RECEIVE_BUFFER_BYTES = 2 << 20
_MAX_READ_BYTES = 65535
_READS_PER_TURN = 16
_INITIAL_CREDIT_BYTES = 16 << 20  # Chromium gives 15 MiB to a session, 6 MiB to a stream
_INITIAL_STREAMS = 1000
_IDLE_S = 60.0
_WT_ENABLED = 0x2C7CF000  # SETTINGS of draft-ietf-webtrans-http3-15, section 9.2
_MAX_UDP_PAYLOAD_SIZE = 0x03  # a transport parameter (RFC 9000 section 18.2)


class State(enum.Enum):
    """Of a viewer."""

    JOINING = enum.auto()
    PLAYING = enum.auto()
    CLOSED = enum.auto()


@dataclass(frozen=True, slots=True)
class Joining:
    """What viewers join with. ``timing``: have the kernel stamp what arrives."""

    server: Address
    mtu: int
    timing: bool
    path: str = "/"
    draft: int = 2


class _ClientQuic(QuicConnection):
    """Advertises max_udp_payload_size, as browsers do and aioquic does not, and many streams."""

    def __init__(self, configuration: QuicConfiguration, mtu: int) -> None:
        super().__init__(configuration=configuration)
        self._advertised_mtu = mtu
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = _INITIAL_STREAMS

    def _serialize_transport_parameters(self) -> bytes:
        value = encode_varint(self._advertised_mtu)
        added = encode_varint(_MAX_UDP_PAYLOAD_SIZE) + encode_varint(len(value)) + value
        return super()._serialize_transport_parameters() + added


def client_connection(mtu: int) -> QuicConnection:
    """A client's connection with the transport parameters of a browser."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        server_name="localhost",
        verify_mode=ssl.CERT_NONE,
        cipher_suites=CIPHER_SUITES,
        idle_timeout=_IDLE_S,
        max_data=_INITIAL_CREDIT_BYTES,
        max_stream_data=_INITIAL_CREDIT_BYTES,
        max_datagram_frame_size=65536,
    )
    return _ClientQuic(configuration, mtu)


class _LaterH3(H3Connection):
    """Names draft 15 in its SETTINGS, and no other."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic, enable_webtransport=True)

    def _get_local_settings(self) -> dict[int, int]:
        settings = super()._get_local_settings()
        del settings[Setting.ENABLE_WEBTRANSPORT]
        return {**settings, _WT_ENABLED: 1}


class WebTransportJoin:
    """The handshake up to an open session, sans-I/O, on an aioquic connection."""

    def __init__(self, quic: QuicConnection, path: str, draft: int = 2) -> None:
        self.quic, self._path, self._draft = quic, path, draft
        self._h3: H3Connection | None = None
        self._accepted = False
        self.problem = ""

    def handle_events(self) -> None:
        """Act on what the connection found out."""
        while (event := self.quic.next_event()) is not None:
            if isinstance(event, ConnectionTerminated):
                self.problem = event.reason_phrase or f"closed with code {event.error_code:#x}"
            elif isinstance(event, ProtocolNegotiated):
                self._ask()
            if self._h3 is not None:
                for h3_event in self._h3.handle_event(event):
                    if isinstance(h3_event, HeadersReceived) and h3_event.stream_id == 0:
                        self._answer(dict(h3_event.headers))

    def _ask(self) -> None:
        early = self._draft == 2
        self._h3 = H3Connection(self.quic, enable_webtransport=True) if early else _LaterH3(self.quic)
        fields = [
            (b":method", b"CONNECT"),
            (b":protocol", b"webtransport" if early else b"webtransport-h3"),
            (b":scheme", b"https"),
            (b":authority", b"localhost"),
            (b":path", self._path.encode()),
        ]
        if early:
            fields.append((b"sec-webtransport-http3-draft02", b"1"))
        self._h3.send_headers(self.quic.get_next_available_stream_id(), fields)

    def _answer(self, fields: dict[bytes, bytes]) -> None:
        status = fields.get(b":status", b"")
        if status == b"200":
            self._accepted = True
        elif not status.startswith(b"1"):
            self.problem = f"the server answers {status.decode()}"

    @property
    def done(self) -> bool:
        """Whether the session is open and nothing of ours is on its way any more."""
        quic = self.quic
        return self._accepted and quic._handshake_confirmed and not quic._loss.bytes_in_flight


class Viewer:
    """One socket and what is behind it. ``receiver_of`` makes the light path once the session is open."""

    def __init__(
        self, joining: Joining, receiver_of: Callable[[QuicConnection], Receiver], now: float
    ) -> None:
        self.state = State.JOINING
        self.problem = ""
        self.receiver: Receiver | None = None
        self.timer_at: float | None = None  # the load's note of what it set
        self.leaves_at = float("inf")
        self.send_dropped = 0
        self._receiver_of = receiver_of
        self.socket = _socket(joining)
        self._address = joining.server
        quic = client_connection(joining.mtu)
        self._join = WebTransportJoin(quic, joining.path, joining.draft)
        quic.connect(joining.server, now=now)
        self._flush_join(now)

    def fileno(self) -> int:
        """Of the socket."""
        return self.socket.fileno()

    def read(self, now: float, realtime_offset_ns: int) -> None:
        """Take in what has come; answers leave with :meth:`flush`."""
        for _ in range(_READS_PER_TURN):
            try:
                data, ancillary, _, _ = self.socket.recvmsg(_MAX_READ_BYTES, 128)
            except BlockingIOError:
                return
            except OSError as error:
                self._closed(error.strerror or str(error))
                return
            segment, stamp_ns = len(data), 0
            for level, kind, value in ancillary:
                if level == _SOL_UDP and kind == _UDP_GRO:
                    segment = int.from_bytes(value, "little")
                elif kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack(value)
                    stamp_ns = seconds * 1_000_000_000 + nanoseconds + realtime_offset_ns
            if not data:
                continue
            if self.receiver is not None:
                self.receiver.receive(data, segment, now, stamp_ns)
            else:
                for start in range(0, len(data), segment):
                    self._join.quic.receive_datagram(data[start : start + segment], self._address, now)
            if len(data) > segment:  # a server that sends in batches has sent its batch
                return

    def flush(self, now: float) -> None:
        """Send what has to leave, and see how far the joining has come."""
        receiver = self.receiver
        if receiver is None:
            self._flush_join(now)
            return
        for datagram in receiver.datagrams_to_send():
            self._send(datagram)
        if receiver.close is not None:
            code, reason = receiver.close
            self._closed(reason or f"closed with code {code:#x}")

    def handle_timer(self, now: float) -> None:
        """While joining: call it often."""
        quic = self._join.quic
        timer = quic.get_timer()
        if timer is not None and timer <= now:
            quic.handle_timer(now)
            self._flush_join(now)

    def _flush_join(self, now: float) -> None:
        join = self._join
        join.handle_events()
        for datagram, _ in join.quic.datagrams_to_send(now):
            self._send(datagram)
        if join.problem:
            self._closed(join.problem)
        elif join.done:
            self.receiver = self._receiver_of(join.quic)
            self.state = State.PLAYING

    def leave(self) -> None:
        """Close the connection as a page that is left does."""
        if self.receiver is not None:
            self.receiver.leave()
            for datagram in self.receiver.datagrams_to_send():
                self._send(datagram)
        self._closed("")

    def drops(self) -> int:
        """Datagrams that the kernel dropped because the socket's buffer was full."""
        packed = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(packed)[8])

    def _send(self, datagram: bytes) -> None:
        try:
            self.socket.send(datagram)
        except BlockingIOError:
            self.send_dropped += 1
        except OSError as error:
            self._closed(error.strerror or str(error))

    def _closed(self, problem: str) -> None:
        self.state = State.CLOSED
        self.problem = self.problem or problem


def _socket(joining: Joining) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    options: list[tuple[int, int, Any]] = [(_SOL_UDP, _UDP_GRO, 1)]
    if joining.timing:
        options.append((socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    with contextlib.suppress(PermissionError):  # beyond the system's limit only root may go
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER_BYTES)
    for level, option, value in options:
        made.setsockopt(level, option, value)
    made.connect(joining.server)
    made.setblocking(False)
    return made
