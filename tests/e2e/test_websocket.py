"""Browsers where UDP is dropped: pages and WebSockets behind nginx and Caddy, and over HTTP/2 by themselves.

Client and server are in namespaces of their own, and the server's takes no UDP until it is told to.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from scripts.support import namespaces
from scripts.support.gateway import Gateway
from scripts.support.namespaces import Network, network
from scripts.support.processes import accepts, running
from tests.e2e import watching
from tests.e2e.browsers import Browser, Chromium, Firefox, Tab
from wtgateway.certs import make_page_certificate, shared_names

pytestmark = pytest.mark.skipif(bool(namespaces.why_not()), reason=namespaces.why_not() or "-")

CLIENT, SERVER = "10.87.0.1", "10.87.0.2"
QUIC, PAGES, NGINX_PORT, CADDY_PORT = 4433, 8443, 9441, 9442
BLOCK = """
table inet wall {
  chain input {
    type filter hook input priority 0;
    meta l4proto udp drop
  }
}
"""
NGINX = """
daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
  server {{
    listen {port} ssl http2;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    location /live/ {{
      proxy_pass https://{back}/;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Prefix /live;
    }}
  }}
}}
"""
CADDY = """
{{
  admin off
  auto_https off
}}
https://{front}:{port} {{
  tls {certificate} {certificate}
  handle_path /live/* {{
    reverse_proxy https://{back} {{
      header_up X-Forwarded-Prefix /live
      transport http {{
        tls_insecure_skip_verify
      }}
    }}
  }}
}}
"""


@dataclass
class Walled:
    """The running servers: UDP is dropped until :meth:`open`."""

    net: Network
    gateway: Gateway

    async def block(self) -> None:
        await self.net.run("server", "nft", "-f", "-", stdin=BLOCK)

    async def open(self) -> None:
        await self.net.run("server", "nft", "delete table inet wall")


@contextlib.asynccontextmanager
async def proxies(net: Network, directory: Path, certificate: Path) -> AsyncIterator[None]:
    """nginx and Caddy in the server's namespace."""
    words = {"directory": directory, "certificate": certificate, "front": SERVER, "back": f"{SERVER}:{PAGES}"}
    nginx, caddy = directory / "nginx.conf", directory / "Caddyfile"
    nginx.write_text(NGINX.format(port=NGINX_PORT, **words))
    caddy.write_text(CADDY.format(port=CADDY_PORT, **words))
    own = {"HOME": str(directory), "XDG_CONFIG_HOME": str(directory), "XDG_DATA_HOME": str(directory)}

    def answers(port: int) -> bool:
        with net.inside("client"):
            return accepts(port, SERVER)

    commands = {
        NGINX_PORT: net.command("server", "nginx", "-e", "stderr", "-p", directory, "-c", nginx),
        CADDY_PORT: net.command("server", "caddy", "run", "--adapter", "caddyfile", "--config", caddy),
    }
    async with contextlib.AsyncExitStack() as stack:
        for port, command in commands.items():
            process = await stack.enter_async_context(running(*command, env=own))
            await process.until(lambda port=port: answers(port), "port")  # type: ignore[misc]
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def walled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Walled]:
    for program in ("nginx", "caddy"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory = tmp_path_factory.mktemp("walled")
    certificate = make_page_certificate(directory, shared_names([SERVER]), time.time())
    async with contextlib.AsyncExitStack() as stack:
        net = await stack.enter_async_context(network("client", "server"))
        await net.link("client", "server", f"{CLIENT}/24", f"{SERVER}/24")
        arguments = ("test:?size=640x360", "--name", "test", "--log-level", "debug")
        tls = ("--web-tls-cert", certificate, "--web-tls-key", certificate, "--trusted-proxy", "10.87.0.0/24")
        ports = {"quic_port": QUIC, "web_port": PAGES}
        prefix = net.command("server")
        gateway = await stack.enter_async_context(
            Gateway(*arguments, *tls, directory=directory, host=SERVER, prefix=prefix, **ports)
        )
        await stack.enter_async_context(proxies(net, directory, certificate))
        yield Walled(net, gateway)


@pytest_asyncio.fixture(loop_scope="session")
async def trusting_tab(walled: Walled, browser_name: str) -> AsyncIterator[Tab]:
    """A tab inside, that takes our own certificates."""
    prefix = walled.net.command("client")
    browser: Browser
    if browser_name == "chromium":
        browser = await Chromium.launch(prefix)
        tab: Tab = await browser.open(ignore_https_errors=True)
    else:
        browser = await Firefox.launch(prefix, insecure=True)
        tab = await browser.open()
    yield tab
    await browser.close()


async def test_it_plays_where_udp_is_dropped_and_goes_back_when_it_is_not(
    walled: Walled, trusting_tab: Tab
) -> None:
    tab = trusting_tab
    await walled.block()
    for base in (f"{NGINX_PORT}/live", f"{CADDY_PORT}/live", f"{PAGES}"):
        await watching.watch(tab, f"https://{SERVER}:{base}/test", sound=base == f"{PAGES}")
        assert (await watching.stats(tab))["transport"] == "websocket", base
        seen = await watching.counters(tab, 3)
        assert seen == sorted(set(seen)), base
    versions = re.findall(r"over a WebSocket.* http=([0-9.]+)", walled.gateway.program.output(10_000))
    assert versions[-1] == "2", "the gateway's own pages are over HTTP/2, and so is this"
    assert {"1.1"} <= set(versions), "proxies ask over HTTP/1.1"
    before = await watching.stats(tab)
    await walled.open()
    await tab.evaluate("dispatchEvent(new Event('online'))")
    await watching.until(
        tab, "window.player.stats().transport === 'webtransport'", "WebTransport", watching.PATIENCE_S + 30
    )
    await watching.more_frames(tab, 10)
    seen = await watching.counters(tab, 3)
    assert seen == sorted(set(seen))
    after = await watching.stats(tab)
    assert after["reconnects"] == before["reconnects"]
    assert after["state"] == "playing"
