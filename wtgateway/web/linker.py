"""Joins ES modules or style sheets into one, so that a page needs one request where it would need fifty.

The client stays plain modules without a build step; this happens in memory when a file is first
asked for. It understands what our modules and the vendored ones use: named and namespace imports,
exported functions, classes, constants and lists, ``import('./x.js')``, ``import.meta.url``. Anything
else (default exports, exported ``let``, circles, top-level await outside the entry) is a LinkError.
The module of a worker is joined too and travels inside as text: a worker whose script is at hand
starts some 25 ms sooner than one that fetches it. Comments and white space are left out, since a
browser reads what it is sent before it runs it. Pure: text in, text out. Imports nothing of the project.
"""

from __future__ import annotations

import itertools
import json
import posixpath
import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import rjsmin

_COMMENT = re.compile(r"/\*.*?\*/|^\s*//[^\n]*", re.DOTALL | re.MULTILINE)
_IMPORT = re.compile(
    r"""^import\s*(?:\*\s*as\s+(?P<space>\w+)\s+from\s*|\{(?P<names>[^}]*)\}\s*from\s*)?"""
    r"""["'](?P<path>\.{1,2}/[^"']+)["'][ \t]*;?""",
    re.MULTILINE,
)
_EXPORT = re.compile(
    r"^export\s+(?=(?:(?:async\s+)?function\b\s*\*?|class|const)\s+(?P<name>[A-Za-z_$][\w$]*))", re.MULTILINE
)
_EXPORT_LIST = re.compile(
    r"""^export\s*\{(?P<names>[^}]*)\}(?:\s*from\s*["'](?P<path>[^"']+)["'])?[ \t]*;?""", re.MULTILINE
)
_DYNAMIC = re.compile(r"""\bimport\(\s*["'](?P<path>\.{1,2}/[^"']+\.m?js)["']\s*\)""")
_WORKER = re.compile(
    r"""\b(?P<call>new\s+Worker|spawnWorker)\(\s*"""
    r"""new\s+URL\(\s*["'](?P<path>\.{1,2}/[^"']+)["']\s*,\s*import\.meta\.url\s*\)"""
)
_STYLE = re.compile(r"""^@import\s+["'](?P<path>\.{1,2}/[^"']+)["']\s*;[^\S\n]*\n?""", re.MULTILINE)
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_AWAIT = re.compile(r"^(?:(?:const|let)\b[^=\n]*=\s*)?await\b", re.MULTILINE)
_SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)

_HEAD = """\
const $made = new Map();
const $use = (path) => { if (!$made.has(path)) $made.set(path, $modules[path]()); return $made.get(path); };
const $load = (path) => Promise.resolve().then(() => $use(path));
const $url = (path) => new URL(path, new URL($up, $here)).href;
"""
# A worker made of text has no address of its own: it is told the one that its file has.
_SPAWN = """\
const $spawned = new Map();
const $worker = (path) => {
  if (!$spawned.has(path)) {
    const text = `const $here = ${JSON.stringify($url(path))};\\n${$workers[path]}`;
    $spawned.set(path, URL.createObjectURL(new Blob([text], { type: 'text/javascript' })));
  }
  return new URL($spawned.get(path));
};
"""


class LinkError(ValueError):
    """A module uses what the linker does not understand."""


def link(files: Mapping[str, str], entry: str) -> str:
    """One module that does what ``entry`` does, with all that it imports and the workers it starts inside.

    ``files`` maps paths with "/" to source text. The result is meant to be served at ``entry`` below
    some base; URLs that modules build from ``import.meta.url`` lead below the same base. Raises
    LinkError, also for a missing module.
    """
    return f"const $here = import.meta.url;\n{_linked(files, entry, starters=())}"


def link_styles(files: Mapping[str, str], entry: str) -> str:
    """A style sheet with those in it that it names by ``@import "./x.css";``; raises LinkError."""
    if entry not in files:
        raise LinkError(f"there is no style sheet {entry}")
    if left := re.search(r"\burl\([^)]*", files[entry]):
        raise LinkError(f"{entry}: cannot join {left[0][:60]!r}")

    def imported(match: re.Match[str]) -> str:
        path = resolved(entry, match["path"])
        if path == entry:
            raise LinkError(f"{entry} imports itself")
        return link_styles(files, path)

    return _STYLE.sub(imported, files[entry])


def _linked(files: Mapping[str, str], entry: str, starters: tuple[str, ...]) -> str:
    """``entry`` joined, but for ``$here``, its address; ``starters``: entries on the way to a worker."""
    modules: dict[str, str] = {}
    workers: dict[str, str] = {}
    graph: dict[str, list[str]] = {}
    waiting = [entry]
    for path in waiting:  # grows while it is read
        if path not in files:
            raise LinkError(f"there is no module {path}")
        graph[path], later = needs(files[path], path)
        waiting += [p for p in (*graph[path], *later) if p not in waiting]
        if path != entry:
            modules[path] = _wrapped(files[path], path)
        for worker in workers_of(files[path], path):
            if worker in (entry, *starters):
                raise LinkError(f"{path} starts {worker}, which starts it")
            if worker not in workers:
                workers[worker] = _linked(files, worker, (entry, *starters))
    _refuse_circles(graph)
    main = _passing_on(_rewritten(files[entry], entry), entry)
    if left := re.search(r"^import\b.*", _COMMENT.sub("", main), re.MULTILINE):
        raise LinkError(f"{entry}: cannot join {left[0][:60]!r}")
    body = "\n".join(f"{json.dumps(path)}: {text}," for path, text in modules.items())
    up = "../" * entry.count("/") or "./"
    spawn = f"const $workers = {json.dumps(workers)};\n{_SPAWN}" if workers else ""
    text = f"const $up = '{up}';\n{_HEAD}{spawn}const $modules = {{\n{body}\n}};\n{main}\n"
    return str(rjsmin.jsmin(text)) + "\n"


def resolved(base: str, target: str) -> str:
    """The path that ``target`` names when it stands in the module ``base``."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), target))


def needs(source: str, path: str) -> tuple[list[str], list[str]]:
    """What a module imports at once, and what it imports when it gets there."""
    text = _COMMENT.sub("", source)
    at_once = [m["path"] for m in _IMPORT.finditer(text)]
    at_once += [m["path"] for m in _EXPORT_LIST.finditer(text) if m["path"]]
    later = [m["path"] for m in _DYNAMIC.finditer(text)]
    return [resolved(path, p) for p in dict.fromkeys(at_once)], [resolved(path, p) for p in later]


def workers_of(source: str, path: str) -> list[str]:
    """The modules that a module starts as workers."""
    return [resolved(path, m["path"]) for m in _WORKER.finditer(_COMMENT.sub("", source))]


def _refuse_circles(graph: Mapping[str, list[str]]) -> None:
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise LinkError(f"modules import each other in a circle: {' -> '.join(error.args[1])}") from error


def _pairs(names: str, join: str) -> str:
    """``a, b as c`` as the inside of a destructuring (join ": ") or of an object."""
    return ", ".join(join.join(part.split(" as ")) for part in map(str.strip, names.split(",")) if part)


def _rewritten(source: str, path: str) -> str:
    def imported(match: re.Match[str]) -> str:
        use = f"$use({json.dumps(resolved(path, match['path']))})"
        if match["space"]:
            return f"const {match['space']} = {use};"
        return f"const {{ {_pairs(match['names'], ': ')} }} = {use};" if match["names"] else f"{use};"

    text = _SOURCE_MAP.sub("", source)
    text = _IMPORT.sub(imported, text)
    text = _WORKER.sub(lambda m: f"{m['call']}($worker({json.dumps(resolved(path, m['path']))})", text)
    text = _DYNAMIC.sub(lambda m: f"$load({json.dumps(resolved(path, m['path']))})", text)
    return text.replace("import.meta.url", f"$url({json.dumps(path)})")


def _passing_on(text: str, path: str) -> str:
    """An entry stays a module: what it exports of others is taken from those inside."""
    numbers = itertools.count()

    def passed(match: re.Match[str]) -> str:
        if not match["path"]:
            return match[0]
        parts = [part.split(" as ") for part in map(str.strip, match["names"].split(",")) if part]
        named = [(f"$passed{next(numbers)}", names[0], names[-1]) for names in parts]
        taken = ", ".join(f"{name}: {inside}" for inside, name, _ in named)
        given = ", ".join(f"{inside} as {alias}" for inside, _, alias in named)
        return (
            f"const {{ {taken} }} = $use({json.dumps(resolved(path, match['path']))});\nexport {{ {given} }};"
        )

    return _EXPORT_LIST.sub(passed, text)


def _wrapped(source: str, path: str) -> str:
    """A function that runs a module's body and returns its exports."""
    text = _rewritten(source, path)
    exports = [m["name"] for m in _EXPORT.finditer(text)]
    text = _EXPORT.sub("", text)

    def listed(match: re.Match[str]) -> str:
        for part in filter(None, map(str.strip, match["names"].split(","))):
            name, _, alias = part.partition(" as ")
            origin = f"$use({json.dumps(resolved(path, match['path']))})." if match["path"] else ""
            exports.append(f"{alias or name}: {origin}{name}")
        return ""

    text = _EXPORT_LIST.sub(listed, text)
    bare = _COMMENT.sub("", text)
    if left := _LEFT.search(bare):
        raise LinkError(f"{path}: cannot join {left[0][:60]!r}")
    if _AWAIT.search(bare):
        raise LinkError(f"{path}: top-level await outside an entry")
    return f"() => {{\n{text}\nreturn {{ {', '.join(exports)} }};\n}}"
