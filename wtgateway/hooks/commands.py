"""Which command runs when: `run_on_*` of the gateway and of its broadcasts.

Three run for as long as what they are named after lasts (available, read, connect), and are ended with it;
their opposites run to their end. May import config, events and the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from wtgateway.config.hooks_model import HookConfig, Hooks
from wtgateway.events import Event
from wtgateway.hooks.process import HookProcess

log = logging.getLogger("wtgateway.hooks")

MAX_RUNNING: Final = 64
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
END_PATIENCE_S: Final = 3.0  # what runs to its end may do so for as long
KILL_PATIENCE_S: Final = 1.0

_LASTING: Final = {  # event: hook that begins, by what
    "broadcast.available": ("run_on_available", "broadcast"),
    "broadcast.read": ("run_on_read", "broadcast"),
    "session.opened": ("run_on_connect", "session"),
}
_OPPOSITE: Final = {  # event: hook that runs once, and the one that it ends
    "broadcast.unavailable": ("run_on_unavailable", "run_on_available", "broadcast"),
    "broadcast.unread": ("run_on_unread", "run_on_read", "broadcast"),
    "session.closed": ("run_on_disconnect", "run_on_connect", "session"),
}
_VARIABLES: Final = (
    "broadcast", "session", "identity", "address", "transport", "reason", "code", "state", "client",
)  # fmt: skip

Key = tuple[str, str]  # the hook's name, and the broadcast or session it is for


@dataclass(slots=True)
class _Lasting:
    hook: HookConfig
    variables: Mapping[str, str]
    process: HookProcess
    failures: int = 0
    timer: asyncio.TimerHandle | None = None


class Commands:
    """``hooks_of`` gives those of a broadcast, ``source_of`` its source without passwords.

    Counts in ``counters``: started, failed (another exit code than 0, or not at all), skipped (too many).
    """

    def __init__(
        self, hooks_of: Callable[[str], Hooks], source_of: Callable[[str], str], node: str = ""
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._hooks_of, self._source_of, self._node = hooks_of, source_of, node
        self._lasting: dict[Key, _Lasting] = {}
        self._running: set[HookProcess] = set()
        self._closing = False

    @property
    def running(self) -> int:
        """How many processes there are."""
        return len(self._running)

    def put(self, event: Event) -> None:
        """Run and end what this event is a reason for."""
        broadcast = str(event.fields.get("broadcast", ""))
        if event.kind == "broadcast.removed":
            for name in ("run_on_available", "run_on_read"):
                self._end((name, broadcast))
        elif (begins := _LASTING.get(event.kind)) is not None:
            name, by = begins
            self._begin((name, str(event.fields.get(by, ""))), broadcast, event)
        elif (ends := _OPPOSITE.get(event.kind)) is not None:
            name, ended, by = ends
            self._end((ended, str(event.fields.get(by, ""))))
            hook = self._hooks_of(broadcast).get(name)
            if hook is not None:
                self._start(name, hook, self._variables(event), self._exited)

    async def close(self) -> None:
        """End what lasts, let the rest come to its end, and end it after some seconds."""
        self._closing = True
        for key in list(self._lasting):
            self._end(key)
        processes = list(self._running)
        if not await _over(processes, END_PATIENCE_S):
            for process in processes:
                process.kill()
            await _over(processes, KILL_PATIENCE_S)

    def _begin(self, key: Key, broadcast: str, event: Event) -> None:
        hook = self._hooks_of(broadcast).get(key[0])
        if hook is None or key in self._lasting:
            return
        variables = self._variables(event)
        process = self._start(key[0], hook, variables, lambda _, code: self._lasting_exited(key, code))
        if process is not None:
            self._lasting[key] = _Lasting(hook, variables, process)

    def _end(self, key: Key) -> None:
        lasting = self._lasting.pop(key, None)
        if lasting is not None:
            if lasting.timer is not None:
                lasting.timer.cancel()
            lasting.process.stop()

    def _start(
        self,
        name: str,
        hook: HookConfig,
        variables: Mapping[str, str],
        on_exit: Callable[[HookProcess, int | None], None],
    ) -> HookProcess | None:
        if self._closing or len(self._running) >= MAX_RUNNING:
            self.counters["skipped"] += 1
            log.warning("hook skipped: too many run hook=%s running=%d", name, len(self._running))
            return None

        def exited(process: HookProcess, code: int | None) -> None:
            self._running.discard(process)
            if code != 0 and not process.stopping:
                self.counters["failed"] += 1
                log.warning("hook failed hook=%s code=%s", name, "none" if code is None else code)
            on_exit(process, code)

        self.counters["started"] += 1
        process = HookProcess(name, hook, variables, exited)
        self._running.add(process)
        return process

    def _exited(self, process: HookProcess, code: int | None) -> None:
        """One that ran to its end."""

    def _lasting_exited(self, key: Key, code: int | None) -> None:
        """It should have lasted longer: begun again, later each time, where that is wished."""
        lasting = self._lasting.get(key)
        if lasting is None or not lasting.process.over.is_set() or self._closing or not lasting.hook.restart:
            return
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**lasting.failures)
        lasting.failures += 1
        lasting.timer = asyncio.get_running_loop().call_later(pause, self._again, key)

    def _again(self, key: Key) -> None:
        lasting = self._lasting.get(key)
        if lasting is None:
            return
        lasting.timer = None
        process = self._start(
            key[0], lasting.hook, lasting.variables, lambda _, code: self._lasting_exited(key, code)
        )
        if process is not None:
            lasting.process = process

    def _variables(self, event: Event) -> dict[str, str]:
        """What a command is told, besides what the gateway itself was given by its environment."""
        values = {
            f"WTG_{name.upper()}": str(event.fields[name]) for name in _VARIABLES if name in event.fields
        }
        source = self._source_of(str(event.fields.get("broadcast", "")))
        return {"WTG_EVENT": event.kind, "WTG_SOURCE": source, "WTG_NODE": self._node, **values}


async def _over(processes: list[HookProcess], patience_s: float) -> bool:
    """Whether all are over, within that time."""
    ends = [asyncio.ensure_future(process.over.wait()) for process in processes]
    if not ends:
        return True
    _, late = await asyncio.wait(ends, timeout=patience_s)
    for end in late:
        end.cancel()
    return not late
