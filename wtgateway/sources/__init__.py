"""Sources: any URI to pictures and samples on gateway time, raw or as coded. av lives here and in encoders/.

Opening and reading block, so a source is driven by a thread of its own.
"""

from __future__ import annotations

from wtgateway.sources.base import (
    CodedAudio,
    CodedFormat,
    CodedVideo,
    Piece,
    RawAudio,
    RawVideo,
    Source,
    SourceInfo,
    SourceOptions,
)

__all__ = [
    "CodedAudio",
    "CodedFormat",
    "CodedVideo",
    "Piece",
    "ProbeResult",
    "ProbeTrack",
    "RawAudio",
    "RawVideo",
    "Source",
    "SourceInfo",
    "SourceOptions",
    "check_uri",
    "make_source",
    "probe",
]

from wtgateway.sources.container import ContainerSource
from wtgateway.sources.probe import ProbeResult, ProbeTrack, probe_plan, probe_source
from wtgateway.sources.screen import ScreenSource
from wtgateway.sources.testsource import TestSource
from wtgateway.sources.uri import Mode, make_plan


def make_source(uri: str, options: SourceOptions) -> Source:
    """The source a URI names, not yet opened; does no I/O. Raises ConfigError."""
    plan = make_plan(uri, options)
    if plan.mode is Mode.TEST:
        return TestSource(uri, options)
    if plan.mode is Mode.SCREEN:
        return ScreenSource(uri, options)
    return ContainerSource(plan, options)


def check_uri(uri: str) -> None:
    """Raises ConfigError when no source can be made of the URI."""
    make_source(uri, SourceOptions())


def probe(uri: str, options: SourceOptions) -> ProbeResult:
    """Open the source, look at its tracks, close it. Blocks. Raises ConfigError, SourceError."""
    plan = make_plan(uri, options)
    if plan.mode in (Mode.TEST, Mode.SCREEN):
        return probe_source(make_source(uri, options))
    return probe_plan(plan, options)
