"""Which broadcasts a frame bus carries: an entry of each, as it travels. Pure; imports protocol."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from wtgateway.protocol.targets import Policy


@dataclass(frozen=True, slots=True)
class Entry:
    """One broadcast: its number on the bus, how its viewers adapt, and its catalog and state in bytes."""

    number: int
    name: str
    policy: Policy
    state: bytes

    def pack(self) -> bytes:
        """As it travels."""
        policy = self.policy
        data: bytes = msgpack.packb([self.number, self.name, policy.name, policy.floor_bps, self.state])
        return data

    @classmethod
    def unpack(cls, data: bytes) -> Entry:
        """The same when it has arrived. Raises ValueError for what is none."""
        try:
            number, name, policy, floor_bps, state = msgpack.unpackb(data)
        except Exception as error:  # msgpack raises a dozen unrelated types
            raise ValueError("what came over the bus is no entry of a broadcast") from error
        fields = (number, name, policy, floor_bps, state)
        if [type(field) for field in fields] != [int, str, str, int, bytes]:
            raise ValueError("an entry of a broadcast has fields of other types")
        return cls(number, name, Policy(policy, floor_bps), state)
