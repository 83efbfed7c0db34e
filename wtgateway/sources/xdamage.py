"""Shared images and DAMAGE events of an X display.

May import numpy and xlib. The rule: shared memory lives as long as anyone looks at it.
Sources: the MIT-SHM and the DAMAGE extension (X.Org documentation).
"""

from __future__ import annotations

import ctypes as ct
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from wtgateway.sources.xlib import Libraries, ShmSegment, XLost, XUnavailable, connect, disconnect

Pixels = npt.NDArray[np.uint8]

_Z_PIXMAP = 2
_ALL_PLANES = ct.c_ulong(-1).value
_STRUCTURE_NOTIFY_MASK = 1 << 17
_CONFIGURE_NOTIFY = 22
_REPORT_NON_EMPTY = 3
_IPC_PRIVATE, _IPC_RMID = 0, 0
_NO_MEMORY = ct.c_void_p(-1).value
_LSB_FIRST = 0


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


class SharedImage:
    """A piece of shared memory the X server writes pixels to (height x width x 4, BGRX).

    ``take`` lends the pixels out; the image is ``free`` again when nobody holds them any more.
    The memory is detached after both the image and all that was lent are gone.
    """

    def __init__(self, lib: Libraries, display: int, screen: int, width: int, height: int) -> None:
        self._lib, self._display = lib, display
        self._segment = ShmSegment()
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
        self._lib, self._display = lib, _ = connect(name)
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
        """Disconnect; idempotent."""
        display, self._display = self._display, None
        if display:
            disconnect(self._lib, display)

    def _checked(self, function: Callable[[Any], int]) -> int:
        result = function(self._display)
        self._check_lost()
        return result

    def _check_lost(self) -> None:
        if self._display in self._lib.lost:
            raise XLost("the X server went away")
