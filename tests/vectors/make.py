"""Writes the golden vectors beside this file: ``python tests/vectors/make.py``. See README.md."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import random
import struct
import sys
from pathlib import Path
from typing import Any

import msgpack

from wtgateway.media import Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol import fec
from wtgateway.protocol import messages as m
from wtgateway.protocol.arrivals import Arrival, encode_arrivals
from wtgateway.protocol.clock_sync import ClockSync
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.fragments import HEADER_BYTES, cut, parity
from wtgateway.protocol.nacks import NackEntry, encode_nacks
from wtgateway.protocol.ordering import FrameOrder
from wtgateway.protocol.wire import encode_frame

HERE = Path(__file__).parent
NOW = 1_790_000_000_000_000
FRAME_US = 33_333
Step = dict[str, Any]


# --- frames and messages ---------------------------------------------------------------------------


def frames() -> list[dict[str, Any]]:
    plain = Frame(
        track=0,
        rendition=0,
        group=1,
        index=0,
        keyframe=True,
        pts_us=NOW,
        capture_us=NOW - 500,
        duration_us=FRAME_US,
        payload=bytes.fromhex("000000016742c01f"),
        grabbed_us=NOW,
        converted_us=NOW + 700,
        encoded_us=NOW + 3_000,
    )
    change = dataclasses.replace
    cases = {
        "keyframe with all stages": plain,
        "delta frame": change(plain, index=7, keyframe=False, payload=b"\0\0\0\1\x41\x9a"),
        "discardable frame": change(plain, index=8, keyframe=False, discardable=True),
        "no stages": change(plain, grabbed_us=0, converted_us=0, encoded_us=0),
        "empty payload": change(plain, payload=b""),
        "sound": change(plain, track=1, index=49, duration_us=20_000, payload=b"\xfc\xff\xfe"),
        "largest numbers": change(
            plain, track=255, rendition=255, group=(1 << 32) - 1, index=(1 << 32) - 1,
            pts_us=(1 << 53) - 1, capture_us=(1 << 52), duration_us=(1 << 32) - 1,
            grabbed_us=0, converted_us=0, encoded_us=0,
        ),
        "timestamp zero": change(
            plain, pts_us=0, capture_us=0, grabbed_us=0, converted_us=0, encoded_us=0
        ),
    }  # fmt: skip
    return [
        {
            "name": name,
            "frame": dataclasses.asdict(frame) | {"payload": frame.payload.hex()},
            "hex": encode_frame(frame).hex(),
        }
        for name, frame in cases.items()
    ]


CATALOG = Catalog(
    revision=3,
    tracks=(
        Track(
            id=0,
            kind=Kind.VIDEO,
            renditions=(
                Rendition(id=0, codec="avc1.42E01F", bitrate_bps=4_000_000, width=640, height=360, fps=29.97),
            ),
        ),
        Track(
            id=1,
            kind=Kind.AUDIO,
            renditions=(
                Rendition(
                    id=2, codec="opus", bitrate_bps=128_000, sample_rate=48_000, channels=6,
                    description=b"OpusHead\x01\x06",
                ),
            ),
        ),
    ),
)  # fmt: skip

MESSAGES: list[tuple[str, m.Message]] = [
    ("welcome", m.Welcome(version=1, session="s1", broadcast="cam/1", server="wtgateway/1.0", time_us=NOW)),
    (
        "welcome of a node",
        m.Welcome(
            version=1,
            session="s1",
            broadcast="cam/1",
            server="wtgateway/1.0",
            time_us=NOW,
            instance="5f0c9a17d2e84b36",
            node="a",
        ),
    ),
    ("resume", m.Resume(token="AbCd_-09" * 20, valid_ms=120_000)),
    ("drain", m.Drain(within_ms=30_000, reason="the gateway is restarting")),
    ("drain without a reason", m.Drain(within_ms=0)),
    ("access", m.Access(granted=True, expires_in_ms=3_600_000, actions=["read", "control"])),
    ("access that is not granted", m.Access(granted=False)),
    ("authenticate", m.Authenticate(token="eyJhbGciOiJIUzI1NiJ9.e30.c2ln")),
    ("progress", m.Progress(bytes=5_000_000_000)),
    ("catalog", m.catalog_message(CATALOG)),
    ("empty catalog", m.catalog_message(Catalog())),
    ("live", m.State(state="live")),
    ("retrying", m.State(state="retrying", reason="connexion refusée: caméra", retry_in_ms=2_000)),
    (
        "certificates",
        m.Certificates(
            hashes=[
                {
                    "algorithm": "sha-256",
                    "value": bytes(range(32)),
                    "notBefore": "2026-09-21T10:00:00Z",
                    "notAfter": "2026-10-05T09:00:00Z",
                }
            ]
        ),
    ),
    ("subscribed", m.Subscribed(track=0, rendition=0, delivery="stream")),
    ("pong", m.Pong(id=9, client_us=123_456_789, received_us=NOW, sent_us=NOW + 40)),
    ("statistics", m.Statistics(rtt_us=40_000, congestion_window_bytes=65_536, frames_sent=900)),
    (
        "statistics of datagrams",
        m.Statistics(
            delivery_reason="losses are sent again in time", loss_ppm=20_000, estimate_bps=8_000_000
        ),
    ),
    ("error", m.Error(code=CloseCode.NOT_FOUND, message="there is no track 9")),
    ("goodbye for ever", m.Goodbye(code=CloseCode.NOT_FOUND, reason="removed", retry_after_ms=-1)),
    ("hello", m.Hello(version=1, client="wtgateway-js/1")),
    ("subscribe", m.Subscribe(track=0, rendition=2, delivery="auto", deadline_ms=250)),
    ("abilities", m.Abilities(codecs="avc1:3840x2160@60,vp09.02,opus")),
    ("unsubscribe", m.Unsubscribe(track=1)),
    ("viewport", m.Viewport(width=1_920, height=1_080)),
    ("viewport that nobody sees", m.Viewport(width=1_280, height=720, visible=0, bitrate_bps=2_000_000)),
    ("subscribed to nothing for now", m.Subscribed(track=0, rendition=-1, delivery="stream")),
    ("keyframe request", m.KeyframeRequest(track=0, reason="decoder")),
    ("ping with a negative clock", m.Ping(id=1, client_us=-5)),
    ("feedback", m.Feedback(track=0, group=4, index=200, arrival_us=NOW, frames_received=300, jitter_us=900)),
    (
        "trace",
        m.Trace(
            frames=[
                {"track": 0, "group": 4, "index": 9, "stages": [900, 700, 3_000, 150, 20_400, 310, 0, 99, 6]},
                {"track": 0, "group": 4, "index": 12, "stages": [0, 0, 0, 0, 0, 0, 35_000, 60_000_000, 1]},
            ]
        ),
    ),
]


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value


def messages() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "message": {"kind": message.kind} | _jsonable(dataclasses.asdict(message)),
            "hex": m.pack(message).hex(),
        }
        for name, message in MESSAGES
    ]


def malformed() -> list[dict[str, Any]]:
    good = bytes.fromhex(frames()[0]["hex"])

    def message(body: Any) -> bytes:
        data = body if isinstance(body, bytes) else msgpack.packb(body)
        return struct.pack(">I", len(data)) + data

    cases = [
        ("a fragment on a stream", "frame", b"\x10" + good[1:], CloseCode.MALFORMED),
        ("payload over the limit", "frame", good[:12] + b"\x01\0\0\1" + good[16:], CloseCode.TOO_LARGE),
        ("message over the limit", "message", struct.pack(">I", 65_537), CloseCode.TOO_LARGE),
        ("not msgpack", "message", message(b"\xc1"), CloseCode.MALFORMED),
        ("empty message", "message", message(b""), CloseCode.MALFORMED),
        ("not a map", "message", message(["ping"]), CloseCode.MALFORMED),
        ("no kind", "message", message({"id": 1}), CloseCode.MALFORMED),
        ("unknown kind", "message", message({"kind": "dance"}), CloseCode.UNKNOWN_MESSAGE),
        ("missing field", "message", message({"kind": "ping", "id": 1}), CloseCode.MALFORMED),
        ("wrong type", "message", message({"kind": "unsubscribe", "track": "0"}), CloseCode.MALFORMED),
        ("a token that is no text", "message", message({"kind": "resume", "token": b"x", "valid_ms": 1}),
         CloseCode.MALFORMED),
        ("a drain without a time", "message", message({"kind": "drain"}), CloseCode.MALFORMED),
        ("a grant that is no truth value", "message", message({"kind": "access", "granted": 1}),
         CloseCode.MALFORMED),
        ("actions that are no texts", "message", message({"kind": "access", "granted": True, "actions": [1]}),
         CloseCode.MALFORMED),
        ("authenticate without a token", "message", message({"kind": "authenticate"}), CloseCode.MALFORMED),
        ("progress that is no number", "message", message({"kind": "progress", "bytes": True}),
         CloseCode.MALFORMED),
        ("a trace without frames", "message", message({"kind": "trace"}), CloseCode.MALFORMED),
        ("traced frames that are no maps", "message", message({"kind": "trace", "frames": [7]}),
         CloseCode.MALFORMED),
        ("bytes after the map", "message", message(msgpack.packb({"kind": "hello"}) + b"\0"),
         CloseCode.MALFORMED),
        *((name, of, data, CloseCode.MALFORMED) for name, of, data in malformed_datagrams()),
    ]  # fmt: skip
    return [{"name": name, "of": of, "hex": data.hex(), "code": int(code)} for name, of, data, code in cases]


# --- datagrams -------------------------------------------------------------------------------------


def _object(payload_bytes: int, **changes: Any) -> bytes:
    """A frame object whose payload is bytes of a fixed pseudo-random sequence."""
    payload = random.Random(payload_bytes).randbytes(payload_bytes)
    frame = Frame(**frames()[0]["frame"] | {"payload": payload} | changes)
    return encode_frame(frame)


def fragments() -> list[dict[str, Any]]:
    cases = {
        "a lone fragment": (_object(20, track=1, index=9, keyframe=True), 1_200),
        "no payload": (_object(0), 1_200),
        "even pieces": (_object(52), 50),
        "the last one is shorter": (_object(101, index=3, keyframe=False), 40),
        "the last one is a single byte": (_object(53, discardable=True, keyframe=False), 25),
        "pieces of one byte": (_object(2, group=7), 1),
        "largest numbers": (
            _object(70, track=255, rendition=255, group=(1 << 32) - 1, index=(1 << 32) - 1,
                    pts_us=(1 << 53) - 1, capture_us=(1 << 53) - 1, grabbed_us=0, converted_us=0,
                    encoded_us=0),
            60,
        ),
    }  # fmt: skip
    return [
        {
            "name": name,
            "object": data.hex(),
            "piece_bytes": piece_bytes,
            "fragments": [fragment.hex() for fragment in cut(data, piece_bytes)],
        }
        for name, (data, piece_bytes) in cases.items()
    ]


def fec_parity() -> list[dict[str, Any]]:
    cases = {
        "one piece": (_object(12), 100, 2),
        "two pieces, the second shorter": (_object(41), 50, 3),
        "seven pieces": (_object(292), 50, 5),
        "all rows": (_object(48), 32, fec.MAX_ROWS),
        "as many pieces as there can be": (_object(fec.MAX_DATA_PIECES * 2 - 48), 2, 3),
        "too many pieces": (_object(fec.MAX_DATA_PIECES - 47), 1, 3),
    }
    return [
        {
            "name": name,
            "object": data.hex(),
            "piece_bytes": piece_bytes,
            "fragments": [fragment.hex() for fragment in cut(data, piece_bytes)],
            "parity": [row.hex() for row in parity(data, piece_bytes, rows)],
        }
        for name, (data, piece_bytes, rows) in cases.items()
    ]


NACKS: dict[str, list[NackEntry]] = {
    "one fragment": [NackEntry(track=0, rendition=0, group=5, index=17, first=3, last=3)],
    "the whole of a frame": [NackEntry(track=0, rendition=2, group=5, index=18, first=0, last=0xFFFF)],
    "several frames": [
        NackEntry(track=0, rendition=0, group=5, index=17, first=0, last=1),
        NackEntry(track=0, rendition=0, group=5, index=17, first=4, last=4),
        NackEntry(track=1, rendition=0, group=2, index=49, first=0, last=0),
    ],
    "the largest numbers": [
        NackEntry(
            track=255, rendition=255, group=(1 << 32) - 1, index=(1 << 32) - 1, first=0xFFFE, last=0xFFFE
        )
    ],
    "as many as there can be": [
        NackEntry(track=0, rendition=0, group=1, index=i, first=i, last=2 * i) for i in range(64)
    ],
}


def nacks() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "entries": [entry._asdict() for entry in entries],
            "hex": encode_nacks(entries).hex(),
        }
        for name, entries in NACKS.items()
    ]


def _arrival(**changes: Any) -> Arrival:
    plain = Arrival(
        track=0, group=5, index=17, complete=True, stream=False, received_bytes=6_400,
        first_us=12_345_678, last_us=12_349_000,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


ARRIVALS: dict[str, list[Arrival]] = {
    "a frame in datagrams": [_arrival()],
    "a frame on a stream, not complete": [_arrival(complete=False, stream=True)],
    "bytes are rounded up": [_arrival(received_bytes=1), _arrival(index=18, received_bytes=65)],
    "bytes end at 65535 units": [_arrival(received_bytes=9_000_000)],
    "the base is the earliest of all": [
        _arrival(), _arrival(index=18, first_us=12_345_000, last_us=12_345_000), _arrival(track=1, index=3)
    ],
    "the largest numbers": [
        _arrival(track=255, group=(1 << 32) - 1, index=(1 << 32) - 1, first_us=(1 << 53) - (1 << 32),
                 last_us=(1 << 53) - 1)
    ],
    "as many as there can be": [_arrival(index=i, last_us=12_400_000 + i) for i in range(64)],
}  # fmt: skip


def arrivals() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "entries": [dataclasses.asdict(entry) for entry in entries],
            "hex": encode_arrivals(entries).hex(),
        }
        for name, entries in ARRIVALS.items()
    ]


def malformed_datagrams() -> list[tuple[str, str, bytes]]:
    """Of a frame object of 120 bytes in three pieces of 40."""
    first, middle, last = cut(_object(72), 40)
    (row,) = parity(_object(72), 40, 1)
    nack, arrival = encode_nacks(NACKS["several frames"]), encode_arrivals(ARRIVALS["a frame in datagrams"])

    def patched(data: bytes, at: int, patch: bytes) -> bytes:
        return data[:at] + patch + data[at + len(patch) :]

    limit = (16 << 20) + 48
    return [
        ("another type", "fragment", patched(first, 0, b"\x01")),
        ("a header cut short", "fragment", first[: HEADER_BYTES - 1]),
        ("a fragment without bytes", "fragment", first[:HEADER_BYTES]),
        ("a frame smaller than its header", "fragment", patched(first, 12, struct.pack(">I", 47))),
        ("a frame over the limit", "fragment", patched(first, 12, struct.pack(">I", limit + 1))),
        ("a number behind the last", "fragment", patched(first, 16, struct.pack(">H", 3))),
        ("no pieces at all", "fragment", patched(first, 16, struct.pack(">HH", 0, 0))),
        ("more pieces than such bytes make", "fragment", patched(first, 18, struct.pack(">H", 4))),
        ("fewer pieces than such bytes make", "fragment", patched(first, 18, struct.pack(">H", 2))),
        ("pieces that are too short", "fragment", middle[:-1]),
        ("pieces that are too long", "fragment", middle + bytes(20)),
        ("a last piece that leaves an odd rest", "fragment", last[:-1]),
        ("a last piece longer than the others", "fragment", last + bytes(2)),
        ("a lone piece that is too short", "fragment", cut(_object(8), 100)[0][:-1]),
        ("a row behind the last", "fragment", patched(row, 16, struct.pack(">H", fec.MAX_ROWS))),
        ("a row that is too short", "fragment", row[:-1]),
        ("a row over too many pieces", "fragment",
         patched(patched(row, 12, struct.pack(">I", 40 * 193)), 18, struct.pack(">H", 193))),
        ("a NACK of another type", "nacks", patched(nack, 0, b"\x21")),
        ("an empty datagram", "nacks", b""),
        ("a NACK of nothing", "nacks", b"\x20\0"),
        ("a NACK with too many entries", "nacks", b"\x20\x41" + nack[2:16] * 65),
        ("a NACK cut short", "nacks", nack[:-1]),
        ("a NACK with something behind it", "nacks", nack + b"\0"),
        ("a NACK whose range is none", "nacks", patched(nack, 12, struct.pack(">HH", 2, 1))),
        ("arrivals of another type", "arrivals", patched(arrival, 0, b"\x20")),
        ("arrivals of nothing", "arrivals", patched(arrival, 1, b"\0")[:12]),
        ("arrivals with too many entries", "arrivals", patched(arrival, 1, b"\x41") + arrival[12:] * 64),
        ("arrivals cut short", "arrivals", arrival[:-1]),
        ("a frame that ended before it began", "arrivals", patched(arrival, 24, struct.pack(">II", 2, 1))),
    ]  # fmt: skip


# --- clock -----------------------------------------------------------------------------------------


def _pings(offset_us: int, trips: list[tuple[int, int, int]], interval_us: int = 1_000_000) -> list[Step]:
    """Pongs of a gateway ``offset_us`` ahead; a trip is (way there, time held, way back) in µs."""
    return [
        {
            "client_us": (sent := 5_000_000 + i * interval_us),
            "received_us": sent + there + offset_us,
            "sent_us": sent + there + held + offset_us,
            "arrival_us": sent + there + held + back,
        }
        for i, (there, held, back) in enumerate(trips)
    ]


def clock() -> list[dict[str, Any]]:
    jitter = random.Random(7)
    wide = [(jitter.randrange(5_000, 60_000), 50, jitter.randrange(5_000, 60_000)) for _ in range(30)]
    scenarios: dict[str, list[Step]] = {
        "symmetric": _pings(NOW, [(10_000, 100, 10_000)] * 3),
        "the least round trip wins": _pings(NOW, [(40_000, 0, 9_000), (5_001, 0, 5_000), (9_000, 0, 90_000)]),
        "of equals the newest": _pings(-700, [(5_000, 0, 5_100), (5_100, 0, 5_000)]),
        "old samples go": _pings(NOW, [(1_000, 0, 1_000)] + [(20_000, 0, 30_000)] * 4, 6_000_000),
        "jitter": _pings(NOW, wide),
        "nonsense is refused": [
            {"client_us": 100, "received_us": 500, "sent_us": 500, "arrival_us": 50},
            {"client_us": 100, "received_us": 500, "sent_us": 400, "arrival_us": 200},
            {"client_us": 100, "received_us": 500, "sent_us": 900, "arrival_us": 200},
            {"client_us": 100, "received_us": 500, "sent_us": 500, "arrival_us": 200},
        ],
    }
    out = []
    for name, samples in scenarios.items():
        sync = ClockSync()
        for sample in samples:
            sample["accepted"] = sync.add(**sample)
            sample["offset_us"], sample["rtt_us"] = sync.offset_us, sync.rtt_us
        out.append({"name": name, "window_us": sync.window_us, "samples": samples})
    return out


# --- ordering --------------------------------------------------------------------------------------


def _push(at_ms: float, group: int, index: int, *, pts: int | None = None, size: int = 1_000) -> Step:
    """A frame whose timestamp is ``pts`` frames (default: its index) after the start."""
    return {
        "at_us": round(at_ms * 1_000),
        "push": {
            "group": group,
            "index": index,
            "keyframe": index == 0,
            "pts_us": (index if pts is None else pts) * FRAME_US,
            "duration_us": FRAME_US,
            "bytes": size,
        },
    }


def _lost(at_ms: float, group: int, index: int) -> Step:
    return {"at_us": round(at_ms * 1_000), "lost": [group, index]}


def _coming(at_ms: float, group: int, index: int) -> Step:
    return {"at_us": round(at_ms * 1_000), "coming": [group, index]}


def _advance(at_ms: float) -> Step:
    return {"at_us": round(at_ms * 1_000), "advance": True}


def _shuffled(seed: int) -> list[Step]:
    """Ten groups of ten, frames up to four places out of order."""
    rng = random.Random(seed)
    order = sorted(range(100), key=lambda i: i + rng.uniform(0, 4))
    return [_push(n * 8, i // 10, i % 10, pts=i) for n, i in enumerate(order)] + [_advance(1_000)]


ORDERING: dict[str, tuple[dict[str, Any], list[Step]]] = {
    "in order": ({}, [_push(0, 5, 0), _push(33, 5, 1), _push(66, 5, 2), _push(100, 6, 0, pts=3)]),
    "two streams change places": ({}, [_push(0, 1, 0), _push(10, 1, 2), _push(12, 1, 1), _push(43, 1, 3)]),
    "B-frames: the next group follows the picture shown last": (
        {},
        [
            _push(0, 1, 0, pts=1), _push(33, 1, 1, pts=4), _push(66, 1, 2, pts=2), _push(100, 1, 3, pts=3),
            _push(133, 2, 0, pts=5), _push(166, 2, 1, pts=8), _push(200, 2, 2, pts=6),
            _push(233, 2, 3, pts=7), _push(266, 3, 0, pts=9),
        ],
    ),
    "B-frames: the next group waits for those that are still to come": (
        {},
        [
            _push(0, 1, 0, pts=1), _push(33, 1, 1, pts=4), _push(66, 1, 2, pts=2), _push(100, 1, 3, pts=3),
            _push(133, 1, 4, pts=7), _push(166, 2, 0, pts=8), _push(167, 1, 5, pts=5),
            _push(168, 1, 6, pts=6),
        ],
    ),
    "B-frames: and no longer than the end of a group may take": (
        {},
        [
            _push(0, 1, 0, pts=1), _push(33, 1, 1, pts=3), _push(66, 1, 2, pts=2), _push(100, 1, 3, pts=5),
            _push(133, 2, 0, pts=6), _advance(147), _advance(148), _push(149, 1, 4, pts=4),
        ],
    ),
    "duplicates and late frames": (
        {},
        [_push(0, 1, 0), _push(1, 1, 0), _push(2, 1, 2), _push(3, 1, 2), _push(4, 1, 1), _push(5, 1, 1)],
    ),
    "deltas before the first keyframe wait for it": (
        {},
        [_push(0, 1, 1), _push(1, 1, 2), _push(9, 1, 0)],
    ),
    "without a first keyframe one is asked for": (
        {},
        [_push(0, 1, 4), _push(33, 1, 5), _advance(149), _advance(150), _push(170, 2, 0, pts=7)],
    ),
    "a gap that closes in time": (
        {},
        [_push(0, 1, 0), _push(66, 1, 2), _push(100, 1, 3), _advance(215), _push(215.5, 1, 1)],
    ),
    "a gap that does not close": (
        {},
        [
            _push(0, 1, 0), _push(66, 1, 2), _advance(216), _advance(300), _advance(366),
            _push(380, 2, 0, pts=9), _push(381, 1, 1),
        ],
    ),
    "a gap that closes after the request": (
        {},
        [_push(0, 1, 0), _push(66, 1, 2), _advance(216), _push(230, 1, 1), _push(260, 1, 3)],
    ),
    "the newest of several groups wins": (
        {},
        [
            _push(0, 1, 0), _push(10, 1, 2), _push(11, 2, 0, pts=40), _push(12, 3, 0, pts=80),
            _push(13, 3, 1, pts=81), _advance(25), _advance(159), _advance(160),
        ],
    ),
    "a beginning waits a little for the tail of the old group": (
        {},
        [_push(0, 1, 0), _push(40, 2, 0, pts=2), _push(45, 1, 1), _push(80, 2, 1, pts=3)],
    ),
    "the tail does not come": (
        {},
        [_push(0, 1, 0), _push(40, 2, 0, pts=2), _push(54, 2, 1, pts=3), _advance(55), _push(56, 1, 1)],
    ),
    "a part of the tail is here: the rest is waited for": (
        {},
        [
            _push(0, 1, 0), _coming(35, 1, 1), _push(40, 2, 0, pts=2), _advance(60), _push(80, 1, 1),
            _coming(90, 2, 1), _push(100, 3, 0, pts=4), _advance(115), _advance(249), _advance(250),
        ],
    ),
    "a part of the tail is here: and given up": (
        {},
        [_push(0, 1, 0), _coming(35, 1, 1), _push(40, 2, 0, pts=2), _lost(60, 1, 1), _push(61, 1, 1)],
    ),
    "a part of what is over, or is further ahead, is not waited for": (
        {},
        [_push(0, 1, 0), _coming(1, 1, 0), _coming(2, 1, 2), _push(40, 2, 0, pts=2), _advance(55)],
    ),
    "before the tail's last frame one is missing": (
        {},
        [_push(0, 1, 0), _push(66, 1, 2), _push(100, 2, 0, pts=3), _advance(130), _push(140, 1, 1)],
    ),
    "a pause of the source delays its next keyframe by the tail only": (
        {},
        [_push(0, 1, 0), _push(5_000, 2, 0, pts=150), _advance(5_015)],
    ),
    "a reset stream is not waited for": (
        {},
        [_push(0, 1, 0), _lost(20, 1, 1), _push(33, 1, 2), _push(60, 2, 0, pts=3), _push(93, 2, 1, pts=4)],
    ),
    "a reset stream further ahead": (
        {},
        [_push(0, 1, 0), _lost(20, 1, 3), _push(21, 1, 1), _push(22, 1, 2), _push(23, 1, 4), _advance(180)],
    ),
    "a reset stream of the past": ({}, [_push(0, 1, 0), _push(33, 1, 1), _lost(40, 1, 1), _advance(300)]),
    "a reset keyframe": (
        {},
        [_push(0, 1, 0), _lost(20, 2, 0), _push(33, 2, 1, pts=2), _push(70, 3, 0, pts=3)],
    ),
    "too much is held back": (
        {"max_frames": 3},
        [_push(0, 1, 0), *[_push(10 + i, 1, i) for i in range(2, 7)], _push(20, 2, 0, pts=8), _advance(170)],
    ),
    "too many bytes are held back": (
        {"max_bytes": 5_000},
        [_push(0, 1, 0), _push(1, 1, 2, size=3_000), _push(2, 1, 3, size=3_000), _push(3, 1, 1)],
    ),
    "shuffled video": ({}, _shuffled(1)),
    "shuffled sound": ({"independent": True}, _shuffled(2)),
    "sound begins anywhere, and what came before that is not late": (
        {"independent": True},
        [
            _push(0, 4, 30), _push(20, 4, 31), _push(21, 4, 29), _push(22, 3, 90), _push(40, 4, 33),
            _advance(190), _push(200, 4, 32),
        ],
    ),
    "sound skips a gap": (
        {"independent": True, "patience_us": 60_000},
        [_push(0, 4, 0), _push(40, 4, 2), _push(60, 4, 3), _advance(99), _advance(100), _push(101, 4, 1)],
    ),
    "sound skips a reset stream at once": (
        {"independent": True},
        [_push(0, 4, 0), _push(40, 4, 2), _lost(41, 4, 1), _push(60, 4, 3)],
    ),
    "sound goes on in the next group": (
        {"independent": True},
        [_push(0, 4, 49, pts=49), _push(20, 5, 1, pts=51), _push(21, 5, 0, pts=50)],
    ),
}  # fmt: skip


def run_ordering(options: dict[str, Any], steps: list[Step]) -> tuple[list[Step], dict[str, int]]:
    """Each step with what comes of it, and the counters at the end."""
    order = FrameOrder(**options)
    out = []
    for step in steps:
        at = step["at_us"]
        if "push" in step:
            fields = dict(step["push"])
            payload = bytes(fields.pop("bytes"))
            frame = Frame(track=0, rendition=0, capture_us=0, payload=payload, **fields)
            delivered = order.push(frame, at)
        elif "lost" in step:
            delivered = order.lost(*step["lost"], at)
        elif "coming" in step:
            order.coming(*step["coming"])
            delivered = []
        else:
            delivered = order.advance(at)
        expected = {
            "deliver": [[frame.group, frame.index] for frame in delivered],
            "keyframe_request": order.take_keyframe_request(),
            "next_timeout_us": order.next_timeout(),
        }
        told = ("at_us", "push", "lost", "coming", "advance")
        out.append({key: step[key] for key in told if key in step} | expected)
    return out, dataclasses.asdict(order.counters)


def ordering() -> list[dict[str, Any]]:
    defaults = {"independent": False, "patience_us": 150_000, "tail_us": 15_000}
    defaults |= {"max_frames": 512, "max_bytes": 32 * 1024 * 1024}
    out = []
    for name, (options, steps) in ORDERING.items():
        done, counters = run_ordering(defaults | options, steps)
        out.append({"name": name, "options": defaults | options, "steps": done, "counters": counters})
    return out


# --- all of it -------------------------------------------------------------------------------------


def _beside(name: str) -> Any:
    """A module of this directory, whoever runs this file."""
    spec = importlib.util.spec_from_file_location(f"vectors_{name}", HERE / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REASSEMBLY = _beside("reassembly_scenarios")
ROAMING = _beside("roaming_scenarios")
FILES = {
    "frames.json": frames,
    "messages.json": messages,
    "fragments.json": fragments,
    "parity.json": fec_parity,
    "nacks.json": nacks,
    "arrivals.json": arrivals,
    "malformed.json": malformed,
    "clock.json": clock,
    "ordering.json": ordering,
    "reassembly.json": REASSEMBLY.vectors,
    "roaming.json": ROAMING.vectors,
}


def text(make: Any) -> str:
    """A file's text: one case a line, so that a difference is easy to read."""
    cases = ",\n".join(json.dumps(case, ensure_ascii=False) for case in make())
    return f"[\n{cases}\n]\n"


if __name__ == "__main__":
    for file_name, make in FILES.items():
        (HERE / file_name).write_text(text(make), encoding="utf-8")
        sys.stdout.write(f"{file_name}\n")
