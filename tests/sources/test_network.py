"""Streams from real servers: RTSP, RTMP, SRT, HLS and HTTP; each killed, and back again."""

from __future__ import annotations

import functools
import http.server
import socket
import subprocess
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.sources.coded import decode, number
from wtgateway import clock
from wtgateway.errors import SourceError
from wtgateway.sources import CodedAudio, CodedVideo, RawAudio, RawVideo

pytestmark = pytest.mark.peer
Media = Callable[..., Any]
READ_TIMEOUT_S = 4.0
_RTMP_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
_NGINX_CONF = """
load_module {module};
daemon off; master_process off; worker_processes 1;
pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
rtmp {{ server {{ listen 127.0.0.1:{port}; application live {{ live on; }} }} }}
"""


def check_playing(source: Any, tools: Any, count: int = 40) -> None:
    """Pictures follow one another without loss, sound comes along, all on gateway time."""
    video, audio = tools.both(source, count)
    numbers = tools.numbers(video)
    assert None not in numbers
    steps = [b - a for a, b in pairwise(numbers)]
    assert sum(step != 1 for step in steps) <= 1, f"one at most, where the file begins again: {numbers}"
    assert all(b.pts_us > a.pts_us for a, b in pairwise(video))
    assert all(b.pts_us > a.pts_us for a, b in pairwise(audio))
    assert audio
    now_us = clock.now_us()
    assert all(raw.capture_us <= now_us for raw in (*video, *audio))
    assert now_us - video[-1].capture_us < 20_000_000
    assert abs(audio[-1].pts_us - video[-1].pts_us) < 1_000_000


def check_forwarding(source: Any, tools: Any, count: int = 40) -> None:
    """Coded pictures that decode without loss beside sound on the same timeline; raw ones when wanted."""
    video: list[CodedVideo] = []
    sound: list[Any] = []
    while len(video) < count:
        piece = source.read()
        assert not isinstance(piece, RawVideo)
        if not isinstance(piece, CodedVideo):
            sound.append(piece)
        elif video or piece.keyframe:  # the first piece may have been taken to see that it plays
            video.append(piece)
    decoded = sorted(decode(video).items())
    numbers = [number(picture) for _, picture in decoded]
    assert None not in numbers
    steps = [b - a for a, b in pairwise(numbers)]
    assert sum(step != 1 for step in steps) <= 1, f"one at most, where the file begins again: {numbers}"
    assert len(decoded) == len({piece.pts_us for piece in video})
    now_us = clock.now_us()
    assert all(piece.capture_us <= now_us and piece.grabbed_us <= now_us for piece in video)
    assert sound and abs(sound[-1].pts_us - video[-1].pts_us) < 1_000_000
    assert all(b.pts_us > a.pts_us for a, b in pairwise(sound))

    source.want_pictures(True)
    pictures = tools.pictures(source, 12)
    assert None not in tools.numbers(pictures)
    assert all(b.pts_us > a.pts_us for a, b in pairwise(pictures))
    assert pictures[0].pts_us > decoded[0][0]
    source.want_pictures(False)


def check_aac(source: Any, tools: Any) -> None:
    """Coded sound without loss that is the tone; samples of the same times beside it when wanted."""
    source.want_sound(True)
    sound: list[CodedAudio] = []
    raw: list[RawAudio] = []
    while len(sound) < 50:
        piece = source.read()
        if isinstance(piece, CodedAudio):
            sound.append(piece)
        elif isinstance(piece, RawAudio):
            raw.append(piece)
    assert {piece.format.codec for piece in sound} == {"mp4a.40.2"}
    steps_us = [b.pts_us - a.pts_us for a, b in pairwise(sound)]
    assert sum(abs(step_us - 21_333) > 1_500 for step_us in steps_us) <= 2, "where the file begins again"
    assert {piece.pts_us for piece in sound[1:-1]} <= {piece.pts_us for piece in raw}
    for samples in (tone_samples(sound), np.concatenate([each.frame.to_ndarray()[0] for each in raw])):
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        assert np.argmax(spectrum) * 48_000 / len(samples) == pytest.approx(tools.TONE_HZ, abs=10)


def tone_samples(sound: list[CodedAudio]) -> np.ndarray[Any, Any]:
    """One channel of what a decoder that is told nothing else makes of it."""
    decoder: Any = av.CodecContext.create("aac", "r")
    decoder.extradata = sound[0].format.description
    frames = [frame for piece in sound for frame in decoder.decode(av.Packet(piece.payload))]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def feed(peers: Any, file: Any, *output: str) -> subprocess.Popen[bytes]:
    """ffmpeg sends the file again and again in real time."""
    looped = ("-re", "-stream_loop", "-1", "-i", str(file.path), "-c", "copy")
    process: subprocess.Popen[bytes] = peers.start("ffmpeg", "-nostdin", "-v", "quiet", *looped, *output)
    return process


def start_rtsp(peers: Any, tools: Any, file: Any, port: int) -> subprocess.Popen[bytes]:
    bindings = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run(["/usr/bin/python3", "-c", bindings], capture_output=True, check=False).returncode:
        pytest.skip("GStreamer's RTSP server has no Python bindings here (gir1.2-gst-rtsp-server-1.0)")
    script = Path(__file__).with_name("rtsp_server.py")
    process: subprocess.Popen[bytes] = peers.start("/usr/bin/python3", str(script), str(port), str(file.path))
    tools.wait_for_port(port)
    return process


def test_rtsp(peers: Any, tools: Any, media: Media) -> None:
    file, port = media("mp4", 900, b_frames=0), tools.free_port()
    uri = f"rtsp://127.0.0.1:{port}/x"
    with pytest.raises(SourceError, match="is the server running"):
        tools.open(uri)
    server = start_rtsp(peers, tools, file, port)
    source = tools.make(uri, read_timeout_s=READ_TIMEOUT_S)
    info = source.open()
    assert (info.width, info.height, info.video_codec, info.audio_codec) == (*tools.SIZE, "h264", "aac")
    check_playing(source, tools)
    peers.kill(server)
    assert uri in str(tools.read_until_error(source))

    start_rtsp(peers, tools, file, port)
    check_playing(tools.open_when_ready(uri), tools)
    with pytest.raises(SourceError, match="cannot be opened"):
        tools.open(f"rtsp://127.0.0.1:{port}/unknown")


def test_rtsp_forwarded(peers: Any, tools: Any, media: Media) -> None:
    file, port = media("mp4", 900, b_frames=0), tools.free_port()
    start_rtsp(peers, tools, file, port)
    source = tools.make(f"rtsp://127.0.0.1:{port}/x", forward=True, forward_audio=True)
    info = source.open()
    assert (info.coded_video, info.coded_audio) == ("h264", "aac")
    check_forwarding(source, tools)
    check_aac(source, tools)
    assert source.damaged == 0


def start_nginx(peers: Any, tools: Any, port: int) -> subprocess.Popen[bytes]:
    if not _RTMP_MODULE.exists():
        pytest.skip("nginx's RTMP module is not installed (libnginx-mod-rtmp)")
    conf = peers.directory / "nginx.conf"
    conf.write_text(_NGINX_CONF.format(module=_RTMP_MODULE, directory=peers.directory, port=port))
    process: subprocess.Popen[bytes] = peers.start("nginx", "-p", str(peers.directory), "-c", str(conf))
    tools.wait_for_port(port)
    return process


def test_rtmp(peers: Any, tools: Any, media: Media) -> None:
    file, port = media("mp4", 300), tools.free_port()
    uri = f"rtmp://127.0.0.1:{port}/live/x"
    server = start_nginx(peers, tools, port)
    publisher = feed(peers, file, "-f", "flv", uri)
    source = tools.open_when_ready(uri, read_timeout_s=READ_TIMEOUT_S)
    check_playing(source, tools)
    peers.kill(server)
    assert uri in str(tools.read_until_error(source))

    peers.kill(publisher)
    start_nginx(peers, tools, port)
    feed(peers, file, "-f", "flv", uri)
    check_playing(tools.open_when_ready(uri, open_timeout_s=5), tools)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_rtmp_forwarded(peers: Any, tools: Any, media: Media, b_frames: int) -> None:
    port = tools.free_port()
    uri = f"rtmp://127.0.0.1:{port}/live/x"
    start_nginx(peers, tools, port)
    feed(peers, media("mp4", 300, b_frames=b_frames), "-f", "flv", uri)
    source = tools.open_when_ready(uri, forward=True, forward_audio=True)
    check_forwarding(source, tools)
    check_aac(source, tools)
    assert source.damaged == 0


def test_a_publisher_that_falls_silent_is_a_lost_source(peers: Any, tools: Any, media: Media) -> None:
    port = tools.free_port()
    uri = f"rtmp://127.0.0.1:{port}/live/x"
    start_nginx(peers, tools, port)
    publisher = feed(peers, media("mp4", 300), "-f", "flv", uri)
    source = tools.open_when_ready(uri, read_timeout_s=1.0)
    peers.kill(publisher)
    assert uri in str(tools.read_until_error(source))


def test_srt(peers: Any, tools: Any, media: Media) -> None:
    file, port = media("mp4", 300), tools.free_port(socket.SOCK_DGRAM)
    uri = f"srt://127.0.0.1:{port}"
    listener = ("-f", "mpegts", f"{uri}?mode=listener")
    sender = feed(peers, file, *listener)
    source = tools.open_when_ready(uri, read_timeout_s=READ_TIMEOUT_S)
    check_playing(source, tools)
    peers.kill(sender)
    assert uri in str(tools.read_until_error(source))

    feed(peers, file, *listener)
    check_playing(tools.open_when_ready(uri), tools)


def test_srt_forwarded_with_opus(peers: Any, tools: Any, media: Media) -> None:
    port = tools.free_port(socket.SOCK_DGRAM)
    feed(peers, media("mkv", 300), "-f", "mpegts", f"srt://127.0.0.1:{port}?mode=listener")
    source = tools.open_when_ready(f"srt://127.0.0.1:{port}", forward=True, forward_audio=True)
    check_forwarding(source, tools)
    while not isinstance(piece := source.read(), CodedAudio):
        assert isinstance(piece, CodedVideo | RawVideo)
    assert (piece.format.codec, piece.format.channels, piece.duration_us) == ("opus", 2, 20_000)


def test_srt_forwarded_with_aac(peers: Any, tools: Any, media: Media) -> None:
    port = tools.free_port(socket.SOCK_DGRAM)
    feed(peers, media("mp4", 300), "-f", "mpegts", f"srt://127.0.0.1:{port}?mode=listener")
    source = tools.open_when_ready(f"srt://127.0.0.1:{port}", forward=True, forward_audio=True)
    check_forwarding(source, tools)
    check_aac(source, tools)
    assert source.damaged == 0


def test_srt_as_listener_with_a_passphrase(peers: Any, tools: Any, media: Media) -> None:
    port = tools.free_port(socket.SOCK_DGRAM)
    source = tools.make(f"srt://127.0.0.1:{port}?mode=listener&passphrase=geheimnisvoll")
    target = f"srt://127.0.0.1:{port}?passphrase=geheimnisvoll&pbkeylen=16"
    feed(peers, media("mp4", 300), "-f", "mpegts", target)
    source.open()
    check_playing(source, tools)


def test_srt_with_nobody_there_is_told_in_words(tools: Any) -> None:
    port = tools.free_port(socket.SOCK_DGRAM)
    with pytest.raises(SourceError, match="is the peer running"):
        tools.open(f"srt://127.0.0.1:{port}?passphrase=geheimnisvoll", open_timeout_s=0.3)
    with pytest.raises(SourceError, match="nobody connected") as caught:
        tools.open(f"srt://127.0.0.1:{port}?mode=listener&passphrase=geheimnisvoll", open_timeout_s=0.3)
    assert "geheim" not in str(caught.value)


class WebServer:
    """Serves a directory over HTTP/1.0."""

    def __init__(self, directory: Path, port: int) -> None:
        handler = functools.partial(_QuietHandler, directory=str(directory))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        try:
            super().copyfile(source, outputfile)
        except ConnectionError:
            self.close_connection = True


def test_hls(peers: Any, tools: Any, media: Media) -> None:
    port, playlist = tools.free_port(), peers.directory / "live.m3u8"
    feed(
        peers,
        media("mp4", 300),
        *("-f", "hls", "-hls_time", "1", "-hls_list_size", "4"),
        *("-hls_flags", "delete_segments+temp_file", str(playlist)),
    )
    server = WebServer(peers.directory, port)
    peers.callback(server.stop)
    tools.wait_for(lambda: playlist.exists() or None)
    uri = f"http://127.0.0.1:{port}/live.m3u8"
    source = tools.open_when_ready(uri, read_timeout_s=READ_TIMEOUT_S)
    video = tools.pictures(source, 45)
    assert all(abs(b.pts_us - a.pts_us - 33_333) < 3_000 for a, b in pairwise(video)), "paced, not in bursts"
    check_playing(source, tools)
    server.stop()
    assert uri in str(tools.read_until_error(source))

    again = WebServer(peers.directory, port)
    peers.callback(again.stop)
    check_playing(tools.open_when_ready(uri), tools)


def test_hls_forwarded(peers: Any, tools: Any, media: Media) -> None:
    port, playlist = tools.free_port(), peers.directory / "live.m3u8"
    options = ("-f", "hls", "-hls_time", "1", "-hls_list_size", "4", "-hls_flags", "temp_file")
    feed(peers, media("mp4", 300), *options, str(playlist))
    server = WebServer(peers.directory, port)
    peers.callback(server.stop)
    tools.wait_for(lambda: playlist.exists() or None)
    source = tools.open_when_ready(f"http://127.0.0.1:{port}/live.m3u8", forward=True, forward_audio=True)
    check_forwarding(source, tools)
    check_aac(source, tools)


def test_a_file_over_http_is_paced_and_looped(peers: Any, tools: Any, media: Media) -> None:
    file, port = media("mp4", 24), tools.free_port()
    server = WebServer(file.path.parent, port)
    peers.callback(server.stop)
    source = tools.make(f"http://127.0.0.1:{port}/{file.path.name}")
    assert not source.open().live
    assert tools.numbers(tools.pictures(source, 30)) == [i % 24 + 1 for i in range(30)]
    with pytest.raises(SourceError, match="check the path"):
        tools.open(f"http://127.0.0.1:{port}/nothing.mp4")


def test_close_wakes_an_open_that_waits_for_a_silent_peer(tools: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = tools.make(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x", open_timeout_s=60)
        errors: list[SourceError] = []

        def open_it() -> None:
            try:
                source.open()
            except SourceError as error:
                errors.append(error)

        opener = threading.Thread(target=open_it)
        opener.start()
        connection, _ = silent.accept()
        with connection:
            connection.recv(4096)  # it asks, and gets no answer
            source.close()
            opener.join(30)
        assert not opener.is_alive()
    assert "closed" in str(errors[0])


def test_a_silent_peer_is_given_up_on(tools: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(SourceError, match="in time"):
            tools.open(f"rtsp://127.0.0.1:{port}/x", open_timeout_s=0.5, read_timeout_s=0.5)
