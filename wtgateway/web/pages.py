"""HTML pages: the client's templates with this gateway's facts filled in.

A template is a whole HTML file of the client directory with comments ``<!-- wtgateway:x -->`` for
what is filled in. A player page carries address, certificate hashes and the state of its broadcast
in a JSON data block (data, not script: a content policy lets it stand), and its one script holds all
that it needs to connect, so that connecting waits for no second request. All addresses in a page are relative
(``base`` is the way up to the list), so that a proxy may show the pages under any path. Imports the web room
only.
"""

from __future__ import annotations

import html
import re
from typing import Any, Protocol

from wtgateway import __version__
from wtgateway.web.api import broadcast_value, embeddable_json, transport_value
from wtgateway.web.assets import Snapshot
from wtgateway.web.view import GatewayView

CLIENT = "/_client/"
_ABSOLUTE = re.compile(rf'\b(?P<name>src|href)="(?:{CLIENT}(?P<path>[^"]+)|/)"')


def way_up(path: bytes) -> str:
    """The relative address of the list page from the page at ``path`` (raw, with its first slash)."""
    return "../" * (path.count(b"/") - 1) or "./"


def _fill(snapshot: Snapshot, template: str, base: str, parts: dict[str, str]) -> str:
    files = f"{base}{CLIENT[1:]}@{snapshot.digest}/"  # may be cached for ever

    def served(match: re.Match[str]) -> str:
        if match["path"] is None:
            return f'href="{base}"'
        joined = "+/" if match["path"].endswith((".js", ".css")) else ""
        return f'{match["name"]}="{files}{joined}{match["path"]}"'

    text = _ABSOLUTE.sub(served, snapshot.text(template))
    for name, value in parts.items():
        text = text.replace(f"<!-- wtgateway:{name} -->", value)
    return text


def _config(value: dict[str, Any]) -> str:
    text = embeddable_json({"version": __version__} | value)
    return f'<script type="application/json" id="wtgateway-config">{text}</script>'


class MayRead(Protocol):
    """Whoever asks, as the access rule found."""

    def allows(self, action: str, broadcast: str = "") -> bool:
        """Whether that is allowed."""


def list_page(snapshot: Snapshot, view: GatewayView, base: str, granted: MayRead | None, access: int) -> str:
    """The list of the broadcasts that may be read, with its first state in it.

    ``access`` is the status that the API would answer with: 200, or why there are none.
    """
    shown = [b for b in view.broadcasts() if granted is not None and granted.allows("read", b.name)]
    value: dict[str, Any] = {"base": base, "broadcasts": [broadcast_value(b) for b in shown]}
    if granted is None:
        value["access"] = access
    return _fill(
        snapshot,
        "index.html",
        base,
        {
            "config": _config(value),
        },
    )


def watch_page(
    snapshot: Snapshot, view: GatewayView, name: str, host_header: str, base: str, websockets: str = ""
) -> tuple[str, bool]:
    """A broadcast's page, and whether there is such a broadcast (it may still appear).

    ``websockets`` is where they are; empty: there are none.
    """
    summary = next((b for b in view.broadcasts() if b.name == name), None)
    value = {"base": base, "broadcast": name, "known": summary is not None}
    value["summary"] = broadcast_value(summary) if summary else None
    if view.ready():
        value["transport"] = transport_value(view, host_header, websockets)
    page = _fill(
        snapshot,
        "watch.html",
        base,
        {
            "title": html.escape(name),
            "config": _config(value),
        },
    )
    return page, summary is not None


def closed_page(snapshot: Snapshot, name: str, base: str, access: int) -> str:
    """A broadcast's page for who may not watch it: the same whether there is such a broadcast or not.

    ``access`` is the status that a CONNECT would be answered with.
    """
    value = {"base": base, "broadcast": name, "known": True, "summary": None, "access": access}
    return _fill(snapshot, "watch.html", base, {"title": html.escape(name), "config": _config(value)})


def monitor_page(snapshot: Snapshot, base: str) -> str:
    """The operator's page: it tells nothing, what it shows it asks the API for."""
    return _fill(snapshot, "monitor.html", base, {"config": _config({"base": base})})


def error_page(snapshot: Snapshot, title: str, text: str, base: str) -> str:
    """A page that says in words what is wrong."""
    return _fill(snapshot, "error.html", base, {"title": html.escape(title), "text": html.escape(text)})
