"""HTML pages: the client's templates with this gateway's facts filled in.

A template is a whole HTML file of the client directory with comments ``<!-- wtgateway:x -->`` for
what is filled in. A player page carries address, certificate hashes and the state of its broadcast
in a JSON data block (data, not script: a content policy lets it stand), and preloads its script and
its worker's, each joined from its modules, so that connecting waits for no second request. Imports the
web room only.
"""

from __future__ import annotations

import html
from typing import Any

from wtgateway import __version__
from wtgateway.web.api import broadcast_value, embeddable_json, transport_value
from wtgateway.web.assets import Snapshot
from wtgateway.web.view import GatewayView

CLIENT = "/_client/"


def versioned(snapshot: Snapshot, path: str) -> str:
    """The URL of a client file that may be cached for ever."""
    return f"{CLIENT}@{snapshot.digest}/{path}"


def _fill(snapshot: Snapshot, template: str, parts: dict[str, str]) -> str:
    text = snapshot.text(template).replace(f'src="{CLIENT}', f'src="{CLIENT}@{snapshot.digest}/+/')
    text = text.replace(f'href="{CLIENT}', f'href="{CLIENT}@{snapshot.digest}/')
    for name, value in parts.items():
        text = text.replace(f"<!-- wtgateway:{name} -->", value)
    return text


def _preloads(snapshot: Snapshot, entry: str) -> str:
    # A worker has a module map of its own, so for its script this only fills the HTTP cache.
    # as="worker" would say it better, but Chromium 156 takes it for an error.
    scripts = [versioned(snapshot, f"+/{path}") for path in snapshot.scripts(entry)]
    return "\n".join(f'<link rel="modulepreload" href="{url}">' for url in scripts)


def _config(value: dict[str, Any]) -> str:
    text = embeddable_json({"version": __version__} | value)
    return f'<script type="application/json" id="wtgateway-config">{text}</script>'


def list_page(snapshot: Snapshot, view: GatewayView) -> str:
    """The list of broadcasts, with its first state in it."""
    return _fill(
        snapshot,
        "index.html",
        {
            "preload": _preloads(snapshot, "pages/list.js"),
            "config": _config({"broadcasts": [broadcast_value(b) for b in view.broadcasts()]}),
        },
    )


def watch_page(snapshot: Snapshot, view: GatewayView, name: str, host_header: str) -> tuple[str, bool]:
    """A broadcast's page, and whether there is such a broadcast (it may still appear)."""
    summary = next((b for b in view.broadcasts() if b.name == name), None)
    value = {"broadcast": name, "known": summary is not None}
    value["summary"] = broadcast_value(summary) if summary else None
    if view.ready():
        value["transport"] = transport_value(view, host_header)
    page = _fill(
        snapshot,
        "watch.html",
        {
            "title": html.escape(name),
            "preload": _preloads(snapshot, "pages/watch.js"),
            "config": _config(value),
        },
    )
    return page, summary is not None


def error_page(snapshot: Snapshot, title: str, text: str) -> str:
    """A page that says in words what is wrong."""
    return _fill(snapshot, "error.html", {"title": html.escape(title), "text": html.escape(text)})
