"""The little of Xlib that capture on damage needs, by ctypes: shared images and DAMAGE events.

Imports numpy only. The rules: a display is used by one thread; neither an X error nor a lost
X server ends the process (Xlib's defaults do); shared memory lives as long as anyone looks at it.
Sources: Xlib, the MIT-SHM and the DAMAGE extension (X.Org documentation).
"""

from __future__ import annotations

import ctypes as ct
import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_Z_PIXMAP = 2
_ALL_PLANES = ct.c_ulong(-1).value
_STRUCTURE_NOTIFY_MASK = 1 << 17
_CONFIGURE_NOTIFY = 22
_REPORT_NON_EMPTY = 3
_IPC_PRIVATE, _IPC_RMID = 0, 0
_NO_MEMORY = ct.c_void_p(-1).value
_LSB_FIRST = 0


class XUnavailable(Exception):
    """The display, a library or an extension is missing, or of a kind not handled here."""


class XLost(Exception):
    """The X server went away."""


class _XImage(ct.Structure):
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


class _ShmSegment(ct.Structure):
    _fields_ = (
        ("shmseg", ct.c_ulong),
        ("shmid", ct.c_int),
        ("shmaddr", ct.c_void_p),
        ("read_only", ct.c_int),
    )


class _ConfigureEvent(ct.Structure):
    _fields_ = (
        ("type", ct.c_int),
        ("serial", ct.c_ulong),
        ("send_event", ct.c_int),
        ("display", ct.c_void_p),
        ("event", ct.c_ulong),
        ("window", ct.c_ulong),
        ("x", ct.c_int),
        ("y", ct.c_int),
        ("width", ct.c_int),
        ("height", ct.c_int),
    )


class _Libraries:
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
        image, segment = ct.POINTER(_XImage), ct.POINTER(_ShmSegment)
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


_libraries: _Libraries | None = None


def libraries() -> _Libraries:
    """The libraries. Raises XUnavailable."""
    global _libraries
    if _libraries is None:
        _libraries = _Libraries()
    return _libraries


class SharedImage:
    """A piece of shared memory the X server writes pixels to (height x width x 4, BGRX).

    ``take`` lends the pixels out; the image is ``free`` again when nobody holds them any more.
    The memory is detached after both the image and all that was lent are gone.
    """

    def __init__(self, lib: _Libraries, display: int, screen: int, width: int, height: int) -> None:
        self._lib, self._display = lib, display
        self._segment = _ShmSegment()
        depth = lib.x.XDefaultDepth(display, screen)
        visual = lib.x.XDefaultVisual(display, screen)
        self.image = lib.ext.XShmCreateImage(
            display, visual, depth, _Z_PIXMAP, None, ct.byref(self._segment), width, height
        )
        if not self.image:
            raise XUnavailable("the X server makes no shared image")
        made = self.image.contents
        known = (made.bits_per_pixel, made.byte_order, made.red_mask) == (32, _LSB_FIRST, 0xFF0000)
        if not known or made.bytes_per_line != width * 4:
            raise XUnavailable("the screen's pixels are not 32-bit BGRX")
        self._pixels = self._attach(made.bytes_per_line * height).reshape(height, width, 4)
        self._lent: weakref.ref[Pixels] | None = None

    @property
    def free(self) -> bool:
        """Whether nobody looks at the pixels."""
        return self._lent is None or self._lent() is None

    def take(self) -> Pixels:
        """The pixels as they are now; the image is not free until this is let go."""
        view = self._pixels[:]
        self._lent = weakref.ref(view)
        return view

    def detach(self) -> None:
        """Give up the server's side; call while the display is still open."""
        if self._display in self._lib.lost:
            return
        self._lib.ext.XShmDetach(self._display, ct.byref(self._segment))
        self._lib.x.XFree(self.image)

    def _attach(self, size: int) -> Pixels:
        lib, segment = self._lib, self._segment
        segment.shmid = lib.c.shmget(_IPC_PRIVATE, size, 0o1600)
        address = lib.c.shmat(segment.shmid, None, 0) if segment.shmid >= 0 else None
        if address in (None, _NO_MEMORY):
            raise XUnavailable("no shared memory is left")
        segment.shmaddr = self.image.contents.data = address
        memory = (ct.c_uint8 * size).from_address(address)
        # Not at exit: a thread may still be encoding, and the kernel detaches then anyway.
        weakref.finalize(memory, lib.c.shmdt, address).atexit = False
        before = lib.errors
        attached = lib.ext.XShmAttach(self._display, ct.byref(segment))
        lib.x.XSync(self._display, 0)
        lib.c.shmctl(segment.shmid, _IPC_RMID, None)  # goes away when both sides have detached
        if not attached or lib.errors != before:
            raise XUnavailable("the X server cannot share memory with us (is it on another machine?)")
        return np.frombuffer(memoryview(memory), np.uint8)


class DamagedDisplay:
    """An X display that says when it was drawn to. One thread's."""

    def __init__(self, name: str) -> None:
        """Connect and ask for events. Raises XUnavailable."""
        self._lib = lib = libraries()
        self._display = lib.x.XOpenDisplay(name.encode() or None)
        if not self._display:
            raise XUnavailable(f"the display {name or '$DISPLAY'} does not answer")
        lib.lost.discard(self._display)  # an address may be used again
        lib.x.XSetIOErrorExitHandler(self._display, lib.exit_handler, None)
        x = lib.x
        self._screen = x.XDefaultScreen(self._display)
        self._root = x.XRootWindow(self._display, self._screen)
        self.width = x.XDisplayWidth(self._display, self._screen)
        self.height = x.XDisplayHeight(self._display, self._screen)
        self._event = ct.create_string_buffer(256)
        event_base, error_base = ct.c_int(), ct.c_int()
        has_damage = lib.damage.XDamageQueryExtension(
            self._display, ct.byref(event_base), ct.byref(error_base)
        )
        if not has_damage or not lib.ext.XShmQueryExtension(self._display):
            self.close()
            raise XUnavailable("the X server lacks the DAMAGE or the MIT-SHM extension")
        self._damage_event = event_base.value
        x.XSelectInput(self._display, self._root, _STRUCTURE_NOTIFY_MASK)
        self._damage = lib.damage.XDamageCreate(self._display, self._root, _REPORT_NON_EMPTY)
        x.XSync(self._display, 0)

    @property
    def fileno(self) -> int:
        """Readable when events may have come."""
        return int(self._lib.x.XConnectionNumber(self._display))

    def drain(self) -> bool:
        """Take in all events; whether anything was drawn. Follows the screen's size. Raises XLost."""
        drawn = False
        while self._checked(self._lib.x.XPending):
            self._lib.x.XNextEvent(self._display, self._event)
            kind = ct.cast(self._event, ct.POINTER(ct.c_int)).contents.value
            if kind == self._damage_event:
                drawn = True
            elif kind == _CONFIGURE_NOTIFY:
                event = ct.cast(self._event, ct.POINTER(_ConfigureEvent)).contents
                if event.window == self._root:
                    self.width, self.height, drawn = event.width, event.height, True
        return drawn

    def image(self, width: int, height: int) -> SharedImage:
        """Shared memory for a picture of that size. Raises XUnavailable."""
        return SharedImage(self._lib, self._display, self._screen, width, height)

    def grab(self, image: SharedImage, x: int, y: int) -> bool:
        """Copy that part of the screen; False: it is not there any more. Raises XLost.

        The damage is cleared first, so that what is drawn from here on is reported anew.
        """
        self._lib.damage.XDamageSubtract(self._display, self._damage, 0, 0)
        grabbed = self._lib.ext.XShmGetImage(self._display, self._root, image.image, x, y, _ALL_PLANES)
        self._check_lost()
        return bool(grabbed)

    def close(self) -> None:
        """Disconnect. Of a lost server only the socket is given back: Xlib may not be asked more."""
        display, self._display = self._display, None
        if display and display in self._lib.lost:
            os.close(self._lib.x.XConnectionNumber(display))
        elif display:
            self._lib.x.XCloseDisplay(display)

    def _checked(self, function: Callable[[Any], int]) -> int:
        result = function(self._display)
        self._check_lost()
        return result

    def _check_lost(self) -> None:
        if self._display in self._lib.lost:
            raise XLost("the X server went away")
