"""Pages behind real HTTPS reverse proxies, under a path of theirs: list, links, player and reconnecting.

QUIC does not go through the proxy. So that nothing works by chance, the proxy and QUIC are on 127.0.0.2, the
gateway's own pages on 127.0.0.1: a page that is told how the proxy reached them sees no picture.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from scripts.support.gateway import Gateway
from scripts.support.processes import accepts, free_port, running
from tests.e2e import watching
from tests.e2e.browsers import Browser, Chromium, Firefox, Tab
from wtgateway.certs import make_page_certificate, shared_names

FRONT, BACK = "127.0.0.2", "127.0.0.1"
NGINX = """
daemon off; master_process off; worker_processes 1; pid {directory}/nginx.pid; error_log stderr warn;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  server {{
    listen {front}:{port} ssl;
    ssl_certificate {certificate}; ssl_certificate_key {certificate};
    location /live/ {{
      proxy_pass http://{back}/;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Prefix /live;
      proxy_set_header Forwarded "";
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
  bind {front}
  tls {certificate} {certificate}
  handle /live/* {{
    reverse_proxy {back}
  }}
}}
"""


@contextlib.asynccontextmanager
async def proxy(program: str, directory: Path, port: int, gateway: Gateway) -> AsyncIterator[str]:
    """nginx, which takes the path away, or Caddy, which leaves it; gives the pages' address."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    certificate = make_page_certificate(directory, shared_names([FRONT]), time.time())
    words = {"front": FRONT, "back": f"{BACK}:{gateway.web_port}", "port": port, "certificate": certificate}
    text = {"nginx": NGINX, "caddy": CADDY}[program].format(directory=directory, **words)
    file = directory / f"{program}.conf"
    file.write_text(text)
    command = {
        "nginx": ("nginx", "-e", "stderr", "-p", directory, "-c", file),
        "caddy": ("caddy", "run", "--adapter", "caddyfile", "--config", file),
    }[program]
    own = {"HOME": str(directory), "XDG_CONFIG_HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    async with running(*command, env=own) as process:
        await process.until(lambda: accepts(port, FRONT), "port")
        yield f"https://{FRONT}:{port}/live"


async def plays_everywhere(tab: Tab, gateway: Gateway, url: str) -> None:
    """From the list to the player, its pixels, and through a lost session, all below ``url``."""
    await tab.goto(f"{url}/")
    await watching.until(
        tab, "document.querySelector('#broadcasts a')?.innerText.includes('Live')", "the list goes on"
    )
    await tab.click("#broadcasts a")
    await watching.until(tab, f"location.href === '{url}/house/door'", "the player's page")
    await watching.until(tab, "window.player?.stats().state === 'playing'", "playing")
    seen = await watching.counters(tab, 3)
    assert seen == sorted(set(seen))
    told = gateway.get("/api/v1/transport")
    assert await tab.evaluate(f"fetch('{url}/api/v1/transport').then(r => r.json())") == told | {
        "url": f"https://{FRONT}:{gateway.quic_port}",
        "webSocketUrl": f"wss{url.removeprefix('https')}/_ws/",
    }
    await watching.until(tab, "document.querySelector('#statistics-body').childElementCount > 0", "extras")
    await tab.evaluate("window.player.debug.dropSession().then(() => 0)")
    await watching.until(
        tab, "(s => s.state === 'playing' && s.reconnects === 1)(window.player.stats())", "playing again"
    )
    await watching.more_frames(tab, 10)
    asked = await tab.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked and all(name.startswith((f"{url}/", "blob:", "data:")) for name in asked)
    assert [line for line in await tab.console() if line.startswith(("error", "pageerror"))] == []
    assert await tab.goto(f"{url}/no%20name") == 404
    await tab.click("main a.button")
    await watching.until(tab, f"location.href === '{url}/'", "back at the list")


def gateway_behind(directory: Path, *arguments: str) -> Gateway:
    source = ("test:?size=640x360", "--name", "house/door")
    return Gateway(*source, *arguments, directory=directory, host=FRONT, web_host=BACK)


async def test_behind_nginx_that_is_trusted_and_takes_the_path_away(
    launched: Callable[[str], Awaitable[Browser]], tmp_path: Path
) -> None:
    browser = await launched("chromium")
    assert isinstance(browser, Chromium)
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_behind(tmp_path, "--trusted-proxy", "127.0.0.0/8"))
        url = await stack.enter_async_context(proxy("nginx", tmp_path, free_port(host=FRONT), gateway))
        tab = await browser.open(ignore_https_errors=True)
        stack.push_async_callback(tab.close)
        await plays_everywhere(tab, gateway, url)


async def test_with_ipv6_alone(launched: Callable[[str], Awaitable[Browser]], tmp_path: Path) -> None:
    ports = {"quic_port": free_port(socket.SOCK_DGRAM), "web_port": free_port()}
    async with Gateway("test:?size=640x360", directory=tmp_path, host="::1", **ports) as gateway:
        assert gateway.ready["page"] == f"{gateway.url}/test" == f"http://[::1]:{gateway.web_port}/test"
        tab = await (await launched("chromium")).open()
        try:
            await watching.watch(tab, gateway.ready["page"])
            assert len(set(await watching.counters(tab, 2))) == 2
        finally:
            await tab.close()


async def test_behind_caddy_that_is_nobody_and_leaves_the_path(tmp_path: Path) -> None:
    port = free_port(host=FRONT)
    public = ("--public-url", f"https://{FRONT}:{port}/live")
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_behind(tmp_path, *public))
        assert gateway.ready["page"] == f"https://{FRONT}:{port}/live/house/door"
        url = await stack.enter_async_context(proxy("caddy", tmp_path, port, gateway))
        # of its own: in a browser that takes any certificate others would prove nothing
        browser = await Firefox.launch(insecure=True)
        stack.push_async_callback(browser.close)
        await plays_everywhere(await browser.open(), gateway, url)
