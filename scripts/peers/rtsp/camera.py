"""A camera: a real RTSP server, GStreamer's, with a live picture. Debian's python3 has its bindings.

    /usr/bin/python3 camera.py PORT

Serves H.264 of 320x180 with a keyframe each second at rtsp://127.0.0.1:PORT/x until it is killed.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

(port,) = sys.argv[1:]
Gst.init(None)
server = GstRtspServer.RTSPServer.new()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory.new()
factory.set_launch(
    "( videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=30/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast bitrate=500 key-int-max=30 "
    "! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/x", factory)
server.attach(None)
GLib.MainLoop().run()
