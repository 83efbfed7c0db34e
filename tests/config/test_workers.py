"""How many processes serve viewers: what may be said, and what it comes to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wtgateway.config import load
from wtgateway.errors import ConfigError
from wtgateway.gateway import worker_count


@pytest.mark.parametrize(("text", "workers"), [("1", 1), ("2", 2), (" 64 ", 64), ("auto", 0), ("AUTO", 0)])
def test_a_number_or_auto(text: str, workers: int, tmp_path: Path) -> None:
    assert load({"workers": text}, {}).workers == workers
    assert load({}, {"WTG_WORKERS": text}).workers == workers
    file = tmp_path / "wtgateway.yml"
    file.write_text(f"workers: {text}\n")
    assert load({}, {}, file).workers == workers
    assert load({"workers": "3"}, {}, file).workers == 3


def test_one_unless_told_otherwise() -> None:
    assert load({}, {}).workers == 1


@pytest.mark.parametrize("text", ["0", "-1", "65", "2.5", "two", "aut"])
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigError, match="from 1 to 64, or auto"):
        load({"workers": text}, {})


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 2), (16, 15), (200, 64)])
def test_auto_leaves_a_core_for_sources_and_encoders(
    cores: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert worker_count(0) == workers
    assert worker_count(3) == 3
