"""Who is let in, and for how long: a real gateway, asked over QUIC, WebSockets and HTTP, real key servers."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.test_gateway import QUERY, Watcher, running, settings, watching
from wtgateway import clock
from wtgateway import log as logs
from wtgateway.access import jwks
from wtgateway.access.own_tokens import create_token, load_key
from wtgateway.access.permissions import parse_permissions
from wtgateway.access.secrets import hash_password, hash_token, new_token
from wtgateway.config import AccessConfig, BroadcastConfig, GatewayConfig
from wtgateway.errors import SessionRefused
from wtgateway.gateway import Gateway
from wtgateway.protocol.codes import CloseCode
from wtgateway.protocol.messages import Access, Authenticate, Welcome, pack
from wtgateway.transport.client import connect, disconnect
from wtgateway.transport.websocket_client import connect_websocket, disconnect_websocket
from wtgateway.viewer import Viewer, ViewOptions

SOURCE = "test:?size=160x90&fps=10"
LIFE_S = 6  # of a token that is over in the middle of a session


def configured(tmp_path: Path, access: AccessConfig, **changes: Any) -> GatewayConfig:
    """Two broadcasts without sound, and that access control."""
    names = ("test", "other")
    broadcasts = tuple(
        BroadcastConfig(name=name, source=SOURCE, audio=None, on_demand=name != "test") for name in names
    )
    return replace(settings(tmp_path, access=access, broadcasts=broadcasts), **changes)


def token_for(
    gateway: Gateway, *permissions: str, seconds: int = 3600, identity: str = ""
) -> tuple[str, str]:
    """A token of the gateway's own, and its id."""
    key = load_key(gateway.config.certs_dir / "access.key")
    return create_token(
        key,
        parse_permissions(permissions),
        now_us=clock.now_us(),
        valid_us=seconds * 1_000_000,
        identity=identity,
    )


def web(gateway: Gateway) -> str:
    assert gateway.web_address is not None
    return f"http://127.0.0.1:{gateway.web_address[1]}"


async def refusal(gateway: Gateway, path: str, **headers: str) -> int:
    """The status with which a CONNECT is refused."""
    host, port = next(a for a in gateway.quic_addresses if ":" not in a[0])
    hashes = [entry["value"] for entry in gateway.certificate_hashes()]
    with pytest.raises(SessionRefused) as caught:
        await connect(f"https://{host}:{port}{path}", Watcher(), certificate_hashes=hashes, headers=headers)
    assert not any(word in caught.value.reason for word in ("expired", "signature", "pattern"))
    return caught.value.status


def say(watcher: Watcher, token: str) -> None:
    assert watcher.session is not None
    watcher.session.send(watcher.control, pack(Authenticate(token=token)))
    watcher.session.flush()


@pytest.fixture
def everything_logged(capfd: pytest.CaptureFixture[str]) -> Iterator[list[str]]:
    """Secrets put into the list must not be found in anything that was logged, workers included."""
    secrets: list[str] = []
    stream = io.StringIO()
    logs.setup(level="debug", stream=stream)
    try:
        yield secrets
    finally:
        logs.setup(level="warning")
    out, err = capfd.readouterr()
    logged = stream.getvalue() + out + err
    assert "viewer joined" in logged, "nothing was captured"
    assert secrets
    for secret in secrets:
        assert secret not in logged
        assert secret.split(".")[-1] not in logged, "the signature alone"


# --- one gateway with its own tokens -----------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
async def test_tokens_let_in_end_are_renewed_and_are_taken_back(
    tmp_path: Path, workers: int, everything_logged: list[str]
) -> None:
    config = configured(tmp_path, AccessConfig(mode=("token",)), workers=workers, log_level="debug")
    async with running(config) as gateway:
        good, good_id = token_for(gateway, "read:test", "control:test", identity="anna")
        foreign, _ = token_for(gateway, "read:test", identity="carl")
        admin, _ = token_for(gateway, "api:*", "metrics:*")
        everything_logged += [good, foreign, admin]

        assert await refusal(gateway, "/test" + QUERY) == 401
        assert await refusal(gateway, "/nowhere" + QUERY) == 401  # who may not look learns nothing
        assert await refusal(gateway, f"/test{QUERY}&token=abc.def.ghi") == 401
        assert await refusal(gateway, f"/other{QUERY}&token={good}") == 403
        assert await refusal(gateway, f"/other{QUERY}", authorization=f"Bearer {good}") == 403

        # Two that are over in some seconds, of which one is followed by another in time.
        seconds = LIFE_S if workers == 2 else 3600
        short, _ = token_for(gateway, "read:test", seconds=seconds, identity="anna")
        doomed, _ = token_for(gateway, "read:test", seconds=seconds, identity="bert")
        everything_logged += [short, doomed]
        async with (
            watching(gateway, f"/test{QUERY}&token={short}") as renewed,
            watching(gateway, f"/test{QUERY}&token={doomed}") as over,
            watching(gateway, f"/test{QUERY}&auth=later") as later,
        ):
            await renewed.until(lambda: bool(renewed.of(Access)) and len(renewed.frames) > 1)
            told = renewed.of(Access)[0]
            assert (told.granted, told.actions) == (True, ["read"])
            assert 0 < told.expires_in_ms <= seconds * 1000 + 1000

            # Another token carries a session over the first one's end; that of somebody else does not.
            say(renewed, foreign)
            await renewed.until(lambda: len(renewed.of(Access)) == 2)
            assert renewed.of(Access)[1] == Access(granted=False)
            say(renewed, good)
            await renewed.until(lambda: len(renewed.of(Access)) == 3)
            assert renewed.of(Access)[2].actions == ["read", "control"]

            # Nothing is said before the token but that there is none.
            await later.until(lambda: bool(later.messages))
            assert later.messages == [Access(granted=False)]
            say(later, "abc.def.ghi")
            await later.until(lambda: len(later.messages) == 2)
            assert later.messages[1] == Access(granted=False)
            say(later, good)
            await later.until(lambda: bool(later.of(Welcome)) and len(later.frames) > 1)
            assert later.of(Access)[-1].actions == ["read", "control"]

            if workers == 2:
                await over.until(lambda: over.end is not None)
                assert over.end is not None
                assert over.end[0] == CloseCode.UNAUTHORIZED
            else:
                assert over.session is not None
                over.session.close(0, "")
                over.session.flush()
            seen = len(renewed.frames)
            await renewed.until(lambda: len(renewed.frames) > seen + 10)
            assert renewed.end is None

            async with httpx.AsyncClient(base_url=web(gateway)) as client:
                bearer = {"authorization": f"Bearer {admin}"}
                sessions = await _sessions(client, bearer, 2)
                assert {(s["identity"], s["address"]) for s in sessions} == {("anna", "127.0.0.1")}
                gone = await client.post(
                    "/api/v1/access/revocations", json={"tokenId": good_id, "until": None}, headers=bearer
                )
                assert gone.status_code == 201
                await asyncio.gather(
                    *(each.until(lambda each=each: each.end is not None) for each in (renewed, later))
                )
                assert {renewed.end[0], later.end[0]} == {CloseCode.REVOKED}
                assert await refusal(gateway, f"/test{QUERY}&token={good}") == 401
                listed = await client.get("/api/v1/access/revocations", headers=bearer)
                assert listed.json() == [{"tokenId": good_id, "until": None}]
                stored = gateway.config.certs_dir / "revocations.json"
                assert json.loads(stored.read_text()) == [[good_id, "", 0]]
                assert stored.stat().st_mode & 0o077 == 0
                path, again = "/api/v1/access/revocations", {"tokenId": good_id}
                assert (await client.delete(path, params=again)).status_code == 401
                for answer, query in (
                    (400, {}), (400, again | {"identity": "anna"}), (404, {"identity": good_id}),
                    (204, again), (404, again),
                ):  # fmt: skip
                    gone = await client.delete(path, params=query, headers=bearer | {"x-wtgateway": "1"})
                    assert gone.status_code == answer
                assert json.loads(stored.read_text()) == []
                async with watching(gateway, f"/test{QUERY}&token={good}") as restored:
                    await restored.until(lambda: bool(restored.frames))
        assert (gateway.config.certs_dir / "access.key").stat().st_mode & 0o077 == 0


async def _sessions(client: httpx.AsyncClient, headers: dict[str, str], count: int) -> list[dict[str, Any]]:
    """Sessions as the API lists them, once there are so many: workers tell of theirs now and then."""
    async with asyncio.timeout(10):
        while True:
            found = (await client.get("/api/v1/sessions", headers=headers)).json()
            if len(found) == count:
                return found  # type: ignore[no-any-return]
            await asyncio.sleep(0.05)


async def test_pages_api_and_websockets_ask_the_same_authority(
    tmp_path: Path, everything_logged: list[str]
) -> None:
    config = configured(tmp_path, AccessConfig(mode=("token",), anonymous=("read:other",)), log_level="debug")
    async with running(config) as gateway, httpx.AsyncClient(base_url=web(gateway)) as client:
        good, _ = token_for(gateway, "read:test")
        unused, _ = token_for(gateway, "read:test")
        everything_logged += [good, unused]
        bearer = {"authorization": f"Bearer {good}"}

        page = await client.get("/test")
        assert (page.status_code, page.headers["content-type"][:9]) == (401, "text/html")
        assert "certificateHashes" not in page.text
        assert (await client.get("/nowhere")).text.replace("nowhere", "test") == page.text
        page = await client.get("/test", params={"token": good})
        assert page.status_code == 200
        assert "certificateHashes" in page.text
        assert good not in page.text
        assert (await client.get("/other")).status_code == 200

        names = [b["name"] for b in (await client.get("/api/v1/broadcasts")).json()]
        assert names == ["other"]
        names = [b["name"] for b in (await client.get("/api/v1/broadcasts", headers=bearer)).json()]
        assert names == ["test", "other"]
        told = await client.get("/api/v1/transport", params={"broadcast": "test"})
        assert (told.status_code, told.json()["status"]) == (401, 401)
        assert told.headers["www-authenticate"].startswith("Bearer")
        assert (
            await client.get("/api/v1/transport", params={"broadcast": "test"}, headers=bearer)
        ).status_code == 200
        for path in ("/metrics", "/api/v1/sessions", "/api/v1/access/revocations"):
            assert (await client.get(path)).status_code == 401
            assert (await client.get(path, headers=bearer)).status_code == 403
        assert (await client.get("/healthz")).status_code == 200

        base = web(gateway).replace("http:", "ws:")
        with pytest.raises(SessionRefused) as caught:
            await connect_websocket(f"{base}/_ws/test{QUERY}", Watcher())
        assert caught.value.status == 401
        watcher = Watcher()
        session = await connect_websocket(f"{base}/_ws/test{QUERY}&token={good}", watcher)
        await watcher.until(lambda: bool(watcher.of(Access)))
        assert watcher.of(Access)[0].granted
        await disconnect_websocket(session)

        # The native viewer takes a link as it was shared.
        frames: list[Any] = []
        viewer = Viewer(
            ViewOptions(url=f"{web(gateway)}/test?token={good}", decode=False),
            on_frame=lambda frame: (frames.append(frame), viewer.stop()),
        )
        async with asyncio.timeout(20):
            await viewer.run()
        assert frames
        with pytest.raises(SessionRefused) as caught:
            await Viewer(ViewOptions(url=f"{web(gateway)}/test", decode=False)).run()
        assert caught.value.status == 401

        # Whoever guesses is slowed, and does not lock out who was let in from the same address.
        statuses = []
        for number in range(9):
            answer = await client.get("/api/v1/broadcasts", headers={"authorization": f"Bearer x.y.{number}"})
            statuses.append(answer.status_code)
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert int(answer.headers["retry-after"]) >= 1
        late = {"authorization": f"Bearer {unused}"}
        assert (await client.get("/api/v1/broadcasts", headers=late)).status_code == 429
        assert await refusal(gateway, f"/test{QUERY}&token={unused}") == 429
        assert (await client.get("/api/v1/broadcasts", headers=bearer)).status_code == 200


async def test_pages_of_other_origins_may_not_connect(tmp_path: Path) -> None:
    listed = AccessConfig(origins=("https://partner.example",))
    async with running(configured(tmp_path, listed)) as gateway:
        assert await refusal(gateway, "/test" + QUERY, origin="https://evil.example") == 403
        base = web(gateway).replace("http:", "ws:")
        with pytest.raises(SessionRefused) as caught:
            await connect_websocket(
                f"{base}/_ws/test{QUERY}", Watcher(), headers={"origin": "https://evil.example"}
            )
        assert caught.value.status == 403
        host, port = next(a for a in gateway.quic_addresses if ":" not in a[0])
        hashes = [entry["value"] for entry in gateway.certificate_hashes()]
        for origin in ("http://localhost:8080", "https://partner.example"):
            watcher = Watcher()
            session = await connect(
                f"https://{host}:{port}/test{QUERY}", watcher, certificate_hashes=hashes,
                headers={"origin": origin},
            )  # fmt: skip
            await watcher.until(lambda watcher=watcher: bool(watcher.frames))
            assert watcher.of(Access)[0].actions == ["read", "publish", "control", "api", "metrics"]
            await disconnect(session)
        # Where nobody proves anything, what is not watching is for the gateway's own machine, by its name.
        async with httpx.AsyncClient(base_url=web(gateway)) as client:
            assert (await client.get("/metrics")).status_code == 200
            assert (await client.get("/metrics", headers={"host": "evil.example"})).status_code in (403, 421)
            assert (await client.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"})).status_code == 403


# --- others decide -----------------------------------------------------------------------------------


class Service:
    """An HTTP service: a JWK Set, and a callback. ``gate`` closed: the callback does not answer."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._say(200, {"keys": service.keys})

            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["content-length"])))
                service.asked.append(question)
                if question["token"].startswith("slow"):
                    service.waiting.set()
                    service.gate.wait(20)
                if question["token"].startswith(("yes", "slow")) and question["broadcast"] == "test":
                    self._say(200, {"identity": "called", "permissions": ["read:test", "control:test"]})
                else:
                    self._say(403 if question["token"].startswith("yes") else 401, {})

            def _say(self, status: int, value: Any) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def key_pair(kid: str) -> tuple[Any, dict[str, Any]]:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return key, {**public, "kid": kid, "use": "sig", "alg": "ES256"}


@asynccontextmanager
async def watched(gateway: Gateway, token: str) -> AsyncIterator[Access]:
    """What the gateway says to a viewer with that token, which it lets in."""
    async with watching(gateway, f"/test{QUERY}&token={token}") as watcher:
        await watcher.until(lambda: bool(watcher.of(Access)) and bool(watcher.frames))
        yield watcher.of(Access)[0]


@pytest.mark.parametrize("workers", [1, 2])
async def test_keys_rotate_users_have_tokens_and_services_are_asked(
    tmp_path: Path,
    workers: int,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    everything_logged: list[str],
) -> None:
    monkeypatch.setattr(jwks, "UNKNOWN_EVERY_S", 0.0)
    first, first_public = key_pair("a")
    second, second_public = key_pair("b")
    service.keys = [first_public]
    anna = new_token()
    users = tmp_path / "users.yml"
    users.write_text(
        f"anna:\n  token: {hash_token(anna)}\n  password: {hash_password('geheim-1')}\n"
        "  permissions: [read:test, metrics]\n"
    )
    access = AccessConfig(
        mode=("static", "jwt", "callback"),
        users=users,
        jwt_keys=f"{service.url}/jwks",
        jwt_issuer="https://idp.example",
        jwt_audience="video",
        jwt_claim="realm_access.video",
        callback=f"{service.url}/check",
    )

    def issued(key: Any, kid: str, **changes: Any) -> str:
        claims = {
            "iss": "https://idp.example", "aud": "video", "sub": "kc-user",
            "exp": clock.now_us() // 1_000_000 + 600, "realm_access": {"video": ["read:te*"]},
        }  # fmt: skip
        token = jwt.encode({**claims, **changes}, key, algorithm="ES256", headers={"kid": kid})
        everything_logged.append(token)
        return token

    config = configured(tmp_path, access, workers=workers, log_level="debug")
    async with running(config) as gateway:
        everything_logged += [anna, "geheim-1", "yes-7f3a9c"]
        async with watched(gateway, anna) as told:
            assert told.actions == ["read", "metrics"]
        async with watched(gateway, issued(first, "a")) as told:
            assert told.expires_in_ms > 500_000
        assert await refusal(gateway, f"/test{QUERY}&token={issued(first, 'a', aud='other')}") == 401
        assert await refusal(gateway, f"/other{QUERY}&token={issued(first, 'a')}") == 403
        assert await refusal(gateway, f"/test{QUERY}&token={issued(second, 'b')}") == 401
        service.keys = [second_public]
        async with watched(gateway, issued(second, "b")):
            pass

        async with watched(gateway, "yes-7f3a9c") as told:
            assert told.actions == ["read", "control"]
        asked = next(question for question in service.asked if question["token"] == "yes-7f3a9c")
        assert asked | {"token": ""} == {
            "token": "", "action": "read", "broadcast": "test", "ip": "127.0.0.1", "protocol": "webtransport",
        }  # fmt: skip
        assert await refusal(gateway, f"/other{QUERY}&token=yes-7f3a9c") == 403

        async with httpx.AsyncClient(base_url=web(gateway)) as client:
            assert (await client.get("/metrics", auth=("anna", "geheim-1"))).status_code == 200
            assert (await client.get("/metrics", auth=("anna", "geheim-2"))).status_code == 401

        # A service that does not answer holds its own viewer, and nobody else.
        service.gate.clear()
        waits = asyncio.ensure_future(_first_frame(gateway, "slow-5511"))
        await asyncio.to_thread(service.waiting.wait, 10)
        async with watched(gateway, anna):
            assert not waits.done()
        service.gate.set()
        await waits


async def _first_frame(gateway: Gateway, token: str) -> None:
    async with watched(gateway, token):
        pass


async def test_a_service_that_never_answers_is_given_up(tmp_path: Path, service: Service) -> None:
    access = AccessConfig(mode=("callback",), callback=service.url, callback_timeout_s=0.2)
    async with running(configured(tmp_path, access)) as gateway:
        service.gate.clear()
        assert await refusal(gateway, f"/test{QUERY}&token=slow-1") == 503
