"""Composition root: builds every room, and shuts down in order.

Order of the end: not ready any more, viewers told, QUIC closed, sources closed, pages closed. What it is made
of stands in :mod:`wtgateway.lifecycle`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wtgateway.access import Credentials, Refused
from wtgateway.access.control import AccessControl, Prepared
from wtgateway.cluster import ClusterSecret
from wtgateway.config.api_broadcasts import api_broadcast
from wtgateway.config.balancing import LbFile, load_lb_file, own_server_id
from wtgateway.config.template import WHERE, Template
from wtgateway.errors import ConfigError
from wtgateway.events import Events
from wtgateway.hub import Hub
from wtgateway.lifecycle.attend import attend
from wtgateway.lifecycle.broadcasts import Broadcasts
from wtgateway.lifecycle.difference import Difference, applied, difference
from wtgateway.lifecycle.operated import Operated, Operation, make_listener
from wtgateway.lifecycle.pages import Pages
from wtgateway.lifecycle.shortages import CERTIFICATES, Shortages
from wtgateway.lifecycle.shown import Shown
from wtgateway.lifecycle.viewers import Serving, Viewers
from wtgateway.lifecycle.viewers import worker_count as worker_count
from wtgateway.log import set_level
from wtgateway.media import BroadcastState
from wtgateway.pipeline.recipe import check_sources
from wtgateway.transport.connection_ids import LbIdentity
from wtgateway.transport.identity import Identity
from wtgateway.workers.draining import drain
from wtgateway.workers.resuming import Member

if TYPE_CHECKING:
    from wtgateway.certs import Certificate, CertificateManager, CertificateSet
    from wtgateway.config import GatewayConfig
    from wtgateway.lifecycle.broadcasts import AnyPipeline
    from wtgateway.transport.session import ViewerSession
    from wtgateway.workers.pool import WorkerPool

log = logging.getLogger("wtgateway")

OnConfig = Callable[["GatewayConfig"], None]
"""Called on the loop with each configuration that holds from then on, not with the first; must not raise."""


class Gateway(Shown, Operated):
    """One gateway, with its workers. Make it inside a running loop, then ``await run()``."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.events = Events()
        self.hub = Hub(self.events)
        self.quic_addresses: list[tuple[str, int]] = []
        self.viewers = Viewers()
        self.broadcasts_running = Broadcasts(self.hub, self.viewers, self.events)
        self.shortages = Shortages(self.events)
        self.on_config: list[OnConfig] = []
        self._log_level = config.log_level
        self._applying = asyncio.Lock()
        self.cluster_secret: ClusterSecret | None = None  # known from run() on
        self.lb_file: LbFile | None = None  # the same
        self.identity = Identity()  # the same
        self.access: AccessControl | None = None  # the same
        self._pages = Pages()
        self._certificates: CertificateManager | None = None
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._member = Member(name=config.node)
        self._ready = self._draining = self._stopping = False
        self._started = time.monotonic()
        self.operation = Operation(self.hub, self.viewers, make_listener(self))
        self.on_config.append(lambda config: self.operation.listener.use(config.webhooks))

    @property
    def web_address(self) -> tuple[str, int] | None:
        """Where the pages are, once they are there."""
        return self._pages.address

    @property
    def pipelines(self) -> dict[str, AnyPipeline]:
        """The pipelines by name of their broadcast."""
        return self.broadcasts_running.pipelines

    @property
    def sessions(self) -> dict[str, ViewerSession]:
        """The sessions of this process, by their id."""
        return self.viewers.service.sessions if self.viewers.service is not None else {}

    @property
    def pool(self) -> WorkerPool | None:
        """The workers, if there are several."""
        return self.viewers.pool

    @property
    def certificate(self) -> Certificate:
        """The certificate that new connections get."""
        return self._certificate_set().current

    # --- changes while it runs -------------------------------------------------------------------

    async def apply(self, config: GatewayConfig) -> Difference:
        """Take over what another configuration says, as a difference to the last one.

        Broadcasts that are the same in both, and their viewers, notice nothing; nor do those that were put
        or removed by other calls, as long as both configurations say the same of them. Raises ConfigError for
        a source that cannot be: nothing has changed then.
        """
        async with self._applying:
            found = difference(self.config, config)
            touched = {b.name: b for b in config.broadcasts if b.name in (*found.added, *found.changed)}
            await asyncio.to_thread(check_sources, touched.values(), "configuration")
            holds = applied(self.config, config)
            async with contextlib.AsyncExitStack() as undo:
                prepared = None
                if self.access is not None and holds.access != self.config.access:
                    prepared = await self.access.prepare(holds)
                    undo.push_async_callback(prepared.close)
                for name in found.removed:
                    await self.broadcasts_running.remove(name)
                for name in (*found.changed, *found.added):
                    await self.broadcasts_running.put(touched[name])
                undo.pop_all()
            await self._use(holds, prepared)
            return found

    async def _use(self, config: GatewayConfig, access: Prepared | None) -> None:
        """From now on all but the broadcasts is as ``config`` says."""
        before, self.config = self.config, config
        if before.log_level != config.log_level:
            await self.set_log_level(config.log_level)
        if access is not None and self.access is not None:
            await self.access.use(access)
            self.viewers.use_origins(access.origins)
        self._use_limits()
        for call in self.on_config:
            call(config)

    async def put_broadcast(self, name: str, document: Mapping[str, Any]) -> bool:
        """Add a broadcast until the next start, or change it; True: it is new. Raises ConfigError.

        ``document`` has the keys of the file's block. It is the API's: what it may be, and which sources it
        may name, :mod:`wtgateway.config.api_broadcasts` says.
        """
        template = self.config.template or Template()
        config = template.broadcast(name, document)
        present = next((each for each in self.broadcasts_running.configs if each.name == name), None)
        rules = self.config.api.allowed_sources
        config = await asyncio.to_thread(api_broadcast, document, config, present, rules)
        await asyncio.to_thread(check_sources, [config], WHERE)
        new = await self.broadcasts_running.put(config)
        self._use_limits()
        return new

    async def remove_broadcast(self, name: str) -> bool:
        """Tell its viewers, and close its source; False: there is none of that name."""
        return await self.broadcasts_running.remove(name)

    async def restart_broadcast(self, name: str) -> bool:
        """Open its source anew, while its viewers wait; False: there is none of that name."""
        return await self.broadcasts_running.restart(name)

    def log_level(self) -> str:
        """How much is logged: debug, info, warning or error."""
        return self._log_level

    async def set_log_level(self, level: str) -> None:
        """How much all processes log from now on."""
        self._log_level = level
        set_level(level)
        self.viewers.set_log_level(level)

    # --- how it is -------------------------------------------------------------------------------

    def status_words(self) -> str:
        """How it is, in a line."""
        if unready := self._unready():
            return unready
        live = sum(b.status.state is BroadcastState.LIVE for b in self.hub)
        words = f"{live} of {len(list(self.hub))} broadcasts live, {self.viewers.session_count} viewers"
        return words + "".join(f"; short of {what}" for what in self.shortages.present)

    # --- life ------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin the orderly end; a second time: do not wait any longer for viewers to go elsewhere."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, announce: Callable[[Gateway], None] = lambda _: None) -> None:
        """Serve until :meth:`stop`; raises WtgatewayError when something cannot be started."""
        try:
            await self._start()
            announce(self)
            await self._stop.wait()
            self._ready, self._stopping = False, True
            await self._drain()
            log.info("stopping viewers=%d", sum(broadcast.viewers for broadcast in self.hub))
        finally:
            await self._close()

    async def _start(self) -> None:
        config = self.config
        if config.cluster.secret is not None:
            self.cluster_secret = await asyncio.to_thread(ClusterSecret.load, config.cluster.secret)
            log.info("cluster secret fingerprint=%s", self.cluster_secret.fingerprint)
            self._member = replace(self._member, resume_key=self.cluster_secret.key("resume"))
        self.identity = await self._identify()
        log.info("node=%s instance=%s", self._member.name or "-", self._member.instance)
        # Together: loading FFmpeg and making keys both take their time in threads.
        await asyncio.gather(
            self._start_certificates(),
            asyncio.to_thread(check_sources, config.broadcasts, "configuration"),
        )
        self.access = AccessControl(config, self.cluster_secret, on_refused=self._access_refused)
        self.access.on_revoked = self.viewers.revoke
        await self.access.start()
        self.broadcasts_running.prepare(config.broadcasts)
        serving = Serving(
            config, self.hub, self.identity, self._member, self.lb_file,
            certificates=self._certificate_set, publish=self.events.publish,
            access=self.access,
        )  # fmt: skip
        self.quic_addresses = [(a[0], a[1]) for a in await serving.start(self.viewers)]
        serve = self.viewers.serve_websocket if config.websocket else None
        await self._pages.start(config, self, serve, self.access)
        self.operation.start(config)
        self.broadcasts_running.start(config.broadcasts)
        self._use_limits()
        self.viewers.admit()
        self._ready = True

    def _use_limits(self) -> None:
        configs = self.broadcasts_running.configs
        self.viewers.use_limits(self.config.limits, configs, self.lb_file, self.events.publish)

    async def _close(self) -> None:
        """Whatever was started; what one part leaves undone keeps no other from its end."""
        self._ready = False
        await self.operation.close()
        try:
            await self.viewers.close()
        finally:
            try:
                await self.broadcasts_running.close()
            finally:
                try:
                    await self._pages.close()
                finally:
                    if self.access is not None:
                        await self.access.close()
                    if self._certificates is not None:
                        await self._certificates.close()
                    await self.operation.close_hooks()

    def _access_refused(self, credentials: Credentials, refused: Refused) -> None:
        """Who asked for what; never with what token."""
        self.events.publish(
            "access.refused",
            status=refused.status,
            action=credentials.action.value,
            broadcast=credentials.broadcast,
            address=credentials.address,
            transport=credentials.transport,
        )

    async def _identify(self) -> Identity:
        """What this node shares with others, and what it is to a balancer. Raises ConfigError."""
        settings = self.config.lb
        if settings.config is None:
            return Identity.of_cluster(self.cluster_secret)
        lb = self.lb_file = await asyncio.to_thread(load_lb_file, settings.config)
        server_id = own_server_id(lb, settings.server_id, self.config.node)
        log.info("balancing fingerprint=%s server_id=%s", lb.fingerprint, server_id.hex())
        if self.cluster_secret is None:
            log.warning(
                "without --cluster-secret other nodes behind the balancer do not know this one's Retry "
                "tokens: a new viewer whose packets change nodes has to begin again"
            )
        return Identity.of_cluster(self.cluster_secret, LbIdentity(lb.active, server_id))

    async def _drain(self) -> None:
        """Give the viewers the time that they need to go elsewhere."""
        if self.config.drain_s:
            self._draining = True
            await drain(self.viewers, self.config.drain_s, self._hurry, now=time.monotonic)

    async def _start_certificates(self) -> None:
        from wtgateway.certs import CertificateManager, certificate_source

        config = self.config
        source = await asyncio.to_thread(
            certificate_source,
            self.cluster_secret,
            config.certs_dir,
            config.cert_rotate_s,
            host=config.bind.host,
            public_hosts=config.public_hosts,
        )
        manager = CertificateManager(
            source,
            on_change=self._certificates_changed,
            on_trouble=functools.partial(self.shortages.note, CERTIFICATES),
        )
        await manager.start()
        self._certificates = manager

    def _certificates_changed(self, certificates: CertificateSet) -> None:
        self.viewers.use_certificates(certificates)
        current, following = certificates.current.fingerprint, certificates.next.fingerprint
        self.events.publish("certificate.rotated", current=current.hex(), next=following.hex())

    def _certificate_set(self) -> CertificateSet:
        assert self._certificates is not None
        return self._certificates.certificates


# --- the command ------------------------------------------------------------------------------------


async def _main(config: GatewayConfig, announce: Callable[[Gateway], None]) -> None:
    gateway = Gateway(config)

    def announced(ready: Callable[[], None]) -> Awaitable[None]:
        def tell(gateway: Gateway) -> None:
            announce(gateway)
            ready()

        return gateway.run(tell)

    await attend(gateway, announced)


def run_gateway(config: GatewayConfig, announce: Callable[[Gateway], None]) -> int:
    """Run until SIGINT or SIGTERM; the exit code. Raises WtgatewayError when it cannot start.

    ``announce`` is called once, when viewers are served.
    """
    if not config.broadcasts:
        raise ConfigError("broadcasts", "", "", "at least one broadcast")
    try:
        import uvloop
    except ImportError:  # none for this platform: asyncio's own loop does as well, more slowly
        asyncio.run(_main(config, announce))
    else:
        uvloop.run(_main(config, announce))
    return 0
