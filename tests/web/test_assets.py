"""Client files: found, typed, cached, and nothing but them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from wtgateway.errors import ConfigError
from wtgateway.web import assets as assets_module
from wtgateway.web.app import create_app
from wtgateway.web.assets import Assets, find_client_dir, take_snapshot

from .conftest import FakeView, client_for

FILES = {
    "index.html": "<title>list</title>",
    "watch.html": "<title>watch</title>",
    "error.html": "<title>error</title>",
    "player.js": "import './shared.js';\nnew Worker(new URL('./worker/main.js', import.meta.url));"
    "context.audioWorklet.addModule(new URL('./no.js', import.meta.url));",
    "shared.js": "export const x = 1;",
    "pages/watch.js": "// import './no.js'\n/** @type {import('../types.js').T} */\n"
    'import { Player } from "../player.js";\nimport a, {\n  b as c,\n} from "./ui.js";import("../no.js");',
    "pages/ui.js": "export * from '../shared.js'; const t = 'import';",
    "worker/main.js": "import {x} from '../shared.js';import {y} from './net.js'\nawait import('./late.js')",
    "worker/late.js": "",
    "worker/net.js": "export {y} from './missing.js'",
    "types.js": "",
    "no.js": "",
    "styles/a.css": "a{}",
    "icons/i.svg": "<svg/>",
    "vendor/LICENSE.txt": "text",
    "module.mjs": "",
    ".hidden.js": "secret",
    "notes.py": "secret",
}


@pytest.fixture
def client_dir(tmp_path: Path) -> Path:
    root = tmp_path / "client"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "secret.js").write_text("secret")
    (root / "link.js").symlink_to(tmp_path / "secret.js")
    return root


@pytest.fixture
def app(client_dir: Path) -> Starlette:
    return create_app(FakeView(), client_dir)


@pytest.fixture
def http(app: Starlette) -> httpx.AsyncClient:
    return client_for(app)


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("player.js", "text/javascript; charset=utf-8"),
        ("module.mjs", "text/javascript; charset=utf-8"),
        ("styles/a.css", "text/css; charset=utf-8"),
        ("icons/i.svg", "image/svg+xml"),
        ("watch.html", "text/html; charset=utf-8"),
        ("vendor/LICENSE.txt", "text/plain; charset=utf-8"),
    ],
)
async def test_media_types(http, path, media_type):
    answer = await http.get(f"/_client/{path}")
    assert (answer.status_code, answer.text) == (200, FILES[path])
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cross-origin-embedder-policy"] == "require-corp"


async def test_unversioned_files_are_revalidated(http):
    first = await http.get("/_client/player.js")
    assert first.headers["cache-control"] == "no-cache"
    etag = first.headers["etag"]
    for known in (etag, f'"x", {etag}', f"W/{etag}", "*"):
        answer = await http.get("/_client/player.js", headers={"if-none-match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    answer = await http.get("/_client/player.js", headers={"if-none-match": '"other"'})
    assert answer.status_code == 200


async def test_versioned_files_are_kept_for_ever_only_under_their_own_version(http, client_dir):
    digest = take_snapshot(client_dir).digest
    answer = await http.get(f"/_client/@{digest}/player.js")
    assert "immutable" in answer.headers["cache-control"]
    answer = await http.get("/_client/@000000000000/player.js")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "%00", "pages", "//etc/passwd", "player.js/", "PLAYER.JS"),
        *(".hidden.js", "notes.py", "link.js"),
        *("../secret.js", "..%2fsecret.js", "%2e%2e/secret.js", "@x/../secret.js", "pages/../../secret.js"),
    ],
)
async def test_nothing_else_is_served(http, path):
    answer = await http.get(f"/_client/{path}")
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace(path, "").replace("secret.js", "")


_PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "secret.js", "pages", "@x", "%2e", "~", "\x00", "link.js", "//"]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(_PIECES | st.text(max_size=5), max_size=8).map("".join))
async def test_no_spelling_leads_out_of_the_client_directory(app, path):
    scope_path = f"/_client/{path}"
    sent: list[dict] = []

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": scope_path, "raw_path": quote(scope_path).encode()}
    await app(scope | {"headers": [], "query_string": b"", "root_path": ""}, receive, send)
    body = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    if sent[0]["status"] == 200:
        assert body.decode() in {t for t in FILES.values() if t != "secret"}
    else:
        assert sent[0]["status"] == 404


async def test_a_joined_script_is_one_file_with_its_own_version(http):
    plain = await http.get("/_client/player.js")
    joined = await http.get("/_client/+/player.js")
    assert joined.status_code == 200
    assert "const x=1;" in joined.text
    assert joined.headers["etag"] != plain.headers["etag"]
    again = await http.get("/_client/+/player.js", headers={"if-none-match": joined.headers["etag"]})
    assert again.status_code == 304


async def test_what_cannot_be_joined_is_served_as_it_is(client_dir, caplog):
    (client_dir / "odd.js").write_text("import thing from './shared.js';\nconsole.log(thing);\n")
    async with client_for(create_app(FakeView(), client_dir)) as http:
        answer = await http.get("/_client/+/odd.js")
    assert answer.text.startswith("import thing")
    assert "served unlinked file=odd.js" in caplog.text


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("", False),
        ("x", False),
    ],
)
async def test_joined_scripts_are_packed_for_who_takes_them(http, accepts, packed):
    answer = await http.get("/_client/+/player.js", headers={"accept-encoding": accepts})
    plain = await http.get("/_client/+/player.js", headers={"accept-encoding": "identity"})
    assert answer.headers.get("content-encoding") == ("gzip" if packed else None)
    assert answer.content == plain.content  # httpx has unpacked it
    assert (answer.headers["etag"] != plain.headers["etag"]) is packed
    assert answer.headers["vary"] == "accept-encoding"
    known = {"accept-encoding": accepts, "if-none-match": answer.headers["etag"]}
    assert (await http.get("/_client/+/player.js", headers=known)).status_code == 304


async def test_a_page_asks_for_one_script_and_one_style_sheet():
    # the minimal templates have no place for it: take the real ones
    page = (await client_for(create_app(FakeView(), find_client_dir())).get("/test")).text
    assert [
        url.partition("/+/")[2] for url in re.findall(r'(?:src|href)="(\./_client/[^"]+\.(?:js|css))"', page)
    ] == [
        "pages/watch.js",
        "styles/watch.css",
    ]


async def test_a_changed_file_gets_a_new_version(client_dir, monkeypatch):
    monkeypatch.setattr(assets_module, "_REFRESH_S", -1.0)
    assets = Assets(client_dir)
    before = await assets.refresh()
    assert await assets.refresh() is before
    (client_dir / "shared.js").write_text("export const x = 22;")
    after = await assets.refresh()
    assert after.digest != before.digest
    assert after.files["shared.js"].data == b"export const x = 22;"
    (client_dir / "watch.html").unlink()  # an editor that replaces a file: the old state serves on
    assert await assets.refresh() is after


async def test_installed_files_are_not_looked_at_again(client_dir, monkeypatch):
    monkeypatch.setattr(assets_module, "_REFRESH_S", -1.0)
    assets = Assets(client_dir, watch=False)
    (client_dir / "player.js").unlink()
    assert "player.js" in (await assets.refresh()).files


def test_a_directory_that_is_no_client_is_an_error_in_words(tmp_path):
    with pytest.raises(ConfigError, match=r"client files.*expected a directory with index\.html"):
        create_app(FakeView(), tmp_path)


def test_missing_client_is_an_error_in_words(tmp_path, monkeypatch):
    monkeypatch.setattr(assets_module, "__file__", str(tmp_path / "wtgateway" / "web" / "assets.py"))
    with pytest.raises(ConfigError, match="the browser client"):
        find_client_dir()


def test_installed_client_goes_before_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(assets_module, "__file__", str(tmp_path / "wtgateway" / "web" / "assets.py"))
    for place in ("client/src", "wtgateway/_client"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "index.html").write_text("")
    assert find_client_dir() == tmp_path / "wtgateway" / "_client"
