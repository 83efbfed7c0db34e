"""The servers of the bench, ours and the peers', each with what it takes to start and to load it."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.benchmarks.fanout import whole
from scripts.benchmarks.systems.environments import environment, interpreter
from scripts.support.processes import Program, free_port, running
from wtgateway.protocol.wire import FRAME_HEADER_BYTES

SERVER_CORE, LOAD_CORE = 0, 1
_START_SECONDS = 30.0
_LOAD = (sys.executable, "-u", "-m", "scripts.benchmarks.fanout.load")


@dataclass(frozen=True, slots=True)
class Server:
    """``load``: the program that plays its viewers; ``arguments`` are that program's for this server."""

    name: str
    command: tuple[str, ...]
    load: tuple[str, ...] = _LOAD
    arguments: tuple[str, ...] = ()
    own_protocol: bool = False  # its load takes no word on acknowledging
    certificate: bool = True

    def at(self, port: int, folder: Path, mode: str, extra: tuple[str, ...]) -> list[str]:
        """The whole command line, pinned to the server's core."""
        given: tuple[str, ...] = ("--port", str(port), *extra)
        if self.certificate:
            given += ("--mode", mode, "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem"))
        else:
            given += ("--web-port", str(free_port()), "--certs-dir", str(folder / "certs"))
        return [*self.command, *given]


def _module(python: str | Path, name: str) -> tuple[str, ...]:
    return (str(python), "-u", "-m", name)


OURS = Server("wtgateway", _module(sys.executable, "scripts.benchmarks.fanout.server"))
WHOLE = Server(
    "the whole gateway",
    _module(sys.executable, "scripts.benchmarks.fanout.whole"),
    arguments=("--path", whole.PATH, "--head", str(FRAME_HEADER_BYTES)),
    certificate=False,
)


def peers() -> list[Server]:
    """Those that can run here, installed; the others are named on stderr with the reason."""
    found = []
    python = environment("fanout-aioquic", "aioquic==1.7.2") / "python"
    found.append(Server("aioquic", _module(python, "scripts.peers.fanout.aioquic_server")))
    if newer := interpreter((3, 12)):
        python = environment("pywebtransport", "pywebtransport==0.21.1", python=newer) / "python"
        command = _module(python, "scripts.peers.fanout.pywebtransport_server")
        found.append(Server("pywebtransport", command, arguments=("--draft", "15")))
    else:
        print("pywebtransport is left out: it needs Python 3.12, and there is none here", file=sys.stderr)
    python = environment("moq", "moq-rs==0.5.1") / "python"
    found.append(
        Server(
            "moq-rs",
            _module(python, "scripts.peers.fanout.moq_server"),
            load=_module(python, "scripts.peers.fanout.moq_load"),
            own_protocol=True,
        )
    )
    return found


def write_certificate(folder: Path) -> None:
    """cert.pem and key.pem, ECDSA P-256 for localhost, as all servers here get it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=10))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextlib.asynccontextmanager
async def serving(
    server: Server, folder: Path, *, mode: str = "streams", pinned: bool = True, extra: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Program, int]]:
    """The server, ready, on its core unless not ``pinned``; its program and port."""
    port = free_port(socket.SOCK_DGRAM)
    command = server.at(port, folder, mode, extra)
    if pinned and len(os.sched_getaffinity(0)) > 1:
        command = ["taskset", "-c", str(SERVER_CORE), *command]
    lines: list[str] = []
    async with running(*command) as program:
        program.on_line = lines.append
        await program.until(lambda: "ready" in lines, "ready line", _START_SECONDS)
        yield program, port
