"""FFmpeg's errors in words that say what to do next. May import av, errors."""

from __future__ import annotations

import av

from wtgateway.errors import SourceError

_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (av.error.ConnectionRefusedError, "nothing answers there: is the server running, and is the port right?"),
    (av.error.ExitError, "nothing came in time: is the peer sending?"),
    (TimeoutError, "nothing came in time: is the peer reachable and sending?"),
    (av.error.FileNotFoundError, "there is no such file or device: check the path"),
    (av.error.PermissionError, "access is denied: check the permissions (or the groups video and audio)"),
    (av.error.HTTPUnauthorizedError, "the server wants a user and password: put them into the URI"),
    (av.error.HTTPForbiddenError, "the server refuses access: check user and password"),
    (av.error.HTTPNotFoundError, "the server knows no such stream: check the path"),
    (av.error.InvalidDataError, "it is not media that FFmpeg understands, or it is damaged"),
    (av.error.EOFError, "the peer closed the connection"),
)


def source_error(description: str, doing: str, error: BaseException) -> SourceError:
    """A SourceError that names the source (without its password), the cause and a way out."""
    cause = getattr(error, "strerror", None) or type(error).__name__
    hint = next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")
    return SourceError(f"{description}: {doing}: {cause}" + (f" ({hint})" if hint else ""))
