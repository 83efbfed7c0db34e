"""/metrics and /api/v1/sessions: what is counted, as others read it."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.web.conftest import CLIENT_DIR, FakeView, client_for
from wtgateway.web import metrics
from wtgateway.web.app import create_app
from wtgateway.web.view import NodeSummary, SessionSummary, WorkerSummary

# The exposition format 0.0.4: comments, and samples of a name, labels and a number.
LINE = re.compile(
    r"# (HELP|TYPE) [a-z_]+ .+|"
    r'[a-z_][a-z0-9_]*(\{[a-z_]+="(?:[^"\\\n]|\\[\\n"])*"\})? -?[0-9.e+-]+'  # one label at most
)

WORKERS = [
    WorkerSummary(worker=0, restarts=2, connections=5, sessions=4, counters={"datagrams_in": 7, "odd": 1}),
    WorkerSummary(worker=1, up=False, counters={"datagrams_in": 2**53}),
]


async def test_workers_are_told_apart(view: FakeView, http: httpx.AsyncClient) -> None:
    view.workers = WORKERS
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    assert answer.text.endswith("\n")
    assert all(LINE.fullmatch(line) for line in lines)
    assert 'wtgateway_worker_up{worker="0"} 1' in lines
    assert 'wtgateway_worker_up{worker="1"} 0' in lines
    assert 'wtgateway_worker_restarts_total{worker="0"} 2' in lines
    assert 'wtgateway_connections{worker="0"} 5' in lines
    assert 'wtgateway_sessions{worker="0"} 4' in lines
    assert 'wtgateway_datagrams_in_total{worker="0"} 7' in lines
    assert f'wtgateway_datagrams_in_total{{worker="1"}} {2**53}' in lines
    assert 'wtgateway_broadcast_viewers{broadcast="test"} 2' in lines
    assert 'wtgateway_broadcast_live{broadcast="house/door"} 0' in lines


async def test_each_metric_has_its_type_once_and_before_its_samples(
    view: FakeView, http: httpx.AsyncClient
) -> None:
    view.workers = WORKERS
    kinds: dict[str, str] = {}
    for line in (await http.get("/metrics")).text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert name not in kinds
            kinds[name] = kind
        elif not line.startswith("#"):
            name = re.split(r"[{ ]", line)[0]
            assert name in kinds
            assert (kinds[name] == "counter") == name.endswith("_total")


def test_what_is_no_name_and_what_needs_escaping() -> None:
    view = FakeView(summaries=[], workers=[WorkerSummary(counters={'"}': 1, "fine": 2})])
    text = metrics.exposition(metrics.families(view))
    assert '"}' not in text.replace('"} ', "")
    assert 'wtgateway_fine_total{worker="0"} 2' in text
    family = metrics.Family("x", "gauge", "a\nb\\")
    family.add(0.5, label='q"\\\n')
    assert metrics.exposition([family]) == '# HELP x a\\nb\\\\\n# TYPE x gauge\nx{label="q\\"\\\\\\n"} 0.5\n'


async def test_sessions_of_all_workers_are_one_list(view: FakeView, http: httpx.AsyncClient) -> None:
    view.sessions = [
        SessionSummary(
            id="a1", broadcast="test", worker=1, client="wtgateway view", age_s=1.26, frames_sent=9
        ),
        SessionSummary(id="b2", broadcast="house/door", rtt_us=1500),
    ]
    first, second = (await http.get("/api/v1/sessions")).json()
    assert (first["id"], first["worker"], first["ageS"], first["framesSent"]) == ("a1", 1, 1.3, 9)
    assert first["client"] == "wtgateway view"
    assert (second["broadcast"], second["worker"], second["rttUs"]) == ("house/door", 0, 1500)


async def test_how_viewers_paths_are_is_told_by_broadcast(view: FakeView, http: httpx.AsyncClient) -> None:
    view.sessions = [
        SessionSummary(
            id=str(n), broadcast="test", rtt_us=n * 10_000, estimate_bps=n * 1_000_000, loss=n / 100,
            queueing_us=n * 1_000,
        )
        for n in (3, 1, 2, 0)
    ]  # fmt: skip
    sessions = (await http.get("/api/v1/sessions")).json()
    assert (sessions[0]["loss"], sessions[0]["queueingUs"], sessions[0]["estimateBps"]) == (
        0.03,
        3_000,
        3_000_000,
    )
    lines = (await http.get("/metrics")).text.splitlines()
    for viewer, value in (("least", 1), ("median", 2), ("greatest", 3)):  # of the fourth nothing is known yet
        labels = f'{{broadcast="test",viewer="{viewer}"}}'
        assert f"wtgateway_path_estimate_bps{labels} {value * 1_000_000}" in lines
        for name, expected in (
            ("path_rtt_seconds", value / 100),
            ("path_loss_ratio", value / 100),
            ("path_queueing_seconds", value / 1_000),
        ):
            (line,) = [line for line in lines if line.startswith(f"wtgateway_{name}{labels}")]
            assert float(line.split()[-1]) == pytest.approx(expected)


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/sessions"])
async def test_pages_of_other_origins_may_not_read_them_even_where_the_rest_is_open(
    view: FakeView, path: str
) -> None:
    async with client_for(create_app(view, CLIENT_DIR, open_access=True)) as client:
        answer = await client.get(path, headers={"origin": "https://elsewhere.example"})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


async def test_resumes_have_their_outcome_as_a_label(view: FakeView) -> None:
    counters = {"resumes_used": 3, "resumes_here": 2, "nacks_refused": 4}
    view.workers = [WorkerSummary(worker=1, counters=counters)]
    view.node = NodeSummary(draining=True)
    lines = metrics.exposition(metrics.families(view)).splitlines()
    assert 'wtgateway_resumes_total{worker="1",outcome="used"} 3' in lines
    assert 'wtgateway_resumes_total{worker="1",outcome="here"} 2' in lines
    assert 'wtgateway_nacks_total{worker="1",outcome="refused"} 4' in lines
    assert not any("resumes_used" in line or "nacks_refused" in line for line in lines)
    assert "wtgateway_draining 1" in lines
