"""A node behind a balancer with several workers: connection IDs lead to the node and to the worker."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.test_gateway import Watcher, running, settings
from tests.workers.test_gateway import one_viewer_each, until
from wtgateway.cluster import make_secret
from wtgateway.config import ClusterConfig, GatewayConfig, LbSettings, TransportConfig
from wtgateway.errors import ConfigError
from wtgateway.gateway import Gateway
from wtgateway.transport import steering
from wtgateway.transport.quic_lb import LbConfig, server_id_of

pytestmark = pytest.mark.skipif(bool(steering.why_not()), reason=steering.why_not())

KEY = bytes(range(16))
LB = f"""
configs: [{{rotation: 3, server_id_length: 2, nonce_length: NONCE, key: {KEY.hex()}}}]
listen: ":4433"
nodes:
  - {{name: a, server_id: 0001, address: "10.0.0.11:4433"}}
  - {{name: b, server_id: 0002, address: "10.0.0.12:4433"}}
"""


def balanced(tmp_path: Path, *, nonce: int = 8, **changes: Any) -> GatewayConfig:
    """Node b of two."""
    (tmp_path / "lb.yml").write_text(LB.replace("NONCE", str(nonce)))
    (tmp_path / "lb.yml").chmod(0o600)
    make_secret(tmp_path / "secret")
    return settings(
        tmp_path,
        node="b",
        lb=LbSettings(config=tmp_path / "lb.yml"),
        cluster=ClusterConfig(secret=tmp_path / "secret"),
        drain_timeout_s=0.0,
        **changes,
    )


def sends_to(watcher: Watcher) -> bytes:
    """The connection ID that the viewer puts on its packets."""
    assert watcher.session is not None
    cid = watcher.session._connection.quic._peer_cid.cid
    assert isinstance(cid, bytes)
    return cid


async def test_workers_of_a_node_behind_a_balancer(tmp_path: Path) -> None:
    """Each viewer has proved its address, perhaps to the other worker; a death is told at once."""
    config = balanced(tmp_path, workers=2, transport=TransportConfig(retry_above=0.0))
    async with running(config) as gateway, one_viewer_each(gateway) as watchers:
        assert gateway.pool is not None
        for number, watcher in enumerate(watchers):
            await watcher.until(lambda w=watcher: len(w.frames) > 5)
            cid = sends_to(watcher)
            assert server_id_of({3: LbConfig(3, 2, 8, KEY)}, cid) == b"\0\2"
            assert gateway.identity.rule(2).worker_of(cid) == number
        await until(lambda: sum(w.counters.get("retries", 0) for w in gateway.worker_summaries()) >= 2)
        pid = gateway.pool.process_ids()[0]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        ping = asyncio.create_task(keep_talking(watchers[0]))
        await watchers[0].until(lambda: watchers[0].end is not None)
        ping.cancel()
        assert watchers[0].end is not None
        assert "lost the connection" in watchers[0].end[1]
        frames = len(watchers[1].frames)
        await watchers[1].until(lambda: len(watchers[1].frames) > frames)
        await until(
            lambda: sum(w.counters.get("stateless_resets", 0) for w in gateway.worker_summaries()) >= 1
        )
        assert watchers[1].end is None


async def keep_talking(watcher: Watcher) -> None:
    """What a viewer of a live picture does anyway: it acknowledges, reports, asks."""
    assert watcher.session is not None
    while True:
        watcher.session.send_datagram(bytes(20))
        watcher.session.flush()
        await asyncio.sleep(0.05)


async def test_a_single_worker_issues_such_ids_too(tmp_path: Path) -> None:
    async with running(balanced(tmp_path)) as gateway, one_viewer_each(gateway, workers=1) as (watcher,):
        assert server_id_of({3: LbConfig(3, 2, 8, KEY)}, sends_to(watcher)) == b"\0\2"
        assert len(sends_to(watcher)) == 12
        assert gateway.lb_file is not None


async def test_ids_without_room_for_the_worker_are_refused_before_anything_listens(tmp_path: Path) -> None:
    config = balanced(tmp_path, nonce=17, workers=2)
    with pytest.raises(ConfigError, match="one octet shorter"):
        await Gateway(config).run()


async def test_a_node_that_the_file_does_not_know_is_refused(tmp_path: Path) -> None:
    config = balanced(tmp_path)
    with pytest.raises(ConfigError, match="a node of the LB file"):
        await Gateway(settings(tmp_path, node="c", lb=config.lb)).run()
