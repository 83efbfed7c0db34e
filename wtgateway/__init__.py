"""wtgateway: any source of pictures and sound, played by a browser tab with native latency."""

__version__ = "0.1.0"

__all__ = ["__version__"]
