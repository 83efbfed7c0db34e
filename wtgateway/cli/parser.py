"""The command line: `wtgateway run | check | probe | certs | cluster | token | view | lb | version`.

Parses, hands over to :mod:`wtgateway.cli.commands`, and turns errors into one line and an exit code. Rooms
are imported only by the command that needs them: a gateway is ready within a second. Never a traceback for
what a user can cause.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

from wtgateway.cli.balancing_parser import add_lb
from wtgateway.cli.token_parser import add_token
from wtgateway.errors import ConfigError, WtgatewayError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

DESCRIPTION = "Any source of pictures and sound, played by a browser tab with the latency of a native client."
SOURCES_HELP = """\
sources:
  movie.mp4                  a file, looped, paced in real time (--no-loop: once)
  rtsp://user:pw@camera/live rtmp://, srt://, http(s)://...m3u8
  v4l2:/dev/video0           a camera
  alsa:default               a microphone
  x11::0                     a screen
  lavfi:testsrc2             any filter graph of FFmpeg
  test:                      moving picture, clock and a beep a second
"""
RUN_EPILOG = (
    SOURCES_HELP
    + """
examples:
  wtgateway run                                  the test broadcast, /test
  wtgateway run movie.mp4                        /movie
  wtgateway run rtsp://cam1/live rtsp://cam2/live --name door --name yard
  wtgateway run x11::0 --capture damage --fps 60 --on-demand
  wtgateway run -c wtgateway.yml                 what the file says
  wtgateway run --public movie.mp4               for other machines, too

Every flag is also a variable (WTG_BIND for --bind) and a key of the file; the command line wins over the
environment, that over the file. See docs/configuration.md.
"""
)
EPILOG = """\
examples:
  wtgateway run                       serve the test broadcast and print its page
  wtgateway run movie.mp4             serve a file
  wtgateway check -c wtgateway.yml    say what is wrong with a configuration
  wtgateway probe rtsp://camera/live  look at a source
  wtgateway view https://localhost:4433/test --seconds 10
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0, 1 failed, 2 wrong setting or usage, 130 interrupted."""
    try:
        arguments = parse(argv)
        code = int(getattr(_module(arguments.command), arguments.command)(arguments))
        sys.stdout.flush()
        return code
    except SystemExit as error:  # argparse: --help, or wrong usage
        return error.code if isinstance(error.code, int) else EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # `wtgateway ... | head`: nobody reads any more, and the interpreter's own flush must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except ConfigError as error:
        return _complain(error, EXIT_FAILED if error.passing else EXIT_USAGE)
    except WtgatewayError as error:
        return _complain(error, EXIT_FAILED)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace. Raises SystemExit as argparse does.

    Sources may stand between flags (``run a.mp4 --name a b.mp4``), which argparse alone refuses.
    """
    parser = build_parser()
    arguments, extra = parser.parse_known_args(argv)
    if extra and arguments.command in ("run", "check") and not any(word.startswith("-") for word in extra):
        arguments.source = [*arguments.source, *extra]
    elif extra:
        parser.error(f"unrecognized arguments: {' '.join(extra)} (see --help)")
    return arguments


def _module(command: str) -> ModuleType:
    """Where a command's function is."""
    from wtgateway.cli import balancing, commands

    if command.startswith("token_"):
        from wtgateway.cli import tokens

        return tokens
    return balancing if command.startswith("lb_") else commands


def _complain(error: WtgatewayError, code: int) -> int:
    from wtgateway.log import redact_url

    print(f"wtgateway: {redact_url(str(error))}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole grammar; ``command`` names a function of :mod:`wtgateway.cli.commands`."""
    parser = argparse.ArgumentParser(
        prog="wtgateway", description=DESCRIPTION, epilog=EPILOG, formatter_class=_HelpFormatter
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_run(commands)
    _add_check(commands)
    _add_probe(commands)
    _add_certs(commands)
    _add_cluster(commands)
    _add_view(commands)
    add_lb(commands, _add, _add_logging)
    add_token(commands, _add, _add_token_settings)
    version = commands.add_parser("version", help="print the versions of wtgateway and what it stands on")
    version.set_defaults(command="version")
    return parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


if TYPE_CHECKING:
    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def _add(commands: _Commands, name: str, help_text: str, epilog: str = "") -> argparse.ArgumentParser:
    description = help_text[0].upper() + help_text[1:] + "."
    parser = commands.add_parser(
        name, help=help_text, description=description, epilog=epilog, formatter_class=_HelpFormatter
    )
    parser.allow_abbrev = False  # a new flag must not change what an old script meant
    parser.set_defaults(command=name)
    return parser


def _add_run(commands: _Commands) -> None:
    run = _add(commands, "run", "serve broadcasts", RUN_EPILOG)
    run.add_argument("source", nargs="*", metavar="SOURCE", help="what to broadcast (default: test:)")
    run.add_argument("--name", action="append", metavar="NAME", help="name of a SOURCE, in their order")
    _add_file(run)
    _add_watch(run)
    _add_network(run)
    _add_access(run)
    _add_certificates(run)
    _add_balancing(run)
    _add_media(run)
    _add_logging(run)


def _add_check(commands: _Commands) -> None:
    check = _add(commands, "check", "validate a configuration and print what it comes to")
    check.add_argument("source", nargs="*", metavar="SOURCE", help="sources as for run")
    check.add_argument("--name", action="append", metavar="NAME", help=argparse.SUPPRESS)
    _add_file(check)
    _add_watch(check)
    _add_network(check)
    _add_access(check)
    _add_certificates(check)
    _add_balancing(check)
    _add_media(check)
    _add_logging(check)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", metavar="FILE", help="configuration in YAML (WTG_CONFIG)")


def _add_watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-watch",
        dest="watch",
        action="store_false",
        default=None,
        help="do not read the file again when it changes (SIGHUP has it read in any case)",
    )


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--bind", metavar="ADDR", help="UDP address of QUIC (default: localhost:4433)")
    group.add_argument(
        "--workers", metavar="N", help="processes that serve viewers: a number, or auto (default: 1)"
    )
    group.add_argument("--node", metavar="NAME", help="this gateway's name among others of a cluster")
    group.add_argument(
        "--drain-timeout",
        metavar="TIME",
        help="how long viewers have to go elsewhere at the end (default: 0s; 30s behind a balancer)",
    )
    group.add_argument("--web", metavar="ADDR", help="TCP address of the pages (default: 127.0.0.1:8080)")
    group.add_argument(
        "--web-tls-cert", metavar="FILE", help="serve the pages by HTTPS with this certificate"
    )
    group.add_argument("--web-tls-key", metavar="FILE", help="and this key (both PEM)")
    _add_public_names(group)
    group.add_argument(
        "--trusted-proxy",
        metavar="CIDR",
        action="append",
        help="whose X-Forwarded-* hold; may be given again",
    )
    group.add_argument(
        "--websocket",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="viewers may come over a WebSocket of the pages' server (default: yes)",
    )
    group.add_argument(
        "--public",
        action="store_true",
        default=None,
        help="listen on all addresses ([::]:4433, [::]:8443), pages by HTTPS with a self-signed certificate",
    )


def _add_access(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("access")
    group.add_argument(
        "--access", metavar="MODES", help="none, or of token, static, jwt, callback (default: none)"
    )


def _add_public_names(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--advertise",
        metavar="HOST[:PORT]",
        help="QUIC address that pages are told (default: theirs, as bound)",
    )
    group.add_argument("--public-url", metavar="URL", help="of the pages as viewers see them, behind a proxy")


def _add_certificates(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("certificates")
    group.add_argument("--cert-rotate", metavar="TIME", help="how long one is used, 1s to 13d (default: 13d)")
    group.add_argument("--certs-dir", metavar="DIR", help="where they are kept (default: certs)")
    group.add_argument(
        "--cluster-secret",
        metavar="FILE",
        help="share it with other nodes: the certificates come from it, too",
    )


def _add_balancing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("behind a balancer")
    group.add_argument(
        "--lb-config", metavar="FILE", help="connection IDs that lead a balancer to this node (QUIC-LB)"
    )
    group.add_argument("--lb-server-id", metavar="HEX", help="of this node (default: that of --node in FILE)")


def _add_media(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("broadcasts", "for all of them, whatever the file says")
    group.add_argument("--on-demand", action="store_true", default=None, help="open sources for viewers only")
    group.add_argument(
        "--loop", action=argparse.BooleanOptionalAction, default=None, help="begin a file again at its end"
    )
    group.add_argument("--capture", metavar="HOW", help="of x11: damage, poll or auto (default: auto)")
    group.add_argument(
        "--isolate", metavar="WHEN", help="a process for each source: true, false or auto (from the network)"
    )
    group.add_argument("--size", metavar="WxH", help="size of the picture (default: the source's)")
    group.add_argument("--fps", metavar="N", help="frames a second (default: the source's)")
    group.add_argument("--video-codec", metavar="NAME", help="h264 (the default), hevc, av1, vp9 or auto")
    group.add_argument("--reencode", metavar="WHEN", help="auto, always or never (default: auto)")
    group.add_argument("--video-bitrate", metavar="RATE", help="bits a second, such as 4M (the default)")
    group.add_argument("--audio-bitrate", metavar="RATE", help="bits a second, such as 128k (the default)")
    group.add_argument("--keyframe-interval", metavar="TIME", help="longest group (default: 10s)")
    group.add_argument("--no-video", dest="video", action="store_false", default=None, help="sound only")
    group.add_argument("--no-audio", dest="audio", action="store_false", default=None, help="picture only")


def _add_logging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("log")
    group.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (default: info)")
    group.add_argument(
        "--log-format", metavar="FORMAT", help="text, json or auto: text on a terminal (default: auto)"
    )
    group.add_argument("--json-log", action="store_true", default=None, help="one JSON object a line")


def _add_probe(commands: _Commands) -> None:
    probe = _add(commands, "probe", "show a source's tracks, and the encoders of this machine", SOURCES_HELP)
    probe.add_argument("source", metavar="SOURCE", nargs="?", help="what to look at")
    probe.add_argument(
        "--encoders", action="store_true", help="try each encoder of this machine: speed, delay"
    )
    probe.add_argument(
        "--again", action="store_true", help="with --encoders: measure anew what is remembered"
    )
    probe.add_argument("--timeout", metavar="TIME", default="10s", help="how long to try (default: 10s)")
    probe.add_argument("--json", action="store_true", help="print JSON")


def _add_certs(commands: _Commands) -> None:
    certs = _add(commands, "certs", "show or rotate the certificates of a store")
    actions = certs.add_subparsers(metavar="ACTION", required=True)
    show = _add(actions, "show", "print fingerprints and validity")
    show.set_defaults(command="certs_show")
    show.add_argument("--json", action="store_true", help="print JSON")
    rotate = _add(
        actions,
        "rotate",
        "let a new certificate take over; a running gateway on the store follows, live sessions stay",
    )
    rotate.set_defaults(command="certs_rotate")
    rotate.add_argument(
        "--in", dest="overlap", metavar="TIME", default="10s", help="when, so that pages hear of it (10s)"
    )
    for parser in (show, rotate):
        _add_file(parser)
        _add_certificates(parser)
        _add_public_names(parser.add_argument_group("names in certificates"))


def _add_cluster(commands: _Commands) -> None:
    cluster = _add(commands, "cluster", "prepare several gateways that serve as one")
    actions = cluster.add_subparsers(metavar="ACTION", required=True)
    secret = _add(actions, "secret", "make the secret that all nodes of a cluster share")
    secret.set_defaults(command="cluster_secret")
    secret.add_argument("file", metavar="FILE", help="where to write it; must not exist yet")
    secret.add_argument(
        "--if-missing", action="store_true", help="be content with one that is there (for init containers)"
    )


def _add_token_settings(parser: argparse.ArgumentParser) -> None:
    _add_file(parser)
    group = parser.add_argument_group("of the gateway")
    group.add_argument("--certs-dir", metavar="DIR", help="where its key is kept (default: certs)")
    group.add_argument("--cluster-secret", metavar="FILE", help="from which its key comes, of a cluster")
    group.add_argument("--web", metavar="ADDR", help="TCP address of the pages (default: 127.0.0.1:8080)")
    group.add_argument("--public", action="store_true", default=None, help="as for run: pages by HTTPS")
    _add_public_names(group)


def _add_view(commands: _Commands) -> None:
    view = _add(
        commands,
        "view",
        "watch a broadcast without a browser, with live statistics",
        "URL is the page (http://localhost:8080/test) or the QUIC address (https://localhost:4433/test).",
    )
    view.add_argument("url", metavar="URL", help="what to watch")
    view.add_argument("--record", metavar="FILE", help="write what arrives, not decoded again (.mkv)")
    view.add_argument("--seconds", metavar="N", help="stop after so long (90, 1m30s)")
    view.add_argument(
        "--hash", action="append", default=[], metavar="HEX", help="SHA-256 of the gateway's certificate"
    )
    view.add_argument(
        "--transport",
        choices=("auto", "webtransport", "websocket"),
        default="auto",
        help="auto: a WebSocket where WebTransport does not open within half a second (default: auto)",
    )
    view.add_argument(
        "--delivery",
        choices=("stream", "datagram", "auto"),
        default="stream",
        help="how frames are to come (default: stream)",
    )
    view.add_argument(
        "--deadline", metavar="MS", help="a frame is worth nothing so long after its capture (1 to 60000)"
    )
    view.add_argument(
        "--token",
        metavar="TOKEN",
        default="",
        help="for access: the token, @FILE (read again when it is over soon), or - for standard input",
    )
    view.add_argument("--insecure", action="store_true", help="accept any certificate")
    view.add_argument("--json", action="store_true", help="print the final statistics as JSON")
    _add_logging(view)
