"""The configuration as JSON that may be shown: all that holds, and no secret. Imports the log's redaction.

Which values are secret is known by their names, so that a setting of tomorrow with a telling name is safe as
well; of addresses the passwords and tokens are taken out.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from wtgateway.log import redact_url

if TYPE_CHECKING:
    from wtgateway.config.model import BroadcastConfig, GatewayConfig

HIDDEN: Final = "***"
_SECRET = re.compile(r"(?:^|_)(?:secret|password|passphrase|token|hash|hmac|key|keys|users|command|shell)$")
_PATH = re.compile(r"(?:^|_)(?:tls_key|file|path)$")  # where a secret is, is none


def shown(config: GatewayConfig, broadcasts: Iterable[BroadcastConfig]) -> dict[str, Any]:
    """Every field of ``config`` by its name, with these broadcasts in the place of its own."""
    document = {
        field.name: _shown(field.name, getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.name not in ("template", "broadcasts") and field.repr
    }
    document["broadcasts"] = {each.name: _shown("", each) for each in broadcasts}
    return document


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    if _SECRET.search(name) and not _PATH.search(name) and value:
        return HIDDEN
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _shown(f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr}
    if isinstance(value, Mapping):
        return {str(key): _shown(str(key), inner) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _redacted(str(value))
    if isinstance(value, tuple | list | set | frozenset):
        return [_shown(name, inner) for inner in value]
    return _redacted(str(value))


def _redacted(text: str) -> str:
    return redact_url(text)
