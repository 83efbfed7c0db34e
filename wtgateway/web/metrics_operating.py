"""``/metrics`` of processes, event loops, and what happened. Pure."""

from __future__ import annotations

from collections import Counter

from wtgateway import __version__
from wtgateway.web.control import GatewayControl
from wtgateway.web.histograms import Histogram
from wtgateway.web.metric_family import PREFIX, Family
from wtgateway.web.view import GatewayView

_WHAT_HAPPENED = {
    "events": "Events, by kind",
    "hooks": "Commands of hooks, by outcome",
    "webhooks": "Messages to webhooks, by outcome",
    "access": "Questions whether somebody may do something, by outcome",
}


def families(view: GatewayView, control: GatewayControl) -> list[Family]:
    """All of them."""
    return [*_build(control), *_processes(control), _loops(control), *_happened(control), *_sessions(view)]


def _build(control: GatewayControl) -> list[Family]:
    info = Family(f"{PREFIX}build_info", "gauge", "The version; always 1")
    info.add(1, version=__version__)
    uptime = Family(f"{PREFIX}uptime_seconds", "gauge", "Since the gateway was started")
    uptime.add(control.uptime_s())
    return [info, uptime]


def _processes(control: GatewayControl) -> list[Family]:
    memory = Family(f"{PREFIX}process_resident_memory_bytes", "gauge", "Memory of a process")
    cpu = Family(f"{PREFIX}process_cpu_seconds_total", "counter", "User and system time of a process")
    files = Family(f"{PREFIX}process_open_fds", "gauge", "File descriptors that a process has open")
    most = Family(f"{PREFIX}process_max_fds", "gauge", "File descriptors that it may have open")
    threads = Family(f"{PREFIX}process_threads", "gauge", "Threads of a process")
    for figures in control.processes():
        for family, value in (
            (memory, figures.rss_bytes),
            (cpu, figures.cpu_s),
            (files, figures.open_fds),
            (most, figures.max_fds),
            (threads, figures.threads),
        ):
            family.add(value, process=figures.name)
    tasks = Family(f"{PREFIX}process_tasks", "gauge", "Tasks of a process's event loop")
    for process, number in sorted(control.tasks().items()):
        tasks.add(number, process=process)
    return [memory, cpu, files, most, threads, tasks]


def _loops(control: GatewayControl) -> Family:
    lag = Family(f"{PREFIX}event_loop_lag_seconds", "histogram", "How late timers of an event loop ran")
    for process, (sum_us, *counts) in sorted(control.loop_lags().items()):
        lag.add_histogram(Histogram(list(counts), sum_us), process=process)
    return lag


def _happened(control: GatewayControl) -> list[Family]:
    counted = control.counters()
    found = []
    for name, words in _WHAT_HAPPENED.items():
        family = Family(f"{PREFIX}{name}_total", "counter", words)
        for labels, value in sorted(counted.get(name, {}).items()):
            family.add(value, **dict(labels))
        found.append(family)
    return found


def _sessions(view: GatewayView) -> list[Family]:
    """Aggregated: a label for each session would have no bound."""
    sessions = view.session_summaries()
    count = Family(f"{PREFIX}broadcast_sessions", "gauge", "Sessions by transport")
    by_transport = Counter((session.broadcast, session.transport) for session in sessions)
    for (name, transport), number in sorted(by_transport.items()):
        count.add(number, broadcast=name, transport=transport or "webtransport")
    queued = Family(f"{PREFIX}broadcast_queued_bytes", "gauge", "Bytes in the send queues of its sessions")
    waiting: Counter[str] = Counter()
    for session in sessions:
        waiting[session.broadcast] += session.queued_bytes
    for name, size in sorted(waiting.items()):
        queued.add(size, broadcast=name)
    return [count, queued]
