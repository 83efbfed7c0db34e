"""Writes what a viewer receives into a Matroska or MP4 file, as it is: nothing is encoded again.

Runs in a worker's thread. H.264 arrives as Annex B; the muxers make the avcC that their containers
want from the parameter sets, and Opus gets the identification header of RFC 7845, section 5.1.
Imports media, errors, av.
"""

from __future__ import annotations

import heapq
import io
import struct
from collections import deque
from pathlib import Path

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.stream import Stream

from wtgateway.errors import ConfigError, WtgatewayError
from wtgateway.media import Frame, Kind, Rendition, Track
from wtgateway.viewer.decode import MICROSECONDS, Encoded

FORMATS = {".mkv": "matroska", ".mka": "matroska", ".mp4": "mp4", ".m4a": "mp4"}
EARLY_FRAMES = 200
PRE_SKIP_SAMPLES = 312  # libopus' look-ahead at 48 kHz


class RecordError(WtgatewayError):
    """The recording cannot be written."""


def check_path(path: Path) -> None:
    """Raises ConfigError for a path that names no format we write."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError("command line", "--record", str(path), f"a file name in {', '.join(FORMATS)}")


class _File:
    """A file that remembers what went wrong: FFmpeg's own tells of a full disk when it is closed, if then."""

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._raw = path.open("wb", buffering=0)
        self.name = str(path)
        self.seek, self.tell, self.close = self._raw.seek, self._raw.tell, self._raw.close

    def write(self, data: bytes) -> int:
        """All of it. Raises OSError."""
        left = memoryview(data)
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[self._raw.write(left) :]
        except OSError as error:
            self.error = error
            raise
        return len(data)

    def check(self) -> None:
        """Raise what went wrong."""
        if self.error is not None:
            raise self.error


class Recorder:
    """One file. Begins at the first keyframe of video, or at once where there is none."""

    def __init__(self, path: Path, tracks: tuple[Track, ...]) -> None:
        check_path(path)
        self.path, self.frames, self.bytes = path, 0, 0
        self._kinds = {track.id: track.kind for track in tracks if track.renditions}
        self._renditions = {track.id: track.renditions[0] for track in tracks if track.renditions}
        self._output: OutputContainer | None = None
        self._file: _File | None = None
        self._streams: dict[int, Stream] = {}
        self._start_us = 0
        self._clocks: dict[int, DecodingTimes] = {}
        self._early: deque[Frame] = deque(maxlen=EARLY_FRAMES)

    def write(self, item: Encoded) -> None:
        """Append a frame; raises RecordError. Frames must be in order within their track."""
        frame = item.frame
        if frame.track not in self._kinds:
            return  # a track that came after the file was begun
        try:
            if self._output is None and not self._begin(item):
                self._early.append(frame)  # sound of the moment that the first picture is of
                return
            while self._early:
                self._mux(self._early.popleft())
            self._mux(frame)
        except (FFmpegError, OSError, ValueError) as error:
            raise self._failed(error, self._file) from error

    def close(self) -> None:
        """Finish the file; raises RecordError."""
        output, self._output = self._output, None
        file, self._file = self._file, None
        try:
            if output is not None:
                output.close()
            if file is not None:
                file.check()
        except (FFmpegError, OSError) as error:
            raise self._failed(error, file) from error
        finally:
            if file is not None:
                file.close()

    def _failed(self, error: Exception, file: _File | None) -> RecordError:
        cause = (file and file.error) or error
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        return RecordError(f"the recording {self.path} cannot be written: {reason}")

    def _begin(self, item: Encoded) -> bool:
        """Open the file at the first frame from which all can be shown."""
        frame = item.frame
        has_video = Kind.VIDEO in self._kinds.values()
        if has_video and not (self._kinds[frame.track] is Kind.VIDEO and frame.keyframe):
            return False
        self._file = _File(self.path)
        self._output = av.open(self._file, "w", format=FORMATS[self.path.suffix.lower()])
        self._start_us = frame.pts_us
        self._renditions[frame.track] = item.rendition  # what is sent, of all that are offered
        for track, kind in self._kinds.items():
            sample = frame.payload if kind is Kind.VIDEO else b""
            if template := _template(kind, self._renditions[track], sample):
                with template:
                    stream = self._output.add_stream_from_template(template.streams[0], opaque=True)
                stream.time_base = MICROSECONDS
                self._streams[track] = stream
                self._clocks[track] = DecodingTimes(self._renditions[track].reorder_frames)
        return True

    def _mux(self, frame: Frame) -> None:
        stream = self._streams.get(frame.track)
        pts = frame.pts_us - self._start_us
        # Sound from before the first picture is left out; time must grow, also across a reconnect.
        if stream is None or self._output is None or pts < 0:
            return
        dts = self._clocks[frame.track].next(pts, frame.duration_us)
        if dts is None:
            return
        packet = av.Packet(frame.payload)
        packet.stream, packet.time_base = stream, MICROSECONDS
        packet.pts, packet.dts = pts, dts
        packet.duration = frame.duration_us
        packet.is_keyframe = frame.keyframe
        self._output.mux(packet)
        if self._file is not None:
            self._file.check()
        self.frames += 1
        self.bytes += len(frame.payload)


class DecodingTimes:
    """Decoding times for frames that come in decoding order with the times at which they are shown.

    The n-th frame is decoded when the n-th in order of presentation is shown, less the depth of
    reordering: the latest ascending times that lie before all presentation times.
    """

    def __init__(self, reorder_frames: int) -> None:
        self._reorder = reorder_frames
        self._shown: list[int] = []  # a heap of presentation times not yet used
        self._last: int | None = None

    def next(self, pts: int, duration: int) -> int | None:
        """The decoding time; None for a frame that comes too late to be placed."""
        heapq.heappush(self._shown, pts)
        if len(self._shown) > self._reorder:
            dts = heapq.heappop(self._shown)
        else:
            dts = self._shown[0] - (self._reorder - len(self._shown) + 1) * max(duration, 1)
        if self._last is not None and dts <= self._last:
            dts = self._last + 1
        if dts > pts:
            return None
        self._last = dts
        return dts


def _template(kind: Kind, rendition: Rendition, sample: bytes) -> av.container.InputContainer | None:
    """A stream that has the codec's parameters as libavformat itself finds them in such bytes."""
    if kind is Kind.VIDEO:
        name = rendition.codec.split(".")[0]
        if name in _IVF:
            return av.open(io.BytesIO(_ivf(_IVF[name], rendition, sample)), "r", format="ivf")
        return av.open(io.BytesIO(sample), "r", format="hevc" if name in ("hvc1", "hev1") else "h264")
    if kind is Kind.AUDIO:
        if rendition.codec.startswith("mp4a."):
            return av.open(_mp4_aac(rendition), "r", format="mp4")
        return av.open(io.BytesIO(_ogg_opus(rendition)), "r", format="ogg")
    return None


_IVF = {"av01": b"AV01", "vp09": b"VP90"}


def _ivf(fourcc: bytes, rendition: Rendition, sample: bytes) -> bytes:
    """An IVF file of one frame: the plainest container that libavformat reads AV1 and VP9 from."""
    size = (rendition.width, rendition.height)
    header = struct.pack("<4sHH4sHHIIII", b"DKIF", 0, 32, fourcc, *size, 1_000_000, 1, 1, 0)
    return header + struct.pack("<IQ", len(sample), 0) + sample


def _mp4_aac(rendition: Rendition) -> io.BytesIO:
    """An MP4 file of silence: AAC-LC of the same rate and channels is told to decoders in the same way."""
    file = io.BytesIO()
    layout = {1: "mono", 6: "5.1"}.get(rendition.channels, "stereo")
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rendition.sample_rate, layout=layout)
        silence = av.AudioFrame(format="fltp", layout=layout, samples=1024)
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        silence.sample_rate = rendition.sample_rate
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    file.seek(0)
    return file


def _ogg_opus(rendition: Rendition) -> bytes:
    """The headers of an Ogg Opus file (RFC 7845, section 5)."""
    channels = rendition.channels or 2
    head = rendition.description or b"OpusHead" + struct.pack(
        "<BBHIhB", 1, channels, PRE_SKIP_SAMPLES, 48_000, 0, 0
    )
    tags = b"OpusTags" + struct.pack("<I", 9) + b"wtgateway" + struct.pack("<I", 0)
    silence = b"\xfc\xff\xfe"  # without a packet of sound there is no stream
    return b"".join(
        _ogg_page(number, flags, granule, body)
        for number, (flags, granule, body) in enumerate([(2, 0, head), (0, 0, tags), (4, 960, silence)])
    )


def _ogg_page(number: int, flags: int, granule: int, body: bytes) -> bytes:
    """One page with one packet (RFC 3533, section 6)."""
    sizes = bytes([255] * (len(body) // 255) + [len(body) % 255])
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, granule, 1, number, 0, len(sizes)) + sizes + body
    return page[:22] + struct.pack("<I", _ogg_crc(page)) + page[26:]


def _ogg_crc(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ 0x04C11DB7 if crc & 0x8000_0000 else crc << 1
    return crc & 0xFFFF_FFFF
