"""The composition root: lock, open, build, bind, ready, drain, close. Wiring, no decisions."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog
import uvloop

from aigend.assembly import assemble, make_listener, make_snapshot, price_refresher, retention, use_budgets
from aigend.clock import Clock, SystemClock, utc_day
from aigend.completion.snapshot import Snapshot
from aigend.config import FlatSetting, LoadedSettings, SettingsError, load_settings
from aigend.config.reloading import reloaded
from aigend.ledger.prices.published import PublishedPrices
from aigend.observing import metric_sources
from aigend.rpc.daemon import DaemonState, ProviderReport, StatusReport
from aigend.service_manager import ServiceManager
from aigend.storage.files import FileLock, StorageRefused, check_socket_path, lock, private_directory
from aigend.telemetry.log import start_log
from aigend.telemetry.setup import Telemetry, start_telemetry

EXIT_OK = 0
STOP_GRACE_S = 1.0
COLLECT_AFTER = 50_000  # new objects
MOST_WARNINGS = 50  # shown by GetStatus, the latest ones
_log = structlog.get_logger("aigend.server")


def run(loaded: LoadedSettings, *, environ: Mapping[str, str]) -> int:
    """Serve until told to stop and return the exit code 0.

    Raises:
        StorageRefused: Exit code 74 for a disk that is full or fails, 75 where another daemon holds a lock, 78 for a path or file
            that can't be used.
        SettingsError: A model, an agent or the price file can't be used.
        TelemetryRefused: A variable of OpenTelemetry can't be used.
    """
    log = start_log(loaded.settings.log.level, loaded.settings.log.format)
    try:
        return uvloop.run(_serve(loaded, environ, dropped=lambda: log.dropped))
    finally:
        log.stop()


async def _serve(loaded: LoadedSettings, environ: Mapping[str, str], *, dropped: Callable[[], int]) -> int:
    clock = SystemClock()
    with contextlib.ExitStack() as locks:
        for held in take_locks(loaded):
            locks.callback(held.release)
        daemon = Daemon(loaded, environ=environ, clock=clock, log_dropped=dropped)
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
    if loaded.settings.inbox.directory is not None:
        private_directory(loaded.settings.inbox.directory, what="inbox.directory")
    if loaded.settings.socket is None:
        private_directory(places.socket.parent, what="the socket's directory")
    check_socket_path(places.socket)
    held: list[FileLock] = []
    try:
        held.append(lock(places.state_directory / "aigend.lock", what=f"state_directory {places.state_directory}"))
        if loaded.settings.inbox.directory is not None:
            held.append(lock(loaded.settings.inbox.directory / "inbox.lock", what="inbox.directory"))
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
        log_dropped: Counts log lines that were dropped.
    """

    def __init__(
        self, loaded: LoadedSettings, *, environ: Mapping[str, str], clock: Clock, log_dropped: Callable[[], int] = int
    ) -> None:
        self._loaded = loaded
        self._environ = environ
        self._clock = clock
        self._log_dropped = log_dropped
        self._manager = ServiceManager(environ, clock=clock)
        self._published = PublishedPrices()
        self._faults: dict[str, None] = {}  # each once, the latest last
        snapshot = self._snapshot(loaded)
        self._parts = assemble(loaded, snapshot, environ=environ, clock=clock, on_fault=self._note_fault)
        self._refresher = price_refresher(self._parts, self._published, clock=clock)
        self._listener = make_listener(self._parts, self, refresher=self._refresher, clock=clock)
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._drain_timeout_s = loaded.settings.drain.provider_timeout_s
        self._started_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._telemetry: Telemetry | None = None

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
        report = await self._parts.ledger.open()
        await self._parts.cache.open()
        self._telemetry = await asyncio.to_thread(self._start_telemetry)
        await self._parts.deferred.start()  # before calls come: an id that waits must be known
        await self._parts.batch_jobs.start()
        if self._parts.intake is not None:
            await self._parts.intake.start()
        await self._listener.start(self._loaded.places.socket)
        self._started_at = self._clock.time()
        self._parts.providers.start_loading()
        self._begin(self._manager.keep_alive())
        self._begin(self._load_prices())
        self._begin(self._refresher.keep_fresh())
        self._begin(retention(self._parts, clock=self._clock).keep())
        self._begin(self._parts.learned.keep())
        _settle_memory()
        _tell_warnings(self._loaded, self._idle_budgets())
        self._manager.ready(f"serving {self._loaded.places.socket}")
        _log.info(
            "ready",
            socket=str(self._loaded.places.socket),
            epoch=report.epoch,
            released=report.released,
            unknown=report.unknown,
            version=_version(),
        )

    async def until_stopped(self) -> None:
        """Wait until somebody asks the daemon to stop."""
        await self._stop_asked.wait()

    async def stop(self) -> None:
        """Admit no more calls, wait for those inside, and close all files; a second signal cuts the wait short."""
        self._drain_inside()
        self._parts.ledger.budgets.alerts.close()
        self._manager.stopping("draining")
        self._manager.extend_timeout(self._drain_timeout_s + self._loaded.settings.drain.admin_timeout_s + STOP_GRACE_S)
        grace_s = self._drain_timeout_s + self._loaded.settings.drain.admin_timeout_s
        stopping = asyncio.create_task(self._listener.stop(grace_s))
        await self._wait_inside()
        await self._parts.sharing.close()
        if self._parts.intake is not None:
            await self._parts.intake.close()
        await self._parts.batch_jobs.close()
        await self._parts.deferred.close()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(stopping), self._loaded.settings.drain.admin_timeout_s)
        await self._listener.stop(0)
        await stopping
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._parts.learned.save()
        await self._parts.cache.close()
        await self._parts.ledger.close()
        await self._parts.webhooks.close()
        await self._parts.providers.aclose()
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
            in_flight=self._parts.dispatcher.in_flight,
            queued=self._parts.dispatcher.queued,
            detached=self._parts.sharing.detached,
            ledger_epoch=self._parts.ledger.epoch,
            ledger_sequence=self._parts.ledger.sequence,
            resident_bytes=_resident_bytes(),
            providers=[self._report(name) for name in self._parts.providers.names],
            budgets=self._parts.ledger.budget_status(self._clock.time()),
            deferred_waiting=self._parts.deferred.waiting,
            deferred_submitted=self._parts.deferred.submitted,
            open_uploads=self._parts.deferred.open_jobs,
            open_batch_jobs=self._parts.batch_jobs.open,
            intake_waiting=0 if self._parts.intake is None else self._parts.intake.waiting,
            warnings=(*self._faults, *self._idle_budgets(), *([failure] if (failure := self._parts.ledger.failure) else ())),
        )

    def _idle_budgets(self) -> list[str]:
        """Return what is to be said of budgets that were set and name what is not known, or not any more."""
        selectors, records = self._parts.engine.snapshot.selectors, self._parts.ledger.budgets.records()
        return [text for record in records for text in selectors.doubts(record.budget.name, record.budget.selector)]

    def settings(self) -> Sequence[FlatSetting]:
        """Return the settings in force, secrets hidden."""
        return self._loaded.flatten()

    def drain(self, timeout_s: float | None) -> int:
        """Begin to stop and return how many provider calls are under way."""
        if timeout_s is not None:
            self._drain_timeout_s = timeout_s
        self._drain_inside()
        self._stop_asked.set()
        return self._parts.dispatcher.in_flight

    def _drain_inside(self) -> None:
        """Admit no more calls, take no more work, and send those away who wait for batch jobs."""
        if self._parts.intake is not None:
            self._parts.intake.drain()
        self._parts.engine.drain()
        self._parts.batch_jobs.drain()

    async def reload(self) -> None:
        """Read the settings again and put in force what may change while running; calls under way keep what they have.

        Settings that can't be used change nothing and are logged. Reloads go one after the other, so that the last one counts.
        """
        async with self._reloading:
            began = self._clock.monotonic()
            self._manager.reloading()
            try:
                loaded, waiting = await asyncio.to_thread(self._read_again)
                snapshot = await asyncio.to_thread(self._snapshot, loaded)
            except SettingsError as error:
                _log.error("reload_refused", text=str(error))
            else:
                self._put_in_force(loaded, snapshot)
                _log.info("reloaded", path=str(loaded.path or ""), duration_ms=round((self._clock.monotonic() - began) * 1e3, 3))
                if waiting:
                    _log.warning("reload_needs_restart", keys=", ".join(waiting))
            finally:
                self._manager.ready(f"serving {self._loaded.places.socket}")

    def _snapshot(self, loaded: LoadedSettings) -> Snapshot:
        """Return what is in force with these settings."""
        return make_snapshot(loaded, environ=self._environ, published=self._published, today=utc_day(self._clock.time()))

    def _read_again(self) -> tuple[LoadedSettings, tuple[str, ...]]:
        """Return the settings that can be put in force, and the keys that wait for a restart."""
        running = self._loaded
        read = load_settings(running.path, self._environ)
        settings, waiting = reloaded(running.settings, read.settings)
        origins = {key: running.origins[key] if key in waiting else origin for key, origin in read.origins.items()}
        return replace(read, settings=settings, origins=origins, places=running.places), waiting

    def _put_in_force(self, loaded: LoadedSettings, snapshot: Snapshot) -> None:
        self._parts.dispatcher.use(
            loaded.settings.limits, providers=snapshot.providers, adaptive=loaded.settings.features.adaptive_concurrency
        )
        use_budgets(self._parts.ledger, loaded, snapshot)
        self._parts.webhooks.use(loaded.settings.alerts)
        self._parts.health.use(loaded.settings.breaker, enabled=loaded.settings.features.circuit_breaker)
        for name in self._parts.providers.use(snapshot.providers):
            self._parts.health.forget(name)
        self._parts.engine.swap(snapshot)
        self._loaded = loaded
        _tell_warnings(loaded, self._idle_budgets())
        self._begin(self._load_prices())

    async def _wait_inside(self) -> None:
        """Wait for provider calls until they end, the drain's patience ends, or a second signal comes."""
        waits = [asyncio.create_task(self._inside()), asyncio.create_task(self._stop_now.wait())]
        await asyncio.wait(waits, timeout=self._drain_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _inside(self) -> bool:
        """Return once no provider call is under way, and no batch job is in the middle of being handed in."""
        await self._parts.sharing.settled()
        await self._parts.deferred.handed_in()
        return True

    def _on_stop_signal(self) -> None:
        if self._stop_asked.is_set():
            self._stop_now.set()
        self._stop_asked.set()

    def _on_reload_signal(self) -> None:
        self._begin(self.reload())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside the calls, until it ends or the daemon stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _note_fault(self, text: str) -> None:
        self._faults.pop(text, None)
        self._faults[text] = None
        if len(self._faults) > MOST_WARNINGS:
            del self._faults[next(iter(self._faults))]

    async def _load_prices(self) -> None:
        """Read the published prices once calls can be paid for; without a provider nobody needs them."""
        if any(self._parts.providers.configured(name) for name in self._parts.providers.names):
            await self._parts.engine.snapshot.prices.load()

    def _start_telemetry(self) -> Telemetry:
        settings = self._loaded.settings.telemetry
        return start_telemetry(
            metric_sources(self._parts, clock=self._clock, log_dropped=self._log_dropped),
            tracer=self._parts.tracer,
            traces=settings.traces,
            metrics=settings.metrics,
            sample_ratio=settings.sample_ratio,
            version=_version(),
            environ=self._environ,
            clock=self._clock,
        )

    def _state(self) -> DaemonState:
        if self._parts.engine.draining:
            return DaemonState.DRAINING
        return DaemonState.CACHE_ONLY if self._parts.ledger.failed else DaemonState.SERVING

    def _report(self, name: str) -> ProviderReport:
        return ProviderReport(
            name=name,
            adapter=self._parts.engine.snapshot.providers[name].adapter,
            loaded=self._parts.providers.loaded(name),
            in_flight=self._parts.dispatcher.line(name).in_flight,
            queued=self._parts.dispatcher.queued_at(name),
            slots=self._parts.dispatcher.line(name).concurrency.value,
            keys=[report for report in self._parts.health.reports() if report.key.provider == name],
        )


def _tell_warnings(loaded: LoadedSettings, idle_budgets: Sequence[str]) -> None:
    """Log what can be used as it is and is most likely not meant so."""
    for warning in loaded.warnings:
        _log.warning("settings_warning", text=str(warning))
    for text in idle_budgets:
        _log.warning("budget_idle", text=text)


def _settle_memory() -> None:
    """Keep what was made at the start out of later collections, and collect less often: little garbage here has cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])


def _version() -> str:
    return metadata.version("aigen")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
