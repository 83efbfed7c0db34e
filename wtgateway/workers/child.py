"""What every child of the main process does first, whatever it is for. Imports nothing of the project."""

from __future__ import annotations

import asyncio
import ctypes
import signal
import sys
from collections.abc import Coroutine
from typing import Any

_PR_SET_PDEATHSIG = 1


def begin() -> None:
    """End with the main process, and not before it says so."""
    if sys.platform == "linux":  # prctl(2): the kernel kills us when the main process dies, however it does
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and service managers address the whole group
        signal.signal(number, signal.SIG_IGN)


def run(body: Coroutine[Any, Any, None]) -> None:
    """Run it on the best event loop that there is."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(body)
    else:
        uvloop.run(body)
