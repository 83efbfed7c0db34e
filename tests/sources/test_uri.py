"""URIs: which source they name, what FFmpeg is told, what is refused, what is never shown."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wtgateway.errors import ConfigError, SourceError
from wtgateway.sources import SourceOptions, check_uri, make_source
from wtgateway.sources.uri import Mode, ScreenRegion, grab_plan, make_plan, parse_screen

OPTIONS = SourceOptions()


@pytest.mark.parametrize(
    ("uri", "mode", "url", "format_name"),
    [
        ("film.mp4", Mode.FILE, "file:film.mp4", None),
        ("/srv/a b.mkv", Mode.FILE, "file:/srv/a b.mkv", None),
        ("file:///srv/a%20b.mkv", Mode.FILE, "file:/srv/a b.mkv", None),
        ("file:rel.webm", Mode.FILE, "file:rel.webm", None),
        ("rtsp://cam/1", Mode.LIVE, "rtsp://cam/1", None),
        ("rtmp://host/live/x", Mode.LIVE, "rtmp://host/live/x", None),
        ("srt://:9000?mode=listener", Mode.LIVE, "srt://:9000?mode=listener", "mpegts"),
        ("https://host/live.m3u8", Mode.WEB, "https://host/live.m3u8", None),
        ("v4l2:/dev/video0", Mode.DEVICE, "/dev/video0", "v4l2"),
        ("alsa:", Mode.DEVICE, "default", "alsa"),
        ("alsa:hw:1,0", Mode.DEVICE, "hw:1,0", "alsa"),
        ("lavfi:testsrc=size=64x64[out0];sine[out1]", Mode.GENERATED, None, "lavfi"),
        ("test:", Mode.TEST, "test:", None),
        ("x11::0", Mode.SCREEN, "x11::0", None),
    ],
)
def test_schemes(uri: str, mode: Mode, url: str | None, format_name: str | None) -> None:
    plan = make_plan(uri, OPTIONS)
    assert (plan.mode, plan.format) == (mode, format_name)
    assert plan.url == (url or uri.split(":", 1)[1])
    check_uri(uri)


def test_rtsp_is_asked_for_over_tcp_unless_told_otherwise() -> None:
    assert make_plan("rtsp://cam/1", OPTIONS).options["rtsp_transport"] == "tcp"
    udp = SourceOptions(options={"rtsp_transport": "udp"})
    assert make_plan("rtsp://cam/1", udp).options["rtsp_transport"] == "udp"


def test_a_camera_gets_rate_size_and_its_own_options() -> None:
    options = SourceOptions(fps=60, width=640, height=480)
    plan = make_plan("v4l2:/dev/video2?input_format=mjpeg", options)
    assert plan.url == "/dev/video2"
    assert plan.options == {
        "framerate": "60",
        "video_size": "640x480",
        "timestamps": "abs",
        "input_format": "mjpeg",
    }


def test_screen_regions() -> None:
    assert parse_screen("x11::0", OPTIONS) == ScreenRegion(display=":0")
    assert parse_screen("x11:", OPTIONS).display == ""
    assert parse_screen("x11:host:1.0+10,20?size=64x48&cursor=1&fps=60", OPTIONS) == ScreenRegion(
        display="host:1.0", x=10, y=20, width=64, height=48, fps=60, cursor=True
    )
    plan = grab_plan(ScreenRegion(display=":3", x=1, y=2, width=64, height=48), "x11::3", OPTIONS)
    assert plan.url == ":3+1,2"
    assert plan.options == {"framerate": "30", "draw_mouse": "0", "video_size": "64x48"}


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "gopher://host/x",
        "rtsp://",
        "rtsp://host:99999/x",
        "rtsp://[::1/x",
        "srt://:9000",
        "srt://host:1?mode=rendezvous",
        "srt://host:1?latency=slow",
        "srt://host:1?speed=1",
        "v4l2:",
        "v4l2:/dev/video0?x",
        "lavfi:",
        "file:",
        "x11:0",
        "x11::0?size=big",
        "x11::0?colour=1",
        "test:?size=1x1",
        "test:?size=0x0",
        "test:?fps=-1",
        "test:?fps=x",
        "test:?tone=99999",
        "test:?sound=1",
        "a\0b",
    ],
)
def test_refused_in_words(uri: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        check_uri(uri)


@given(st.text(max_size=60) | st.from_regex(r"(x11|test|v4l2|file|rtsp|lavfi):.{0,30}"))
def test_any_text_is_a_source_or_a_config_error(uri: str) -> None:
    with contextlib.suppress(ConfigError):
        check_uri(uri)


def test_unknown_capture_is_refused() -> None:
    with pytest.raises(ConfigError, match="auto, damage or poll"):
        make_source("x11::0", SourceOptions(capture="guess"))
    with pytest.raises(ConfigError, match="cursor"):
        make_source("x11::0?cursor=1", SourceOptions(capture="damage"))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://me:geheim@cam:554/1", "rtsp://***@cam:554/1"),
        ("srt://h:1?passphrase=geheim&mode=caller", "srt://h:1?passphrase=***&mode=caller"),
        ("https://h/x.m3u8?token=geheim", "https://h/x.m3u8?token=***"),
        ("rtsp://cam/1", "rtsp://cam/1"),
    ],
)
def test_passwords_are_not_shown(uri: str, shown: str) -> None:
    assert make_plan(uri, OPTIONS).description == shown


@pytest.mark.parametrize("uri", ["v4l2:/dev/video-none", "alsa:no-such-card", "no/such/file.mp4"])
def test_a_missing_device_or_file_is_told_in_words(uri: str) -> None:
    source = make_source(uri, OPTIONS)
    with pytest.raises(SourceError, match=r"cannot be opened: .+"):
        source.open()
    source.close()


def test_a_password_is_not_in_an_error() -> None:
    source = make_source("rtsp://me:geheim@127.0.0.1:1/x", OPTIONS)
    with pytest.raises(SourceError) as caught:
        source.open()
    assert "geheim" not in str(caught.value)
    assert "is the server running" in str(caught.value)
