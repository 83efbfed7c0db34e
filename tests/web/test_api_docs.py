"""docs/api.md and docs/operations.md name what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from tests.web.conftest import Api
from wtgateway.events import KINDS, PROVOKED
from wtgateway.hooks.commands import _VARIABLES

DOCS = Path(__file__).parents[2] / "docs"
API, OPERATIONS = (DOCS / "api.md").read_text(), (DOCS / "operations.md").read_text()


async def test_every_path_and_method_has_its_row(api: Api) -> None:
    document = (await api.http.get("/api/v1/openapi.json")).json()
    rows = dict(re.findall(r"^\| `(/api/[^`]+)` \| ([A-Z, ]+) \|", API, re.MULTILINE))
    rows.pop("/api/v1/access/revocations", None)  # is there only with a rule of access
    assert {path: set(methods.split(", ")) for path, methods in rows.items()} == {
        path: {method.upper() for method in methods} for path, methods in document["paths"].items()
    }


async def test_its_action_is_in_the_row(api: Api) -> None:
    document = (await api.http.get("/api/v1/openapi.json")).json()
    rows = dict(re.findall(r"^\| `(/api/[^`]+)` \|.*\| ([^|]+) \|$", API, re.MULTILINE))
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation.get("x-action", "none") in rows[path].replace("`", ""), path


def test_every_kind_of_event_is_described() -> None:
    section = OPERATIONS.partition("\n## Events\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    assert {kind for row in rows for kind in re.findall(r"`([^`]+)`", row)} == set(KINDS)
    assert set(KINDS) > PROVOKED


def test_every_variable_of_a_command_is_described() -> None:
    section = OPERATIONS.partition("\n## Hooks\n")[2].partition("\n## ")[0]
    described = set(re.findall(r"`(WTG_[A-Z]+)`", section))
    assert described == {f"WTG_{name.upper()}" for name in (*_VARIABLES, "event", "source", "node")}
