"""JSON Schemas (2020-12) of what the API says and takes: the components of its OpenAPI document.

Held to the real answers by tests. Pure; imports the protocol's stages, events' kinds and media's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wtgateway.events import KINDS
from wtgateway.media import BroadcastState, Kind
from wtgateway.protocol.traces import STAGES
from wtgateway.web.control import LOG_LEVELS

Schema = Mapping[str, Any]


def ref(name: str) -> Schema:
    """A component by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def listing(of: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": of}


def _object(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """All properties but the optional ones are always there, and there are no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _whole(description: str = "", least: int = 0) -> Schema:
    return _described({"type": "integer", "minimum": least}, description)


def _number(description: str = "", least: float | None = 0) -> Schema:
    return _described({"type": "number"} | ({} if least is None else {"minimum": least}), description)


def _text(description: str = "", **more: Any) -> Schema:
    return _described({"type": "string", **more}, description)


def _yes(description: str = "") -> Schema:
    return _described({"type": "boolean"}, description)


def _described(schema: dict[str, Any], description: str) -> Schema:
    return schema | ({"description": description} if description else {})


_AT = _whole("When, in ms since the Unix epoch")
_RATE = _whole("Bits a second sent to viewers")
_TIME = _text("RFC 3339", format="date-time")

_RENDITION = _object(
    {
        "id": _whole(),
        "codec": _text("As WebCodecs names it"),
        "bitrateBps": _whole(),
        "width": _whole(),
        "height": _whole(),
        "fps": _number(),
        "sampleRate": _whole(),
        "channels": _whole(),
        "forwarded": _yes("As the source coded it"),
        "reorderFrames": _whole("Pictures that a decoder has to hold back"),
        "rotation": _whole("Degrees, clockwise"),
    },
    optional=(
        "bitrateBps", "width", "height", "fps", "sampleRate", "channels", "forwarded", "reorderFrames",
        "rotation",
    ),
)  # fmt: skip

_SESSION = {
    "id": _text("As the log names it"),
    "broadcast": _text(),
    "worker": _whole("Which process serves it"),
    "client": _text("What the viewer calls itself"),
    "ageS": _number(),
    "framesSent": _whole(),
    "framesDropped": _whole("Dropped in its send queue"),
    "bytesSent": _whole(),
    "streamsReset": _whole("Frames given up when their time was over"),
    "rttUs": _whole("Round trip; 0: not known yet"),
    "estimateBps": _whole("What its path is believed to carry; 0: not known"),
    "loss": _number("Share of packets lost in the last seconds"),
    "queueingUs": _whole("How long its path's queue is"),
    "wishBps": _whole("What of the estimate is left for the pictures; 0: not known"),
    "rendition": _whole("Of the pictures; -1: none", -1),
    "renditionReason": _text("Why that one"),
    "queuedBytes": _whole("In its send queue"),
    "latencyMs": ref("Stages"),
    "identity": _text("Who it is, as its token says"),
    "transport": _text("webtransport or websocket"),
    "address": _text("Where it comes from"),
}

_BROADCAST = {
    "name": _text(),
    "state": _text(enum=[str(state) for state in BroadcastState]),
    "reason": _text("Why it is in that state, in words"),
    "retryInMs": _whole(),
    "source": _text("Without passwords"),
    "viewers": _whole(),
    "uptimeS": _number("Since it last became live; 0: it is not"),
    "findings": listing(_text("What in the source's own coding makes browsers hold pictures back")),
    "targets": listing(ref("Target")),
    "tracks": listing(ref("Track")),
}

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Error": _object({"error": _text("In words"), "status": _whole("As in the answer's first line")}),
    "Rendition": _RENDITION,
    "Track": _object(
        {
            "id": _whole(),
            "kind": _text(enum=[str(kind) for kind in Kind]),
            "renditions": listing(ref("Rendition")),
        }
    ),
    "Target": _object(
        {
            "rendition": _whole(),
            "bitrateBps": _whole("What the encoder is to keep to now"),
            "nominalBps": _whole("As configured"),
            "scale": _number("Of the configured width and height"),
            "fps": _number("0: not known"),
            "reason": _text(),
        }
    ),
    "Broadcast": _object(_BROADCAST),
    "BroadcastDetails": _object(_BROADCAST | {"history": listing(ref("BroadcastSample"))}),
    "BroadcastSample": _object(
        {
            "at": _AT,
            "rateBps": _RATE,
            "sourceBps": _whole("What its renditions take together"),
            "viewers": _whole(),
        }
    ),
    "Stages": {
        "type": "object",
        "description": "What the last frame traced by the viewer took in each stage, in ms; empty: none was",
        "properties": {stage: _number() for stage in STAGES},
        "additionalProperties": False,
    },
    "Session": _object(_SESSION, optional=("identity", "transport", "address")),
    "SessionDetails": _object(
        _SESSION | {"history": listing(ref("SessionSample"))}, optional=("identity", "transport", "address")
    ),
    "SessionSample": _object(
        {
            "at": _AT,
            "rateBps": _RATE,
            "loss": _number("Share of packets"),
            "rttUs": _whole(),
            "queueingUs": _whole("How long its path's queue was"),
            "queuedBytes": _whole("In its send queue"),
            "framesSent": _whole("Since the sample before"),
            "framesDropped": _whole("Since the sample before"),
            "latencyMs": ref("Stages"),
        }
    ),
    "Node": _object(
        {
            "node": _text("Its name among others"),
            "serverId": _text("In connection IDs, as hex digits; empty: no balancer reads them"),
            "draining": _yes("Whether viewers are sent to other nodes"),
            "viewers": _whole(),
            "instance": _text("Made anew whenever the gateway starts"),
            "lbConfig": _text("Fingerprint of how connection IDs are made"),
        }
    ),
    "Transport": _object(
        {
            "url": _text("Where WebTransport is"),
            "certificateHashes": listing(ref("CertificateHash")),
            "webSocketUrl": _text("Where the same protocol goes over a WebSocket; empty: nowhere"),
        },
        optional=("webSocketUrl",),
    ),
    "CertificateHash": _object(
        {
            "algorithm": _text(),
            "value": _text("Base64", contentEncoding="base64"),
            "notBefore": _TIME,
            "notAfter": _TIME,
        }
    ),
    "Worker": _object(
        {
            "worker": _whole(),
            "up": _yes(),
            "restarts": _whole(),
            "connections": _whole(),
            "sessions": _whole(),
        }
    ),
    "Process": _object(
        {
            "name": _text("main, worker-N"),
            "rssBytes": _whole("Memory; 0: not known"),
            "openFds": _whole(),
            "maxFds": _whole(),
            "cpuS": _number("User and system, since it began"),
            "cpuShare": _number("Of one core, over the last second"),
            "threads": _whole(),
            "loopLagUs": _whole("How late a timer of its event loop was at worst in the last second"),
        }
    ),
    "Overview": _object(
        {
            "version": _text(),
            "node": _text(),
            "instance": _text(),
            "uptimeS": _number(),
            "ready": _yes(),
            "draining": _yes(),
            "broadcasts": _object({"total": _whole(), "live": _whole()}),
            "sessions": _whole(),
            "rateBps": _RATE,
            "workers": listing(ref("Worker")),
            "processes": listing(ref("Process")),
            "history": listing(ref("GatewaySample")),
        }
    ),
    "GatewaySample": _object(
        {
            "at": _AT,
            "rateBps": _RATE,
            "sessions": _whole(),
            "rssBytes": _whole("Of all processes"),
            "cpuShare": _number("Of one core, all processes together"),
            "loopLagUs": _whole("The worst of all processes"),
        }
    ),
    "Certificate": _object(
        {
            "sha256": _text("Hex digits", pattern="^[0-9a-f]{64}$"),
            "notBefore": _TIME,
            "notAfter": _TIME,
            "current": _yes("Whether new connections get it"),
        }
    ),
    "LogLevel": _object({"level": _text(enum=list(LOG_LEVELS))}),
    "Event": {
        **_object(
            {
                "kind": _text(f"Among others: {', '.join(KINDS)}"),
                "at": _AT,
                "number": _whole("Grows by one with each event", 1),
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean"]},
                },
            }
        ),
        "description": "The data of one server-sent event",
    },
    "Settings": {
        "type": "object",
        "description": "A broadcast as the configuration file has it (docs/configuration.md)",
        "properties": {"source": _text("A file or a URL"), "on_demand": _yes()},
    },
    "Kick": _object(
        {
            "reason": _text("Shown to the viewer", maxLength=200),
        },
        optional=("reason",),
    ),
    "Configuration": {"type": "object", "description": "All settings that hold, without any secret"},
}
