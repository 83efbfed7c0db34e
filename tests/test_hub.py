"""The hub: sharing of bytes, joining from the past, coalescing of keyframe requests."""

from __future__ import annotations

from wtgateway.hub import KEYFRAME_PATIENCE_US, Broadcast, GroupCache, Hub, Status, replay_is_faster
from wtgateway.media import BroadcastState, Catalog, Frame, Kind, Rendition, Track
from wtgateway.protocol.wire import encode_frame

CATALOG = Catalog(
    revision=1,
    tracks=(
        Track(id=0, kind=Kind.VIDEO, renditions=(Rendition(id=0, codec="avc1.42E01F", fps=30.0),)),
        Track(id=1, kind=Kind.AUDIO, renditions=(Rendition(id=0, codec="opus"),)),
    ),
)


class FakeViewer:
    def __init__(self) -> None:
        self.frames: list[tuple[Frame, bytes, Kind]] = []
        self.catalogs: list[Catalog] = []
        self.states: list[Status] = []

    def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
        self.frames.append((frame, data, kind))

    def on_catalog(self, catalog: Catalog) -> None:
        self.catalogs.append(catalog)

    def on_state(self, status: Status) -> None:
        self.states.append(status)


class FakeProducer:
    def __init__(self) -> None:
        self.keyframes: list[int] = []
        self.demand: list[int] = []
        self.wanted: list[frozenset[tuple[int, int]]] = []

    def request_keyframe(self, track: int) -> None:
        self.keyframes.append(track)

    def demand_changed(self, viewers: int) -> None:
        self.demand.append(viewers)

    def wanted_changed(self, wanted: frozenset[tuple[int, int]]) -> None:
        self.wanted.append(wanted)


def video(group: int, index: int, size: int = 100) -> Frame:
    at = (group * 100 + index) * 33_333
    return Frame(
        track=0, rendition=0, group=group, index=index, keyframe=index == 0, pts_us=at, capture_us=at,
        duration_us=33_333, payload=bytes(size),
    )  # fmt: skip


def audio(index: int) -> Frame:
    return Frame(
        track=1, rendition=0, group=0, index=index, keyframe=True, pts_us=index, capture_us=index,
        duration_us=20_000, payload=b"a",
    )  # fmt: skip


def live_broadcast() -> tuple[Broadcast, FakeProducer]:
    broadcast, producer = Broadcast("cam"), FakeProducer()
    broadcast.bind(producer)
    broadcast.set_catalog(CATALOG)
    broadcast.set_status(Status(BroadcastState.LIVE))
    return broadcast, producer


def test_all_viewers_share_one_bytes_object() -> None:
    broadcast, _ = live_broadcast()
    viewers = [FakeViewer(), FakeViewer()]
    for viewer in viewers:
        broadcast.attach(viewer)
    broadcast.publish(video(0, 0))
    (first,), (second,) = (v.frames for v in viewers)
    assert first[1] is second[1]
    assert first[1] == encode_frame(video(0, 0))


def test_a_detached_viewer_hears_nothing_more() -> None:
    broadcast, producer = live_broadcast()
    viewer = FakeViewer()
    broadcast.attach(viewer)
    broadcast.detach(viewer)
    broadcast.detach(viewer)
    broadcast.publish(video(0, 0))
    assert viewer.frames == []
    assert producer.demand == [1, 0]


def test_a_viewer_that_leaves_while_a_frame_is_handed_out_does_not_disturb_the_others() -> None:
    broadcast, _ = live_broadcast()

    class Leaver(FakeViewer):
        def on_frame(self, frame: Frame, data: bytes, kind: Kind) -> None:
            broadcast.detach(self)

    other = FakeViewer()
    broadcast.attach(Leaver())
    broadcast.attach(other)
    broadcast.publish(video(0, 0))
    assert len(other.frames) == 1
    assert broadcast.viewers == 1


def test_a_young_group_is_replayed_and_no_keyframe_is_asked_for() -> None:
    broadcast, producer = live_broadcast()
    frames = [video(3, i) for i in range(4)]
    for frame in frames:
        broadcast.publish(frame)
    assert [c.frame for c in broadcast.join(0, 0, 0)] == frames
    assert producer.keyframes == []


def test_an_old_group_is_not_replayed_but_a_keyframe_is_asked_for() -> None:
    broadcast, producer = live_broadcast()
    for index in range(100):
        broadcast.publish(video(3, index))
    assert list(broadcast.join(0, 0, 0)) == []
    assert producer.keyframes == [0]


def test_keyframe_requests_coalesce_until_the_keyframe_or_until_patience_ends() -> None:
    broadcast, producer = live_broadcast()
    for now_us in (0, 1000, 2000):
        broadcast.request_keyframe(0, 0, now_us)
    assert producer.keyframes == [0]
    assert broadcast.keyframe_requests_coalesced == 2
    broadcast.publish(video(4, 0))
    broadcast.request_keyframe(0, 0, 3000)
    broadcast.request_keyframe(0, 0, 3000 + KEYFRAME_PATIENCE_US)
    assert producer.keyframes == [0, 0, 0]


def test_the_past_is_forgotten_when_the_source_goes_away() -> None:
    broadcast, _ = live_broadcast()
    broadcast.publish(video(0, 0))
    broadcast.publish(audio(0))
    broadcast.set_status(Status(BroadcastState.RETRYING, "gone", 500))
    assert list(broadcast.join(0, 0, 0)) == []
    assert list(broadcast.join(1, 0, 0)) == []


def test_recent_sound_is_bounded() -> None:
    broadcast, _ = live_broadcast()
    for index in range(50):
        broadcast.publish(audio(index))
    assert [c.frame.index for c in broadcast.join(1, 0, 0)] == [46, 47, 48, 49]


def test_a_state_is_told_once() -> None:
    broadcast, _ = live_broadcast()
    viewer = FakeViewer()
    broadcast.attach(viewer)
    for _ in range(2):
        broadcast.set_status(Status(BroadcastState.RETRYING, "gone", 500))
    assert viewer.states == [Status(BroadcastState.RETRYING, "gone", 500)]


def test_a_group_over_the_bound_is_given_up_until_the_next_keyframe() -> None:
    cache = GroupCache(limit_bytes=500)
    broadcast, _ = live_broadcast()
    viewer = FakeViewer()
    broadcast.attach(viewer)
    for index in range(6):
        broadcast.publish(video(0, index))
    for frame, data, _ in viewer.frames:
        from wtgateway.hub import CutFrame

        cache.add(CutFrame(frame, data))
    assert (cache.frames, cache.size_bytes, cache.overflows) == ([], 0, 1)


def test_replay_pays_only_while_it_is_short() -> None:
    assert replay_is_faster(0, 0, 33_333)
    assert replay_is_faster(5, 20_000, 33_333)
    assert not replay_is_faster(60, 200_000, 33_333)
    assert not replay_is_faster(2, 1_000_000, 33_333)


def test_names_are_unique() -> None:
    import pytest

    from wtgateway.errors import ConfigError

    hub = Hub()
    hub.add("a")
    with pytest.raises(ConfigError):
        hub.add("a")
    assert hub.get("b") is None


def test_what_viewers_want_is_told_once_for_all() -> None:
    broadcast, producer = live_broadcast()
    one, other = FakeViewer(), FakeViewer()
    broadcast.attach(one)
    broadcast.attach(other)
    broadcast.want(one, frozenset({(0, 1)}))
    broadcast.want(other, frozenset({(0, 1)}))
    broadcast.want(other, frozenset({(0, 1), (0, 2)}))
    broadcast.detach(one)
    broadcast.detach(other)
    broadcast.want(other, frozenset({(0, 3)}))  # it is gone
    assert producer.wanted == [frozenset({(0, 1)}), frozenset({(0, 1), (0, 2)}), frozenset()]


def test_a_forwarded_group_is_replayed_however_old_and_no_keyframe_is_asked_for() -> None:
    broadcast, producer = live_broadcast()
    forwarded = Rendition(id=0, codec="avc1.64001F", fps=30, forwarded=True)
    broadcast.set_catalog(
        Catalog(revision=9, tracks=(Track(id=0, kind=Kind.VIDEO, renditions=(forwarded,)),))
    )
    for index in range(120):
        broadcast.publish(video(7, index, size=20_000))
    assert [cut.frame.index for cut in broadcast.join(0, 0, 0)] == list(range(120))
    broadcast.request_keyframe(0, 0, 0)
    assert producer.keyframes == []
