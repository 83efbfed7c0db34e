"""The command line: what each command is handed, what it prints, and its exit codes. Never a traceback."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wtgateway.certs import CertificateStore, subject_names
from wtgateway.cli import main
from wtgateway.config import GatewayConfig
from wtgateway.errors import SourceError

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variables of the developer's, a directory of its own, and logging as it was."""
    import os

    for name in [name for name in os.environ if name.startswith("WTG_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    handlers, raising = list(logging.getLogger().handlers), logging.raiseExceptions
    yield
    logging.getLogger().handlers[:] = handlers
    logging.raiseExceptions = raising


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: object) -> None:
    module = types.ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> list[GatewayConfig]:
    """run_gateway as a recorder."""
    seen: list[GatewayConfig] = []

    def run_gateway(config: GatewayConfig, announce: object) -> int:
        seen.append(config)
        return 0

    stand_in(monkeypatch, "wtgateway.gateway", run_gateway=run_gateway)
    return seen


def test_run_hands_the_configuration_over(gateway: list[GatewayConfig]) -> None:
    arguments = (
        "run a.mp4 --name film --no-loop b.mp4 --bind :5 --web [::1]:6 --cert-rotate 90s --on-demand --fps 60"
    )
    arguments += " --size 640x360 --video-codec vp9 --video-bitrate 1M --no-audio --capture poll"
    arguments += " --certs-dir x --json-log"
    assert main(arguments.split()) == 0
    (config,) = gateway
    assert [(b.name, b.source) for b in config.broadcasts] == [("film", "a.mp4"), ("b", "b.mp4")]
    assert (config.bind.port, config.web, config.cert_rotate_s) == (5, ("::1", 6), 90)
    assert (config.certs_dir, config.json_log) == (Path("x"), True)
    first = config.broadcasts[0]
    assert (first.loop, first.on_demand, first.capture, first.audio) == (False, True, "poll", None)
    assert first.video is not None
    video = first.video
    assert (video.codec, video.width, video.height, video.fps) == ("vp9", 640, 360, 60)


@pytest.mark.parametrize(
    "arguments", ["run --name x a.mp4", "run a.mp4 --name x", "run --fps 30 a.mp4 --name x"]
)
def test_sources_may_stand_anywhere(gateway: list[GatewayConfig], arguments: str) -> None:
    assert main(arguments.split()) == 0
    assert [(b.name, b.source) for b in gateway[0].broadcasts] == [("x", "a.mp4")]


def test_run_alone_serves_the_test(gateway: list[GatewayConfig]) -> None:
    assert main(["run"]) == 0
    assert gateway == [GatewayConfig()]


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (
            SourceError("cannot open rtsp://u:p@h/: refused"),
            1,
            "wtgateway: cannot open rtsp://***@h/: refused\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_failures_are_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, failure: BaseException, code: int, said: str
) -> None:
    def run_gateway(_config: GatewayConfig, announce: object) -> int:
        raise failure

    stand_in(monkeypatch, "wtgateway.gateway", run_gateway=run_gateway)
    assert main(["run"]) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run --bind nonsense", "command line: --bind: 'nonsense' is not usable; expected HOST:PORT"),
        ("run -c none.yml", "none.yml: 'No such file or directory'"),
        ("run --no-video --no-audio", "at least one of them on"),
        ("run a.mp4 --nope", "unrecognized arguments: --nope"),
        ("run --cert-rotat 3s", "unrecognized arguments"),
        ("check nosuch:x", "broadcasts.x.source: 'nosuch:x'"),
        ("check --fps many", "frames a second"),
        ("certs", "ACTION"),
        ("certs rotate --in soon", "--in: 'soon' is not usable; expected a duration"),
        ("view", "URL"),
        ("view https://h/x --hash 12", "--hash: '12' is not usable; expected a SHA-256"),
        ("view https://h/x --seconds soon", "--seconds: 'soon'"),
        ("view https://h/x --deadline 0", "--deadline: '0' is not usable; expected a whole number of ms"),
        ("view https://h/x --deadline 60001", "--deadline: '60001'"),
        ("view https://h/x --delivery fast", "invalid choice: 'fast'"),
        ("probe nosuch:x", "nosuch:x"),
        ("probe test: --timeout x", "--timeout: 'x'"),
        ("", "COMMAND"),
        ("dance", "invalid choice: 'dance'"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(capsys: Output, arguments: str, said: str) -> None:
    assert main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_check_prints_what_holds(capsys: Output, tmp_path: Path) -> None:
    path = tmp_path / "wtgateway.yml"
    path.write_text("broadcasts:\n  door: {source: 'rtsp://u:p@cam/x', on_demand: true, audio: false}\n")
    assert main(["check", "-c", str(path), "--web", ":80", "--cert-rotate", "90m"]) == 0
    out = capsys.readouterr().out
    assert "rtsp://***@cam/x" in out
    assert "on demand" in out
    assert "1h30m" in out
    assert "use --public" in out


def test_check_names_file_and_key_of_a_source(capsys: Output, tmp_path: Path) -> None:
    path = tmp_path / "w.yml"
    path.write_text("broadcasts:\n  a: 'gopher://x'\n")
    assert main(["check", "-c", str(path)]) == 2
    assert "w.yml: broadcasts.a.source: 'gopher://x' is not usable" in capsys.readouterr().err


def test_probe_prints_tracks_and_encoders(capsys: Output) -> None:
    assert main(["probe", "test:?size=320x180&fps=25"]) == 0
    out = capsys.readouterr().out
    assert "320x180, 25 fps" in out
    assert "48000 Hz" in out
    assert "encoders" in out
    assert main(["probe", "test:", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {track["kind"] for track in facts["tracks"]} == {"video", "audio"}
    assert "encoders" in facts


def test_probe_tries_every_encoder(capsys: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["probe", "--encoders"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    for name in ("libx264", "libx265", "libsvtav1", "libvpx-vp9"):
        assert lines[name][-3:] == ["0", "frames", "works"], "and holds no picture back"
        assert float(lines[name][3]) > 0
    assert len(list((tmp_path / "wtgateway").iterdir())) == 1
    assert main(["probe", "--encoders", "--json"]) == 0  # remembered
    again = {m["encoder"]: m for m in json.loads(capsys.readouterr().out)["measurements"]}
    assert f"{again['libx264']['ms_per_frame']:.1f}" == lines["libx264"][3]
    assert main(["probe", "test:", "--encoders", "--json"]) == 0
    assert {"tracks", "measurements"} <= set(json.loads(capsys.readouterr().out))


def test_probe_of_nothing_is_a_usage_error(capsys: Output) -> None:
    assert main(["probe"]) == 2
    assert "--encoders" in capsys.readouterr().err


def test_probe_of_what_is_not_there_exits_with_1(capsys: Output) -> None:
    assert main(["probe", "./missing.mp4"]) == 1
    assert "missing.mp4" in capsys.readouterr().err


def test_certs_show_changes_nothing(capsys: Output, tmp_path: Path) -> None:
    assert main(["certs", "show"]) == 0
    assert "no certificates in certs" in capsys.readouterr().out
    assert not (tmp_path / "certs").exists()


def test_certs_rotate_makes_and_show_prints(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WTG_CERTS_DIR", "store")
    assert main(["certs", "rotate", "--in", "0s"]) == 0
    rotated = capsys.readouterr().out
    assert main(["certs", "show"]) == 0
    assert capsys.readouterr().out == rotated
    assert main(["certs", "show", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["use"], second["use"]) == ("current", "next")
    stored = CertificateStore(Path("store"), 60, subject_names()).read()
    assert [c.fingerprint.hex() for c in stored] == [first["sha256"], second["sha256"]]


def test_certs_rotate_keeps_the_current_one_for_the_overlap(capsys: Output) -> None:
    shown: list[list[dict[str, str]]] = []
    for command in (["rotate", "--in", "0s"], ["rotate", "--in", "1h"]):
        assert main(["certs", *command]) == 0
        capsys.readouterr()
        assert main(["certs", "show", "--json"]) == 0
        shown.append(json.loads(capsys.readouterr().out))
    assert shown[0][0] == shown[1][0]
    assert shown[0][1] != shown[1][1]


def test_certs_in_an_impossible_place_exit_with_1(capsys: Output, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert main(["certs", "rotate", "--certs-dir", "file"]) == 1
    assert "--certs-dir" in capsys.readouterr().err


def test_view_hands_its_options_over(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class ViewOptions:
        url: str
        record: Path | None
        seconds: float | None
        hashes: tuple[bytes, ...]
        insecure: bool
        json: bool
        delivery: str
        deadline_ms: int
        transport: str
        token: str

    seen: list[ViewOptions] = []
    record: Callable[[ViewOptions], int] = lambda options: len(seen.append(options) or "")  # type: ignore[func-returns-value]  # noqa: E731
    stand_in(monkeypatch, "wtgateway.viewer", ViewOptions=ViewOptions, run_view=record)
    digest = "ab" * 32
    line = f"view https://h:1/x --record o.mkv --seconds 1m30s --hash {digest} --insecure --json"
    more = ("--delivery", "auto", "--deadline", "150", "--transport", "websocket", "--token", "@file")
    assert main([*line.split(), *more]) == 0
    assert main(["view", "https://h/x"]) == 0
    assert seen == [
        ViewOptions(
            "https://h:1/x",
            Path("o.mkv"),
            90.0,
            (bytes.fromhex(digest),),
            True,
            True,
            "auto",
            150,
            "websocket",
            "@file",
        ),
        ViewOptions("https://h/x", None, None, (), False, False, "stream", 0, "auto", ""),
    ]


@pytest.mark.parametrize(
    "command", ["", "run", "check", "probe", "certs", "certs show", "certs rotate", "view"]
)
def test_help_is_help(capsys: Output, command: str) -> None:
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert f"usage: wtgateway {command}".strip() in out
    if command in ("", "run"):
        assert "examples:" in out


def test_version_names_what_it_stands_on(capsys: Output) -> None:
    assert main(["version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("wtgateway ")
    assert "aioquic " in out


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m wtgateway run --help | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""


def test_the_way_to_run_imports_no_room_that_it_does_not_need() -> None:
    """Ready within a second of the interpreter's start: parsing and merging must stay light."""
    program = (
        "import sys; from wtgateway.cli import parse; from wtgateway.cli import commands; "
        "commands.load_config(parse(['run', 'a.mp4'])); import wtgateway.log; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    heavy = {"av", "aioquic", "yaml", "cryptography", "numpy", "asyncio", "starlette", "hypercorn"}
    assert not heavy & set(done.stdout.split())
