"""Corners of the lane that no scenario of normal life comes to."""

from __future__ import annotations

import pytest

from tests.netsim import BAD, Conditions
from tests.transport.equivalence.frames import (
    ConnectionClose,
    Datagram,
    MaxData,
    MaxStreamData,
    PathResponse,
    ResetStream,
    parse,
    varint,
    write_ack,
)
from tests.transport.equivalence.harness import DRIVERS, Setup
from tests.transport.equivalence.ledger import CLIENT, SERVER
from tests.transport.equivalence.packets import seal_short
from tests.transport.equivalence.play import Play
from tests.transport.equivalence.scenarios import media
from tests.transport.equivalence.test_received import base, compare
from tests.transport.equivalence.witness import Emission
from wtgateway.transport import lane
from wtgateway.transport.lane import Attention, Lane
from wtgateway.transport.urgency import Urgency


def express(play: Play) -> Lane:
    driver = play.lane.driver
    assert isinstance(driver, Lane)
    return driver


@pytest.mark.parametrize("side", [SERVER, CLIENT])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_rough_handshake(driver: str, side: str) -> None:
    for seed in range(4):
        play = Play(Setup(lane=side, conditions=BAD, rough_handshake=True, seed=seed), driver)
        media(play, frames=2)
        play.finish()


@pytest.mark.parametrize("side", [SERVER, CLIENT])
@pytest.mark.parametrize("wait", [0.006, 0.011, 0.016])
def test_frames_that_are_given_before_the_handshake_is_over(side: str, wait: float) -> None:
    play = Play(Setup(lane=side), "express", handshake=False)
    play.wait(wait)
    for n in range(3):
        play.frame(5_000 + n, Urgency.KEYFRAME)
    play.world.shake_hands()
    media(play, frames=2)
    play.finish()


def test_empty_datagrams_and_frames_between_others() -> None:
    """Header protection samples 16 bytes: the shortest payloads must not shift those after them."""
    play = Play(Setup(), "express")
    lane_ = express(play)
    payloads = [b"", b"\1", b"", b"\2" * 1_000, b"", b"\3"]
    for one_by_one in (False, True):
        for batch in [[payload] for payload in payloads] if one_by_one else [payloads]:
            assert lane_.send_datagrams(batch, Urgency.AUDIO) == len(batch)
        play.lane.flush(attend=False)
        play.wait(0.1)
    assert sorted(play.peer.received.datagrams) == sorted(payloads * 2)


def test_datagrams_that_no_longer_fit_are_dropped_and_counted() -> None:
    play = Play(Setup(peer_max_data=1 << 20), "express")
    media(play, frames=1)
    play.wait(0.2)
    play.set_mtu(1_452)
    play.world.dark = {SERVER, CLIENT}
    play.frame(60_000, Urgency.KEYFRAME)  # fills the window
    large, small = [bytes([n]) * 1_400 for n in range(4)], [bytes([n]) * 500 for n in range(4)]
    assert express(play).send_datagrams(large + small, Urgency.DELTA) == 8
    play.set_mtu(1_200)
    play.world.dark = set()
    play.wait(5.0)
    assert express(play).datagrams_too_large == 4
    assert express(play).waiting == 0
    sent = {frame.data for packet in play.world.witness.sent(SERVER) for frame in packet.frames_of(Datagram)}
    assert set(small) <= sent
    assert not sent & set(large)


@pytest.mark.parametrize("by", ["lane", "peer"])
def test_closing_while_frames_wait(by: str) -> None:
    """Nothing follows the close, and nobody is asked for another turn over and over."""
    play = Play(Setup(), "express")
    for n in range(6):
        play.frame(80_000 + n)
        play.datagrams_of(9, 1_000)
    assert express(play).waiting > 0
    end = play.lane if by == "lane" else play.peer
    end.do(lambda: end.quic.close(error_code=7, reason_phrase="enough"))
    assert not express(play).can_send or by == "peer"
    play.wait(5.0)
    assert not express(play).can_send
    for side in (play.lane, play.peer):
        assert side.received.ended is not None
        assert side.received.ended.error_code == 7
    frames = [frame for packet in play.world.witness.sent(end.name) for frame in packet.frames]
    assert isinstance(frames[-1], ConnectionClose)


def test_keys_are_renewed_long_before_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "PACKETS_PER_KEY", 60)
    play = Play(Setup(conditions=Conditions(delay=0.01, loss=0.02)), "express")
    for n in range(8):
        play.frame(30_000 + n, Urgency.KEYFRAME)
        play.wait(0.2)
    play.finish()
    generations = [packet.generation for packet in play.world.witness.sent(SERVER)]
    assert max(generations) >= 3
    assert max(generations.count(n) for n in set(generations)) <= 60 + lane.BATCH_PACKETS


def test_a_key_update_begins_with_the_next_packet_even_if_that_is_express() -> None:
    play = Play(Setup(), "express")
    play.frame(3_000)
    play.wait(0.2)
    play.lane.quic.request_key_update()
    before = len(play.world.witness.sent(SERVER))
    play.frame(3_000)
    assert [packet.generation for packet in play.world.witness.sent(SERVER)[before:]] == [1, 1, 1]
    play.finish()


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_idle_connection_ends_when_it_should(driver: str) -> None:
    play = Play(Setup(), driver)
    media(play, frames=3)
    play.finish()
    last = max(packet.at for packet in play.world.witness.sent(CLIENT))
    play.wait(59.0 - (play.world.time.now - last))
    assert play.lane.received.ended is None
    play.wait(2.0)
    assert play.lane.received.ended is not None
    assert play.lane.received.ended.reason_phrase == "Idle timeout"


def test_an_ack_of_a_whole_stream_with_more_credit_for_it() -> None:
    """The acknowledgement ends the stream; the credit, in the same packet, comes too late for it."""
    found = base("busy, without limits")
    credit = b"".join(b"\x11" + varint(stream) + varint(1 << 30) for stream in found.streams)
    payload = write_ack([(0, found.sent[1])]) + credit
    assert sum(isinstance(frame, MaxStreamData) for frame in parse(payload)) == len(found.streams)
    for content in (payload, credit + write_ack([(0, found.sent[1])])):
        packet = seal_short(
            found.key, found.mask, destination=found.cids[0], number=found.next_number, payload=content
        )
        after = compare(found, [packet])
        assert len(after.quic._streams) < len(found.lane.quic._streams)


def test_the_short_path_is_taken() -> None:
    """What all the comparisons above rest on: that it is not aioquic against aioquic."""
    play = Play(Setup(), "express")
    play.wait(0.2)
    play.lane.attentions.clear()
    for n in range(10):
        play.frame(20_000 + n)
        play.wait(0.05)
    assert play.lane.attentions[Attention.FULL] == 0
    assert play.lane.attentions[Attention.SEND] + play.lane.attentions[Attention.NONE] > 10
    assert play.lane.attentions[Attention.NONE] > 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_silence_after_a_loss_timer_with_a_full_window(driver: str) -> None:
    """The loss timer cuts the window below what is in flight; then nothing comes. The probe still does."""
    play = Play(Setup(conditions=Conditions(delay=0.05)), driver)
    full: list[int] = []  # the first window has ten packets; without the ninth, one is acknowledged after it

    def is_ninth(emission: Emission) -> bool:
        if emission.sender == SERVER and len(emission) == 1_200:
            full.append(len(full))
        return full[-1:] == [8] and emission.sender == SERVER

    play.world.drop = is_ninth
    play.frame(200_000, Urgency.KEYFRAME)
    for _ in range(1_000):
        play.wait(0.0005)
        if play.lane.books.lost:
            break
    else:
        pytest.fail("nothing was lost")
    play.world.drop = lambda _: False
    assert play.lane.quic._loss.bytes_in_flight > play.lane.quic._loss.congestion_window
    play.darkness(0.5)
    timeouts = play.lane.books.pto_count
    play.wait(3.0)
    assert timeouts > 0
    play.finish()


def test_batch_after_batch_an_address_that_is_not_validated_gets_three_times_what_it_sent() -> None:
    play = Play(Setup(), "express")
    media(play, frames=3)
    play.move(keep_old=False, change_cid=False)
    play.world.drop = lambda emission: any(packet.frames_of(PathResponse) for packet in emission.packets)
    play.upload(9_000)
    for n in range(8):
        play.wait(0.006)
        play.frame(6_000 + n)
    path = play.world.witness.paths.paths[play.world.witness.paths.active]
    assert not path.validated
    assert path.received > 9_000
    assert 2 * path.received < path.sent <= 3 * path.received
    play.world.drop = lambda _: False
    play.finish()


def test_a_lost_reset_is_said_again() -> None:
    play = Play(Setup(), "express")
    play.frame(60_000, Urgency.KEYFRAME)
    play.wait(0.012)
    play.world.drop = lambda emission: any(packet.frames_of(ResetStream) for packet in emission.packets)
    play.reset(0)
    play.wait(0.1)
    assert not play.peer.received.resets
    play.world.drop = lambda _: False
    play.finish()
    assert play.peer.received.resets == {3: 7}
    assert len(play.resets_on_the_wire()) >= 2


def test_credit_for_a_stream_of_aioquics_own_is_used_at_once() -> None:
    """MAX_DATA comes in a packet of the short path; what waits for it is not the lane's."""
    play = Play(Setup(peer_max_data=5_000), "express")
    play.control("lane", 4_000)
    play.wait(0.2)
    play.lane.attentions.clear()
    play.control("lane", 30_000)
    before = len(play.world.witness.sent(SERVER))
    grants = [play.world.time.now]
    while not play.lane.idle:
        play.wait(0.0002)
        for packet in play.world.witness.sent(CLIENT)[-3:]:
            if packet.frames_of(MaxData) and packet.at > grants[-1]:
                grants.append(packet.at)
    assert play.lane.attentions[Attention.FULL] == 0
    sent = [packet.at for packet in play.world.witness.sent(SERVER)[before:]]
    assert len(grants) > 2
    for at in grants[1:-1]:  # the path's delay later; an ACK of it would be due after another millisecond
        assert any(at + 0.0049 < then < at + 0.0055 for then in sent), (grants, sent)
    play.finish()


def busiest(driver: str, window: float = 0.002) -> int:
    """The most packets that leave within ``window`` s, once the path is known."""
    play = Play(Setup(conditions=Conditions(delay=0.03)), driver)
    for n in range(12):
        play.frame(60_000 + n, Urgency.KEYFRAME)
        play.wait(0.1)
    since = play.world.time.now
    play.frame(150_000, Urgency.KEYFRAME)
    play.finish()
    times = [packet.at for packet in play.world.witness.sent(SERVER) if packet.at >= since]
    return max(sum(at <= other < at + window for other in times) for at in times)


def test_express_is_paced_as_aioquic_is() -> None:
    assert busiest("express") <= busiest("stock") + 2
