"""The operator's API: what it does, what it refuses, and that its document says the truth."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from tests.web.conftest import CLIENT_DIR, Api, client_for
from wtgateway.protocol.codes import CloseCode
from wtgateway.web import forged
from wtgateway.web.app import create_app
from wtgateway.web.changing import merged, too_deep
from wtgateway.web.operations import MAX_BODY_BYTES, Granted, Rules, parse_json

JSON = {"content-type": "application/json"}
MARK = {"x-wtgateway": "1"}
OF_RFC_7396 = [  # appendix A
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


async def test_a_broadcast_is_added_changed_restarted_and_removed(api: Api) -> None:
    path = "/api/v1/broadcasts/test"
    changed = await api.http.patch(path, json={"video": {"codec": None, "fps": 30}})
    assert changed.status_code == 200
    assert api.control.documents["test"] == {"source": "rtsp://me:word@cam/1", "video": {"fps": 30}}
    assert "word" not in changed.text
    assert (await api.http.put(path, json={"source": "test:"})).status_code == 200
    assert (await api.http.post(f"{path}/restart", headers=MARK)).status_code == 204
    assert (await api.http.delete(path, headers=MARK)).status_code == 204
    assert (await api.http.delete(path, headers=MARK)).status_code == 404
    assert (await api.http.patch(path, json={})).status_code == 404
    assert (await api.http.put(path, json={"source": "test:"})).status_code == 201
    assert [call[0] for call in api.control.calls] == ["put", "put", "restart", "remove", "remove", "put"]


async def test_names_with_slashes_are_broadcasts_and_wrong_ones_are_none(api: Api) -> None:
    assert (await api.http.get("/api/v1/broadcasts/house/door")).json()["name"] == "house/door"
    assert (await api.http.put("/api/v1/broadcasts/a/restart", json={"source": "test:"})).status_code == 409
    assert api.control.documents["a/restart"] == {"source": "test:"}
    for name in ("_x", "a//b", "..%2Fetc", "api", "x" * 300, "a b"):
        answer = await api.http.put(f"/api/v1/broadcasts/{name}", json={"source": "test:"})
        assert answer.status_code in (404, 405), name


async def test_wrong_settings_are_refused_in_words_without_passwords(api: Api) -> None:
    for body in ({}, [], "text", 3, None, {"video": {"a": [[[[[[[[1]]]]]]]]}}):
        answer = await api.http.put("/api/v1/broadcasts/new", content=json.dumps(body), headers=JSON)
        assert (answer.status_code, answer.json()["status"]) == (400, 400), body
        assert "word" not in answer.text.replace("words", "")
    assert "new" not in api.control.documents
    assert (await api.http.patch("/api/v1/broadcasts/test", json=[1])).status_code == 400


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b'{"source": NaN}', JSON, 400),
        (b'{"source": "a", "source": "b"}', JSON, 400),
        (b"[" * 60_000, JSON, 400),
        (b"\xff\xfe", JSON, 400),
        (b"{}" + b" " * MAX_BODY_BYTES, JSON, 413),
        (b"{}", {"content-type": "text/plain", **MARK}, 415),
        (b"{}", {"content-type": "text/plain"}, 403),
    ],
)
async def test_bodies_that_are_not_taken(
    api: Api, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await api.http.put("/api/v1/broadcasts/test", content=content, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert api.control.calls == []


async def test_a_session_is_shown_kicked_and_asked_for_keyframes(api: Api) -> None:
    shown = (await api.http.get("/api/v1/sessions/a1")).json()
    assert shown["latencyMs"]["decode"] == 1.5
    assert shown["history"][0]["latencyMs"] == {"encode": 1.5}
    path = "/api/v1/sessions/a1"
    assert (await api.http.post(f"{path}/keyframe", headers=MARK)).status_code == 204
    assert (await api.http.delete(f"{path}?reason=good%20night", headers=MARK)).status_code == 204
    assert (await api.http.delete(f"{path}?reason={'x' * 300}", headers=MARK)).status_code == 400
    assert (await api.http.delete(f"{path}?reason=a%0Ab", headers=MARK)).status_code == 400
    assert api.control.calls == [("keyframe", "a1"), ("kick", "a1", int(CloseCode.KICKED), "good night")]
    for method, other in (("GET", ""), ("DELETE", ""), ("POST", "/keyframe"), ("POST", "/qlog")):
        answer = await api.http.request(method, f"/api/v1/sessions/none{other}", headers=MARK)
        assert answer.status_code == 404


async def test_a_qlog_is_begun_fetched_and_forgotten(api: Api) -> None:
    path = "/api/v1/sessions/a1/qlog"
    assert (await api.http.get(path)).status_code == 404
    assert (await api.http.post(path, headers=MARK)).status_code == 204
    answer = await api.http.get(path)
    assert answer.headers["content-type"] == "application/qlog+json-seq"
    assert answer.headers["content-disposition"] == 'attachment; filename="a1.sqlog"'
    assert answer.content.startswith(b"\x1e{")
    assert (await api.http.delete(path, headers=MARK)).status_code == 204
    assert (await api.http.get(path)).status_code == 404
    assert (await api.http.post("/api/v1/sessions/ws/qlog", headers=MARK)).status_code == 409


async def test_sessions_come_in_pages(api: Api) -> None:
    template = api.view.sessions[0]
    api.view.sessions = [
        type(template)(id=f"{n:02}", broadcast="test" if n % 2 else "house/door") for n in (5, 3, 1, 4, 2)
    ]

    async def ids(query: str) -> list[str]:
        return [s["id"] for s in (await api.http.get(f"/api/v1/sessions{query}")).json()]

    assert await ids("") == ["05", "03", "01", "04", "02"]
    assert await ids("?limit=2") == ["01", "02"]
    assert await ids("?limit=2&after=02") == ["03", "04"]
    assert await ids("?after=04") == ["05"]
    assert await ids("?broadcast=test&limit=9") == ["01", "03", "05"]
    assert await ids("?broadcast=none") == []
    for wrong in ("0", "-1", "x", "99999", "", "1e3", "9" * 5000):
        assert (await api.http.get(f"/api/v1/sessions?limit={wrong}")).status_code == 400


async def test_certificates_and_the_log_level(api: Api) -> None:
    rotated = await api.http.post("/api/v1/certificates/rotate", headers=MARK)
    assert (rotated.status_code, rotated.json()[0]["sha256"]) == (200, "ab" * 32)
    api.control.rotates = False
    refused = await api.http.post("/api/v1/certificates/rotate", headers=MARK)
    assert (refused.status_code, refused.json()["error"]) == (409, "they come from the cluster's secret")
    assert (await api.http.put("/api/v1/log-level", json={"level": "debug"})).json() == {"level": "debug"}
    assert (await api.http.get("/api/v1/log-level")).json() == {"level": "debug"}
    for body in ({"level": "loud"}, {}, [], {"level": "info", "more": 1}, "debug"):
        assert (await api.http.put("/api/v1/log-level", json=body)).status_code == 400
    assert api.control.level == "debug"


# --- who may ----------------------------------------------------------------------------------------


class Reader:
    """May read what begins with "house"."""

    def allows(self, action: str, broadcast: str = "") -> bool:
        return action == "read" and (not broadcast or broadcast.startswith("house"))


async def test_every_operation_asks_the_rule_first(api: Api) -> None:
    asked: list[tuple[str, str]] = []

    async def guard(connection: Any, action: str, broadcast: str) -> Granted:
        asked.append((action, broadcast))
        if action == "read":
            return Reader()
        raise HTTPException(401, "A token is needed.", {"www-authenticate": "Bearer"})

    app = create_app(api.view, CLIENT_DIR, control=api.control, streams=api.streams, rules=Rules(guard=guard))
    document = (await api.http.get("/api/v1/openapi.json")).json()
    async with client_for(app) as http:
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                known = path.replace("{name}", "test").replace("{id}", "a1")
                answer = await http.request(method, known, headers=MARK)
                action = operation.get("x-action")
                expected = 200 if action in (None, "read") else 401
                assert answer.status_code == expected, (method, path)
                if expected == 401:
                    assert answer.headers["www-authenticate"] == "Bearer"
        assert [b["name"] for b in (await http.get("/api/v1/broadcasts")).json()] == ["house/door"]
        asked.clear()
        await http.delete("/api/v1/sessions/a1", headers=MARK)
        await http.delete("/api/v1/sessions/none", headers=MARK)
        await http.put("/api/v1/broadcasts/x/y", headers=MARK)
        await http.put("/api/v1/log-level", headers=MARK)
        await http.get("/api/v1/transport?broadcast=cam1")
        assert asked == [
            ("control", "test"), ("control", "*"), ("control", "x/y"), ("api", "*"), ("read", "cam1"),
        ]  # fmt: skip
    assert api.control.calls == []


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        (JSON, True),
        (MARK, True),
        ({}, False),
        ({"content-type": "application/x-www-form-urlencoded"}, False),
        ({"content-type": "text/plain; application/json"}, False),
        (JSON | {"origin": "http://localhost:8080"}, True),
        (JSON | {"origin": "https://localhost:8080"}, False),
        (JSON | {"origin": "http://evil.example"}, False),
        (JSON | {"origin": "null"}, False),
        (JSON | {"origin": "https://tools.example"}, True),
        (JSON | {"host": "evil.example", "origin": "http://evil.example"}, False),
        (JSON | {"host": "evil.example", "authorization": "Bearer x"}, True),
        (JSON | {"host": "gateway.example"}, True),
        (JSON | {"host": "192.0.2.1:8080"}, True),
        (JSON | {"host": "[::1]:8080"}, True),
        (JSON | {"host": "[::1:8080"}, False),
        (JSON | {"host": "127.0.0.1.evil.example"}, False),
    ],
)
def test_requests_that_other_sites_make_change_nothing(headers: dict[str, str], allowed: bool) -> None:
    headers = {"host": "localhost:8080"} | headers
    why = forged.why(headers, "http", {"https://tools.example"}, {"gateway.example"})
    assert (why == "") == allowed


async def test_no_changing_operation_forgets_that_rule(api: Api) -> None:
    document = (await api.http.get("/api/v1/openapi.json")).json()
    changing = [
        (path, method) for path, methods in document["paths"].items() for method in methods if method != "get"
    ]
    assert len(changing) >= 10
    for path, method in changing:
        path = path.replace("{name}", "test").replace("{id}", "a1")
        for headers in ({}, MARK | {"origin": "https://evil.example"}):
            assert (await api.http.request(method, path, headers=headers)).status_code == 403, (method, path)
    assert api.control.calls == []


# --- the document -----------------------------------------------------------------------------------


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    """A validator of one schema that knows the document's components."""
    root = schema | {"components": document["components"]}
    return jsonschema.Draft202012Validator(root)


async def test_the_document_is_sound(api: Api) -> None:
    document = (await api.http.get("/api/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1.")
    text = json.dumps(document)
    for name in set(re.findall(r'"#/components/schemas/(\w+)"', text)):
        assert name in document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    ids = [o["operationId"] for methods in document["paths"].values() for o in methods.values()]
    assert len(ids) == len(set(ids)) >= 22
    for path, methods in document["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert operation["summary"]
            assert any(status.startswith("2") for status in operation["responses"])


def strategies(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Bodies that fit a schema, and others that do not."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    )
    name = schema["$ref"].rpartition("/")[2]
    properties = document["components"]["schemas"][name].get("properties", {})
    fitting = {key: st.sampled_from(p["enum"]) if "enum" in p else anything for key, p in properties.items()}
    return st.fixed_dictionaries({}, optional=fitting) | anything


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_answer_is_as_the_document_says(api: Api, data: st.DataObject) -> None:
    """Of each operation, with whatever parameters and bodies: a status that is told, a body that fits."""

    async def play() -> None:
        document = (await api.http.get("/api/v1/openapi.json")).json()
        path = data.draw(st.sampled_from(sorted(set(document["paths"]) - {"/api/v1/events"})))
        method = data.draw(st.sampled_from(sorted(document["paths"][path])))
        operation = document["paths"][path][method]
        words = st.sampled_from(
            ["test", "a1", "house/door", "none", "new", "é", "a%20b", "%00", "_x", "../.."]
        )
        url = path.replace("{name}", data.draw(words)).replace("{id}", data.draw(words))
        query = {
            p["name"]: data.draw(st.text(max_size=8) | st.sampled_from(["1", "test"]))
            for p in operation["parameters"]
            if p["in"] == "query" and data.draw(st.booleans())
        }
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        content = json.dumps(data.draw(strategies(body, document))).encode() if body else None
        headers = data.draw(st.sampled_from([MARK, JSON, JSON | {"origin": "https://evil.example"}, {}]))
        answer = await api.http.request(
            method.upper(), url, params=query or None, content=content, headers=headers
        )
        if answer.status_code == 404 and "404" not in operation["responses"]:
            return  # a name that made another path of it
        if answer.status_code == 405 or answer.status_code == 308:
            return
        assert str(answer.status_code) in operation["responses"], (method, url, answer.text)
        told = operation["responses"][str(answer.status_code)]
        if "content" not in told:
            assert answer.content == b""
            return
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type in told["content"], (method, url)
        if media_type == "application/json":
            resolved(document, told["content"][media_type]["schema"]).validate(answer.json())

    asyncio.get_event_loop().run_until_complete(play())


@pytest.mark.parametrize(("target", "patch", "expected"), OF_RFC_7396)
def test_merge_patches_are_those_of_the_rfc(target: Any, patch: Any, expected: Any) -> None:
    assert merged(target, patch) == expected


@given(st.binary(max_size=200))
def test_a_body_is_json_or_refused(data: bytes) -> None:
    try:
        value = parse_json(data)
    except HTTPException as error:
        assert error.status_code == 400
    else:
        assert json.loads(json.dumps(value)) == value


def test_depth_is_counted_over_objects_and_lists() -> None:
    assert not too_deep({"a": [1]}, 2)
    assert too_deep({"a": [1]}, 1)
    assert not too_deep(3, 0)
