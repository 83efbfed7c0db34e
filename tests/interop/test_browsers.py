"""Chromium and Firefox with the same session: the draft they speak today, and that it still works."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from tests.e2e.browsers import BROWSERS
from tests.interop.echo import Echo
from tests.interop.serving import endpoint
from tests.transport.ends import fingerprint, make_certificate
from wtgateway.transport.drafts import Draft

RESET = {"chromium": 42, "firefox": "TypeError: Error in input stream"}  # Firefox keeps the code to itself
SCRIPT = """(async () => {
  const hash = Uint8Array.from(atob('HASH'), c => c.charCodeAt(0));
  const wt = new WebTransport('https://127.0.0.1:PORT/interop',
    {serverCertificateHashes: [{algorithm: 'sha-256', value: hash}]});
  await wt.ready;
  const all = async readable => {
    const reader = readable.getReader(), parts = [];
    for (;;) { const {value, done} = await reader.read(); if (done) break; parts.push(...value); }
    return parts;
  };
  const payload = new Uint8Array(100000).map((_, i) => i % 251);
  const same = bytes => bytes.length === payload.length && bytes.every((b, i) => b === payload[i]);
  const write = async writable => {
    const writer = writable.getWriter(); await writer.write(payload); await writer.close();
  };
  const seen = {};
  const bidi = await wt.createBidirectionalStream();
  await write(bidi.writable);
  seen.bidi = same(await all(bidi.readable));
  const theirs = (await wt.incomingBidirectionalStreams.getReader().read()).value;
  const hello = await theirs.readable.getReader().read();
  seen.theirs = new TextDecoder().decode(hello.value);
  const answer = theirs.writable.getWriter();
  await answer.write(new TextEncoder().encode('answer')); await answer.close();
  const incoming = wt.incomingUnidirectionalStreams.getReader();
  await write(await wt.createUnidirectionalStream());
  seen.uni = same(await all((await incoming.read()).value));
  const outgoing = wt.datagrams.createWritable ? wt.datagrams.createWritable() : wt.datagrams.writable;
  const datagrams = outgoing.getWriter();
  await datagrams.write(new TextEncoder().encode('datagram'));
  seen.datagram = new TextDecoder().decode((await wt.datagrams.readable.getReader().read()).value);
  const late = await wt.createBidirectionalStream();
  const writer = late.writable.getWriter();
  await writer.write(new TextEncoder().encode('reset me'));
  try { seen.reset = (await all(late.readable)).length; }
  catch (error) { seen.reset = error.streamErrorCode ?? String(error); }
  wt.close({closeCode: 77, reason: 'enough'});
  await wt.closed;
  return JSON.stringify(seen);
})()"""


@contextlib.asynccontextmanager
async def empty_page() -> AsyncIterator[str]:
    """The address of one: only a secure context has WebTransport."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"
        writer.write(f"{head}<html>".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.browser
@pytest.mark.parametrize("name", list(BROWSERS))
async def test_a_browsers_session(name: str) -> None:
    server = Echo()
    browser = await BROWSERS[name].launch()
    try:
        async with endpoint(lambda: server, "echo-1") as (port, served), empty_page() as page:
            tab = await browser.open()
            await tab.goto(page)
            script = SCRIPT.replace("PORT", str(port)).replace(
                "HASH", base64.b64encode(fingerprint(make_certificate())).decode()
            )
            seen = json.loads(await tab.evaluate(script))
            assert seen.pop("reset") == RESET[name]
            assert seen == {"bidi": True, "theirs": "hello", "uni": True, "datagram": "datagram"}
            async with asyncio.timeout(20):
                await server.over.wait()
            connection = server.open._connection
            assert connection.draft == Draft.DRAFT_02
            assert server.open.credit is None
            assert server.streams[server.own] == b"answer"
            assert server.closes == [(77, "enough")]
            assert served.stats["malformed"] == 0
    finally:
        await browser.close()
