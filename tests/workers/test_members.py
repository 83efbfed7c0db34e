"""Broadcasts that come and go on the frame bus: the reading end knows of them in the order of all else."""

from __future__ import annotations

import asyncio
import os
import random
import sys

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.test_bus import Seen, go_live, picture
from wtgateway.hub import Broadcast
from wtgateway.protocol.targets import Policy
from wtgateway.workers.bus import BusReader, FrameBus
from wtgateway.workers.entries import Entry

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd and eventfd are Linux's")


class Members:
    """A worker's broadcasts, with a viewer on each."""

    def __init__(self) -> None:
        self.here: dict[int, Broadcast] = {}
        self.seen: dict[int, Seen] = {}
        self.gone: list[int] = []

    def entered(self, number: int, name: str) -> Broadcast:
        assert number not in self.seen, "a number was used again"
        broadcast = self.here[number] = Broadcast(name)
        self.seen[number] = Seen()
        broadcast.attach(self.seen[number])
        return broadcast

    def changed(self, number: int, policy: Policy) -> None:
        self.here[number].policy = policy

    def removed(self, number: int) -> None:
        del self.here[number]
        self.gone.append(number)


class End:
    """A reading end that asks for a snapshot when it was overtaken."""

    def __init__(self, bus: FrameBus) -> None:
        self.members, self.snapshots = Members(), 0
        self._bus = bus
        event_fd, start = bus.add_reader()
        self.reader = BusReader(
            (),
            memory_fd=os.dup(bus.fd),
            event_fd=os.dup(event_fd),
            start=start,
            on_overtaken=self._overtaken,
            loop=asyncio.get_running_loop(),
            members=self.members,
        )

    def _overtaken(self) -> None:
        self.snapshots += 1
        self.reader.apply(self._bus.snapshot())

    async def caught_up(self) -> None:
        """All that was written so far is read."""
        done = asyncio.Event()
        self.reader.when_caught_up(done.set)
        await asyncio.wait_for(done.wait(), 20)

    async def start(self) -> None:
        done = asyncio.Event()
        self.reader.start(self._bus.snapshot(), done.set)
        await asyncio.wait_for(done.wait(), 20)


def names(members: Members) -> dict[int, str]:
    return {number: broadcast.name for number, broadcast in members.here.items()}


async def test_one_that_is_removed_and_comes_again_has_another_number() -> None:
    bus = FrameBus(asyncio.get_running_loop(), 1 << 18)
    first, again, other = Broadcast("cam"), Broadcast("cam"), Broadcast("other")
    bus.carry(other)
    go_live(other)
    other.publish(picture(0, 0))  # who begins later reads from here on
    end = End(bus)
    await end.start()
    bus.carry(first)
    go_live(first)
    first.publish(picture(0, 0))
    bus.drop(first)
    first.publish(picture(0, 1))  # its source is still on its way out
    bus.carry(again)
    again.policy = Policy("off", 7)
    bus.announce(again)
    go_live(again)
    again.publish(picture(0, 0, 50))
    await end.caught_up()
    assert names(end.members) == {0: "other", 2: "cam"}
    assert end.members.gone == [1]
    assert [len(frame.payload) for frame in end.members.seen[1].frames] == [100]
    assert [len(frame.payload) for frame in end.members.seen[2].frames] == [50]
    assert end.members.here[2].policy == Policy("off", 7)
    late = End(bus)  # one that begins now reads what was before the snapshot, and knows only what is
    await late.start()
    assert names(late.members) == {0: "other", 2: "cam"}
    assert late.members.gone == []
    assert len(late.members.seen[0].frames) == 1
    for each in (end, late):
        each.reader.close()
    bus.close()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_comes_and_goes_all_ends_agree(seed: int) -> None:
    dice = random.Random(seed)
    bus = FrameBus(asyncio.get_running_loop(), 1 << 16)
    carried: list[Broadcast] = []
    ends: list[End] = []
    for turn in range(300):
        match dice.randrange(5):
            case 0 if len(carried) < 8:
                carried.append(Broadcast(f"b{dice.randrange(5)}"))
                bus.carry(carried[-1])
            case 1 if carried:
                bus.drop(carried.pop(dice.randrange(len(carried))))
            case 2 if carried:
                go_live(dice.choice(carried))
            case 3 if carried:
                broadcast = dice.choice(carried)
                if broadcast.catalog.tracks:
                    for index in range(dice.randrange(40)):  # enough to overtake who does not read
                        broadcast.publish(picture(turn, index, 2000))
            case 4:
                if len(ends) < 3:
                    ends.append(End(bus))
                    await ends[-1].start()
                else:
                    await dice.choice(ends).caught_up()
    for end in ends:
        await end.caught_up()
        assert names(end.members) == {n: b.name for n, b in bus.broadcasts.items()}
        for number, broadcast in end.members.here.items():
            assert broadcast.catalog == bus.broadcasts[number].catalog
            assert broadcast.status == bus.broadcasts[number].status
        end.reader.close()
    assert any(end.snapshots for end in ends), "nobody was overtaken: too little was sent"
    bus.close()


@given(
    st.integers(0, 1 << 24), st.text(max_size=20), st.sampled_from(["off", "fit-all"]), st.binary(max_size=40)
)
def test_an_entry_travels(number: int, name: str, policy: str, state: bytes) -> None:
    entry = Entry(number, name, Policy(policy, 100_000), state)
    assert Entry.unpack(entry.pack()) == entry


@given(
    st.binary(max_size=60) | st.lists(st.none() | st.integers(0, 9) | st.text(max_size=3)).map(msgpack.packb)
)
def test_nonsense_is_no_entry(data: bytes) -> None:
    with pytest.raises(ValueError, match="entry"):
        Entry.unpack(data)
