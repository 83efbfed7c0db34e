"""Values of the JSON API, made from a GatewayView. Pure; imports media and the view only.

Names are camelCase as in WebTransport's own dictionaries, so that a page can hand
``certificateHashes`` on after decoding ``value``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from wtgateway.media import Rendition, Track
from wtgateway.protocol.traces import STAGES
from wtgateway.web.view import BroadcastSummary, GatewayView, NodeSummary, SessionSummary, TargetSummary

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::\d{1,5})?")


def clean_host(host_header: str) -> str:
    """A Host header that is a host with an optional port (RFC 9110, section 7.2), else "localhost"."""
    return host_header if _HOST.fullmatch(host_header) else "localhost"


def rendition_value(rendition: Rendition) -> dict[str, Any]:
    """A rendition; numbers that do not apply to its medium are left out."""
    value = {
        "id": rendition.id,
        "codec": rendition.codec,
        "bitrateBps": rendition.bitrate_bps,
        "width": rendition.width,
        "height": rendition.height,
        "fps": rendition.fps,
        "sampleRate": rendition.sample_rate,
        "channels": rendition.channels,
        "forwarded": rendition.forwarded,
        "reorderFrames": rendition.reorder_frames,
        "rotation": rendition.rotation,
    }
    return {k: v for k, v in value.items() if v or k in ("id", "codec")}


def track_value(track: Track) -> dict[str, Any]:
    """A track with its renditions."""
    return {
        "id": track.id,
        "kind": str(track.kind),
        "renditions": [rendition_value(r) for r in track.renditions],
    }


def target_value(target: TargetSummary) -> dict[str, Any]:
    """What an encoder is to do, and why."""
    return {
        "rendition": target.rendition,
        "bitrateBps": target.bitrate_bps,
        "nominalBps": target.nominal_bps,
        "scale": target.scale,
        "fps": target.fps,
        "reason": target.reason,
    }


def broadcast_value(summary: BroadcastSummary) -> dict[str, Any]:
    """A broadcast as ``/api/v1/broadcasts`` lists it."""
    return {
        "name": summary.name,
        "state": str(summary.state),
        "reason": summary.reason,
        "retryInMs": summary.retry_in_ms,
        "source": summary.source,
        "viewers": summary.viewers,
        "uptimeS": round(summary.uptime_s, 1),
        "findings": list(summary.findings),
        "targets": [target_value(t) for t in summary.targets],
        "tracks": [track_value(t) for t in summary.catalog.tracks],
    }


def session_value(summary: SessionSummary) -> dict[str, Any]:
    """A session as ``/api/v1/sessions`` lists it."""
    return {
        "id": summary.id,
        "broadcast": summary.broadcast,
        "worker": summary.worker,
        "client": summary.client,
        "identity": summary.identity,
        "transport": summary.transport,
        "address": summary.address,
        "ageS": round(summary.age_s, 1),
        "framesSent": summary.frames_sent,
        "framesDropped": summary.frames_dropped,
        "bytesSent": summary.bytes_sent,
        "streamsReset": summary.streams_reset,
        "rttUs": summary.rtt_us,
        "estimateBps": summary.estimate_bps,
        "loss": round(summary.loss, 4),
        "queueingUs": summary.queueing_us,
        "wishBps": summary.wish_bps,
        "rendition": summary.rendition,
        "renditionReason": summary.rendition_reason,
        "queuedBytes": summary.queued_bytes,
        "latencyMs": stages_value(summary.stages_us),
    }


def stages_value(stages_us: Sequence[int]) -> dict[str, float]:
    """What a frame took in each stage, in ms; empty: nothing is known of any."""
    return {stage: time_us / 1000 for stage, time_us in zip(STAGES, stages_us, strict=False)}


def node_value(summary: NodeSummary) -> dict[str, Any]:
    """The gateway as one of several (``/api/v1/node``), for balancers."""
    return {
        "node": summary.node,
        "serverId": summary.server_id,
        "draining": summary.draining,
        "viewers": summary.viewers,
        "instance": summary.instance,
        "lbConfig": summary.lb_config,
    }


def transport_value(view: GatewayView, host_header: str, websockets: str = "") -> dict[str, Any]:
    """Where and with which certificates a page connects (``/api/v1/transport``).

    ``websockets`` is where they are; empty: there are none.
    """
    return ({"webSocketUrl": websockets} if websockets else {}) | {
        "url": view.transport_url(clean_host(host_header)),
        "certificateHashes": [
            {
                "algorithm": h["algorithm"],
                "value": base64.b64encode(h["value"]).decode(),
                "notBefore": h["notBefore"],
                "notAfter": h["notAfter"],
            }
            for h in view.certificate_hashes()
        ],
    }


def embeddable_json(value: Any) -> str:
    """JSON that may stand inside an HTML ``script`` element: no markup character is left in it."""
    text = json.dumps(value, separators=(",", ":"))  # ASCII only, so U+2028 is escaped already
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
