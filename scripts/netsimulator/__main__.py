"""The command `scripts/netsim`."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from scripts.netsimulator.figures import Recorder
from scripts.netsimulator.loop import Loop, be_punctual
from scripts.netsimulator.options import Chosen, Network, arguments, network
from scripts.netsimulator.path import Direction, DrivenTime
from scripts.netsimulator.tun import TunError, TunRelay
from scripts.netsimulator.udp import UdpRelay

_LONGEST_LINE = 10_000


class Control:
    """Lines of standard input, each a set of options that hold from then on."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._rest = b""
        os.set_blocking(0, False)
        program.loop.add(0, self._read)

    def _read(self) -> None:
        try:
            data = os.read(0, 65536)
        except BlockingIOError:
            return
        if not data:
            self._program.loop.remove(0)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST_LINE:]
        for line in lines:
            self._obey(line.decode(errors="replace"))

    def _obey(self, line: str) -> None:
        try:
            self._program.change(network(shlex.split(line)))
        except ValueError as error:
            print(f"error: {error}", flush=True)
        else:
            print(f"changed at {time.time():.3f}: {line}", flush=True)


class Program:
    """The network, the relay and what is printed."""

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen
        self.seed = chosen.network.seed
        self._time = DrivenTime(time.monotonic())
        self.loop = Loop(self._time)
        self.up = Direction(self._time, chosen.network.up, self.seed + 1)
        self.down = Direction(self._time, chosen.network.down, self.seed)
        self.recorder = Recorder(self.up, self.down)
        self.relay: UdpRelay | TunRelay
        if chosen.tun:
            self.relay = TunRelay(self.loop, self.up, self.down)
        else:
            assert chosen.listen is not None and chosen.target is not None
            self.relay = UdpRelay(self.loop, self.up, self.down, chosen.listen, chosen.target)

    def change(self, asked: Network) -> None:
        """Other conditions from now on."""
        self._time.reach(time.monotonic())
        self.up.change(asked.up, asked.seed + 1)
        self.down.change(asked.down, asked.seed)

    def introduce(self) -> None:
        """Where it is to be found."""
        if isinstance(self.relay, TunRelay):
            print(f"relaying between {self.relay.near} (here) and {self.relay.far}", flush=True)
            print(f"enter the far side: {' '.join(self.relay.enter)} COMMAND", flush=True)
        else:
            host, port = self.relay.address[:2]
            print(f"relaying {host}:{port} -> {_text(self._chosen.target)}", flush=True)

    def run(self) -> int:
        """Until a signal, the end of the command, or the time is up; the exit code."""
        self._time.reach(time.monotonic())
        self.recorder.begin(time.monotonic())
        self._tick_at = self._time.now
        self._next_tick()
        if self._chosen.for_seconds:
            self._time.after(self._chosen.for_seconds, self.stop)
        code = 0
        with self._command() as command:
            while self.loop.running:
                self._turn()
                if command is not None and (ended := command.poll()) is not None:
                    code = ended
                    self.stop()
        return code

    def _turn(self) -> None:
        try:
            self.loop.turn()
        except BrokenPipeError:  # nobody reads our figures any more
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            self.stop()

    def stop(self) -> None:
        """End after this turn."""
        self.loop.running = False

    @contextlib.contextmanager
    def _command(self) -> Iterator[subprocess.Popen[bytes] | None]:
        if not self._chosen.command:
            yield None
            return
        assert isinstance(self.relay, TunRelay)
        process = subprocess.Popen([*self.relay.enter, *self._chosen.command])
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
            process.kill()
            process.wait()

    def _next_tick(self) -> None:
        self._tick_at += self._chosen.every
        self._time.at(self._tick_at, self._tick)

    def _tick(self) -> None:
        self._next_tick()
        self._figures()

    def _figures(self) -> None:
        rows = self.recorder.take(time.monotonic(), time.time())
        if not self._chosen.quiet:
            print(*rows, sep="\n", flush=True)

    def report(self) -> None:
        """The JSON file, if one was asked for."""
        if self._chosen.json is None:
            return
        self.recorder.take(time.monotonic(), time.time())
        loop = self.loop
        late = loop.done_late / loop.done if loop.done else 0.0
        value = self.recorder.as_json(self.seed, loop.late_longest_s, late, self.relay.refused)
        self._chosen.json.write_text(json.dumps(value) + "\n")


def _text(address: tuple[str, int] | None) -> str:
    return ":".join(map(str, address or ()))


def main(argv: list[str] | None = None) -> int:
    """Relay until ended; 0, 1 when the network cannot be made, or the command's own code."""
    chosen = arguments(argv)
    try:
        program = Program(chosen)
    except (OSError, TunError) as error:
        ends = "" if chosen.tun else f"{_text(chosen.listen)} -> {_text(chosen.target)}: "
        print(f"scripts/netsim: {ends}{error}", file=sys.stderr)
        return 1
    be_punctual()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: program.stop())
    program.introduce()
    if chosen.control:
        Control(program)
    try:
        code = program.run()
        program.report()
    except OSError as error:
        print(f"scripts/netsim: {error}", file=sys.stderr)
        return 1
    finally:
        program.relay.close()
    return code


if __name__ == "__main__":
    sys.exit(main())
