"""Where a configuration came from, so that it can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wtgateway.config.model import GatewayConfig


Mark = tuple[int, int, int, int]


def file_mark(path: Path) -> Mark | None:
    """Differs whenever the file was written or replaced, also behind a link; None: it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


@dataclass(frozen=True, slots=True)
class Origin:
    """What :func:`wtgateway.config.load` was given. Command line and environment stay what they were."""

    overrides: Mapping[str, object]
    environ: Mapping[str, str]
    file: Path | None
    mark: Mark | None = None  # of the file, from before it was read

    def load(self) -> GatewayConfig:
        """The configuration as it is now. Raises :exc:`ConfigError`."""
        from wtgateway.config.load import load

        return load(self.overrides, self.environ, self.file)
