"""hypercorn on real sockets: ports, errors, TLS, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wtgateway.errors import ConfigError
from wtgateway.web.app import create_app
from wtgateway.web.server import Address, serve

from .conftest import CLIENT_DIR, FakeView


@contextlib.asynccontextmanager
async def serving(host: str = "127.0.0.1", app=None, **options) -> AsyncIterator[list[Address]]:
    """The application on a free port, shut down in order at the end."""
    shutdown = asyncio.Event()
    bound: asyncio.Future[list[Address]] = asyncio.get_running_loop().create_future()
    app = app or create_app(FakeView(), CLIENT_DIR)
    task = asyncio.create_task(
        serve(app, host=host, port=0, shutdown=shutdown, started=bound.set_result, **options)
    )
    await asyncio.wait([task, bound], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield bound.result()
    finally:
        shutdown.set()
        await asyncio.wait_for(task, 20)


async def test_port_zero_is_a_real_port():
    async with serving() as [(host, port)]:
        assert (host, port > 0) == ("127.0.0.1", True)
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"http://127.0.0.1:{port}/healthz")
        assert answer.text == "ok\n"
        assert "server" not in answer.headers


async def test_many_requests_on_one_connection_and_head():
    async with serving() as [(_, port)], httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        for _ in range(5):
            assert (await http.get("/api/v1/transport")).json()["url"] == "https://127.0.0.1:4433"
        assert (await http.head("/test")).content == b""


async def test_a_name_with_several_addresses_listens_on_all_with_one_port():
    async with serving("localhost") as addresses:
        assert len({port for _, port in addresses}) == 1
        async with httpx.AsyncClient() as http:
            for host, port in addresses:
                shown = f"[{host}]" if ":" in host else host
                assert (await http.get(f"http://{shown}:{port}/healthz")).status_code == 200


async def test_a_taken_port_is_an_error_in_words():
    app = create_app(FakeView(), CLIENT_DIR)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            await serve(app, host="127.0.0.1", port=port, shutdown=asyncio.Event())
    assert str(caught.value) == (
        f"--web: '127.0.0.1:{port}' is not usable; "
        "expected an address that no other program uses (try another port)"
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_of_elsewhere_is_an_error_in_words(host):
    app = create_app(FakeView(), CLIENT_DIR)
    with pytest.raises(ConfigError, match=f"--web: '{host}:0' is not usable"):
        await serve(app, host=host, port=0, shutdown=asyncio.Event())


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_path, key_path


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
async def test_tls_serves_both_protocols(tls_files, protocol):
    cert, key = tls_files
    context = ssl.create_default_context(cafile=str(cert))
    context.set_alpn_protocols([protocol])
    async with serving(tls_cert=cert, tls_key=key) as [(_, port)]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == protocol
        if protocol == "http/1.1":
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"ready\n" in await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_unusable_tls_files_are_an_error_in_words(tls_files, tmp_path):
    cert, _ = tls_files
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    app = create_app(FakeView(), CLIENT_DIR)
    for key in (broken, tmp_path / "missing.pem"):
        with pytest.raises(ConfigError, match=r"--web-tls-cert, --web-tls-key: .* a certificate and its key"):
            await serve(app, host="127.0.0.1", port=0, tls_cert=cert, tls_key=key, shutdown=asyncio.Event())


async def test_shutdown_closes_idle_connections_and_frees_the_port():
    async with serving() as [(host, port)]:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in await reader.readline()
    await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    with socket.create_server((host, port)):
        pass


async def test_garbage_on_the_port_does_not_end_serving():
    async with serving() as [(host, port)]:
        for data in (b"\x16\x03\x01\x00\x05hello", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n"):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(data)
            writer.close()
            await writer.wait_closed()
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://{host}:{port}/healthz")).status_code == 200
