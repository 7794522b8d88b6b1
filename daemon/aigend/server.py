"""The composition root: lock, open, build, bind, ready, drain, close. Wiring, no decisions."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import structlog
import uvloop

from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryTier
from aigend.cache.stores.sqlite import SqliteStore
from aigend.clock import Clock, SystemClock
from aigend.completion.attempts import Attempts
from aigend.completion.engine import CompletionEngine
from aigend.completion.known_ids import KnownIds
from aigend.completion.sharing import Sharing
from aigend.completion.snapshot import Snapshot
from aigend.completion.tally import Tally
from aigend.config import FlatSetting, LoadedSettings, ProviderSettings, SettingsError, load_settings
from aigend.ledger.budgets import BudgetBook
from aigend.ledger.ledger import Ledger
from aigend.ledger.price_catalog import PriceCatalog, read_prices
from aigend.ledger.published_prices import PublishedPrices
from aigend.ledger.recovery import LedgerRefused
from aigend.providers.registry import ProviderRegistry, with_environment
from aigend.routing.catalog import build_catalog
from aigend.rpc.answer_codec import WireCodec
from aigend.rpc.cache import CacheServicer
from aigend.rpc.completion import CompletionServicer
from aigend.rpc.daemon import DaemonServicer, DaemonState, ProviderReport, StatusReport
from aigend.rpc.listener import Listener
from aigend.rpc.model import ModelServicer
from aigend.rpc.usage import UsageServicer
from aigend.scheduling.limits import DispatchLimits
from aigend.service_manager import ServiceManager
from aigend.storage.files import FileLock, StorageRefused, check_socket_path, lock, private_directory
from aigend.telemetry import names
from aigend.telemetry.instruments import CallCounters, MetricSources
from aigend.telemetry.log import start_log
from aigend.telemetry.setup import Telemetry, TelemetryRefused, start_telemetry

EXIT_OK = 0
STOP_GRACE_S = 1.0
_log = structlog.get_logger("aigend.server")


def run(loaded: LoadedSettings, *, environ: Mapping[str, str]) -> int:
    """Serve until told to stop and return the exit code: 0, 75 where another daemon holds a lock, 78 for what can't be used."""
    log = start_log(loaded.settings.log.level, loaded.settings.log.format)
    try:
        return uvloop.run(_serve(loaded, environ))
    except (StorageRefused, LedgerRefused, TelemetryRefused) as refusal:
        _log.error("refused", text=str(refusal))
        sys.stderr.write(f"aigend: {refusal}\n")
        return refusal.exit_code
    finally:
        log.stop()


async def _serve(loaded: LoadedSettings, environ: Mapping[str, str]) -> int:
    clock = SystemClock()
    with contextlib.ExitStack() as locks:
        for held in take_locks(loaded):
            locks.callback(held.release)
        daemon = Daemon(loaded, environ=environ, clock=clock)
        await daemon.start()
        try:
            await daemon.until_stopped()
        finally:
            await daemon.stop()
    return EXIT_OK


def take_locks(loaded: LoadedSettings) -> list[FileLock]:
    """Make the daemon's directories and lock state, cache and socket, so that nothing is opened or bound twice.

    Raises:
        StorageRefused: Exit code 75 where another daemon holds one of them, 78 for a path that can't be used.
    """
    places = loaded.places
    for path, what in ((places.state_directory, "state_directory"), (places.cache_directory, "cache_directory")):
        private_directory(path, what=what)
    if loaded.settings.socket is None:
        private_directory(places.socket.parent, what="the socket's directory")
    check_socket_path(places.socket)
    held: list[FileLock] = []
    try:
        held.append(lock(places.state_directory / "aigend.lock", what=f"state_directory {places.state_directory}"))
        if places.cache_directory != places.state_directory:
            held.append(lock(places.cache_directory / "aigend.lock", what=f"cache_directory {places.cache_directory}"))
        held.append(lock(Path(f"{places.socket}.lock"), what=f"socket {places.socket}"))
    except StorageRefused:
        for taken in held:
            taken.release()
        raise
    return held


class Daemon:
    """Everything that runs, and how it starts and stops.

    Args:
        loaded: Settings and places; the caller holds the locks.
        environ: Where providers' usual variables, `OTEL_*` and the service manager's are read.
        clock: Tells the time.
    """

    def __init__(self, loaded: LoadedSettings, *, environ: Mapping[str, str], clock: Clock) -> None:
        self._loaded = loaded
        self._environ = environ
        self._clock = clock
        self._manager = ServiceManager(environ, clock=clock)
        self._published = PublishedPrices()
        self._meter = CallCounters()
        self._faults: list[str] = []
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._drain_timeout_s = loaded.settings.drain.provider_timeout_s
        self._started_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._providers = self._build_providers(loaded)
        self._telemetry: Telemetry | None = None
        self._build()

    def _build(self) -> None:
        settings, places, codec = self._loaded.settings, self._loaded.places, WireCodec()
        snapshot = self._make_snapshot(self._loaded)
        self._limits = DispatchLimits(
            total=settings.limits.total, per_provider=settings.limits.per_provider, queue=settings.limits.queue
        )
        self._ledger = Ledger(
            path=places.state_directory / "ledger.db",
            clock=self._clock,
            settings=settings.ledger,
            budgets=_budgets(self._loaded),
            on_fault=self._faults.append,
        )
        self._cache = CacheManager(
            store=SqliteStore(path=places.cache_directory / "cache.db", clock=self._clock, settings=settings.cache),
            memory=MemoryTier(max_bytes=settings.cache.memory_size_bytes),
            clock=self._clock,
            encoder=codec,
            settings=settings.cache,
        )
        attempts = Attempts(
            limits=self._limits,
            ledger=self._ledger,
            providers=self._providers,
            codec=codec,
            meter=self._meter,
            clock=self._clock,
            jitter=random.random,
        )
        tally = Tally(hits=self._ledger.hits, meter=self._meter, clock=self._clock)
        known_ids = KnownIds(ledger=self._ledger, tally=tally)
        self._sharing = Sharing(
            attempts=attempts,
            cache=self._cache,
            known_ids=known_ids,
            tally=tally,
            codec=codec,
            clock=self._clock,
            buffer_bytes=settings.limits.stream_buffer_bytes,
            max_orphans=settings.limits.detached,
        )
        self._engine = CompletionEngine(
            snapshot=snapshot,
            cache=self._cache,
            known_ids=known_ids,
            sharing=self._sharing,
            tally=tally,
            codec=codec,
            clock=self._clock,
        )
        self._codec = codec

    async def start(self) -> None:
        """Open the files, bind the socket, and say that calls are served.

        Raises:
            LedgerRefused: The ledger can't be trusted.
            StorageRefused: A path can't be used.
            TelemetryRefused: A variable of OpenTelemetry can't be used.
        """
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload_signal)
        report = await self._ledger.open()
        await self._cache.open()
        self._telemetry = await asyncio.to_thread(self._start_telemetry)
        self._listener = self._build_listener()
        await self._listener.start(self._loaded.places.socket)
        self._started_at = self._clock.time()
        self._providers.start_loading()
        self._tasks = [asyncio.create_task(self._manager.keep_alive()), asyncio.create_task(self._load_prices())]
        self._manager.ready(f"serving {self._loaded.places.socket}")
        _log.info("ready", socket=str(self._loaded.places.socket), epoch=report.epoch, version=_version())

    async def until_stopped(self) -> None:
        """Wait until somebody asks the daemon to stop."""
        await self._stop_asked.wait()

    async def stop(self) -> None:
        """Admit no more calls, wait for those inside, and close all files; a second signal cuts the wait short."""
        self._engine.drain()
        self._manager.stopping("draining")
        self._manager.extend_timeout(self._drain_timeout_s + self._loaded.settings.drain.admin_timeout_s + STOP_GRACE_S)
        grace_s = self._drain_timeout_s + self._loaded.settings.drain.admin_timeout_s
        stopping = asyncio.create_task(self._listener.stop(grace_s))
        await self._wait_inside()
        await self._sharing.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(stopping), self._loaded.settings.drain.admin_timeout_s)
        await self._listener.stop(0)
        await stopping
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._cache.close()
        await self._ledger.close()
        await self._providers.aclose()
        if self._telemetry is not None:
            await asyncio.to_thread(self._telemetry.stop)
        self._loaded.places.socket.unlink(missing_ok=True)
        _log.info("stopped")

    async def status(self) -> StatusReport:
        """Return how the daemon is."""
        places = self._loaded.places
        return StatusReport(
            version=_version(),
            process_id=os.getpid(),
            state=self._state(),
            start_time=self._started_at,
            socket_path=str(places.socket),
            state_directory=str(places.state_directory),
            cache_directory=str(places.cache_directory),
            in_flight=self._limits.in_flight,
            queued=self._limits.queued,
            detached=self._sharing.detached,
            ledger_epoch=self._ledger.epoch,
            ledger_sequence=self._ledger.sequence,
            resident_bytes=_resident_bytes(),
            providers=[self._report(name) for name in self._providers.names],
            budgets=self._ledger.budget_status(self._clock.time()),
            warnings=tuple(self._faults),
        )

    def settings(self) -> Sequence[FlatSetting]:
        """Return the settings in force, secrets hidden."""
        return self._loaded.flatten()

    def drain(self, timeout_s: float | None) -> int:
        """Begin to stop and return how many provider calls are under way."""
        if timeout_s is not None:
            self._drain_timeout_s = timeout_s
        self._engine.drain()
        self._stop_asked.set()
        return self._limits.in_flight

    async def reload(self) -> None:
        """Read the settings again and put in force what may change while running; calls under way keep what they have.

        Settings that can't be used change nothing and are logged.
        """
        self._manager.reloading()
        try:
            loaded = await asyncio.to_thread(load_settings, self._loaded.path, self._environ)
            snapshot = await asyncio.to_thread(self._make_snapshot, loaded)
        except SettingsError as error:
            _log.error("reload_refused", text=str(error))
        else:
            self._put_in_force(loaded, snapshot)
            _log.info("reloaded", path=str(loaded.path))
        self._manager.ready(f"serving {self._loaded.places.socket}")

    def _put_in_force(self, loaded: LoadedSettings, snapshot: Snapshot) -> None:
        limits = loaded.settings.limits
        self._limits.resize(total=limits.total, per_provider=limits.per_provider, queue=limits.queue)
        self._ledger.use_budgets(_budgets(loaded))
        self._providers.use(_configured(loaded, self._environ))
        self._engine.swap(snapshot)
        self._loaded = LoadedSettings(
            settings=loaded.settings, origins=loaded.origins, path=loaded.path, places=self._loaded.places
        )
        self._tasks.append(asyncio.create_task(self._load_prices()))

    async def _wait_inside(self) -> None:
        """Wait for provider calls until they end, the drain's patience ends, or a second signal comes."""
        waits = [asyncio.create_task(self._sharing.settled()), asyncio.create_task(self._stop_now.wait())]
        await asyncio.wait(waits, timeout=self._drain_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _on_stop_signal(self) -> None:
        if self._stop_asked.is_set():
            self._stop_now.set()
        self._stop_asked.set()

    def _on_reload_signal(self) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(self.reload()))

    async def _load_prices(self) -> None:
        """Read the published prices once calls can be paid for; without a provider nobody needs them."""
        if any(self._providers.configured(name) for name in self._providers.names):
            await self._engine.snapshot.prices.load()

    def _make_snapshot(self, loaded: LoadedSettings) -> Snapshot:
        providers = _configured(loaded, self._environ)
        catalog = build_catalog(loaded.settings, configured=tuple(providers))
        priced_as = {name: own.price_provider for name, own in providers.items() if own.price_provider}
        prices = PriceCatalog(
            user=read_prices(loaded.settings.prices.file) if loaded.settings.prices.file else None,
            published=self._published,
            agent_models={
                agent: (priced_as.get(model.provider, model.provider), model.id) for agent, model in catalog.agents.items()
            },
            warn_after_days=loaded.settings.prices.warn_after_days,
        )
        return Snapshot(settings=loaded.settings, catalog=catalog, prices=prices, providers=providers, price_providers=priced_as)

    def _build_providers(self, loaded: LoadedSettings) -> ProviderRegistry:
        return ProviderRegistry(_configured(loaded, self._environ), answer_bytes=loaded.settings.limits.answer_bytes)

    def _build_listener(self) -> Listener:
        def snapshot() -> Snapshot:
            return self._engine.snapshot

        return Listener(
            completion=CompletionServicer(self._engine, clock=self._clock),
            cache=CacheServicer(self._cache, self._codec),
            usage=UsageServicer(self._ledger, snapshot, clock=self._clock),
            model=ModelServicer(snapshot, clock=self._clock),
            daemon=DaemonServicer(self),
            meter=self._meter,
        )

    def _start_telemetry(self) -> Telemetry:
        sources = MetricSources()
        self._meter.observe(sources)
        sources.observe_value(names.IN_FLIGHT, lambda: self._limits.in_flight)
        sources.observe_value(names.QUEUED, lambda: self._limits.queued)
        sources.observe_value(names.DETACHED, lambda: self._sharing.detached)
        sources.observe_value(names.LEDGER_SEQUENCE, lambda: self._ledger.sequence)
        settings = self._loaded.settings.telemetry
        return start_telemetry(
            sources,
            traces=settings.traces,
            metrics=settings.metrics,
            sample_ratio=settings.sample_ratio,
            version=_version(),
            environ=self._environ,
        )

    def _state(self) -> DaemonState:
        if self._engine.draining:
            return DaemonState.DRAINING
        return DaemonState.CACHE_ONLY if self._ledger.failed else DaemonState.SERVING

    def _report(self, name: str) -> ProviderReport:
        return ProviderReport(
            name=name,
            adapter=self._engine.snapshot.providers[name].adapter,
            loaded=self._providers.loaded(name),
            in_flight=self._limits.in_flight_at(name),
        )


def _configured(loaded: LoadedSettings, environ: Mapping[str, str]) -> dict[str, ProviderSettings]:
    return with_environment(loaded.settings.providers, environ)


def _budgets(loaded: LoadedSettings) -> BudgetBook:
    settings = loaded.settings
    limits = settings.budgets if settings.features.budgets else ()
    return BudgetBook(limits, time_zone=settings.time_zone, week_start=settings.week_start)


def _version() -> str:
    return metadata.version("aigen")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
