"""The little of Xlib that capturing a screen needs, by ctypes.

Imports nothing of the project. The rules: a display is used by one thread at a time; neither an
X error nor a lost X server ends the process, as Xlib's defaults do.
"""

from __future__ import annotations

import ctypes as ct
import os
import socket
from typing import Any


class XUnavailable(Exception):
    """The display, a library or an extension is missing, or of a kind not handled here."""


class XLost(Exception):
    """The X server went away."""


class XImage(ct.Structure):
    """The head of Xlib's XImage."""

    _fields_ = (
        ("width", ct.c_int),
        ("height", ct.c_int),
        ("xoffset", ct.c_int),
        ("format", ct.c_int),
        ("data", ct.c_void_p),
        ("byte_order", ct.c_int),
        ("bitmap_unit", ct.c_int),
        ("bitmap_bit_order", ct.c_int),
        ("bitmap_pad", ct.c_int),
        ("depth", ct.c_int),
        ("bytes_per_line", ct.c_int),
        ("bits_per_pixel", ct.c_int),
        ("red_mask", ct.c_ulong),
    )


class ShmSegment(ct.Structure):
    """XShmSegmentInfo."""

    _fields_ = (
        ("shmseg", ct.c_ulong),
        ("shmid", ct.c_int),
        ("shmaddr", ct.c_void_p),
        ("read_only", ct.c_int),
    )


class Libraries:
    """libX11, libXext, libXdamage and libc with their prototypes; loaded once."""

    def __init__(self) -> None:
        try:
            self.x = ct.CDLL("libX11.so.6")
            self.ext = ct.CDLL("libXext.so.6")
            self.damage = ct.CDLL("libXdamage.so.1")
            self.c = ct.CDLL(None, use_errno=True)
            self._declare()
        except (OSError, AttributeError) as error:
            raise XUnavailable(f"an X library is missing ({error})") from None
        self.lost: set[int] = set()  # displays whose server went away
        self.errors = 0
        self._keep = self._install_handlers()

    def _declare(self) -> None:
        p, i, u, n = ct.c_void_p, ct.c_int, ct.c_ulong, ct.c_uint
        image, segment = ct.POINTER(XImage), ct.POINTER(ShmSegment)
        prototypes: list[tuple[Any, Any, list[Any]]] = [
            (self.x.XOpenDisplay, p, [ct.c_char_p]),
            (self.x.XCloseDisplay, i, [p]),
            (self.x.XDefaultScreen, i, [p]),
            (self.x.XRootWindow, u, [p, i]),
            (self.x.XDefaultVisual, p, [p, i]),
            (self.x.XDefaultDepth, i, [p, i]),
            (self.x.XDisplayWidth, i, [p, i]),
            (self.x.XDisplayHeight, i, [p, i]),
            (self.x.XSelectInput, i, [p, u, ct.c_long]),
            (self.x.XSync, i, [p, i]),
            (self.x.XPending, i, [p]),
            (self.x.XNextEvent, i, [p, p]),
            (self.x.XConnectionNumber, i, [p]),
            (self.x.XFree, i, [p]),
            (self.x.XSetErrorHandler, p, [p]),
            (self.x.XSetIOErrorHandler, p, [p]),
            (self.x.XSetIOErrorExitHandler, None, [p, p, p]),
            (self.ext.XShmQueryExtension, i, [p]),
            (self.ext.XShmCreateImage, image, [p, p, n, i, p, segment, n, n]),
            (self.ext.XShmAttach, i, [p, segment]),
            (self.ext.XShmDetach, i, [p, segment]),
            (self.ext.XShmGetImage, i, [p, u, image, i, i, u]),
            (self.damage.XDamageQueryExtension, i, [p, p, p]),
            (self.damage.XDamageCreate, u, [p, u, i]),
            (self.damage.XDamageSubtract, None, [p, u, u, u]),
            (self.c.shmget, i, [i, ct.c_size_t, i]),
            (self.c.shmat, p, [i, p, i]),
            (self.c.shmdt, i, [p]),
            (self.c.shmctl, i, [i, i, p]),
        ]
        for function, result, arguments in prototypes:
            function.restype, function.argtypes = result, arguments

    def _install_handlers(self) -> tuple[Any, ...]:
        """Xlib's own handlers print and exit; ours take note. Kept alive by the caller."""
        error_type = ct.CFUNCTYPE(ct.c_int, ct.c_void_p, ct.c_void_p)
        exit_type = ct.CFUNCTYPE(None, ct.c_void_p, ct.c_void_p)
        io_type = ct.CFUNCTYPE(ct.c_int, ct.c_void_p)

        def on_error(_display: int, _event: int) -> int:
            self.errors += 1
            return 0

        def on_io_error(display: int) -> int:
            self.lost.add(display)
            return 0

        def on_exit(display: int, _data: int) -> None:
            self.lost.add(display)

        handlers = (error_type(on_error), io_type(on_io_error), exit_type(on_exit))
        self.x.XSetErrorHandler(handlers[0])
        self.x.XSetIOErrorHandler(handlers[1])
        return handlers

    @property
    def exit_handler(self) -> Any:
        """For XSetIOErrorExitHandler (libX11 1.7 on), which every display needs to be given."""
        return self._keep[2]


_libraries: Libraries | None = None


def libraries() -> Libraries:
    """The libraries. Raises XUnavailable."""
    global _libraries
    if _libraries is None:
        _libraries = Libraries()
    return _libraries


class DisplayWatch:
    """A connection that is only there to notice when the X server goes away."""

    def __init__(self, name: str) -> None:
        """Connect. Raises XUnavailable."""
        self._lib, self._display = connect(name)
        fileno = self._lib.x.XConnectionNumber(self._display)
        self._socket = socket.socket(fileno=os.dup(fileno))

    def alive(self) -> bool:
        """Whether the server is still there."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Disconnect; idempotent."""
        display, self._display = self._display, None
        if display:
            if not self.alive():
                self._lib.lost.add(display)
            self._socket.close()
            disconnect(self._lib, display)


def connect(name: str) -> tuple[Libraries, Any]:
    """Open a display whose loss does not end the process. Raises XUnavailable."""
    lib = libraries()
    display = lib.x.XOpenDisplay(name.encode() or None)
    if not display:
        raise XUnavailable(f"the display {name or '$DISPLAY'} does not answer")
    lib.lost.discard(display)  # an address may be used again
    lib.x.XSetIOErrorExitHandler(display, lib.exit_handler, None)
    return lib, display


def disconnect(lib: Libraries, display: Any) -> None:
    """Close a display. Of a lost server only the socket is given back: Xlib may not be asked more."""
    if display in lib.lost:
        os.close(lib.x.XConnectionNumber(display))
    else:
        lib.x.XCloseDisplay(display)
