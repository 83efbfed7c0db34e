"""Scenarios by name: how the connection is made, what both ends do, what has to have happened.

Each runs with stock aioquic, with the lane the ordinary way and with the lane express, under the same
seed. The closing check of a scenario proves that it did exercise what it is named after.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.netsim import BAD, MOBILE, WIFI, Conditions
from tests.transport.equivalence.frames import (
    MaxStreams,
    PathChallenge,
    RetireConnectionId,
    Stream,
)
from tests.transport.equivalence.harness import Setup
from tests.transport.equivalence.ledger import CLIENT, SERVER
from tests.transport.equivalence.packets import AES_256, CHACHA20, VERSION_2
from tests.transport.equivalence.play import Play, Script
from wtgateway.transport.urgency import Urgency

BROKEN_BY_AIOQUIC = "beyond the limit of"  # it resets streams that the peer does not let it open yet
KEYFRAME, DELTA, AUDIO = Urgency.KEYFRAME, Urgency.DELTA, Urgency.AUDIO
LOSSY = Conditions(delay=0.01, loss=0.05)
SHUFFLED = Conditions(delay=0.01, jitter=0.004, reorder=0.2, reorder_by=0.006)
DOUBLED = Conditions(delay=0.01, duplicate=0.3)
NARROW = Conditions(delay=0.02, rate_bps=4e6, queue_bytes=24 * 1024)


def _nothing(play: Play) -> None:
    """No closing check."""


@dataclass(frozen=True)
class Scenario:
    """``script`` drives a :class:`Play`; ``proof`` asserts afterwards that the scenario took place."""

    script: Script
    setup: Setup = field(default_factory=Setup)
    proof: Callable[[Play], None] = _nothing
    breaks_aioquic: str = ""  # the rule that aioquic's own streams break here; the lane must not


def media(play: Play, *, frames: int = 8, pause: float = 0.02) -> None:
    """A keyframe, then deltas, sound and datagrams among them."""
    play.frame(40_000, KEYFRAME)
    for n in range(frames):
        play.wait(pause)
        play.frame(4_000 + 977 * n)
        play.datagrams_of(3, 1_100)
        play.frame(200 + n, AUDIO)


def both_directions(play: Play) -> None:
    media(play, frames=3)
    play.control("lane", 3_000)
    play.upload(60_000)
    play.control("peer", 2_000)
    media(play, frames=3)
    play.control("lane", 9_000)


# --- keys ------------------------------------------------------------------------------------------


def _updates(*sides: str) -> Script:
    def script(play: Play) -> None:
        for side in sides:
            media(play, frames=2)
            play.ping(side)  # who asks must have had an acknowledgement with the present keys
            play.wait(0.5)
            play.frame(30_000, KEYFRAME)
            assert play.update_key(side)
            media(play, frames=2)
        play.wait(0.3)

    return script


def _simultaneous_updates(play: Play) -> None:
    media(play, frames=2)
    play.ping("peer")
    play.wait(0.2)
    assert play.update_key("lane")
    assert play.update_key("peer")
    media(play, frames=2)


def _generations(count: int) -> Callable[[Play], None]:
    def proof(play: Play) -> None:
        seen = {packet.generation for packet in play.world.witness.sent(play.lane.name)}
        assert seen == set(range(count + 1))

    return proof


# --- paths -----------------------------------------------------------------------------------------


def _moves(*, keep_old: bool, change_cid: bool, times: int = 1) -> Script:
    def script(play: Play) -> None:
        for _ in range(times):
            media(play, frames=3)
            play.move(keep_old=keep_old, change_cid=change_cid)
            play.frame(50_000, KEYFRAME)
            play.ping("peer")
            media(play, frames=3)
            play.wait(0.5)

    return script


def _moved(times: int) -> Callable[[Play], None]:
    def proof(play: Play) -> None:
        packets = play.world.witness.sent(SERVER)
        challenged = {
            packet.datagram.destination for packet in packets if any(packet.frames_of(PathChallenge))
        }
        assert len(challenged) >= times
        media_to = {packet.datagram.destination for packet in packets if packet.frames_of(Stream)}
        assert len(media_to) == times + 1
        assert all(play.world.witness.paths.paths[address].validated for address in media_to)

    return proof


def _gone_and_back(play: Play) -> None:
    """The client is gone in mid-frame, and comes back from another address."""
    play.frame(120_000, KEYFRAME)
    play.wait(0.015)
    play.world.dark = {CLIENT, SERVER}
    play.frame(20_000)
    play.wait(0.4)
    play.world.dark = set()
    play.move(keep_old=False, change_cid=False)
    play.ping("peer")
    play.wait(0.5)
    media(play, frames=3)


def _cid_changes(play: Play) -> None:
    for side in ("lane", "peer", "lane", "peer"):
        media(play, frames=2)
        play.change_cid(side)
        play.frame(9_000)
        play.wait(0.1)


def _cids_changed(play: Play) -> None:
    for name in (CLIENT, SERVER):
        packets = play.world.witness.sent(name)
        assert len({packet.destination for packet in packets}) >= 3
        assert any(packet.frames_of(RetireConnectionId) for packet in packets)


# --- MTU -------------------------------------------------------------------------------------------


def _mtu_up_and_down(play: Play) -> None:
    media(play, frames=2)
    play.probe(1_452)
    play.wait(0.1)
    play.set_mtu(1_452)
    media(play, frames=3)
    play.set_mtu(1_280)
    media(play, frames=3)
    play.set_mtu(1_500)
    play.frame(60_000, KEYFRAME)


def _mtu_used(play: Play) -> None:
    sizes = {packet.size for packet in play.world.witness.sent(play.lane.name)}
    assert max(sizes) == 1_500
    assert {1_280, 1_452} <= sizes


def _black_hole(play: Play) -> None:
    """The path stops carrying what it carried; sizes are taken back while packets are in flight."""
    play.set_mtu(1_452)
    media(play, frames=2)
    play.world.path_mtu = 1_200
    play.frame(30_000, KEYFRAME)
    play.datagrams_of(5, 1_300)
    play.wait(0.1)
    play.set_mtu(1_200, path=1_200)
    play.wait(1.0)
    media(play, frames=2)


def _some_probes_lost(play: Play) -> None:
    play.world.path_mtu = 1_300
    media(play, frames=2)
    for size in (1_280, 1_452, 1_300, 9_000):
        play.probe(size)
        play.frame(5_000)
        play.wait(0.3)
    media(play, frames=2)


def _probes_told(play: Play) -> None:
    if play.probe_results:  # the lane's; stock aioquic has none
        assert play.probe_results == [True, False, True, False]


# --- flow control ----------------------------------------------------------------------------------


def _many_frames(play: Play) -> None:
    for n in range(60):
        play.frame(700 + 31 * n, DELTA if n % 5 else KEYFRAME)
        if n % 10 == 9:
            play.wait(0.01)
    play.wait(0.5)
    media(play, frames=4)


def _streams_ran_out(play: Play) -> None:
    assert play.world.witness.sides[play.lane.name].ledger.stalls["streams"] > 0
    assert any(packet.frames_of(MaxStreams) for packet in play.world.witness.sent(play.peer.name))


def _stalled(kind: str) -> Callable[[Play], None]:
    def proof(play: Play) -> None:
        assert play.world.witness.sides[play.lane.name].ledger.stalls[kind] > 0

    return proof


def _big_frames(play: Play) -> None:
    for n in range(4):
        play.frame(90_000 + n, KEYFRAME)
        play.frame(6_000, AUDIO)
        play.wait(0.03)


# --- streams given up ------------------------------------------------------------------------------


def _resets(play: Play) -> None:
    for n in range(6):
        play.frame(30_000 + n)
        play.wait(0.004 * (n % 3))
        play.reset(-1 if n % 2 else n)
    play.wait(0.05)
    media(play, frames=2)


def _resets_seen(play: Play) -> None:
    assert play.resets_on_the_wire()
    assert play.peer.received.resets


def _stops(play: Play) -> None:
    for n in range(5):
        play.frame(120_000 + n, KEYFRAME)
        play.wait(0.025)
        play.stop(-1)
        play.wait(0.01 * (n % 2))
    media(play, frames=2)


def _reset_while_blocked(play: Play) -> None:
    """Frames that the limit on streams holds back are given up before they could be opened."""
    for n in range(12):
        play.frame(2_000 + n)
    for n in range(6, 12):
        play.reset(n)
    play.wait(0.5)
    media(play, frames=2)


def _peer_resets(play: Play) -> None:
    media(play, frames=1)
    play.upload(80_000)
    play.wait(0.012)
    play.peer_reset()
    media(play, frames=2)


# --- loss ------------------------------------------------------------------------------------------


def _darkness(seconds: float, *sides: str) -> Script:
    def script(play: Play) -> None:
        media(play, frames=3)
        play.frame(60_000, KEYFRAME)
        play.darkness(seconds, *sides)
        play.wait(1.0)
        media(play, frames=3)

    return script


def _tail_loss(play: Play) -> None:
    """The last packets of all are lost: only a probe timeout brings them back."""
    for size in (900, 2_500, 300):
        play.wait(0.3)
        play.world.dark = {play.lane.name}
        play.frame(size)
        play.datagrams_of(1, 100)
        play.wait(0.004)
        play.world.dark = set()
        play.wait(1.0)


def _timeouts(least: int) -> Callable[[Play], None]:
    def proof(play: Play) -> None:
        assert play.lane.books.pto_count >= least
        assert play.lane.books.lost

    return proof


def _collapsed(play: Play) -> None:
    _timeouts(2)(play)
    smallest = {"reno": 2, "media": 16}[play.world.setup.congestion]
    assert play.lane.books.least_window <= smallest * 1_200


def _full_window_upload(play: Play) -> None:
    """The peer needs MAX_DATA while the window is full of media and nothing but ACKs come in."""
    for n in range(4):
        play.upload(120_000)
        play.frame(60_000 + n, KEYFRAME)
        play.datagrams_of(20, 1_000)
        play.wait(0.05)
    play.wait(2.0)


def _slow_acks(play: Play) -> None:
    media(play, frames=6)
    play.wait(0.2)
    play.frame(100_000, KEYFRAME)


def _idle_and_pings(play: Play) -> None:
    for _ in range(3):
        play.ping("lane")
        play.wait(0.2)
        play.ping("peer")
        play.frame(500, AUDIO)
        play.wait(5.0)


def _pinged(play: Play) -> None:
    assert len(play.lane.received.pings) == 3
    assert len(play.peer.received.pings) == 3


def _tiny(play: Play) -> None:
    """The smallest payloads, alone and in one batch with large ones."""
    for size in (4, 5, 6):
        play.datagrams_of(1, size)
        play.wait(0.01)
        play.datagrams_of(3, size)
        play.frame(1)
        play.frame(2)
        play.frame(1_300)
        play.datagrams_of(2, 1_100)
        play.wait(0.02)


def _spun(play: Play) -> None:
    spins = [packet.spin for packet in play.world.witness.sent(play.lane.name)]
    assert sum(a != b for a, b in itertools.pairwise(spins)) >= 5


SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario(both_directions),
    "calm, as client": Scenario(both_directions, Setup(lane=CLIENT)),
    "AES-256": Scenario(both_directions, Setup(suite=AES_256)),
    "ChaCha20": Scenario(both_directions, Setup(suite=CHACHA20)),
    "version 2": Scenario(both_directions, Setup(version=VERSION_2)),
    "version 2, ChaCha20": Scenario(_updates("lane", "peer"), Setup(version=VERSION_2, suite=CHACHA20)),
    "loss": Scenario(both_directions, Setup(conditions=LOSSY, seed=3)),
    "loss, media congestion control": Scenario(both_directions, Setup(conditions=LOSSY, congestion="media")),
    "reordering": Scenario(both_directions, Setup(conditions=SHUFFLED, seed=5)),
    "duplication": Scenario(both_directions, Setup(conditions=DOUBLED, seed=7)),
    "wifi": Scenario(both_directions, Setup(conditions=WIFI, seed=11, congestion="media")),
    "mobile": Scenario(both_directions, Setup(conditions=MOBILE, seed=13)),
    "bad": Scenario(both_directions, Setup(conditions=BAD, seed=17)),
    "narrow": Scenario(_big_frames, Setup(conditions=NARROW, seed=19, congestion="media")),
    "loss, as client": Scenario(both_directions, Setup(conditions=LOSSY, lane=CLIENT, seed=23)),
    "spin bit": Scenario(lambda play: media(play, frames=20), proof=_spun),
    "key update by the lane": Scenario(_updates("lane"), proof=_generations(1)),
    "key update by the peer": Scenario(_updates("peer"), proof=_generations(1)),
    "key updates by both": Scenario(_updates("lane", "peer", "peer", "lane"), proof=_generations(4)),
    "key updates at once": Scenario(_simultaneous_updates, proof=_generations(1)),
    "key updates and loss": Scenario(
        _updates("lane", "peer", "lane"), Setup(conditions=LOSSY, seed=29), _generations(3)
    ),
    "AES-256 key updates": Scenario(_updates("lane", "peer"), Setup(suite=AES_256), _generations(2)),
    "rebinding": Scenario(_moves(keep_old=False, change_cid=False), proof=_moved(1)),
    "migration": Scenario(_moves(keep_old=True, change_cid=True), proof=_moved(1)),
    "migrations and loss": Scenario(
        _moves(keep_old=True, change_cid=True, times=3), Setup(conditions=LOSSY, seed=31), _moved(3)
    ),
    "gone and back": Scenario(_gone_and_back, proof=_moved(1)),
    "connection IDs": Scenario(_cid_changes, proof=_cids_changed),
    "connection IDs, as client": Scenario(_cid_changes, Setup(lane=CLIENT), _cids_changed),
    "MTU": Scenario(_mtu_up_and_down, proof=_mtu_used),
    "black hole": Scenario(_black_hole),
    "path MTU probes": Scenario(_some_probes_lost, proof=_probes_told),
    "connection flow control": Scenario(_big_frames, Setup(peer_max_data=20_000), _stalled("data")),
    "stream flow control": Scenario(_big_frames, Setup(peer_max_stream_data=9_000), _stalled("stream")),
    "flow control and loss": Scenario(
        _big_frames,
        Setup(peer_max_data=30_000, peer_max_stream_data=9_000, conditions=LOSSY, seed=37),
        _stalled("stream"),
    ),
    "stream limit": Scenario(_many_frames, Setup(peer_max_streams=4), _streams_ran_out),
    "stream limit and loss": Scenario(
        _many_frames, Setup(peer_max_streams=4, conditions=LOSSY, seed=41), _streams_ran_out
    ),
    "all limits": Scenario(
        _many_frames, Setup(peer_max_streams=3, peer_max_data=8_000, peer_max_stream_data=1_000)
    ),
    "resets": Scenario(_resets, proof=_resets_seen),
    "resets and loss": Scenario(_resets, Setup(conditions=LOSSY, seed=43), _resets_seen),
    "resets in stalls": Scenario(
        _resets, Setup(peer_max_data=20_000, peer_max_stream_data=9_000), _resets_seen
    ),
    "reset before the stream is allowed": Scenario(
        _reset_while_blocked, Setup(peer_max_streams=3), breaks_aioquic=BROKEN_BY_AIOQUIC
    ),
    "STOP_SENDING": Scenario(_stops, proof=_resets_seen),
    "the peer resets": Scenario(_peer_resets),
    "probe timeouts": Scenario(_darkness(0.5), proof=_timeouts(1)),
    "tail loss": Scenario(_tail_loss, proof=_timeouts(3)),
    "only ACKs are lost": Scenario(_darkness(0.4, CLIENT), proof=_timeouts(1)),
    "persistent loss": Scenario(_darkness(6.0), proof=_collapsed),
    "persistent loss, media congestion control": Scenario(
        _darkness(6.0), Setup(congestion="media"), _timeouts(2)
    ),
    "slow ACKs": Scenario(_slow_acks, Setup(peer_ack_delay=0.024)),
    "a full window and an upload": Scenario(_full_window_upload),
    "pings": Scenario(_idle_and_pings, proof=_pinged),
    "tiny payloads": Scenario(_tiny),
    "media congestion control": Scenario(both_directions, Setup(congestion="media")),
}
