"""The load of the bench `fanout`: frames, ranges, content, and its receive path against stock aioquic."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import pull_ack_frame
from aioquic.tls import CipherSuite, Epoch
from hypothesis import given
from hypothesis import strategies as st

from scripts.benchmarks.fanout import content, flood
from scripts.benchmarks.fanout.audit import Audit, Frames
from scripts.benchmarks.fanout.content import FRAME_BYTES, ContentError, fragments, make_frame
from scripts.benchmarks.fanout.pair import CLIENT, SERVER, Stock, server_connection, shake_hands
from scripts.benchmarks.fanout.quicframes import FrameError, encode_varint, parse, varint
from scripts.benchmarks.fanout.ranges import MAX_RANGES, ReceivedRanges
from scripts.benchmarks.fanout.receiver import MAX_ACK_DELAY_S, Counts, Receiver, decode_number
from scripts.benchmarks.fanout.viewer import client_connection
from tests.transport.ends import make_certificate

PREAMBLE = b"\x40\x54\x00"


# --- bytes ---------------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 62) - 1))
def test_a_number_comes_back_whole(value: int) -> None:
    assert varint(b"x" + encode_varint(value), 1) == (value, 1 + len(encode_varint(value)))


@given(st.binary(max_size=80))
def test_whatever_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        packet = parse(data)
    except FrameError:
        return
    assert sum(len(part.data) for part in packet.streams) + sum(map(len, packet.datagrams)) <= len(data)


def test_every_kind_of_frame_is_stepped_over() -> None:
    ack = b"\x03\x07\x00\x01\x02\x00\x01\x01\x01\x01"
    others = (
        b"\x00\x00\x01\x1e\x1f",
        b"\x04\x01\x02\x03\x05\x01\x02",
        b"\x06\x00\x02ab\x07\x01t",
        b"\x10\x01\x11\x01\x02\x12\x01\x13\x01\x14\x01\x15\x01\x02\x16\x01\x17\x01",
        b"\x18\x01\x00\x04ABCD" + bytes(16),
        b"\x19\x01\x1a12345678\x1b12345678",
        b"\x24\x01\x02\x03\x04",
    )
    packet = parse(ack + b"".join(others) + b"\x0f\x0f\x05\x02hi\x31\x03abc\x1d\x07\x02no")
    assert packet.acknowledged == 7
    assert packet.challenges == [b"12345678"]
    assert packet.streams == [(15, 5, b"hi", True)]
    assert packet.datagrams == [b"abc"]
    assert packet.close == (7, "no") and packet.eliciting


@pytest.mark.parametrize("data", [b"", b"\x3f", b"\x06\x00\x05ab", b"\x1a1234", b"\x02\x07\x00\x3f\x00"])
def test_what_is_cut_short_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        parse(data)


def test_acks_and_padding_ask_for_no_answer() -> None:
    assert not parse(b"\x02\x05\x00\x00\x05\x00\x00").eliciting
    assert parse(b"\x02\x05\x00\x00\x05\x01").eliciting


@given(st.integers(0, 1 << 40), st.sampled_from([1, 2, 3, 4]), st.data())
def test_packet_numbers_are_found_within_half_a_window(expected: int, size: int, data: st.DataObject) -> None:
    half = 1 << (8 * size - 1)
    number = data.draw(st.integers(max(0, expected - half + 1), expected + half - 1))
    assert decode_number(number & ((1 << 8 * size) - 1), size, expected) == number


# --- ranges --------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), min_size=1, max_size=120), st.integers(0, 10_000))
def test_an_ack_says_what_came(numbers: list[int], delay: int) -> None:
    ranges = ReceivedRanges()
    for number in numbers:
        ranges.add(number)
    frame = ranges.ack_frame(delay)
    told, said = pull_ack_frame(Buffer(data=frame[1:]))
    assert said == delay
    assert {number for run in told for number in run} == set(numbers)
    assert parse(frame).acknowledged == max(numbers)
    assert ranges.received == len(set(numbers))
    assert ranges.duplicates == len(numbers) - len(set(numbers))


@given(st.lists(st.integers(0, 500), min_size=1, max_size=200, unique=True), st.integers(0, 500))
def test_ranges_are_bounded_and_forgotten(numbers: list[int], below: int) -> None:
    ranges = ReceivedRanges()
    for number in numbers:
        ranges.add(number)
    ranges.forget_below(below)
    told, _ = pull_ack_frame(Buffer(data=ranges.ack_frame(0)[1:]))
    assert len(told) <= MAX_RANGES
    heard = {number for run in told for number in run}
    assert max(numbers) in heard
    assert heard <= {number for number in numbers if number >= min(below, max(numbers))}


def test_gaps_are_losses_until_they_are_filled() -> None:
    ranges = ReceivedRanges()
    assert [ranges.add(number) for number in (0, 1, 4, 2)] == [True, True, False, False]
    assert ranges.gaps == 1


# --- content -------------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 63)), st.integers(16, 20_000))
def test_fragments_are_the_frame(due_ns: int, size: int) -> None:
    frame = make_frame(due_ns)
    joined = bytearray(FRAME_BYTES)
    for fragment in fragments(7, frame, size):
        assert len(fragment) <= size
        number, _, _, offset = content.parse_fragment(fragment)
        assert number == 7
        joined[offset : offset + len(fragment) - 8] = fragment[8:]
    assert bytes(joined) == frame and content.stamp_of(frame) == due_ns


@given(st.integers(8, FRAME_BYTES - 1))
def test_a_wrong_byte_is_noticed(at: int) -> None:
    frame = bytearray(make_frame(1))
    frame[at] ^= 1
    with pytest.raises(ContentError):
        content.check(0, bytes(frame))


@given(st.binary(max_size=60))
def test_no_bytes_break_the_parser_of_fragments(data: bytes) -> None:
    try:
        content.parse_fragment(data)
    except ContentError:
        return
    assert len(data) > 8


# --- the receive path ------------------------------------------------------------------------------------


class Session:
    """A stock server that sends frames, and the receiver that took over from its client."""

    def __init__(self, *, ack_every: int = 2, sample: float = 1.0, suite: CipherSuite | None = None) -> None:
        certificate = make_certificate()
        client = client_connection(1472)
        if suite is not None:
            client.configuration.cipher_suites = [suite]
        client.connect(SERVER, now=0.0)
        first = [datagram for datagram, _ in client.datagrams_to_send(0.0)]
        self.server = server_connection(first[0], certificate.cert, certificate.key)
        self.now = shake_hands(Stock(client, SERVER), Stock(self.server, CLIENT), first, 0.0)
        self.frames, self.counts = Frames(recording=True), Counts()
        self.receiver = Receiver(
            client,
            ack_every=ack_every,
            sample=sample,
            audit=Audit(self.frames, assemble=sample == 1.0),
            counts=self.counts,
            seed=1,
        )
        for _ in range(3):  # HTTP/3's own streams
            self.server.send_stream_data(self._stream(), b"\0")
        self.settle()

    def _stream(self) -> int:
        return self.server.get_next_available_stream_id(is_unidirectional=True)

    def send(self, *, datagrams: bool = False) -> None:
        """A frame."""
        frame = make_frame(round(self.now * 1e9) + 1)
        if datagrams:
            for payload in fragments(1 + round(self.now * 1e6), frame, 1100):
                self.server.send_datagram_frame(b"\0" + payload)
        else:
            self.server.send_stream_data(self._stream(), PREAMBLE + frame, end_stream=True)

    def flight(self) -> list[bytes]:
        """What the server has to send now."""
        return [datagram for datagram, _ in self.server.datagrams_to_send(self.now)]

    def deliver(self, datagrams: list[bytes]) -> None:
        """One by one."""
        for datagram in datagrams:
            self.receiver.receive(datagram, len(datagram), self.now, self.now * 1e9)

    def answer(self) -> int:
        """The receiver's answers to the server; how many."""
        answers = self.receiver.datagrams_to_send()
        for answer in answers:
            self.server.receive_datagram(answer, CLIENT, self.now)
        return len(answers)

    def turns(self) -> Iterator[None]:
        """Time goes on, and both ends' timers with it."""
        for _ in range(400):
            yield
            self.answer()
            self.now += 0.005
            self.receiver.handle_timer(self.now)
            timer = self.server.get_timer()
            if timer is not None and timer <= self.now:
                self.server.handle_timer(self.now)

    def settle(self) -> None:
        """Until the server has nothing under way."""
        for _ in self.turns():
            self.deliver(self.flight())
            if not self.server._loss.bytes_in_flight:
                return
        raise AssertionError("the server's packets were not acknowledged")


@pytest.mark.parametrize("datagrams", [False, True])
@pytest.mark.parametrize("suite", [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384])
def test_all_that_stock_aioquic_sends_is_read_and_acknowledged(datagrams: bool, suite: CipherSuite) -> None:
    session = Session(suite=suite)
    for _ in range(5):
        session.send(datagrams=datagrams)
        session.settle()
    assert session.frames.whole == 5 and not session.frames.wrong
    assert session.counts.media_bytes() == 5 * FRAME_BYTES
    assert not session.counts.forged and not session.counts.malformed and not session.receiver.lost


def test_a_batch_of_the_kernel_is_cut_into_its_packets() -> None:
    session = Session()
    session.send()
    while flight := session.flight():
        full = [datagram for datagram in flight if len(datagram) == len(flight[0])]
        rest = flight[len(full) :]
        assert all(len(datagram) < len(flight[0]) for datagram in rest) and len(rest) <= 1
        session.receiver.receive(b"".join(flight), len(flight[0]), session.now, 0.0)
        session.answer()
        session.now += 0.01
    assert session.counts.media_bytes() == FRAME_BYTES


def test_losses_are_sent_again_and_the_server_comes_to_rest() -> None:
    session, chance = Session(), random.Random(3)
    for _ in range(10):
        session.send()
        for _ in session.turns():
            flight = [datagram for datagram in session.flight() if chance.random() > 0.2]
            chance.shuffle(flight)
            session.deliver(flight)
            if not session.server._loss.bytes_in_flight:
                break
    session.settle()
    assert session.frames.whole == 10 and not session.frames.wrong
    assert session.counts.media_bytes() >= 10 * FRAME_BYTES
    assert session.receiver.lost > 0


def test_a_key_update_in_the_middle_changes_nothing() -> None:
    session = Session()
    for _ in range(3):
        session.send()
        session.settle()
        session.server.request_key_update()
    session.send()
    session.settle()
    assert session.frames.whole == 4
    assert session.counts.updates == 3 and session.counts.forged == 0


def test_a_packet_from_before_the_update_is_still_read() -> None:
    session = Session()
    session.server.send_ping(1)
    late = session.flight()
    session.server.request_key_update()
    session.server.send_ping(2)
    session.deliver(session.flight())
    assert session.counts.updates == 1
    before = session.counts.opened
    session.deliver(late)
    assert session.counts.opened == before + len(late) and session.counts.forged == 0


@pytest.mark.parametrize("every", [2, 7])
def test_it_acknowledges_one_packet_in_so_many_on_average(every: int) -> None:
    session = Session(ack_every=every)
    for _ in range(40):
        session.send(datagrams=True)
        session.settle()
        session.now += 0.02
    assert every - 0.2 <= session.counts.packets / session.counts.acks <= every + 1.0


def test_the_rest_is_acknowledged_when_the_promised_delay_is_over() -> None:
    session = Session(ack_every=1000)
    session.settle()
    session.server.send_ping(1)
    session.deliver(session.flight())
    assert session.receiver.ack_at == pytest.approx(session.now + MAX_ACK_DELAY_S)
    session.receiver.handle_timer(session.now + MAX_ACK_DELAY_S / 2)
    assert session.answer() == 0
    session.now += MAX_ACK_DELAY_S
    session.receiver.handle_timer(session.now)
    assert session.answer() == 1
    assert session.receiver.ack_at is None and not session.server._loss.bytes_in_flight


def test_the_delay_in_an_ack_is_how_long_it_waited() -> None:
    session = Session(ack_every=1000)
    session.server.send_ping(1)
    flight = session.flight()
    session.now += 0.003
    session.deliver(flight)
    session.now += MAX_ACK_DELAY_S
    session.receiver.handle_timer(session.now)
    session.answer()
    # aioquic takes the delay that the ACK names off what it measured
    assert session.server._loss._rtt_latest == pytest.approx(0.003, rel=0.02)


def test_limits_are_raised_and_old_ranges_forgotten() -> None:
    session = Session()
    data, streams = session.server._remote_max_data, session.server._remote_max_streams_uni
    session.send()
    session.settle()
    reported = session.receiver.ranges.largest
    session.receiver.raise_limits(session.now)
    assert session.answer() == 1
    assert session.server._remote_max_data > data
    assert session.server._remote_max_streams_uni > streams
    largest = session.receiver.ranges.largest
    session.now += 0.05  # the server sits on its ACK as well
    session.deliver(session.flight())
    session.server.send_ping(1)
    session.settle()
    told, _ = pull_ack_frame(Buffer(data=session.receiver.ranges.ack_frame(0)[1:]))
    assert session.receiver.ranges.largest > largest
    assert told[0].start == reported


def test_acks_alone_are_not_acknowledged() -> None:
    session = Session(ack_every=1)
    session.receiver.raise_limits(session.now)
    session.settle()
    session.now += 0.05
    before = session.counts.acks
    session.deliver(session.flight())
    assert session.counts.acks == before and session.receiver.ack_at is None


def test_a_sample_tells_how_much_media_came() -> None:
    session = Session(sample=0.2)
    for _ in range(60):
        session.send()
        session.settle()
    assert session.counts.opened < session.counts.packets / 2
    assert session.counts.media_bytes() == pytest.approx(60 * FRAME_BYTES, rel=0.01)


def test_forged_and_foreign_packets_change_nothing() -> None:
    session = Session()
    session.send()
    (first, *_) = session.flight()
    forged = first[:-1] + bytes([first[-1] ^ 1])
    before = session.counts.packets
    session.deliver([forged, first[:20], b"\x00" * 60])
    assert session.counts.forged == 1 and session.receiver.ack_at is None
    other = first[:1] + bytes(8) + first[9:]  # of a connection that had our port before
    session.deliver([other])
    assert session.counts.foreign == 1 and session.counts.packets == before
    session.deliver([first])
    assert session.counts.media_bytes() > 0


@given(st.lists(st.binary(min_size=1, max_size=90), max_size=5), st.integers(1, 90))
def test_no_bytes_break_the_receive_path(datagrams: list[bytes], segment: int) -> None:
    receiver = _shared().receiver
    for datagram in datagrams:
        receiver.receive(datagram, segment, 1.0, 0.0)
    assert receiver.close is None


_session: list[Session] = []


def _shared() -> Session:
    if not _session:
        _session.append(Session())
    return _session[0]


def test_a_server_that_closes_is_heard() -> None:
    session = Session()
    session.server.close(error_code=0x101, reason_phrase="enough")
    session.deliver(session.flight())
    assert session.receiver.close is not None and session.receiver.close[1] == "enough"


def test_leaving_closes_the_servers_connection() -> None:
    session = Session()
    session.receiver.leave()
    session.answer()
    assert session.server._close_event is not None and session.server._close_event.error_code == 0x100


def test_wrong_content_is_counted() -> None:
    session = Session()
    stream = session.server.get_next_available_stream_id(is_unidirectional=True)
    session.server.send_stream_data(stream, PREAMBLE + bytes(FRAME_BYTES), end_stream=True)
    session.settle()
    assert session.frames.wrong > 0 and session.frames.whole == 0


# --- the flood -------------------------------------------------------------------------------------------


def test_a_forged_initial_with_a_hello_is_believed_and_one_with_garbage_is_opened() -> None:
    certificate = make_certificate()
    hello, source = flood.client_hello()
    for destination, plain, believed in (
        (b"hello123", hello, True),
        (b"garbage1", flood.garbage(random.Random(1)), False),
    ):
        datagram = flood.initial(destination, source, plain)
        assert len(datagram) == flood.INITIAL_BYTES
        server = server_connection(datagram, certificate.cert, certificate.key)
        server.receive_datagram(datagram, CLIENT, 0.0)
        assert server._cryptos[Epoch.HANDSHAKE].send.is_valid() is believed
