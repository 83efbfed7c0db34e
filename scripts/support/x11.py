"""Shared-memory images (MIT-SHM) and DAMAGE events on an X display, by ctypes: to paint and to read a screen.

A tool of measurement: it shares no code with what it measures. Imports numpy and the system's libX11,
libXext and (for :meth:`Display.watch`) libXdamage. Any failure raises :exc:`DisplayError`.
"""

from __future__ import annotations

import ctypes
import select
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_ulong, c_void_p
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
_Z_PIXMAP = 2
_ALL_PLANES = 0xFFFFFFFF
_DAMAGE_NON_EMPTY = 3  # XDamageReportNonEmpty: one event until we subtract
_XEVENT_BYTES = 192
_IPC_CREAT_0600 = 0o1600
_IPC_RMID = 0


class DisplayError(RuntimeError):
    """An X display cannot be opened or lacks what is needed."""


class _Image(ctypes.Structure):
    _fields_ = [
        *((name, c_int) for name in ("width", "height", "xoffset", "format")),
        ("data", c_void_p),
        *(
            (name, c_int)
            for name in (
                "byte_order",
                "unit",
                "bit_order",
                "pad",
                "depth",
                "bytes_per_line",
                "bits_per_pixel",
            )
        ),
    ]


class _Segment(ctypes.Structure):
    _fields_ = [("shmseg", c_ulong), ("shmid", c_int), ("shmaddr", c_void_p), ("read_only", c_int)]


_SIGNATURES: dict[str, dict[str, tuple[Any, list[Any]]]] = {
    "libX11.so.6": {
        "XOpenDisplay": (c_void_p, [c_char_p]),
        "XCloseDisplay": (c_int, [c_void_p]),
        "XDefaultScreen": (c_int, [c_void_p]),
        "XRootWindow": (c_ulong, [c_void_p, c_int]),
        "XDefaultVisual": (c_void_p, [c_void_p, c_int]),
        "XDefaultGC": (c_void_p, [c_void_p, c_int]),
        "XSync": (c_int, [c_void_p, c_int]),
        "XMapRaised": (c_int, [c_void_p, c_ulong]),
        "XCreateSimpleWindow": (
            c_ulong,
            [c_void_p, c_ulong, c_int, c_int, c_uint, c_uint, c_uint, c_ulong, c_ulong],
        ),
        "XPending": (c_int, [c_void_p]),
        "XNextEvent": (c_int, [c_void_p, c_void_p]),
        "XConnectionNumber": (c_int, [c_void_p]),
    },
    "libXext.so.6": {
        "XShmCreateImage": (
            POINTER(_Image),
            [c_void_p, c_void_p, c_uint, c_int, c_void_p, POINTER(_Segment), c_uint, c_uint],
        ),
        "XShmAttach": (c_int, [c_void_p, POINTER(_Segment)]),
        "XShmPutImage": (
            c_int,
            [c_void_p, c_ulong, c_void_p, POINTER(_Image), *[c_int] * 4, c_uint, c_uint, c_int],
        ),
        "XShmGetImage": (c_int, [c_void_p, c_ulong, POINTER(_Image), c_int, c_int, c_ulong]),
    },
    "libXdamage.so.1": {
        "XDamageQueryExtension": (c_int, [c_void_p, c_void_p, c_void_p]),
        "XDamageCreate": (c_ulong, [c_void_p, c_ulong, c_int]),
        "XDamageSubtract": (None, [c_void_p, c_ulong, c_ulong, c_ulong]),
    },
    "": {
        "shmget": (c_int, [c_int, c_size_t, c_int]),
        "shmat": (c_void_p, [c_int, c_void_p, c_int]),
        "shmctl": (c_int, [c_int, c_int, c_void_p]),
    },
}


def _library(name: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(name or None, use_errno=True)
    except OSError as error:
        raise DisplayError(f"{name} is missing: {error}") from error
    for function, (result, arguments) in _SIGNATURES[name].items():
        getattr(library, function).restype = result
        getattr(library, function).argtypes = arguments
    return library


class Image:
    """Pixels shared with the X server: ``pixels`` is height x width x 4, BGRX."""

    def __init__(self, handle: Any, segment: _Segment, pixels: Pixels) -> None:
        self.handle, self.pixels = handle, pixels
        self._segment = segment  # the server's view of the memory lives as long as this object


class Display:
    """One connection to an X display of depth 24; for one thread."""

    def __init__(self, name: str) -> None:
        self._x, self._ext, self._libc = (_library(lib) for lib in ("libX11.so.6", "libXext.so.6", ""))
        self._display = self._x.XOpenDisplay(name.encode())
        if not self._display:
            raise DisplayError(f"cannot open X display {name}")
        self._screen = self._x.XDefaultScreen(self._display)
        self._root = self._x.XRootWindow(self._display, self._screen)
        self._gc = self._x.XDefaultGC(self._display, self._screen)
        self._damage_library: ctypes.CDLL | None = None
        self._damage = 0
        self._event = ctypes.create_string_buffer(_XEVENT_BYTES)

    def window(self, width: int, height: int) -> int:
        """A mapped window at the top left; its id."""
        window: int = self._x.XCreateSimpleWindow(self._display, self._root, 0, 0, width, height, 0, 0, 0)
        self._x.XMapRaised(self._display, window)
        self.sync()
        return window

    def image(self, width: int, height: int) -> Image:
        """An image in shared memory."""
        segment = _Segment()
        visual = self._x.XDefaultVisual(self._display, self._screen)
        handle = self._ext.XShmCreateImage(
            self._display, visual, 24, _Z_PIXMAP, None, byref(segment), width, height
        )
        segment.shmid = self._libc.shmget(0, handle.contents.bytes_per_line * height, _IPC_CREAT_0600)
        segment.shmaddr = handle.contents.data = self._libc.shmat(segment.shmid, None, 0)
        if not self._ext.XShmAttach(self._display, byref(segment)):
            raise DisplayError("XShmAttach failed")
        self.sync()
        self._libc.shmctl(segment.shmid, _IPC_RMID, None)  # freed once both sides let go
        memory = ctypes.cast(segment.shmaddr, POINTER(ctypes.c_uint8))
        return Image(handle, segment, np.ctypeslib.as_array(memory, (height, width, 4)))

    def put(
        self, window: int, image: Image, source: tuple[int, int], to: tuple[int, int], size: tuple[int, int]
    ) -> None:
        """Draw a part of the image; done by the server some time before :meth:`sync` returns."""
        self._ext.XShmPutImage(self._display, window, self._gc, image.handle, *source, *to, *size, 0)

    def get(self, image: Image, x: int, y: int) -> None:
        """Read the screen's pixels from (x, y) on into the image; blocks until they are there."""
        self._ext.XShmGetImage(self._display, self._root, image.handle, x, y, _ALL_PLANES)

    def sync(self) -> None:
        """Wait until the server has done everything asked so far."""
        self._x.XSync(self._display, 0)

    def watch(self) -> None:
        """Ask for an event when anything on the screen is drawn to; see :meth:`wait`."""
        self._damage_library = library = _library("libXdamage.so.1")
        if not library.XDamageQueryExtension(self._display, byref(c_int()), byref(c_int())):
            raise DisplayError("the X display has no DAMAGE extension")
        self._damage = library.XDamageCreate(self._display, self._root, _DAMAGE_NON_EMPTY)
        self.sync()

    def wait(self, seconds: float) -> bool:
        """True once something was drawn since the last call; False when time is up first."""
        assert self._damage_library is not None, "watch() first"
        connection = self._x.XConnectionNumber(self._display)
        if not self._x.XPending(self._display) and not select.select([connection], [], [], seconds)[0]:
            return False
        drawn = False
        while self._x.XPending(self._display):
            self._x.XNextEvent(self._display, self._event)
            drawn = True
        if drawn:
            self._damage_library.XDamageSubtract(self._display, self._damage, 0, 0)
        return drawn

    def close(self) -> None:
        """Give the connection back."""
        self._x.XCloseDisplay(self._display)
