"""A sound card that nobody hears: Firefox runs no AudioContext on a machine without any.

PulseAudio with one null sink, on a socket of its own; it disturbs no other PulseAudio.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from scripts.support.processes import Program, start


class NullSoundcard:
    """Runs from :meth:`plug_in` to :meth:`unplug`; ``env`` leads a program to it."""

    def __init__(self, program: Program, folder: tempfile.TemporaryDirectory[str]) -> None:
        self._program, self._folder = program, folder
        self.env = {"PULSE_SERVER": f"unix:{folder.name}/socket"}

    @classmethod
    async def plug_in(cls) -> NullSoundcard:
        """Start it and wait for its socket."""
        folder = tempfile.TemporaryDirectory(prefix="wtgateway-sound-", ignore_cleanup_errors=True)
        socket = Path(folder.name) / "socket"
        program = await start(
            *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
            *("--disable-shm=yes", "--realtime=no", "--high-priority=no"),
            *("-L", "module-null-sink rate=48000"),
            *("-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"),
            env={"HOME": folder.name, "XDG_RUNTIME_DIR": folder.name, "DBUS_SESSION_BUS_ADDRESS": ""},
        )
        await program.until(socket.exists, "socket")
        return cls(program, folder)

    async def unplug(self) -> None:
        """End it."""
        await self._program.stop()
        self._folder.cleanup()
