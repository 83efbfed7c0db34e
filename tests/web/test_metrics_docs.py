"""docs/metrics.md says what /metrics has, and /metrics is what Prometheus takes."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import pytest

from tests.web.conftest import Api
from tests.web.metrics_table import DOCS, Full, families, renewed
from wtgateway.web import metrics
from wtgateway.web.metric_family import Family
from wtgateway.web.view import SessionSummary

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(?:,|$)')


def read(text: str) -> dict[str, tuple[str, list[tuple[str, dict[str, str], float]]]]:
    """The families of an exposition, by name; what `promtool check metrics` refuses is an AssertionError."""
    assert text.endswith("\n")
    found: dict[str, tuple[str, list[tuple[str, dict[str, str], float]]]] = {}
    helped: set[str] = set()
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    name = kind = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            _, _, name, words = line.split(" ", 3)
            assert words.strip() and name not in helped, line
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            assert typed == name and kind in ("counter", "gauge", "histogram"), line
            assert _NAME.fullmatch(name) and name not in found
            assert (kind == "counter") == name.endswith("_total"), name
            assert not name.endswith(("_bucket", "_sum", "_count")), name
            found[name] = kind, []
        else:
            match = _SAMPLE.fullmatch(line)
            assert match is not None, line
            labels = dict(_LABEL.findall(match["labels"] or ""))
            assert _LABEL.sub("", match["labels"] or "") == "", line
            assert "quantile" not in labels, "which only summaries have"
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            assert match["name"] in {name + suffix for suffix in suffixes}, line
            key = match["name"], frozenset(labels.items())
            assert key not in seen, line
            seen.add(key)
            found[name][1].append((match["name"], labels, float(match["value"])))
    for name, (kind, samples) in found.items():
        assert samples, f"{name} has no sample"
        if kind == "histogram":
            _check_histogram(name, samples)
    return found


def _check_histogram(name: str, samples: list[tuple[str, dict[str, str], float]]) -> None:
    """Buckets only grow, the last is +Inf, and is the count."""
    series: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
    counts: dict[frozenset[tuple[str, str]], float] = {}
    for sample, labels, value in samples:
        rest = frozenset((k, v) for k, v in labels.items() if k != "le")
        if sample.endswith("_bucket"):
            series.setdefault(rest, []).append((float(labels["le"]), value))
        elif sample.endswith("_count"):
            counts[rest] = value
    assert set(series) == set(counts)
    for rest, buckets in series.items():
        assert buckets == sorted(buckets)
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (math.inf, counts[rest])


def test_the_table_is_that_of_the_code() -> None:
    text = DOCS.read_text()
    assert text == renewed(text), "run .venv/bin/python -m tests.web.metrics_table"


def test_all_of_it_is_what_prometheus_takes() -> None:
    everything = families()
    found = read(metrics.exposition(everything))
    assert set(found) == {family.name for family in everything}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian: prometheus)")
def test_promtool_has_nothing_to_say() -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=metrics.exposition(families()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def test_what_is_served_is_the_same_and_documented(api: Api) -> None:
    documented = set(re.findall(r"^\| `(wtgateway_\w+)`", DOCS.read_text(), re.MULTILINE))
    found = read((await api.http.get("/metrics")).text)
    assert set(found) <= documented
    assert found["wtgateway_event_loop_lag_seconds"][1][-1][2] == 1
    assert ("wtgateway_process_open_fds", {"process": "main"}, 9.0) in found["wtgateway_process_open_fds"][1]


async def test_no_label_has_a_session(api: Api) -> None:
    def series() -> int:
        return sum(len(family.samples) for family in metrics.families(api.view, Full()))

    before = series()
    api.view.sessions += [SessionSummary(id=f"s{n}", broadcast="test") for n in range(500)]
    assert series() == before
    assert "s499" not in (await api.http.get("/metrics")).text


def test_names_queries_and_help_are_one_line() -> None:
    for family in families():
        assert isinstance(family, Family)
        assert "\n" not in family.help
        assert "|" not in family.help
