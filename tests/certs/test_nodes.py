"""Certificates across nodes: pages that got their hashes from one node and connect to another.

Nodes have clocks of their own, start late, stand still through a rotation and come back. A page connects to
any of them with what it holds; where that fails it asks any node once more and tries again within a second,
and that must not fail. A browser does what W3C WebTransport calls "verify a certificate hash": it is known,
the certificate is valid by the viewer's clock, and for at most 14 days in all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wtgateway.certs import (
    Certificate,
    CertificateSet,
    CertificateSource,
    CertificateStore,
    DerivedCertificates,
    StoredCertificates,
    shared_names,
)
from wtgateway.certs.manager import LOOK_EVERY_S
from wtgateway.certs.policy import DAY_S, HOUR_S, MAX_ROTATE_S, MAX_VALIDITY_S
from wtgateway.cluster import ClusterSecret

SECRET = ClusterSecret(bytes(range(32)))
NAMES = shared_names(["media.example"])
FIVE_MINUTES = 300.0
START = 1_800_000_000.0


class Node:
    """A gateway as its certificates see it: looks once a second, unless it is down."""

    def __init__(self, source: Callable[[], CertificateSource], skew_s: float = 0.0) -> None:
        self._make, self.skew_s = source, skew_s
        self._source: CertificateSource | None = None
        self._set: CertificateSet | None = None
        self.up = False

    def start(self, now: float) -> None:
        self._source = self._make()
        self._set = self._source.begin(now + self.skew_s)
        self.up = True

    def stop(self) -> None:
        self._source = self._set = None
        self.up = False

    def look(self, now: float) -> None:
        if self.up:
            assert self._source is not None and self._set is not None
            self._set = self._source.look(now + self.skew_s, self._set)

    @property
    def presented(self) -> Certificate:
        assert self._set is not None
        return self._set.current

    @property
    def hashes(self) -> set[bytes]:
        assert self._set is not None
        return {entry["value"] for entry in self._set.hashes()}


def accepts(hashes: set[bytes], certificate: Certificate, viewers_clock: float) -> bool:
    """What a browser decides."""
    window = certificate.window
    in_time = window.not_before <= viewers_clock <= window.not_after
    return (
        certificate.fingerprint in hashes
        and in_time
        and window.not_after - window.not_before <= MAX_VALIDITY_S
    )


class Cluster:
    """Nodes on one true time."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes, self.now = nodes, START
        for node in nodes:
            node.start(self.now)

    def pass_time(self, seconds: float) -> None:
        """All look, in any order, often enough: the last time at the end of ``seconds``."""
        self.now += seconds
        for node in self.nodes:
            node.look(self.now)

    @property
    def up(self) -> list[Node]:
        return [node for node in self.nodes if node.up]


def derived(rotate_s: float) -> Callable[[], CertificateSource]:
    return lambda: DerivedCertificates(SECRET, rotate_s, NAMES)


@given(
    period_s=st.sampled_from([FIVE_MINUTES, 3600.0, float(DAY_S), MAX_ROTATE_S]),
    phase=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-9, 0.5, 1 - 1e-9])),
    asked=st.floats(-FIVE_MINUTES / 2, FIVE_MINUTES / 2),
    answered=st.floats(-FIVE_MINUTES / 2, FIVE_MINUTES / 2),
    viewer=st.floats(-0.9 * HOUR_S, 0.9 * HOUR_S),
    age=st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 5)),
    refreshed=st.floats(-FIVE_MINUTES / 2, FIVE_MINUTES / 2),
)
@settings(max_examples=60, deadline=None)
def test_of_one_secret_fresh_hashes_are_good_on_every_node(
    period_s: float, phase: float, asked: float, answered: float, viewer: float, age: float, refreshed: float
) -> None:
    """How far clocks are off: of the node a page asked, the one that answers, the one it asks again."""
    now = START + phase * period_s
    source = derived(period_s)
    old = {e["value"] for e in source().begin(now - age * period_s + asked).hashes()}
    presented = source().begin(now + answered).current
    fresh = {e["value"] for e in source().begin(now + refreshed).hashes()}
    assert accepts(fresh, presented, now + viewer)
    if age * period_s <= period_s - FIVE_MINUTES:
        assert accepts(old, presented, now + viewer), "a page of almost a period ago needs no second try"


@pytest.mark.parametrize("border", [-299.0, -1.0, 0.0, 1.0, 299.0])
def test_of_one_secret_clocks_five_minutes_apart_meet_at_every_border(border: float) -> None:
    """Every pair of nodes, one five minutes before the other, around the end of a period."""
    at = (START // DAY_S + 1) * DAY_S + border
    slow, fast = Node(derived(DAY_S), -FIVE_MINUTES / 2), Node(derived(DAY_S), FIVE_MINUTES / 2)
    for node in (slow, fast):
        node.start(at)
    for page in (slow, fast):
        for gateway in (slow, fast):
            assert accepts(page.hashes, gateway.presented, at)


def test_of_one_secret_a_node_that_was_down_needs_nothing_but_its_clock() -> None:
    cluster = Cluster([Node(derived(60.0)) for _ in range(3)])
    away = cluster.nodes[0]
    away.stop()
    for _ in range(5):
        cluster.pass_time(60)
    away.start(cluster.now)
    assert {node.presented.fingerprint for node in cluster.nodes} == {away.presented.fingerprint}
    assert all(node.hashes == away.hashes for node in cluster.nodes)


def test_of_one_secret_what_clocks_must_keep_is_one_period() -> None:
    """The limit that is documented: beyond it, what one node says is not good on the other."""
    one, other = Node(derived(60.0), 0.0), Node(derived(60.0), 121.0)
    for node in (one, other):
        node.start(START)
    assert not accepts(one.hashes, other.presented, START)


@pytest.mark.parametrize("skew_s", [0.0, FIVE_MINUTES])
@pytest.mark.parametrize("seed", range(3))
def test_of_one_directory_a_second_try_within_a_second_is_good_on_every_node(
    tmp_path: Path, seed: int, skew_s: float
) -> None:
    """Nodes look at the directory once a second; one at a time is down, sometimes through a rotation."""
    chance = random.Random(seed)
    period_s = 3600.0

    def stored() -> CertificateSource:
        return StoredCertificates(CertificateStore(tmp_path, period_s, NAMES))

    cluster = Cluster([Node(stored, chance.uniform(-skew_s / 2, skew_s / 2)) for _ in range(3)])
    pages = [cluster.nodes[0].hashes]
    tries = cured = 0
    for _ in range(150):
        step = chance.choice([0.0, LOOK_EVERY_S, chance.uniform(0, 3 * period_s)])
        if (node := chance.choice(cluster.nodes)).up and len(cluster.up) > 2:
            node.stop()
        elif not node.up:
            node.start(cluster.now)
        cluster.now += step
        first = chance.choice(cluster.up)
        first.look(cluster.now)  # the others have not looked yet: they are a second behind at most
        for held in (chance.choice(pages), first.hashes, chance.choice(cluster.up).hashes):
            tries += 1
            if accepts(held, chance.choice(cluster.up).presented, cluster.now):
                continue
            cluster.pass_time(LOOK_EVERY_S)
            fresh = chance.choice(cluster.up).hashes
            assert accepts(fresh, chance.choice(cluster.up).presented, cluster.now)
            cured += 1
        cluster.pass_time(LOOK_EVERY_S)
        presented = {n.presented.fingerprint for n in cluster.up}
        assert len(presented) == 1, "within a second all are at the same one, whatever their clocks say"
        pages = [*pages[-20:], chance.choice(cluster.up).hashes]
    assert 0 < cured < tries / 2, "both ways were gone"


def test_of_one_directory_two_nodes_that_look_at_different_times_need_no_second_try(tmp_path: Path) -> None:
    """The faster one has gone on; what it tells pages is good on the slower one, too."""
    nodes = [
        Node(lambda: StoredCertificates(CertificateStore(tmp_path, 60.0, NAMES)), skew_s)
        for skew_s in (0.0, 30.0)
    ]
    cluster = Cluster(nodes)
    slow, fast = nodes
    before = slow.presented
    fast.look(START + 40)
    assert fast.presented.fingerprint != slow.presented.fingerprint == before.fingerprint
    for page in nodes:
        for gateway in nodes:
            assert accepts(page.hashes, gateway.presented, START + 40)
    cluster.pass_time(41)
    assert fast.presented.fingerprint == slow.presented.fingerprint
