"""The access token of a viewer: as given, out of the address that was shared, or from a file that is renewed.

Imports errors only.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from wtgateway.errors import ConfigError

MAX_FILE_BYTES = 8192


def split_token(url: str) -> tuple[str, str]:
    """An address without its ``token``, and that: links carry it, and nothing else is to see it."""
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    token = next((value for name, value in pairs if name == "token"), "")
    rest = urlencode([(name, value) for name, value in pairs if name != "token"])
    return urlunsplit(parts._replace(query=rest)), token


def headers_of(token: str) -> dict[str, str]:
    """What a request shows (RFC 6750, section 2.1)."""
    return {"authorization": f"Bearer {token}"} if token else {}


def read_token(given: str) -> str:
    """``TOKEN`` as it is, ``@FILE`` read anew each time. Blocking. Raises ConfigError."""
    if not given.startswith("@"):
        return given
    path = Path(given[1:]).expanduser()
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise ConfigError("command line", "--token", str(path), f"a file with a token ({why})") from None
