"""The table of video encoders: how each is opened so that nothing waits in it.

Imports encoders.presets alone: it is data and the arithmetic that fills it in. The rule of every
entry: no lookahead, no B-frames, no frame threads, no keyframe that nobody asked for,
parameters in band, and a rate control buffer of ``OpenRequest.buffer_s`` at the bit rate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wtgateway.encoders import presets

Options = dict[str, str]

_ENDLESS_GOP = str(1 << 29)  # keyframes are ours to time


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """What an encoder is opened for."""

    width: int
    height: int
    fps: float
    target_bps: int  # what should come out
    bitrate_bps: int  # what is asked for, with the profile's rate_factor
    buffer_s: float  # seconds of the bit rate that one frame may take
    preset: str  # a word of x264, or the encoder's own value
    threads: int
    level: str = ""  # what the bitstream is to say that it needs; empty: as little as it does
    droppable: bool = False  # some frames are to be such that no other refers to them

    @property
    def buffer_bits(self) -> int:
        """Size of the rate control buffer."""
        return max(1000, round(self.target_bps * self.buffer_s))

    @property
    def buffer_ms(self) -> int:
        """The same as a time."""
        return max(10, round(self.buffer_s * 1000))


def _always(factor: float) -> Callable[[float], float]:
    """The same factor for all pictures."""
    return lambda bits_a_pixel: factor


_as_asked = _always(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecProfile:
    """One encoder of FFmpeg, as wtgateway uses it."""

    encoder: str  # FFmpeg's name
    codec: str  # one of VIDEO_CODECS
    options: Callable[[OpenRequest], Options]
    pixel_format: str = "yuv420p"
    hardware: bool = False  # whether it answers is only known by trying: see probe.py
    # The new rate holds from the next frame on, without a keyframe, up to the rate it was opened
    # with. Everything else is opened anew, which begins a group.
    live_bitrate: bool = False
    # Asked for so many times the target, it comes out at the target; by bits a pixel.
    rate_factor: Callable[[float], float] = _as_asked
    all_cores: bool = False  # so slow that small pictures, too, are spread over all cores
    headers_once: bool = False  # parameter sets come alone, before the first picture
    rest_s: float = 0.0  # of peace between an answer and the next picture
    # What becomes of a picture that came out larger than the cap, whose rate control only aims at it. It is
    # encoded once more, to depend on nothing: "again" by the same codec, which takes what it made for a
    # debt and spends less; or "anew" by a fresh one, where that debt would spoil all that follows.
    oversized: str = ""
    library_threads: bool = False  # FFmpeg's thread_count must stay 1; the options tell the library


def _x264(request: OpenRequest) -> Options:
    level = {"level": request.level} if request.level else {}
    return level | {
        "preset": request.preset,
        "tune": "zerolatency",  # no lookahead, no B-frames, slices instead of frame threads
        "profile": "baseline",
        "forced-idr": "1",
        "g": _ENDLESS_GOP,
        "sc_threshold": "0",  # a keyframe nobody asked for costs everybody a burst
        "maxrate": str(request.bitrate_bps),
        "bufsize": str(request.buffer_bits),
    }


def _x265(request: OpenRequest) -> Options:
    return {
        "preset": request.preset,
        "tune": "zerolatency",
        "forced-idr": "1",
        "maxrate": str(request.bitrate_bps),
        "bufsize": str(request.buffer_bits),
        "x265-params": (
            # Open-ended GOP without scene cuts; headers in band; no SEI with the build's options.
            f"keyint=-1:scenecut=0:repeat-headers=1:info=0:frame-threads=1:pools={request.threads}"
            ":log-level=none"
        ),
    }


def _svtav1(request: OpenRequest) -> Options:
    most = request.buffer_ms
    return {
        "preset": presets.SVTAV1.get(request.preset, request.preset),
        "g": _ENDLESS_GOP,  # left to itself, it makes a keyframe every 161 pictures
        # rc=2 is CBR, the only control it has in low delay (pred-struct=1); rtc allows presets 11, 12.
        # Without hierarchical-levels=0 every fourth picture takes what the three before it saved. With 1
        # every second picture is referred to by no other, and the rate is not used up.
        "svtav1-params": (
            f"rc=2:pred-struct=1:rtc=1:hierarchical-levels={int(request.droppable)}:lp={request.threads}"
            f":buf-sz={most}:buf-initial-sz={most * 6 // 10}:buf-optimal-sz={most * 6 // 10}"
        ),
    }


def _svtav1_factor(bits_a_pixel: float) -> float:
    """The fewer bits it has, the more it gives: a tenth too much up to 0.15 a pixel, nothing from 0.3 on."""
    return min(1.0, max(0.92, 0.92 + 0.5 * (bits_a_pixel - 0.15)))


_VP9_AIM = 0.8  # of the cap: libvpx goes beyond its buffer by a tenth


_VP9_BASE = 0.6  # of the rate for the pictures that others refer to, where every second is not referred to


def _vp9_layers(request: OpenRequest) -> Options:
    """Two temporal layers. Error resilience makes dropping the upper one harmless: see bitstream.vp9."""
    base, whole = (round(request.bitrate_bps * share / 1000) for share in (_VP9_BASE, 1))
    return {
        "error-resilient": "1",
        "ts-parameters": (
            f"ts_number_layers=2:ts_target_bitrate={base},{whole}:ts_rate_decimator=2,1"
            ":ts_periodicity=2:ts_layer_id=0,1:ts_layering_mode=2"
        ),
    }


def _vp9(request: OpenRequest) -> Options:
    rate = str(request.bitrate_bps)
    cap_s = _VP9_AIM * request.buffer_s
    return (_vp9_layers(request) if request.droppable else {}) | {
        "deadline": "realtime",
        "cpu-used": presets.VP9.get(request.preset, request.preset),
        "lag-in-frames": "0",
        "auto-alt-ref": "0",
        "g": _ENDLESS_GOP,
        "minrate": rate,
        "maxrate": rate,  # all three the same: CBR
        "bufsize": str(round(_VP9_AIM * request.buffer_bits)),
        "undershoot-pct": "10",
        "overshoot-pct": "10",
        # A keyframe in percent of an average frame.
        "max-intra-rate": str(max(100, round(cap_s * request.fps * 100))),
        "aq-mode": "3",  # cyclic refresh, what its rate control is made for in real time
        "row-mt": "1",
        "tile-columns": "1" if request.width >= 1280 and request.threads > 1 else "0",
    }


def _nvenc(request: OpenRequest) -> Options:
    return {
        "preset": presets.NVENC.get(request.preset, request.preset),
        "tune": "ull",
        "zerolatency": "1",
        "delay": "0",
        "rc": "cbr",
        "bf": "0",
        "forced-idr": "1",
        "g": _ENDLESS_GOP,
        "maxrate": str(request.bitrate_bps),
        "bufsize": str(request.buffer_bits),
    }


def _nvenc_nal(request: OpenRequest) -> Options:
    """H.264 and HEVC: the driver may put in pictures that no other refers to."""
    return _nvenc(request) | ({"nonref_p": "1"} if request.droppable else {})


def _nvenc_h264(request: OpenRequest) -> Options:
    return _nvenc_nal(request) | {"profile": "baseline"}


def _qsv(request: OpenRequest) -> Options:
    return {
        "preset": presets.QSV.get(request.preset, request.preset),
        "async_depth": "1",  # the picture that went in is waited for
        "bf": "0",
        "g": "65535",  # 16 bits in the driver's structure
        "maxrate": str(request.bitrate_bps),  # as the rate itself: CBR
        "bufsize": str(request.buffer_bits),
    }


def _qsv_idr(request: OpenRequest) -> Options:
    return _qsv(request) | {"forced_idr": "1"}


def _v4l2m2m(request: OpenRequest) -> Options:
    del request  # the driver knows a rate and a GOP, nothing else
    return {"bf": "0", "g": "65535"}


_SOFTWARE = (
    CodecProfile(
        encoder="libx264", codec="h264", options=_x264, live_bitrate=True, rate_factor=_always(1.12)
    ),
    CodecProfile(
        encoder="libx265",
        codec="hevc",
        options=_x265,
        rate_factor=_always(1.03),
        all_cores=True,
        library_threads=True,
    ),
    CodecProfile(
        encoder="libsvtav1",
        codec="av1",
        options=_svtav1,
        rate_factor=_svtav1_factor,
        all_cores=True,
        # Version 4.1 in low delay waits for itself for ever when a picture comes while its threads are
        # still putting the last one away: on a busy machine within a thousand pictures, flat out.
        # Half a millisecond was enough for ten thousand. At 60 pictures a second it costs nothing.
        rest_s=0.002,
        oversized="again",
        library_threads=True,
    ),
    CodecProfile(encoder="libvpx-vp9", codec="vp9", options=_vp9, all_cores=True, oversized="anew"),
)
_HARDWARE = (
    CodecProfile(encoder="h264_nvenc", codec="h264", options=_nvenc_h264, hardware=True),
    CodecProfile(encoder="hevc_nvenc", codec="hevc", options=_nvenc_nal, hardware=True),
    CodecProfile(encoder="av1_nvenc", codec="av1", options=_nvenc, hardware=True),
    CodecProfile(encoder="h264_qsv", codec="h264", options=_qsv_idr, hardware=True, pixel_format="nv12"),
    CodecProfile(encoder="hevc_qsv", codec="hevc", options=_qsv_idr, hardware=True, pixel_format="nv12"),
    CodecProfile(encoder="av1_qsv", codec="av1", options=_qsv, hardware=True, pixel_format="nv12"),
    CodecProfile(encoder="h264_v4l2m2m", codec="h264", options=_v4l2m2m, hardware=True, headers_once=True),
    CodecProfile(encoder="hevc_v4l2m2m", codec="hevc", options=_v4l2m2m, hardware=True, headers_once=True),
)
PROFILES: Mapping[str, CodecProfile] = {profile.encoder: profile for profile in _SOFTWARE + _HARDWARE}
VIDEO_CODECS = tuple(profile.codec for profile in _SOFTWARE)
_ALIASES = {"h265": "hevc"}


def canonical_codec(name: str) -> str:
    """The one name of a codec that has several."""
    return _ALIASES.get(name, name)


def encoders_of(codec: str) -> tuple[CodecProfile, ...]:
    """The encoders of a codec, software first: it needs no device to answer."""
    return tuple(p for p in PROFILES.values() if p.codec == canonical_codec(codec))
