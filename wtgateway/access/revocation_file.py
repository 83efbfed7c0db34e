"""The file of revocations, which all gateways that share a directory read and write.

May import private_files. The rule: the file is what all agree on. Whoever changes something does so under the
directory's lock, on top of what the others wrote; whoever only looks is told when there is something new.
Everything here blocks and belongs in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wtgateway.access.revocations import MAX_REVOCATIONS, Revocation, Revocations
from wtgateway.errors import ConfigError
from wtgateway.private_files import (
    change_mark,
    directory_lock,
    prepare_directory,
    read_private,
    write_private,
)

FILE_NAME = "revocations.json"
_MAX_FILE_BYTES = 512 * MAX_REVOCATIONS


@dataclass(frozen=True, slots=True)
class Change:
    """A revocation that is to be added, or to be good again."""

    revocation: Revocation
    restored: bool = False


def parse_revocations(data: bytes) -> list[Revocation]:
    """The rows of the file. Raises ValueError or TypeError for anything else."""
    rows = json.loads(data)
    if not isinstance(rows, list) or len(rows) > MAX_REVOCATIONS:
        raise ValueError("no list of revocations")
    found = []
    for row in rows:
        if not isinstance(row, list):
            raise TypeError("no revocation")
        found.append(Revocation.from_row(row))
    return found


class RevocationFile:
    """``revocations.json`` in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self._mark: tuple[int, int, int] | None = None

    def read(self) -> list[Revocation] | None:
        """What is written; None where there is no file. Raises ConfigError."""
        self._mark = change_mark(self.path)
        try:
            data = read_private(self.path, _MAX_FILE_BYTES)
            return None if data is None else parse_revocations(data)
        except OSError as error:
            expected = f"a file that can be read ({error.strerror})"
            raise ConfigError("access", "", str(self.path), expected) from None
        except (ValueError, TypeError, RecursionError):
            expected = "the revocations that this gateway has written"
            raise ConfigError("access", "", str(self.path), expected) from None

    def news(self) -> list[Revocation] | None:
        """What others have written since the last look; None: nothing. Raises ConfigError."""
        return None if change_mark(self.path) == self._mark else self.read()

    def change(self, changes: Sequence[Change], known: Sequence[Revocation], now_us: int) -> list[Revocation]:
        """Carry out changes on top of what is written, or of ``known`` without a file; what holds then.

        Raises OSError, ConfigError, RevocationsFullError; then nothing was written.
        """
        prepare_directory(self.path.parent)
        with directory_lock(self.path.parent):
            written = self.read()
            together = Revocations()
            for revocation in known if written is None else written:
                together.add(revocation, now_us)
            for change in changes:
                found = change.revocation
                if change.restored:
                    together.remove(found.token_id, found.identity, now_us)
                else:
                    together.add(found, now_us)
            held = together.all(now_us)
            write_private(self.path, json.dumps([revocation.to_row() for revocation in held]).encode())
            self._mark = change_mark(self.path)
            return held
