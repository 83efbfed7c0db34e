"""A native viewer on the same protocol core: `wtgateway view`, tests, load.

Composes the transport's client, the protocol core and a decoder of its own (the one place outside
sources and encoders that imports av).
"""

from wtgateway.viewer.client import Viewer, ViewOptions
from wtgateway.viewer.output import run_view

__all__ = ["ViewOptions", "Viewer", "run_view"]
