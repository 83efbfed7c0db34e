"""Two ends of a QUIC connection in memory: a server of any make, and a client that becomes a ``Receiver``."""

from __future__ import annotations

from typing import Any, Protocol

from aioquic._buffer import Buffer
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import pull_quic_header
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

CLIENT, SERVER = ("::1", 1), ("::1", 2)
DELAY_S = 0.001  # each way
_MAX_ROUNDS = 50


class End(Protocol):
    """What drives one end."""

    quic: QuicConnection

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram of the peer."""

    def transmit(self, now: float) -> list[bytes]:
        """What may leave now."""


class Stock:
    """aioquic as it comes, driven as its own asyncio server drives it."""

    def __init__(self, quic: QuicConnection, peer: Any) -> None:
        self.quic, self._peer = quic, peer

    def receive(self, datagram: bytes, now: float) -> None:
        """A datagram of the peer."""
        self.quic.receive_datagram(datagram, self._peer, now)

    def transmit(self, now: float) -> list[bytes]:
        """What may leave now."""
        return [datagram for datagram, _ in self.quic.datagrams_to_send(now)]


def server_connection(
    first: bytes, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, congestion: str = "reno"
) -> QuicConnection:
    """The server's end for a client's first datagram."""
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=H3_ALPN,
        max_datagram_frame_size=65536,
        congestion_control_algorithm=congestion,
    )
    configuration.certificate, configuration.private_key = certificate, key
    header = pull_quic_header(Buffer(data=first), host_cid_length=8)
    return QuicConnection(
        configuration=configuration, original_destination_connection_id=header.destination_cid
    )


def shake_hands(client: End, server: End, first: list[bytes], now: float) -> float:
    """Exchange datagrams until both are quiet; what time it is then. ``first``: the client's first flight."""
    up, down = first, [b""]
    for _ in range(_MAX_ROUNDS):
        for datagram in up:
            server.receive(datagram, now)
        now += DELAY_S
        down = server.transmit(now)
        for datagram in down:
            client.receive(datagram, now)
        now += DELAY_S
        up = client.transmit(now)
        if not up and not down:
            acknowledged = not client.quic._loss.bytes_in_flight and not server.quic._loss.bytes_in_flight
            if client.quic._handshake_confirmed and acknowledged:
                return now
            now += 0.025  # somebody sits on an ACK
            for end in (client, server):
                timer = end.quic.get_timer()
                if timer is not None and timer <= now:
                    end.quic.handle_timer(now)
    raise RuntimeError("the handshake did not come to its end")
