"""Joined modules do what the modules do: run by Node where it is, and refused where they would not."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wtgateway.web.assets import find_client_dir
from wtgateway.web.linker import LinkError, link, link_styles, needs

MODULES = {
    "main.js": """
        import { add, LIMIT as limit } from './lib/sums.js';
        import * as shapes from './lib/shapes.js';
        import './lib/effect.js';
        export const answer = add(limit, 2);
        const late = await import('./lib/late.js');
        console.log(JSON.stringify([answer, new shapes.Box(3).area(), late.name, globalThis.effects,
          shapes.twice(4), shapes.url.slice(-9)]));
    """,
    "lib/sums.js": """
        // import { nothing } from './nowhere.js';
        /** @typedef {import('./types.js').X} X */
        export const LIMIT = 40;
        export function add(a, b) { return a + b; }
    """,
    "lib/shapes.js": """
        import { add } from './sums.js';
        class Box { constructor(side) { this.side = side; } area() { return this.side ** 2; } }
        async function later() {}
        const two = (n) => add(n, n);
        export { Box, two as twice };
        export { LIMIT as most } from './sums.js';
        export const url = new URL('./other.js', import.meta.url).href;
    """,
    "lib/effect.js": "globalThis.effects = (globalThis.effects ?? 0) + 1;",
    "lib/late.js": "import './effect.js';\nexport const name = 'late';",
}
MODULES = {
    path: "\n".join(line.removeprefix("        ") for line in text.splitlines())
    for path, text in MODULES.items()
}
node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")


def client_files() -> dict[str, str]:
    root = find_client_dir()
    found = (path for path in root.rglob("*") if path.suffix in (".js", ".mjs"))
    return {path.relative_to(root).as_posix(): path.read_text() for path in found}


def run(directory: Path, script: str) -> str:
    done = subprocess.run(
        ["node", directory / script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@node
def test_joined_modules_do_what_the_modules_do(tmp_path: Path) -> None:
    apart, joined = tmp_path / "apart", tmp_path / "joined"
    for directory in (apart, joined):
        (directory / "lib").mkdir(parents=True)
        (directory / "package.json").write_text('{"type": "module"}')
    for path, text in MODULES.items():
        (apart / path).write_text(text)
    (joined / "main.js").write_text(link(MODULES, "main.js"))
    expected = [42, 9, "late", 1, 8, "/other.js"]
    assert json.loads(run(apart, "main.js")) == expected
    assert json.loads(run(joined, "main.js")) == expected


@node
def test_an_entry_exports_what_it_takes_from_others(tmp_path: Path) -> None:
    files = {
        "entry.js": (
            "export { LIMIT as most, add } from './lib/sums.js';\nexport { twice } from './lib/shapes.js';"
        ),
        **{path: text for path, text in MODULES.items() if path.startswith("lib/")},
    }
    text = link(files, "entry.js")
    assert not re.search(r"\bfrom\b", text), "nothing is fetched besides"
    (tmp_path / "entry.mjs").write_text(text)
    (tmp_path / "user.mjs").write_text(
        "import { most, add, twice } from './entry.mjs';\n"
        "console.log(JSON.stringify([most, add(1, 2), twice(4)]));"
    )
    assert json.loads(run(tmp_path, "user.mjs")) == [40, 3, 8]


@node
@pytest.mark.parametrize(
    "entry",
    [
        "pages/watch.js",
        "pages/list.js",
        "worker/main.js",
        "player.js",
        "pages/extras.js",
        "worker/abilities.js",
        "worker/audio.js",
        "worker/datagrams.js",
        "worker/roaming.js",
        "media/messages.js",
        "main/viewport.js",
    ],
)
def test_every_entry_of_the_client_can_be_joined(tmp_path: Path, entry: str) -> None:
    (tmp_path / "joined.mjs").write_text(link(client_files(), entry))
    check = ["node", "--check", tmp_path / "joined.mjs"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_worklet_can_be_joined_and_needs_no_url_there() -> None:
    text = link(client_files(), "audio/worklet.js")
    assert "registerProcessor" in text
    assert "$url(" not in text.split("$modules", 1)[1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import thing from './b.js';", "cannot join"),
        ("export default 1;", "cannot join"),
        ("export let counter = 0;", "cannot join"),
        ("export const { a } = {};", "cannot join"),
        ("const x = await fetch('/');", "top-level await"),
        ("import { a } from './gone.js';", "no module gone.js"),
        ("import { m } from './main.js';", "circle"),
    ],
)
def test_what_would_not_work_is_refused(source: str, words: str) -> None:
    files = {"main.js": "import './a.js';\nexport const m = 1;", "a.js": source, "b.js": ""}
    with pytest.raises(LinkError, match=words):
        link(files, "main.js")


WORKERS = {
    "pages/main.js": """
import { start } from '../lib/start.js';
console.log(JSON.stringify(await start()));
""",
    "lib/start.js": """
function spawnWorker(url) { return fetch(url).then((answer) => answer.text()); } // stands in for a worker
export async function start() {
  const text = await spawnWorker(new URL('../worker/main.js', import.meta.url));
  const again = await spawnWorker(new URL('../worker/main.js', import.meta.url));
  const script = URL.createObjectURL(new Blob([text], { type: 'text/javascript' }));
  const { where } = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  return [where, text === again, script.startsWith('blob:')];
}
""",
    "worker/main.js": "import { here } from './deep/part.js';\nexport const where = here;",
    "worker/deep/part.js": "export const here = new URL('../../audio/x.js', import.meta.url).href;",
}


@node
def test_a_worker_travels_inside_and_knows_where_its_files_are(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "main.mjs").write_text(link(WORKERS, "pages/main.js"))
    assert json.loads(run(tmp_path, "pages/main.mjs")) == [(tmp_path / "audio/x.js").as_uri(), True, True]


def test_workers_that_start_each_other_are_refused() -> None:
    files = {
        "main.js": "new Worker(new URL('./a.js', import.meta.url), { type: 'module' });",
        "a.js": "new Worker(new URL('./main.js', import.meta.url), { type: 'module' });",
    }
    with pytest.raises(LinkError, match="starts it"):
        link(files, "main.js")


def test_the_page_carries_its_worker() -> None:
    files = client_files()
    assert "querySelector" not in link(files, "worker/main.js")
    assert json.dumps("worker/main.js") in link(files, "pages/watch.js").split("$workers=", 1)[1]
    assert len(link(files, "pages/watch.js")) < sum(map(len, files.values())) * 0.75


def test_what_has_time_until_the_picture_is_there_is_not_in_the_first_script() -> None:
    text = link(client_files(), "pages/watch.js")
    for entry, part in (
        ("worker/abilities.js", "hvc1.1.6"),
        ("pages/extras.js", "Sound only"),
        ("worker/audio.js", "f32-planar"),
        ("worker/datagrams.js", "make another frame"),
        ("worker/roaming.js", "Another one is being opened"),
        ("worker/racing.js", "a message of no known type"),
        ("pages/token_form.js", "There is no token in this"),
        ("media/messages.js", "is not msgpack"),
        ("main/viewport.js", "device-pixel-content-box"),
    ):
        assert part not in text
        assert part in link(client_files(), entry)
        assert entry.rsplit("/", 1)[1] in text, "it is fetched by its name"
    assert len(gzip.compress(text.encode(), mtime=0)) < 40_000, "three flights of a new connection"


def test_style_sheets_are_joined() -> None:
    files = {
        "styles/a.css": '/* a */\n@import "./b.css";\np { color: red }',
        "styles/b.css": "b { top: 0 }\n",
    }
    assert link_styles(files, "styles/a.css") == "/* a */\nb { top: 0 }\np { color: red }"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('@import "./gone.css";', "no style sheet"),
        ('@import "./a.css";', "itself"),
        ("p { background: url(x.png) }", "cannot join"),
    ],
)
def test_style_sheets_that_cannot_be_joined_are_refused(text: str, words: str) -> None:
    with pytest.raises(LinkError, match=words):
        link_styles({"a.css": text}, "a.css")


def test_needs_tell_what_comes_at_once_from_what_comes_later() -> None:
    assert needs(MODULES["main.js"], "main.js") == (
        ["lib/sums.js", "lib/shapes.js", "lib/effect.js"],
        ["lib/late.js"],
    )
