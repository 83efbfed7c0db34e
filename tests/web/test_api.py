"""The JSON API and health routes, as others build on them."""

from __future__ import annotations

import base64

import httpx
import pytest

from wtgateway.media import Rendition
from wtgateway.web.api import rendition_value
from wtgateway.web.app import create_app
from wtgateway.web.view import NodeSummary

from .conftest import CLIENT_DIR, FakeView, client_for


async def test_broadcasts_are_listed_with_their_tracks(http):
    answer = await http.get("/api/v1/broadcasts")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.json() == [
        {
            "name": "test",
            "state": "live",
            "reason": "",
            "retryInMs": 0,
            "source": "test:",
            "viewers": 2,
            "uptimeS": 61.2,
            "findings": [],
            "targets": [],
            "tracks": [
                {
                    "id": 0,
                    "kind": "video",
                    "renditions": [
                        {
                            "id": 0,
                            "codec": "avc1.42E01F",
                            "bitrateBps": 4_000_000,
                            "width": 1280,
                            "height": 720,
                            "fps": 30.0,
                        }
                    ],
                },
                {
                    "id": 1,
                    "kind": "audio",
                    "renditions": [
                        {
                            "id": 0,
                            "codec": "opus",
                            "bitrateBps": 128_000,
                            "sampleRate": 48_000,
                            "channels": 2,
                        }
                    ],
                },
            ],
        },
        {
            "name": "house/door",
            "state": "retrying",
            "reason": "the source is away: connection refused",
            "retryInMs": 4000,
            "source": "",
            "viewers": 0,
            "uptimeS": 0.0,
            "findings": [],
            "targets": [],
            "tracks": [],
        },
    ]


async def test_transport_gives_current_and_next_certificate(http):
    value = (await http.get("/api/v1/transport")).json()
    assert value["url"] == "https://localhost:4433"
    assert [base64.b64decode(h["value"]) for h in value["certificateHashes"]] == [b"\xab" * 32, b"\xcd" * 32]
    assert value["certificateHashes"][0] | {"value": ""} == {
        "algorithm": "sha-256",
        "value": "",
        "notBefore": "2030-01-01T00:00:00Z",
        "notAfter": "2030-01-14T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("cam.example:8080", "cam.example:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("192.0.2.7", "192.0.2.7"),
        ('evil"><script>', "localhost"),
        ("user@evil.example", "localhost"),
        ("a/b", "localhost"),
        ("", "localhost"),
    ],
)
async def test_only_a_host_reaches_the_gateway_as_host(http, view, host, expected):
    await http.get("/api/v1/transport", headers={"host": host})
    assert view.hosts == [expected]


async def test_certificate_hash_is_bare_hex_of_the_current_one(http):
    answer = await http.get("/certificate.sha256")
    assert answer.text == "ab" * 32
    assert answer.headers["content-type"].startswith("text/plain")


async def test_health_and_readiness(http, view):
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.get("/readyz")).status_code == 200
    view.is_ready = False
    assert (await http.get("/healthz")).status_code == 200
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not ready: the gateway is starting\n")


async def test_before_it_is_ready_there_is_no_transport(http, view):
    view.is_ready, view.hashes = False, []
    for path in ("/api/v1/transport", "/certificate.sha256"):
        answer = await http.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v2/broadcasts", "/api/v1/broadcasts/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_api_paths_are_404_in_json(http, path, method):
    answer = await http.request(method, path)
    if path == "/api" and method == "POST":
        assert answer.status_code == 405
    else:
        assert answer.status_code == 404
    assert answer.json()["status"] == answer.status_code


@pytest.mark.parametrize("path", ["/api/v1/broadcasts", "/api/v1/transport", "/healthz", "/", "/test"])
async def test_methods_that_change_things_are_refused(http, path):
    for method in ("POST", "PUT", "DELETE"):
        answer = await http.request(method, path)
        assert answer.status_code == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    answer = await http.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


PUBLIC = ["/api/v1/broadcasts", "/api/v1/transport", "/certificate.sha256"]


async def test_other_origins_cannot_read_a_private_gateway(http):
    for path in [*PUBLIC, "/", "/test", "/healthz"]:
        answer = await http.get(path, headers={"origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_other_origins_may_read_an_open_gateway(view):
    async with client_for(create_app(view, CLIENT_DIR, open_access=True)) as http:
        for path in PUBLIC:
            assert (await http.get(path)).headers["access-control-allow-origin"] == "*"
        for path in ("/", "/test", "/healthz"):
            assert "access-control-allow-origin" not in (await http.get(path)).headers


class BrokenView(FakeView):
    def broadcasts(self):
        raise RuntimeError("a secret of the inside")


@pytest.mark.parametrize("path", ["/api/v1/broadcasts", "/", "/test"])
async def test_a_bug_shows_nothing_of_the_inside(path):
    async with client_for(create_app(BrokenView(), CLIENT_DIR)) as http:
        answer = await http.get(path)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_forwarded_rendition_says_what_is_special_about_it() -> None:
    forwarded = Rendition(
        id=1, codec="hvc1.1.6.L93.90", width=1920, height=1080, forwarded=True, reorder_frames=2, rotation=90
    )
    assert rendition_value(forwarded) == {
        "id": 1,
        "codec": "hvc1.1.6.L93.90",
        "width": 1920,
        "height": 1080,
        "forwarded": True,
        "reorderFrames": 2,
        "rotation": 90,
    }


async def test_balancers_are_told_which_node_this_is(view: FakeView, http: httpx.AsyncClient) -> None:
    view.node = NodeSummary(
        node="a", server_id="0001", instance="5f0c", draining=True, viewers=7, lb_config="c0ffee00"
    )
    assert (await http.get("/api/v1/node")).json() == {
        "node": "a",
        "serverId": "0001",
        "draining": True,
        "viewers": 7,
        "instance": "5f0c",
        "lbConfig": "c0ffee00",
    }


async def test_a_draining_gateway_is_not_ready_and_still_says_where_to_connect(
    view: FakeView, http: httpx.AsyncClient
) -> None:
    view.is_ready, view.node = False, NodeSummary(draining=True)
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not ready: viewers are sent to other nodes\n")
    assert (await http.get("/api/v1/transport")).status_code == 200
    view.node = NodeSummary()
    assert (await http.get("/readyz")).text == "not ready: the gateway is starting\n"
    assert (await http.get("/api/v1/transport")).status_code == 503
