"""Copies of a connection in mid-flight, and all of its state that packets from the peer can change."""

from __future__ import annotations

import io
import logging
import pickle
from typing import Any, TypeVar

from aioquic._buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from wtgateway.transport.lane import Lane

T = TypeVar("T")
_SHARED_TYPES = (Buffer, QuicConfiguration, logging.Logger, logging.LoggerAdapter)


def fork(thing: T) -> T:
    """A deep copy; keys, ciphers and configuration, which nothing changes, are shared."""
    shared: dict[int, Any] = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: Any) -> int | None:
            if isinstance(item, _SHARED_TYPES) or type(item).__module__.startswith("cryptography"):
                shared[id(item)] = item
                return id(item)
            return None

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, name: int) -> Any:
            return shared[name]

    file = io.BytesIO()
    Pickler(file, protocol=5).dump(thing)
    file.seek(0)
    copy: T = Unpickler(file).load()
    return copy


def _plain(thing: Any) -> dict[str, Any]:
    """Numbers, strings and the like among an object's attributes."""
    return {
        name: value
        for name, value in vars(thing).items()
        if value is None or isinstance(value, bool | int | float | str | bytes)
    }


def _stream(stream: Any) -> dict[str, Any]:
    sender, receiver = stream.sender, stream.receiver
    state = {
        "limit": stream.max_stream_data_remote,
        "blocked": stream.is_blocked,
        "reset": (sender._reset_error_code, sender.reset_pending),
        "finished": (sender.is_finished, receiver.is_finished),
        "received": (receiver.highest_offset, receiver._buffer_start, bytes(receiver._buffer)),
    }
    if sender is stream:  # a media frame's
        state["sent"] = (stream.next, stream.acknowledged, list(stream.lost), stream.queued)
    else:
        state["sent"] = (sender._buffer_start, list(sender._pending), list(sender._acked))
    return state


def snapshot(lane: Lane) -> dict[str, Any]:
    """Everything of a connection that a received 1-RTT packet may touch, as comparable values."""
    quic: QuicConnection = lane.quic
    space = next(space for epoch, space in quic._spaces.items() if epoch.name == "ONE_RTT")
    crypto = next(pair for epoch, pair in quic._cryptos.items() if epoch.name == "ONE_RTT")
    recovery = quic._loss
    return {
        "connection": _plain(quic),
        "state": quic._state,
        "close": quic._close_event,
        "events": list(quic._events),
        "recovery": _plain(recovery),
        "congestion": _plain(recovery._cc),
        "hystart": {name: str(value) for name, value in vars(recovery._cc._rtt_monitor).items()},  # type: ignore[attr-defined]
        "pacer": _plain(recovery._pacer),
        "space": _plain(space),
        "to acknowledge": list(space.ack_queue),
        "received": (space.received_packets._lower, set(space.received_packets._received)),
        "in flight": {number: vars_of(packet) for number, packet in space.sent_packets.items()},
        "keys": (crypto.recv.key_phase, crypto.send.key_phase, crypto._update_key_requested),
        "streams": {stream_id: _stream(stream) for stream_id, stream in quic._streams.items()},
        "blocked": [stream.stream_id for stream in quic._streams_blocked_uni + quic._streams_blocked_bidi],
        "limits": [
            _plain(limit)
            for limit in (quic._local_max_data, quic._local_max_streams_bidi, quic._local_max_streams_uni)
        ],
        "own connection IDs": [(cid.sequence_number, cid.was_sent) for cid in quic._host_cids],
        "peer's connection IDs": [quic._peer_cid.sequence_number]
        + [cid.sequence_number for cid in quic._peer_cid_available],
        "to retire": list(quic._retire_connection_ids),
        "pings": list(quic._ping_pending),
        "paths": [
            {**_plain(path), "addr": path.addr, "challenges": list(path.remote_challenges)}
            for path in quic._network_paths
        ],
        "lane": (
            lane.waiting,
            [len(queue) for queue in lane._media._queues],
            [stream.stream_id for stream in lane._media._stalled],
        ),
    }


def vars_of(packet: Any) -> tuple[Any, ...]:
    """What recovery knows of a packet in flight."""
    return packet.sent_time, packet.sent_bytes, packet.in_flight, packet.is_ack_eliciting


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The entries that are not alike, down to single attributes."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in one:
        mine, theirs = one[name], other[name]
        if mine == theirs:
            continue
        if isinstance(mine, dict) and isinstance(theirs, dict):
            for key in {**mine, **theirs}:
                if mine.get(key) != theirs.get(key):
                    found[f"{name}.{key}"] = (mine.get(key), theirs.get(key))
        else:
            found[name] = (mine, theirs)
    return found
