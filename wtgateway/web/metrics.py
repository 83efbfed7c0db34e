"""``/metrics``: what the gateway counts, as text for Prometheus (exposition format 0.0.4).

Each worker counts for itself and is told apart by the label ``worker``, so that sums are the reader's
choice, and a counter that begins anew with a worker is seen as what it is. Pure; imports the view and the
histograms.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from wtgateway.media import BroadcastState
from wtgateway.protocol.traces import STAGES
from wtgateway.web import metrics_operating
from wtgateway.web.control import GatewayControl
from wtgateway.web.histograms import StageTimes
from wtgateway.web.metric_family import PREFIX, Family
from wtgateway.web.metric_names import BY_OUTCOME, COUNTERS
from wtgateway.web.view import GatewayView, SessionSummary, WorkerSummary

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
__all__ = ["MEDIA_TYPE", "Family", "exposition", "families"]
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def families(view: GatewayView, control: GatewayControl | None = None) -> list[Family]:
    """All that is counted now; without ``control`` nothing of processes and events."""
    workers = view.worker_summaries()
    paths = _of_paths(view.session_summaries())
    draining = Family(f"{PREFIX}draining", "gauge", "Whether viewers are sent to other nodes")
    draining.add(view.node_summary().draining)
    return [
        draining,
        *_of_workers(workers),
        *_of_broadcasts(view),
        *_of_sources(view),
        *_of_adaptation(view),
        *paths,
        *_of_traces(workers),
        *(metrics_operating.families(view, control) if control is not None else []),
    ]


def exposition(all_families: Iterable[Family]) -> str:
    """The text; families without a sample are left out."""
    lines: list[str] = []
    for family in all_families:
        if family.samples:
            lines += [f"# HELP {family.name} {_escaped(family.help)}", f"# TYPE {family.name} {family.kind}"]
            lines += [f"{name}{_labels(labels)} {value:.17g}" for name, labels, value in family.samples]
    return "\n".join(lines) + "\n"


def _of_workers(workers: list[WorkerSummary]) -> list[Family]:
    up = Family(f"{PREFIX}worker_up", "gauge", "Whether the worker serves viewers")
    restarts = Family(f"{PREFIX}worker_restarts_total", "counter", "How often the worker was replaced")
    connections = Family(f"{PREFIX}connections", "gauge", "QUIC connections now")
    sessions = Family(f"{PREFIX}sessions", "gauge", "Viewers' sessions now")
    outcomes = {
        prefix: Family(f"{PREFIX}{prefix}total", "counter", text) for prefix, (_, text) in BY_OUTCOME.items()
    }
    counted: dict[str, Family] = {}
    for worker in workers:
        up.add(worker.up, worker=worker.worker)
        restarts.add(worker.restarts, worker=worker.worker)
        connections.add(worker.connections, worker=worker.worker)
        sessions.add(worker.sessions, worker=worker.worker)
        for name, value in worker.counters.items():
            if prefix := next((each for each in outcomes if name.startswith(each)), ""):
                labels = {BY_OUTCOME[prefix][0]: name.removeprefix(prefix)}
                outcomes[prefix].add(value, worker=worker.worker, **labels)
                continue
            if name not in counted and _NAME.fullmatch(name):
                text = COUNTERS.get(name, name.replace("_", " ").capitalize())
                counted[name] = Family(f"{PREFIX}{name}_total", "counter", text)
            if name in counted:
                counted[name].add(value, worker=worker.worker)
    return [
        up,
        restarts,
        connections,
        sessions,
        *outcomes.values(),
        *(counted[name] for name in sorted(counted)),
    ]


def _of_broadcasts(view: GatewayView) -> list[Family]:
    live = Family(f"{PREFIX}broadcast_live", "gauge", "Whether the broadcast's source is there")
    viewers = Family(f"{PREFIX}broadcast_viewers", "gauge", "Viewers of the broadcast")
    frames = Family(f"{PREFIX}broadcast_frames_total", "counter", "Frames that the broadcast brought")
    asked = Family(f"{PREFIX}broadcast_keyframe_requests_total", "counter", "Keyframes asked of the encoders")
    for broadcast in view.broadcasts():
        live.add(broadcast.state is BroadcastState.LIVE, broadcast=broadcast.name)
        viewers.add(broadcast.viewers, broadcast=broadcast.name)
        frames.add(broadcast.frames_published, broadcast=broadcast.name)
        asked.add(broadcast.keyframe_requests, broadcast=broadcast.name)
    return [live, viewers, frames, asked]


# What a broadcast's pipeline counts (BroadcastSummary.source_counters): the family's name, and what it says.
_OF_SOURCES = {
    "restarts": ("source_restarts", "Times that the source was lost, and opened again"),
    "process_deaths": ("source_process_deaths", "Times that the process of the source died"),
    "source_lost": ("source_lost", "Frames that were not taken from the process of the source in time"),
    "outbox_dropped": ("source_outbox_dropped", "Frames that the event loop did not take in time"),
    "pictures_skipped": ("source_pictures_skipped", "Pictures for which no encoder was free"),
    "sound_skipped": ("source_sound_skipped", "Pieces of sound for which no encoder was free"),
}


def _of_sources(view: GatewayView) -> list[Family]:
    """What is lost before there are frames, and how often a source was."""
    counted = {
        key: Family(f"{PREFIX}{name}_total", "counter", text) for key, (name, text) in _OF_SOURCES.items()
    }
    for broadcast in view.broadcasts():
        for key, value in broadcast.source_counters.items():
            if key in counted:
                counted[key].add(value, broadcast=broadcast.name)
    return list(counted.values())


def _of_adaptation(view: GatewayView) -> list[Family]:
    """What encoders are to do, why in a label of few values, and how many viewers get which rendition."""
    rate = Family(f"{PREFIX}encoder_target_bps", "gauge", "Bit rate that the encoder is to keep to")
    scale = Family(f"{PREFIX}encoder_target_scale", "gauge", "Of the configured width and height")
    fps = Family(f"{PREFIX}encoder_target_fps", "gauge", "Pictures a second that it is to encode")
    why = Family(f"{PREFIX}encoder_target_info", "gauge", "Why, in words; always 1")
    changes = Family(f"{PREFIX}encoder_target_changes_total", "counter", "Times that a target was changed")
    viewers = Family(f"{PREFIX}rendition_viewers", "gauge", "Viewers by rendition of the pictures")
    for broadcast in view.broadcasts():
        for target in broadcast.targets:
            labels = {"broadcast": broadcast.name, "rendition": target.rendition}
            rate.add(target.bitrate_bps, **labels)
            scale.add(target.scale, **labels)
            fps.add(target.fps, **labels)
            why.add(1, **labels, reason=target.reason)
        changes.add(broadcast.target_changes, broadcast=broadcast.name)
    counts = Counter((s.broadcast, s.rendition) for s in view.session_summaries())
    for (name, rendition), count in sorted(counts.items()):
        viewers.add(count, broadcast=name, rendition="none" if rendition < 0 else rendition)
    return [rate, scale, fps, why, changes, viewers]


def _of_paths(sessions: Iterable[SessionSummary]) -> list[Family]:
    """How viewers' paths are, as the least, the median and the greatest of each broadcast's."""
    rtt = Family(f"{PREFIX}path_rtt_seconds", "gauge", "Round trip, over the viewers of a broadcast")
    estimate = Family(f"{PREFIX}path_estimate_bps", "gauge", "What viewers' paths are believed to carry")
    loss = Family(f"{PREFIX}path_loss_ratio", "gauge", "Share of packets lost in the last seconds")
    queueing = Family(f"{PREFIX}path_queueing_seconds", "gauge", "How long the queue on the path is")
    by_broadcast: dict[str, list[SessionSummary]] = {}
    for session in sessions:
        if session.rtt_us:  # else nothing is known of its path yet
            by_broadcast.setdefault(session.broadcast, []).append(session)
    for name, viewers in sorted(by_broadcast.items()):
        for share, viewer in ((0.0, "least"), (0.5, "median"), (1.0, "greatest")):
            labels = {"broadcast": name, "viewer": viewer}
            rtt.add(_quantile([s.rtt_us for s in viewers], share) / 1e6, **labels)
            estimate.add(_quantile([s.estimate_bps for s in viewers], share), **labels)
            loss.add(_quantile([s.loss for s in viewers], share), **labels)
            queueing.add(_quantile([s.queueing_us for s in viewers], share) / 1e6, **labels)
    return [rtt, estimate, loss, queueing]


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[round(share * (len(values) - 1))]


def _of_traces(workers: list[WorkerSummary]) -> list[Family]:
    stages = Family(f"{PREFIX}frame_stage_seconds", "histogram", "Time of sampled frames in each stage")
    latency = Family(f"{PREFIX}frame_latency_seconds", "histogram", "Capture to paint of sampled frames")
    for worker in workers:
        for broadcast, rows in worker.stage_times.items():
            *of_stages, whole = StageTimes(rows).histograms
            for stage, histogram in zip(STAGES, of_stages, strict=True):
                stages.add_histogram(histogram, broadcast=broadcast, stage=stage, worker=worker.worker)
            latency.add_histogram(whole, broadcast=broadcast, worker=worker.worker)
    return [stages, latency]


def _labels(labels: Mapping[str, object]) -> str:
    if not labels:
        return ""
    values = (f'{name}="{_escaped(str(value), quotes=True)}"' for name, value in labels.items())
    return "{" + ",".join(values) + "}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
