"""What a source from the network may have FFmpeg open beside itself: nothing of this machine."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from wtgateway.config.allowed_sources import check_source, parse_rules
from wtgateway.errors import SourceError
from wtgateway.sources.base import SourceOptions
from wtgateway.sources.container import ContainerSource
from wtgateway.sources.uri import make_plan


class Server:
    """Answers from ``pages`` (bytes, or a text: where a redirect leads), and notes what was asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | str] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                page = outer.pages.get(self.path)
                self.send_response(404 if page is None else 302 if isinstance(page, str) else 200)
                if isinstance(page, str):
                    self.send_header("location", page)
                body = page if isinstance(page, bytes) else b""
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    """A second of pictures, as a file that is none of the peer's business."""
    path = tmp_path / "secret.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(25):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode())
    return path


def can_open(url: str, options: dict[str, str] | None = None) -> bool:
    settings = SourceOptions(open_timeout_s=5, read_timeout_s=5, options=options or {})
    source = ContainerSource(make_plan(url, settings), settings)
    try:
        return source.open().has_video
    except SourceError:
        return False
    finally:
        source.close()


def playlist(segment: str) -> bytes:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", segment, "#EXT-X-ENDLIST", ""]
    return "\n".join(lines).encode()


def test_a_playlist_may_name_what_is_beside_it(server: Server, movie: Path) -> None:
    server.pages = {"/live.m3u8": playlist("one.ts"), "/one.ts": movie.read_bytes()}
    assert can_open(f"{server.url}/live.m3u8")


@pytest.mark.parametrize(
    "nested",
    [
        "file://{0}",
        "file:{0}",
        "{0}",
        "concat:{0}",
        "crypto:{0}",
        "subfile,,start,0,end,0,,:{0}",
        "cache:file:{0}",
        "async:file:{0}",
    ],
)
def test_a_playlist_cannot_have_files_read(server: Server, movie: Path, nested: str) -> None:
    server.pages = {"/live.m3u8": playlist(nested.format(movie))}
    assert not can_open(f"{server.url}/live.m3u8")


@pytest.mark.parametrize("name", ["/list.ffconcat", "/anything"])
def test_a_concat_script_cannot_have_files_read(server: Server, movie: Path, name: str) -> None:
    server.pages = {name: f"ffconcat version 1.0\nfile 'file:{movie}'\n".encode()}
    assert not can_open(server.url + name)


def test_a_redirect_cannot_lead_to_files(server: Server, movie: Path) -> None:
    server.pages = {"/movie": f"file:{movie}"}
    assert not can_open(f"{server.url}/movie")


def test_a_description_cannot_open_ports(server: Server) -> None:
    sdp = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    server.pages = {"/x.sdp": sdp + b"m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"}
    assert not can_open(f"{server.url}/x.sdp")


def test_what_the_api_added_is_not_led_on(server: Server, movie: Path) -> None:
    server.pages = {"/movie": "/other", "/other": movie.read_bytes()}
    url = f"{server.url}/movie"
    assert can_open(url)  # of the configuration's owner
    server.asked.clear()
    checked, options = check_source(url, parse_rules("http://127.0.0.1"))
    assert not can_open(checked, options)
    assert set(server.asked) == {"/movie"}
