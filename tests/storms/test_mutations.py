"""Short form of the storm of mutations: nothing but errors of ours comes of bytes that are nearly right."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.storms.fuzzer import Fuzzer
from scripts.storms.h3scene import SCENES, Where, _Scene, scene
from scripts.storms.mutate import MOST_BYTES, Mutator
from scripts.storms.targets import ALLOWED, Target, targets
from wtgateway.errors import ProtocolError
from wtgateway.protocol.websocket_messages import parse

TARGETS = targets()
INPUTS = 600
CHOICES = {each.name: each for each in TARGETS}


@pytest.mark.parametrize("target", TARGETS, ids=[each.name for each in TARGETS])
def test_mutated_inputs_raise_nothing_but_errors_of_ours(target: Target) -> None:
    mutator = Mutator(target.corpus, 1)
    for _ in range(INPUTS // (3 if target.share < 8 else 1)):
        data = mutator.next()
        try:
            target.feed(data)
        except ALLOWED:
            continue
        except Exception as error:
            pytest.fail(f"{target.name}: {data.hex()}: {error!r}")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(CHOICES)), st.data())
def test_whatever_hypothesis_makes_of_a_valid_input(name: str, choose: st.DataObject) -> None:
    """As above, with inputs that hypothesis shrinks to the one octet that matters."""
    target = CHOICES[name]
    data = bytearray(choose.draw(st.sampled_from(target.corpus)))
    for _ in range(choose.draw(st.integers(0, 3))):
        at = choose.draw(st.integers(0, len(data)))
        data[at : at + choose.draw(st.integers(0, 8))] = choose.draw(st.binary(max_size=8))
    with contextlib.suppress(*ALLOWED):
        target.feed(bytes(data))


def test_every_target_has_valid_inputs_that_it_takes() -> None:
    """Else the storm is one of noise. Vectors of what is malformed, and of others, are among them."""
    for target in TARGETS:
        assert target.corpus, target.name
        taken = 0
        for data in target.corpus:
            with contextlib.suppress(*ALLOWED):
                target.feed(data)
                taken += 1
        refused_as_a_whole = target.name == "tokens of resumption"  # sealed with a key that nobody has
        assert taken or refused_as_a_whole, target.name


def test_the_scene_is_a_server_with_a_session() -> None:
    opened = _Scene()
    opened.stream(2, b"\0" + SCENES[2][2:])
    opened.stream(0, next(each for each in SCENES if each[0] == Where.REQUEST)[1:])
    assert opened.server.draft is not None
    assert set(opened.server.sessions) == {0}
    scene(b"")


def test_the_same_seed_makes_the_same_inputs_and_another_seed_others() -> None:
    corpus = [b"hello, this is valid", bytes(range(64))]
    one, same, other = (Mutator(corpus, seed) for seed in (7, 7, 8))
    first = [one.next() for _ in range(200)]
    assert first == [same.next() for _ in range(200)]
    assert first != [other.next() for _ in range(200)]
    assert len(set(first)) > 150
    assert all(len(each) <= MOST_BYTES for each in first)


def test_a_fault_is_found_and_told_with_its_input() -> None:
    """A decoder that falls over one octet of all."""

    def falls(data: bytes) -> None:
        if b"\x7f" in data:
            raise IndexError("a fault")
        raise ProtocolError(0x10, "no")

    fuzzer = Fuzzer(1, [Target("planted", (bytes(40),), falls)])
    while not fuzzer.faults:
        fuzzer.round()
    assert "7f" in fuzzer.faults[0]["input"]
    assert "IndexError: a fault" in fuzzer.faults[0]["traceback"]
    assert fuzzer.faults[0]["target"] == "planted"


@given(st.binary(max_size=80))
def test_websocket_messages_are_whole_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        kind, body = parse(data)
        assert bytes((kind,)) + body == data


def test_mutations_reach_both_sides_of_a_decoder() -> None:
    """Most are refused, and some are taken: they are neither noise nor copies."""
    dice = random.Random(1)
    for target in dice.sample([each for each in TARGETS if "tokens" not in each.name], 6):
        mutator, taken = Mutator(target.corpus, 3), 0
        for _ in range(400):
            with contextlib.suppress(*ALLOWED):
                target.feed(mutator.next())
                taken += 1
        assert taken > 0, target.name
