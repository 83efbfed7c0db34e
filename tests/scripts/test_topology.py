"""The network on which roaming is tested does what its drawing says."""

from __future__ import annotations

import socket

import pytest

from scripts.support import namespaces
from scripts.support.topology import HOST, NODES, Topology, node_address, topology

pytestmark = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-")
PATIENCE_S = 5.0


class Conversation:
    """A UDP socket of the client and one at the edge."""

    def __init__(self, world: Topology, family: socket.AddressFamily = socket.AF_INET) -> None:
        self._target = world.net.address_of("edge", family=family)
        self._ends = []
        for name in ("client", "edge"):
            with world.net.inside(name):
                self._ends.append(socket.socket(family, socket.SOCK_DGRAM))
        self.client, self.edge = self._ends
        for end in self._ends:
            end.settimeout(PATIENCE_S)
            end.bind(("", 0))

    def say(self) -> tuple[str, int]:
        """From where the edge hears the client now."""
        self.client.sendto(b"hello", (self._target, self.edge.getsockname()[1]))
        data, source = self.edge.recvfrom(100)
        assert data == b"hello"
        return source[:2]

    def answer(self, target: tuple[str, int]) -> bytes:
        """What the client hears of it."""
        self.edge.sendto(b"back", target)
        return self.client.recv(100)

    def close(self) -> None:
        for end in self._ends:
            end.close()


async def test_the_client_is_translated_rebound_and_moved() -> None:
    async with topology() as world:
        told = Conversation(world)
        first = told.say()
        assert first[0] == "10.9.0.1"
        assert world.mapped_ports()[0] <= first[1] <= world.mapped_ports()[1]
        assert told.say() == first
        assert told.answer(first) == b"back"

        await world.rebind()
        second = told.say()
        assert second[0] == first[0]
        assert world.mapped_ports()[0] <= second[1] <= world.mapped_ports()[1]
        assert second != first
        assert told.answer(second) == b"back"
        told.client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            told.answer(first)
        told.edge.sendto(b"back", first)
        told.close()

        await world.move("mobile")
        told = Conversation(world)
        assert told.answer(told.say()) == b"back"
        told.close()

        await world.move("six")
        told = Conversation(world)
        with pytest.raises(OSError, match="unreachable"):
            told.say()
        told.close()
        told = Conversation(world, socket.AF_INET6)
        assert told.say()[0] == "fd03::2"
        assert told.answer(told.say()) == b"back"
        told.close()


async def test_nodes_are_reached_through_the_edge_and_the_service_by_name() -> None:
    async with topology(up="six") as world:
        for name in NODES:
            for family in (socket.AF_INET, socket.AF_INET6):
                with world.net.inside(name):
                    listening = socket.create_server(("", 0), family=family)
                with world.net.inside("edge"):
                    caller = socket.create_connection(
                        (node_address(name, family), listening.getsockname()[1]), PATIENCE_S
                    )
                caller.close()
                listening.close()
        ask = f"import socket; print(sorted(a[4][0] for a in socket.getaddrinfo('{HOST}', 1, type=2)))"
        assert await world.net.run("client", "python3", "-c", ask) == "['10.9.0.2', 'fd09::2']\n"
