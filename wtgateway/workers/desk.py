"""What the operator wants of a session, done by whoever serves it: this process, or a worker that was asked.

``ask`` finds the session among ``sessions``; what is asked of one that is not there is answered with
None. May import transport, protocol and the web's values.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from wtgateway import clock
from wtgateway.media import Kind
from wtgateway.protocol.codes import CloseCode
from wtgateway.transport.session import ViewerSession
from wtgateway.transport.webtransport import SessionRequest
from wtgateway.web.control import Unavailable


def ask(sessions: Mapping[str, ViewerSession], what: str, session_id: str, arguments: Sequence[Any]) -> Any:
    """Do ``what``: kick (code, reason), keyframe, start-qlog, qlog, stop-qlog. Raises Unavailable, in words.

    None: there is no such session here, or nothing to be had of it.
    """
    session = sessions.get(session_id)
    if session is None:
        return None
    match what:
        case "kick":
            code, reason = arguments
            session.part(CloseCode(code), reason)
            return True
        case "keyframe":
            return _request_keyframe(session)
        case "start-qlog":
            if why := session.start_qlog():
                raise Unavailable(why)
            return True
        case "qlog":
            return session.qlog()
        case "stop-qlog":
            return session.stop_qlog()
    raise Unavailable(f"nobody knows how to {what}")


def opened_fields(session: ViewerSession, worker: int, request: SessionRequest) -> dict[str, Any]:
    """Fields of the event session.opened."""
    return {
        "session": session.id,
        "broadcast": session.broadcast.name,
        "worker": worker,
        "transport": request.transport,
        "address": str(request.remote[0]) if request.remote else "",
        "identity": session.core.identity,
        "resumes": bool(session.former),
    }


def closed_fields(session: ViewerSession, worker: int) -> dict[str, Any]:
    """Fields of the event session.closed."""
    code, reason = session.end
    return {
        "session": session.id,
        "broadcast": session.broadcast.name,
        "worker": worker,
        "identity": session.core.identity,
        "client": session.core.client,
        "code": code,
        "reason": reason,
        "duration_s": round(time.monotonic() - session.opened_at, 3),
        "frames_sent": session.core.frames_sent,
        "bytes_sent": session.core.bytes_sent,
    }


def _request_keyframe(session: ViewerSession) -> bool:
    broadcast = session.broadcast
    pictures = {track.id for track in broadcast.catalog.tracks if track.kind is Kind.VIDEO}
    for track, rendition in session.core.wanted():
        if track in pictures:
            broadcast.request_keyframe(track, rendition, clock.now_us())
    return True
