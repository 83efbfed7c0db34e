"""A real RTSP server for the tests: GStreamer's. Run by Debian's python3, which has its bindings.

    /usr/bin/python3 rtsp_server.py PORT FILE.mp4

Serves the file's H.264 and AAC at rtsp://127.0.0.1:PORT/x, from its start for each client.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

port, path = sys.argv[1:]
Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    f"( filesrc location={path} ! qtdemux name=d "
    "d.video_0 ! queue ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 "
    "d.audio_0 ! queue ! aacparse ! rtpmp4gpay name=pay1 pt=97 )"
)
server.get_mount_points().add_factory("/x", factory)
server.attach(None)
GLib.MainLoop().run()
