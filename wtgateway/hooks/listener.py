"""One task that hands each event to commands and webhooks, in the order in which they happened."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from wtgateway.config.hooks_model import Hooks, WebhookConfig
from wtgateway.events import Events, Subscription
from wtgateway.hooks.commands import Commands
from wtgateway.hooks.webhooks import Webhook

log = logging.getLogger("wtgateway.hooks")

QUEUED = 4096


class Listener:
    """All hooks of a gateway; ``instance`` is part of webhooks' ids."""

    def __init__(
        self,
        events: Events,
        hooks_of: Callable[[str], Hooks],
        source_of: Callable[[str], str],
        *,
        node: str = "",
        instance: str = "",
    ) -> None:
        self.commands = Commands(hooks_of, source_of, node)
        self.webhooks: list[Webhook] = []
        self.counters: Counter[str] = Counter()  # of webhooks that are there no more
        self._events, self._instance = events, instance
        self._task: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def start(self, webhooks: Sequence[WebhookConfig]) -> None:
        """Listen from now on."""
        self.use(webhooks)
        subscription = self._subscription = self._events.subscribe(QUEUED)

        async def listen() -> None:
            with subscription:
                async for event in subscription:
                    try:
                        self.commands.put(event)
                    except Exception:  # a defect of ours must not end all hooks
                        log.exception("a hook could not be run kind=%s", event.kind)
                    for webhook in self.webhooks:
                        webhook.put(event)

        self._task = asyncio.create_task(listen(), name="hooks")

    def use(self, webhooks: Sequence[WebhookConfig]) -> None:
        """Tell these from now on; those that stay keep what waits for them."""
        before = {webhook.config: webhook for webhook in self.webhooks}
        self.webhooks = [before.pop(c) if c in before else self._new(c) for c in webhooks]
        for webhook in before.values():
            self.counters.update(webhook.counters)
            task = asyncio.create_task(webhook.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    def _new(self, config: WebhookConfig) -> Webhook:
        webhook = Webhook(config, self._instance)
        webhook.start()
        return webhook

    async def close(self) -> None:
        """What has happened until now is still acted on; then nothing more is run and told."""
        task, self._task = self._task, None
        if task is None or self._subscription is None:
            return
        self._subscription.close()
        await asyncio.gather(task, return_exceptions=True)
        closing = (webhook.close() for webhook in self.webhooks)
        await asyncio.gather(self.commands.close(), *closing, return_exceptions=True)
