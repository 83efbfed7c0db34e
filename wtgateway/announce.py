"""What a user is told once the gateway serves: one block of text, or one line of JSON."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wtgateway import __version__
from wtgateway.log import redact_url
from wtgateway.web.where import in_url

if TYPE_CHECKING:
    from wtgateway.gateway import Gateway


def ready_facts(gateway: Gateway) -> dict[str, Any]:
    """What a user needs to know once the gateway serves."""
    assert gateway.web_address is not None
    config = gateway.config
    scheme = "https" if config.public or config.web_tls_cert else "http"
    host, port = gateway.web_address
    shown = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0", "::") else host  # noqa: S104
    if config.web.host == "::1":
        shown = "::1"  # a browser may take "localhost" for 127.0.0.1 alone
    page = config.public_url or f"{scheme}://{in_url(shown)}:{port}/"
    names = [b.name for b in gateway.hub]
    certificate = gateway.certificate
    advertised = {"advertised": gateway.transport_url("")} if config.public_hosts else {}
    return {
        "page": page + (names[0] if len(names) == 1 else ""),
        "monitor": f"{page}_monitor",
        "quic": [f"{in_url(host)}:{port}" for host, port in gateway.quic_addresses],
        **advertised,
        "certificate_sha256": certificate.fingerprint.hex(),
        "certificate_expires": certificate.not_after.isoformat(timespec="seconds"),
        "workers": len(gateway.pool.process_ids()) if gateway.pool is not None else 1,
        "broadcasts": {c.name: c.source for c in config.broadcasts},
    }


def announce(gateway: Gateway) -> None:
    """The one block a user reads after the start."""
    facts = ready_facts(gateway)
    if gateway.config.speaks_json:
        _say(json.dumps({"event": "ready", **facts}))
        return
    expires = datetime.fromisoformat(facts["certificate_expires"])
    lines = [
        f"wtgateway {__version__} is ready",
        f"  page         {facts['page']}",
        f"  monitor      {facts['monitor']}",
        f"  quic         {', '.join(facts['quic'])} (UDP)",
        *([f"  advertised   {facts['advertised']} (UDP)"] if "advertised" in facts else []),
        f"  certificate  {facts['certificate_sha256'][:16]}…, expires {expires:%Y-%m-%d %H:%M} UTC",
    ]
    if facts["workers"] > 1:
        lines.append(f"  workers      {facts['workers']} processes serve viewers")
    label = "broadcasts"
    for name, source in facts["broadcasts"].items():
        lines.append(f"  {label:<11}  /{name}  from {redact_url(source)}")
        label = ""
    if gateway.config.public and gateway.config.web_tls_cert is None:
        lines.append(
            "  note         the page's certificate is self-signed: the browser asks once whether to "
            "trust it\n               (Advanced, then Proceed). Use --web-tls-cert/--web-tls-key for "
            "one that it knows."
        )
    _say("\n".join(lines))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
