"""What encoders are to do, and who gets which rendition, as others read it."""

from __future__ import annotations

from dataclasses import replace

import httpx

from tests.web.conftest import FakeView
from wtgateway.web import metrics
from wtgateway.web.view import SessionSummary, TargetSummary

TARGET = TargetSummary(
    rendition=2, bitrate_bps=600_000, nominal_bps=4_000_000, scale=0.5, fps=15.0, reason="its viewer's path"
)


async def test_targets_are_listed_with_their_reason(view: FakeView, http: httpx.AsyncClient) -> None:
    view.summaries = [replace(view.summaries[0], targets=(TARGET,))]
    (broadcast,) = (await http.get("/api/v1/broadcasts")).json()
    assert broadcast["targets"] == [
        {
            "rendition": 2,
            "bitrateBps": 600_000,
            "nominalBps": 4_000_000,
            "scale": 0.5,
            "fps": 15.0,
            "reason": "its viewer's path",
        }
    ]


async def test_sessions_tell_their_rendition_and_why(view: FakeView, http: httpx.AsyncClient) -> None:
    view.sessions = [
        SessionSummary(
            id="a", broadcast="test", estimate_bps=900_000, wish_bps=700_000, rendition=2,
            rendition_reason="the path has 700 kbit/s for pictures",
        ),
        SessionSummary(id="b", broadcast="test", rendition_reason="the page is hidden"),
    ]  # fmt: skip
    first, second = (await http.get("/api/v1/sessions")).json()
    assert (first["estimateBps"], first["wishBps"], first["rendition"]) == (900_000, 700_000, 2)
    assert first["renditionReason"] == "the path has 700 kbit/s for pictures"
    assert (second["rendition"], second["renditionReason"]) == (-1, "the page is hidden")


def test_metrics_tell_targets_and_count_viewers_by_rendition() -> None:
    view = FakeView()
    view.summaries = [replace(view.summaries[0], targets=(TARGET,), target_changes=7)]
    view.sessions = [SessionSummary(id=name, broadcast="test", rendition=0) for name in "abc"]
    view.sessions.append(SessionSummary(id="d", broadcast="test"))
    lines = metrics.exposition(metrics.families(view)).splitlines()
    labels = 'broadcast="test",rendition="2"'
    for line in (
        f"wtgateway_encoder_target_bps{{{labels}}} 600000",
        f"wtgateway_encoder_target_scale{{{labels}}} 0.5",
        f"wtgateway_encoder_target_fps{{{labels}}} 15",
        f'wtgateway_encoder_target_info{{{labels},reason="its viewer\'s path"}} 1',
        'wtgateway_encoder_target_changes_total{broadcast="test"} 7',
        'wtgateway_rendition_viewers{broadcast="test",rendition="0"} 3',
        'wtgateway_rendition_viewers{broadcast="test",rendition="none"} 1',
    ):
        assert line in lines
