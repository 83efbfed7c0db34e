"""Headers of every answer: isolation, content policy, no sniffing.

Imports nothing of the project. Rule: no page has inline script or style, loads anything from
elsewhere, or sets a cookie.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# connect-src: WebTransport is on another port, and after a restart perhaps on another host's name.
# worker-src: the media worker's script travels inside the page's (web/linker.py); a worker fetched as a
# file takes its policy from its own response.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "worker-src 'self' blob:",
        "connect-src 'self' https: wss:",
        "img-src 'self' data: blob:",
        "media-src 'self' blob: mediastream:",
        "style-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
    )
)
SELF = ("'self'",)


def content_security_policy(frame_ancestors: Sequence[str] = SELF) -> str:
    """The policy of all pages; ``frame_ancestors``: which pages may show them in a frame (CSP 3, 7.7.2)."""
    return f"{_POLICY}; frame-ancestors {' '.join(frame_ancestors)}"


SECURITY_HEADERS = {
    # Both together make the page cross-origin isolated, which SharedArrayBuffer (the audio ring) needs.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": content_security_policy(),
    "referrer-policy": "no-referrer",  # addresses hold tokens
    # All that pages use; what embeds one may not lend it more.
    "permissions-policy": (
        "autoplay=(self), fullscreen=(self), picture-in-picture=(self), screen-wake-lock=(self), "
        "camera=(), microphone=(), display-capture=(), geolocation=(), usb=(), serial=(), "
        "hid=(), midi=(), payment=(), browsing-topics=()"
    ),
    "x-content-type-options": "nosniff",
}


class SecurityHeaders:
    """ASGI middleware that adds :data:`SECURITY_HEADERS` where an answer does not set its own."""

    def __init__(self, app: ASGIApp, frame_ancestors: Sequence[str] = SELF) -> None:
        self._app = app
        policy = content_security_policy(frame_ancestors)
        self._headers = SECURITY_HEADERS | {"content-security-policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
