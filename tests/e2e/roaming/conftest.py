"""A gateway at the edge of the network, for all tests of roaming."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from scripts.support.gateway import Gateway
from scripts.support.topology import QUIC_PORT, WEB_PORT, Topology


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def edge(only_world: Topology, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """The service is one gateway."""
    gateway = Gateway(
        *("test:", "--size", "640x360"),
        directory=tmp_path_factory.mktemp("roaming"),
        prefix=only_world.net.command("edge"),
        host="::",
        quic_port=QUIC_PORT,
        web_port=WEB_PORT,
    )
    async with gateway:
        yield gateway
