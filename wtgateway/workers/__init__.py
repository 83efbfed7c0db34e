"""Processes that serve viewers: one here, or several beside the one that has the sources.

With several, the main process keeps sources, encoders, the hub, certificates and the pages. Frames go to
each worker once, over shared memory; all else goes over a socket. See docs/architecture.md, "Workers". May
import transport, hub, protocol and the values of the web.
"""
