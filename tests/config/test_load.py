"""The layers: command line over environment over file over defaults, and errors that name the place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wtgateway.config import (
    AudioConfig,
    BroadcastConfig,
    GatewayConfig,
    TransportConfig,
    VideoConfig,
    load,
)
from wtgateway.config.settings import layer_keys
from wtgateway.errors import ConfigError


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def put(text: str) -> Path:
        path = tmp_path / "wtgateway.yml"
        path.write_text(text)
        return path

    return put


Write = Callable[[str], Path]


def names(config: GatewayConfig) -> list[str]:
    return [broadcast.name for broadcast in config.broadcasts]


def test_nothing_given_serves_the_test_broadcast_on_loopback() -> None:
    config = load({}, {})
    assert config == GatewayConfig()
    assert config.broadcasts == (BroadcastConfig(name="test", source="test:"),)
    assert config.bind == ("localhost", 4433)
    assert config.web == ("127.0.0.1", 8080)
    assert config.bind.is_loopback and config.web.is_loopback
    assert config.cert_rotate_s == 13 * 86400


def test_command_line_over_environment_over_file(write: Write) -> None:
    path = write("bind: ':1'\nweb: ':2'\ncert_rotate: 3s\nlog_level: error\n")
    environ = {"WTG_BIND": ":11", "WTG_WEB": ":12", "WTG_CERT_ROTATE": ""}
    config = load({"bind": ":111", "web": None}, environ, path)
    assert (config.bind.port, config.web.port, config.cert_rotate_s, config.log_level) == (
        111,
        12,
        3.0,
        "error",
    )


def test_a_whole_file(write: Write) -> None:
    path = write(
        """
        bind: "[::]:4433"
        certs_dir: /var/lib/wtgateway
        json_log: yes
        defaults:
          on_demand: true
          video: {bitrate: 2M, fps: 30}
          audio: {bitrate: 96k}
          options: {a: 1}
        broadcasts:
          door:
            source: rtsp://door/live
            video: {size: 1280x720, keyframe_interval: 1m}
            audio: false
            options: {rtsp_transport: tcp}
          floor/2: movie.mp4
          radio:
            source: alsa:default
            on_demand: false
            video: off
            audio: {channels: 1, frame_ms: 10}
            loop:
        """
    )
    config = load({}, {}, path)
    assert config.json_log
    assert config.certs_dir == Path("/var/lib/wtgateway")
    video = VideoConfig(bitrate_bps=2_000_000, fps=30)
    assert config.broadcasts == (
        BroadcastConfig(
            name="door",
            source="rtsp://door/live",
            on_demand=True,
            options={"a": "1", "rtsp_transport": "tcp"},
            video=VideoConfig(bitrate_bps=2_000_000, fps=30, width=1280, height=720, keyframe_interval_s=60),
            audio=None,
        ),
        BroadcastConfig(
            name="floor/2",
            source="movie.mp4",
            on_demand=True,
            options={"a": "1"},
            video=video,
            audio=AudioConfig(bitrate_bps=96_000),
        ),
        BroadcastConfig(
            name="radio",
            source="alsa:default",
            options={"a": "1"},
            video=None,
            audio=AudioConfig(bitrate_bps=96_000, channels=1, frame_ms=10),
        ),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("transport:", TransportConfig()),
        ("transport: {retry_above: 25/s}", TransportConfig(retry_above=25)),
        ("transport: {retry_above: 0.5}", TransportConfig(retry_above=0.5)),
        (
            "transport: {retry_above: 0, half_open_per_address: 100}",
            TransportConfig(retry_above=0, half_open_per_address=100),
        ),
        ("transport: {half_open_per_address: }", TransportConfig()),
    ],
)
def test_what_new_connections_may_cost(write: Write, text: str, expected: TransportConfig) -> None:
    assert load({}, {}, write(text)).transport == expected


def test_flags_and_variables_reach_every_broadcast(write: Write) -> None:
    path = write("broadcasts:\n  a: {source: x.mp4, video: {fps: 60}}\n  b: {source: y.mp4, loop: true}\n")
    overrides = {"loop": False, "fps": "25", "size": "640x360", "on_demand": True}
    config = load(overrides, {"WTG_VIDEO_BITRATE": "1M", "WTG_AUDIO": "no"}, path)
    for broadcast in config.broadcasts:
        assert (broadcast.loop, broadcast.on_demand, broadcast.audio) == (False, True, None)
        assert broadcast.video == VideoConfig(bitrate_bps=1_000_000, fps=25, width=640, height=360)


def test_a_switch_turns_a_medium_on_again(write: Write) -> None:
    path = write(
        "defaults: {audio: false}\nbroadcasts:\n  a: {source: x.mp4, audio: {bitrate: 64k}}\n  b: y.mp4\n"
    )
    first, second = load({}, {}, path).broadcasts
    assert first.audio == AudioConfig(bitrate_bps=64_000)
    assert second.audio is None
    assert load({"audio": True}, {}, path).broadcasts[1].audio == AudioConfig()


def test_many_sources_get_unique_names() -> None:
    sources = ["movie.mp4", "old/movie.mkv", "rtsp://cam/movie", "test:"]
    assert names(load({"source": sources}, {})) == ["movie", "movie-2", "movie-3", "test"]


def test_names_go_to_sources_in_order() -> None:
    config = load({"source": ["a.mp4", "b.mp4", "c.mp4"], "name": ["c", "/x/y"]}, {})
    assert names(config) == ["c", "x/y", "c-2"]


def test_sources_join_the_file_and_replace_by_name(write: Write) -> None:
    path = write("broadcasts:\n  a: x.mp4\n  b: y.mp4\n")
    config = load({"source": ["z.mp4", "a.mp4"], "name": ["b"]}, {}, path)
    assert [(b.name, b.source) for b in config.broadcasts] == [
        ("a", "x.mp4"),
        ("b", "z.mp4"),
        ("a-2", "a.mp4"),
    ]


def test_sources_of_the_environment_one_a_line() -> None:
    environ = {"WTG_SOURCE": "my movie.mp4\nrtsp://cam/live\n", "WTG_NAME": "film"}
    assert names(load({}, environ)) == ["film", "live"]
    assert names(load({"source": ["x.mp4"]}, environ)) == ["x"]


def test_the_file_of_the_environment(write: Write) -> None:
    assert load({}, {"WTG_CONFIG": str(write("log_level: debug"))}).log_level == "debug"


def test_public_opens_all_addresses_unless_told() -> None:
    config = load({"public": True}, {})
    assert (str(config.bind), str(config.web)) == ("[::]:4433", "[::]:8443")
    assert load({"public": True, "web": "10.0.0.1:443"}, {}).web == ("10.0.0.1", 443)


@pytest.mark.parametrize(
    "text", ["", "\n# nothing\n", "broadcasts:\n", "broadcasts: {}\ndefaults:\n", "---\n"]
)
def test_an_empty_file_is_no_error(write: Write, text: str) -> None:
    assert load({}, {}, write(text)) == GatewayConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bidn: ':1'", "wtgateway.yml:1: bidn: .*expected 'bind'?"),
        ("\n\nbind: 12x", r"wtgateway.yml:3: bind: '12x' is not usable; expected HOST:PORT"),
        ("web: [::]:80", r"wtgateway.yml:1: .*needs quotes"),
        ("bind: [1, 2]", "wtgateway.yml:1: bind: 'a list'.*put quotes"),
        ("bind: {a: 1}", "wtgateway.yml:1: bind: 'a mapping'"),
        ("cert_rotate: 20d", "wtgateway.yml:1: cert_rotate: '20d' .*from 1s to 13d"),
        ("cert_rotate: 10ms", "from 1s to 13d"),
        ("json_log: maybe", "wtgateway.yml:1: json_log: 'maybe' .*true or false"),
        ("log_level: loud", "one of debug, info, warning, error"),
        ("web_tls_cert: /nonexistent", "web_tls_cert: '/nonexistent' .*No such file"),
        ("broadcasts:\n  a:\n    sorce: x", "wtgateway.yml:3: broadcasts.a.sorce: .*'source'?"),
        ("broadcasts:\n  a:\n    loop: true", "wtgateway.yml:3: broadcasts.a: .*a source"),
        ("broadcasts:\n  a:", "broadcasts.a: .*a source"),
        ("broadcasts:\n  a: {source: ''}", "broadcasts.a.source: .*a file or a URL"),
        ("broadcasts:\n  a: {source: {b: 1}}", "broadcasts.a.source: 'a mapping'"),
        ("broadcasts:\n  _a: x.mp4", "wtgateway.yml:2: broadcasts._a: .*a name of letters"),
        ("broadcasts:\n  a: x\n  /a: y", "wtgateway.yml:3: broadcasts./a: .*each broadcast name once"),
        (
            "broadcasts:\n  a: x\n  a: y",
            "wtgateway.yml:3: broadcasts.a: .*each key once .first given at .*:2",
        ),
        ("broadcasts: test", "broadcasts: 'test' .*a mapping"),
        ("broadcasts: [a]", "broadcasts: 'a list'"),
        ("broadcasts:\n  a: {source: x, video: {bitrate: fast}}", "broadcasts.a.video.bitrate: 'fast'"),
        ("broadcasts:\n  a: {source: x, video: {bitrat: 1M}}", "broadcasts.a.video.bitrat: .*'bitrate'?"),
        ("broadcasts:\n  a: {source: x, video: maybe}", "or a mapping of settings"),
        ("broadcasts:\n  a: {source: x, video: {width: 3}}", "broadcasts.a.video.width: '3' .*even"),
        ("broadcasts:\n  a: {source: x, video: {fps: nan}}", "frames a second"),
        ("broadcasts:\n  a: {source: x, video: {codec: h266}}", "one of auto, h264"),
        ("broadcasts:\n  a: {source: x, video: no, audio: no}", "at least one of them on"),
        ("transport: 5", "wtgateway.yml:1: transport: '5' .*a mapping"),
        ("transport: {retry: 5}", "transport.retry: .*'retry_above'?"),
        ("transport: {retry_above: -1}", "transport.retry_above: '-1' .*from 0"),
        ("transport: {retry_above: 100/m}", "connections a second"),
        ("transport: {retry_above: nan}", "connections a second"),
        ("transport: {half_open_per_address: 0}", "from 1 to 512"),
        ("transport: {half_open_per_address: {}}", "transport.half_open_per_address: 'a mapping'"),
        ("defaults: {source: x}", "source only inside a broadcast"),
        ("? [a]\n: b", "a plain word as key"),
        ("- a", "a list"),
        ("just words", "a YAML mapping"),
        ("a: b: c", "wtgateway.yml:1: .*valid YAML"),
        ("a: \x01", "valid YAML"),
        ("a: *b", "valid YAML"),
        ("certs_dir: ~nobody-here/x", "certs_dir: '~nobody-here/x' .*a user that exists"),
    ],
)
def test_errors_name_file_line_key_value_and_what_was_expected(write: Write, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({}, {}, write(text))


@pytest.mark.parametrize(
    ("overrides", "environ", "message"),
    [
        ({"fps": "x"}, {}, "command line: --fps: 'x' is not usable; expected frames a second"),
        ({}, {"WTG_WEB": "x"}, "environment: WTG_WEB: 'x' is not usable; expected HOST:PORT"),
        ({}, {"WTG_BNID": ":1"}, "environment: WTG_BNID: .*expected WTG_BIND"),
        ({"name": ["a"]}, {}, "--name: 'a' .*one name a source at most"),
        ({"source": ["a", "b"], "name": ["x", "x"]}, {}, "a different name for each source"),
        ({"source": ["a"], "name": ["a b"]}, {}, "--name: 'a b' .*a name of letters"),
        ({"source": [""]}, {}, "SOURCE: '' .*a file or a URL"),
        ({"web_tls_cert": __file__}, {}, "--web-tls-cert: .*web_tls_key beside it"),
        ({"nope": 1}, {}, "command line: nope"),
    ],
)
def test_errors_name_flag_or_variable(
    overrides: dict[str, object], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(overrides, environ)


def test_variables_of_others_are_left_alone() -> None:
    assert (
        load({}, {"WTG_SERVICE_HOST": "10.0.0.1", "WTG_PORT_8080_TCP": "x", "PATH": "/bin"})
        == GatewayConfig()
    )


@pytest.mark.parametrize("content", [b"\xff\xfe\xfd", b"a: \xc3", b"x" * (2 << 20)])
def test_a_file_that_is_no_text_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.yml"):
        load({}, {}, path)


def test_a_missing_file_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no.yml: 'No such file or directory'.*a file that can be read"):
        load({}, {}, tmp_path / "no.yml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load({}, {}, tmp_path)


def test_aliases_cannot_blow_up(write: Write) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    with pytest.raises(ConfigError):
        load({}, {}, write(bomb))
    with pytest.raises(ConfigError):
        load({}, {}, write("broadcasts: &b\n  a: *b\n"))
    with pytest.raises(ConfigError):
        load({}, {}, write("[" * 3_000))


YAML_TEXT = st.text(st.sampled_from("abdeirstv:{}[]&*#'\"\n -|>?!%@,0M"), max_size=80)


@given(st.one_of(st.binary(max_size=80), YAML_TEXT.map(str.encode)))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_file_is_a_configuration_or_a_typed_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yml"
    path.write_bytes(content)
    try:
        load({}, {}, path)
    except ConfigError as error:
        assert error.where.startswith(str(path))


@given(
    st.dictionaries(
        st.sampled_from(sorted(layer_keys().values())), st.text(max_size=12).filter(lambda t: "\0" not in t)
    )
)
@settings(max_examples=150, deadline=None)
def test_any_environment_is_a_configuration_or_a_typed_error(environ: dict[str, str]) -> None:
    with contextlib.suppress(ConfigError):
        load({}, environ)
