"""The command line of the program ``load``."""

from __future__ import annotations

import argparse

from scripts.benchmarks.fanout.receiver import MAX_ACK_DELAY_S


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True, help="the server's process")
    parser.add_argument("--viewers", type=int, default=1)
    parser.add_argument("--path", default="/")
    parser.add_argument("--greedy", type=int, default=0, help="so many viewers more, at --greedy-path")
    parser.add_argument("--greedy-path", default="/greedy")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--settle", type=float, default=1.0)
    parser.add_argument("--join-seconds", type=float, default=60.0)
    parser.add_argument("--ack-every", type=int, default=7, help="packets")
    parser.add_argument("--ack-delay-ms", type=float, default=MAX_ACK_DELAY_S * 1000)
    parser.add_argument("--draft", type=int, choices=(2, 15), default=2, help="of WebTransport over HTTP/3")
    parser.add_argument("--mtu", type=int, default=1472, help="max_udp_payload_size, as Chromium has it")
    parser.add_argument("--sample", type=float, default=0.02, help="share of packets that are opened")
    parser.add_argument("--open-all", action="store_true", help="open all packets: checks all, times frames")
    parser.add_argument("--head", type=int, default=0, help="bytes before the frame in its stream")
    parser.add_argument("--steps", type=int, nargs="*", default=[], help="memory with so many viewers")
    parser.add_argument("--churn", type=float, default=0.0, help="mean life of a viewer, s; 0: for ever")
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    chosen.viewers += chosen.greedy
    return chosen
