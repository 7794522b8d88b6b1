"""Who is built out of whom: the only constructor calls across rooms beside `server.py`. No decisions, nothing is started."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryTier
from aigend.cache.stores.sqlite import SqliteStore
from aigend.clock import Clock
from aigend.completion.attempts import Attempts
from aigend.completion.bookings import Bookings
from aigend.completion.deferral.batch_jobs import BatchJobs
from aigend.completion.deferral.building import deferred_lane
from aigend.completion.deferral.lane import DeferredLane
from aigend.completion.downgrades import Downgrades
from aigend.completion.engine import CompletionEngine
from aigend.completion.failpoints import Failpoints
from aigend.completion.free_answers import FreeAnswers
from aigend.completion.known_ids import KnownIds
from aigend.completion.outlook import ReadsOf
from aigend.completion.prompt_cache.learned_marks import FILE_NAME, LearnedMarks
from aigend.completion.prompt_cache.plans import PromptPlans
from aigend.completion.sharing import Sharing
from aigend.completion.snapshot import Snapshot
from aigend.completion.watch import Watch
from aigend.config import InboxSettings, LoadedSettings, ProviderSettings, SettingsError, with_environment
from aigend.ledger.alerts.events import AlertEvents
from aigend.ledger.alerts.webhooks import Webhooks
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.ledger import Ledger
from aigend.ledger.prices.catalog import PriceCatalog, read_prices
from aigend.ledger.prices.published import PublishedPrices
from aigend.ledger.prices.refresh import PriceRefresher
from aigend.ledger.retention import Retention
from aigend.providers.registry import ProviderRegistry
from aigend.providers.retry_budget import RetryBudget
from aigend.routing.catalog import build_catalog
from aigend.routing.health import Health
from aigend.routing.latency import Latencies
from aigend.routing.policy import build_policies, check_downgrades
from aigend.routing.router import Router
from aigend.routing.selecting import Selectors, check_selectors
from aigend.routing.strategy import LatencyOf
from aigend.rpc.answer_codec import WireCodec
from aigend.rpc.batch_job import BatchJobServicer
from aigend.rpc.budget import BudgetServicer
from aigend.rpc.cache import CacheServicer
from aigend.rpc.completion import CompletionServicer
from aigend.rpc.corrections import CorrectionServicer
from aigend.rpc.daemon import Control, DaemonServicer
from aigend.rpc.doctor import DoctorServicer
from aigend.rpc.explain import ExplainServicer
from aigend.rpc.listener import Listener
from aigend.rpc.model import ModelServicer
from aigend.rpc.prices import PriceServicer
from aigend.rpc.report import ReportServicer
from aigend.rpc.request import reread_request
from aigend.rpc.usage import UsageServicer
from aigend.rpc.watch import WatchServicer
from aigend.rpc.work import WorkLines
from aigend.scheduling.dispatch.dispatcher import Dispatcher
from aigend.scheduling.prompt_cache.prefix_gate import PrefixGate
from aigend.telemetry.instruments import CallCounters
from aigend.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from aigend.intake.intake import Intake


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that runs behind the socket."""

    batch_jobs: BatchJobs
    cache: CacheManager
    codec: WireCodec
    deferred: DeferredLane
    dispatcher: Dispatcher
    engine: CompletionEngine
    gate: PrefixGate
    health: Health
    intake: "Intake | None"  # None: no source is configured
    learned: LearnedMarks
    ledger: Ledger
    meter: CallCounters
    prompts: PromptPlans
    providers: ProviderRegistry
    retries: RetryBudget
    sharing: Sharing
    tracer: Tracer
    webhooks: Webhooks


def assemble(
    loaded: LoadedSettings,
    snapshot: Snapshot,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    on_fault: Callable[[str], None],
) -> Parts:
    """Return the parts of a daemon, built and not yet open."""
    settings = loaded.settings
    codec, meter, tracer = WireCodec(), CallCounters(), Tracer()
    dispatcher = Dispatcher(
        settings.limits, providers=snapshot.providers, adaptive=settings.features.adaptive_concurrency, clock=clock
    )
    providers = ProviderRegistry(snapshot.providers, answer_bytes=settings.limits.answer_bytes)
    ledger = _ledger(loaded, snapshot, clock=clock, on_fault=on_fault)
    cache = _cache(loaded, codec=codec, clock=clock)
    latencies, retries, watch = Latencies(clock=clock), RetryBudget(clock=clock), Watch(meter=meter, tracer=tracer)
    failpoints = Failpoints(environ.get("AIGEND_FAILPOINT", "") if environ.get("AIGEND_TEST") == "1" else "")
    health = Health(
        clock=clock, settings=settings.breaker, enabled=settings.features.circuit_breaker, on_change=watch.circuit_changed
    )
    learned = LearnedMarks(loaded.places.state_directory / FILE_NAME, clock=clock)
    prompts = PromptPlans(clock=clock, adaptive=learned.adaptive)
    gate = PrefixGate(clock=clock)
    attempts = Attempts(
        gate=gate,
        dispatcher=dispatcher,
        prompts=prompts,
        bookings=Bookings(ledger=ledger, codec=codec, clock=clock, failpoints=failpoints),
        providers=providers,
        health=health,
        retries=retries,
        latencies=latencies,
        watch=watch,
        clock=clock,
        jitter=random.random,
    )
    ground = _Ground(snapshot, providers, health, watch, ledger, cache, codec, clock, failpoints)
    sharing, deferred, engine = _spine(attempts, ground, latency_of=latencies.of, reads_of=prompts.reads_of)
    return Parts(
        batch_jobs=_batch_jobs(engine, deferred, ground),
        cache=cache,
        codec=codec,
        deferred=deferred,
        dispatcher=dispatcher,
        engine=engine,
        gate=gate,
        health=health,
        intake=_intake(engine, clock=clock),
        learned=learned,
        ledger=ledger,
        meter=meter,
        prompts=prompts,
        providers=providers,
        retries=retries,
        sharing=sharing,
        tracer=tracer,
        webhooks=_webhooks(loaded, ledger, tracer, clock=clock),
    )


def _webhooks(loaded: LoadedSettings, ledger: Ledger, tracer: Tracer, *, clock: Clock) -> Webhooks:
    webhooks = Webhooks(loaded.settings.alerts, clock=clock)
    ledger.budgets.alerts.listeners += [webhooks.take, AlertEvents(tracer)]
    return webhooks


def _ledger(loaded: LoadedSettings, snapshot: Snapshot, *, clock: Clock, on_fault: Callable[[str], None]) -> Ledger:
    ledger = Ledger(
        path=loaded.places.state_directory / "ledger.db",
        clock=clock,
        settings=loaded.settings.ledger,
        budgets=budget_book(loaded, snapshot),
        on_fault=on_fault,
    )
    use_budgets(ledger, loaded, snapshot)
    return ledger


def _cache(loaded: LoadedSettings, *, codec: WireCodec, clock: Clock) -> CacheManager:
    settings = loaded.settings.cache
    return CacheManager(
        store=SqliteStore(path=loaded.places.cache_directory / "cache.db", clock=clock, settings=settings),
        memory=MemoryTier(max_bytes=settings.memory_size_bytes),
        clock=clock,
        encoder=codec,
        settings=settings,
    )


class _Ground(NamedTuple):
    """What the spine's parts have in common."""

    snapshot: Snapshot
    providers: ProviderRegistry
    health: Health
    watch: Watch
    ledger: Ledger
    cache: CacheManager
    codec: WireCodec
    clock: Clock
    failpoints: Failpoints


def _spine(
    attempts: Attempts, ground: _Ground, *, latency_of: LatencyOf, reads_of: Callable[[str], ReadsOf]
) -> tuple[Sharing, DeferredLane, CompletionEngine]:
    limits, ledger, cache, codec, clock = ground.snapshot.settings.limits, ground.ledger, ground.cache, ground.codec, ground.clock
    free = FreeAnswers(cache=cache, hits=ledger.hits, codec=codec, clock=clock, repeat_bytes=limits.repeat_index_bytes)
    ledger.on_threshold.append(free.forget_repeats)
    known_ids = KnownIds(ledger=ledger, free=free)
    sharing = Sharing(
        attempts=attempts,
        cache=cache,
        known_ids=known_ids,
        free=free,
        codec=codec,
        clock=clock,
        buffer_bytes=limits.stream_buffer_bytes,
        max_orphans=limits.detached,
        failpoints=ground.failpoints,
    )
    deferred = deferred_lane(
        desk=BatchDesk(ledger, clock=clock),
        sharing=sharing,
        known_ids=known_ids,
        free=free,
        read_request=reread_request,
        snapshot=ground.snapshot,
        providers=ground.providers,
        health=ground.health,
        watch=ground.watch,
        cache=cache,
        codec=codec,
        clock=clock,
        failpoints=ground.failpoints,
    )
    engine = CompletionEngine(
        snapshot=ground.snapshot,
        cache=cache,
        known_ids=known_ids,
        sharing=sharing,
        deferred=deferred,
        free=free,
        clock=clock,
        latency_of=latency_of,
        reads_of=reads_of,
        downgrades=Downgrades(ledger.budgets),
    )
    return sharing, deferred, engine


def _batch_jobs(engine: CompletionEngine, deferred: DeferredLane, ground: _Ground) -> BatchJobs:
    return BatchJobs(
        ledger=ground.ledger,
        complete=engine.complete,
        cancel_line=deferred.cancel,
        read_request=reread_request,
        snapshot=lambda: engine.snapshot,
        clock=ground.clock,
    )


def _intake(engine: CompletionEngine, *, clock: Clock) -> "Intake | None":
    directory = engine.snapshot.settings.inbox.directory
    if directory is None:
        return None
    from aigend.intake.inbox import DirectorySource  # noqa: PLC0415 - optional
    from aigend.intake.intake import Intake  # noqa: PLC0415 - optional likewise

    def settings() -> InboxSettings:
        return engine.snapshot.settings.inbox

    return Intake(
        DirectorySource(directory, settings=settings, clock=clock),
        complete=engine.complete,
        codec=WorkLines(lambda: engine.snapshot.settings.limits.request_bytes),
        settings=settings,
        clock=clock,
    )


def make_snapshot(
    loaded: LoadedSettings, *, environ: Mapping[str, str], published: PublishedPrices, today: date | None = None
) -> Snapshot:
    """Return what is in force with these settings.

    Args:
        loaded: The settings.
        environ: Where providers' usual variables are looked up.
        published: Prices for what the price file does not name.
        today: The day that it is, in UTC; None: nothing of the price file is held against it.

    Raises:
        SettingsError: A model, an agent or the price file can't be used; it says where that stands.
    """
    try:
        return _snapshot(loaded, environ=environ, published=published, today=today)
    except SettingsError as error:
        raise loaded.placed(error) from error


def _snapshot(loaded: LoadedSettings, *, environ: Mapping[str, str], published: PublishedPrices, today: date | None) -> Snapshot:
    providers = configured_providers(loaded, environ)
    catalog = build_catalog(loaded.settings, configured=tuple(providers))
    check_downgrades(loaded.settings, catalog)
    check_selectors(loaded.settings, Selectors(catalog, providers=(*providers, *loaded.settings.providers)))
    priced_as = {name: own.price_provider for name, own in providers.items() if own.price_provider}
    prices = PriceCatalog(
        user=read_prices(loaded.settings.prices.file, today=today) if loaded.settings.prices.file else None,
        published=published,
        agent_models={agent: (priced_as.get(model.provider, model.provider), model.id) for agent, model in catalog.agents.items()},
        warn_after_days=loaded.settings.prices.warn_after_days,
    )
    return Snapshot(
        settings=loaded.settings,
        catalog=catalog,
        router=Router(catalog, build_policies(loaded.settings, catalog)),
        prices=prices,
        providers=providers,
        price_providers=priced_as,
    )


def price_refresher(parts: Parts, published: PublishedPrices, *, clock: Clock) -> PriceRefresher:
    """Return what fetches the published prices anew."""
    return PriceRefresher(
        published,
        prices=lambda: parts.engine.snapshot.prices,
        settings=lambda: parts.engine.snapshot.settings.prices,
        clock=clock,
    )


def retention(parts: Parts, *, clock: Clock) -> Retention:
    """Return what archives months that are old enough."""
    return Retention(parts.ledger, settings=lambda: parts.engine.snapshot.settings.ledger, clock=clock)


def make_listener(parts: Parts, control: Control, *, refresher: PriceRefresher, clock: Clock) -> Listener:
    """Return the gRPC server with all services."""

    def snapshot() -> Snapshot:
        return parts.engine.snapshot

    return Listener(
        completion=CompletionServicer(parts.engine, meter=parts.meter, tracer=parts.tracer, clock=clock),
        batch_job=BatchJobServicer(parts.batch_jobs, snapshot, clock=clock),
        cache=CacheServicer(parts.cache, parts.codec, snapshot=snapshot, decisions=parts.prompts.decisions),
        usage=UsageServicer(parts.ledger, snapshot, clock=clock),
        corrections=CorrectionServicer(parts.ledger, snapshot, clock=clock),
        reports=ReportServicer(parts.ledger, snapshot, clock=clock),
        doctor=DoctorServicer(parts.ledger, snapshot, clock=clock, decisions=parts.prompts.decisions),
        explain=ExplainServicer(parts.ledger, snapshot, refusals=parts.engine.refusals, decisions=parts.prompts.decisions),
        watch=WatchServicer(
            parts.ledger,
            load=lambda: (parts.dispatcher.in_flight, parts.dispatcher.queued),
            draining=lambda: parts.engine.draining,
            clock=clock,
        ),
        prices=PriceServicer(snapshot, refresh=refresher.refresh, clock=clock),
        budget=BudgetServicer(parts.ledger.budgets, snapshot),
        model=ModelServicer(snapshot, clock=clock),
        daemon=DaemonServicer(control),
        meter=parts.meter,
    )


def configured_providers(loaded: LoadedSettings, environ: Mapping[str, str]) -> dict[str, ProviderSettings]:
    """Return the providers of settings and environment."""
    return with_environment(loaded.settings.providers, environ)


def budget_book(loaded: LoadedSettings, snapshot: Snapshot) -> BudgetBook:
    """Return the budgets in force; none where the feature is switched off."""
    settings = loaded.settings
    limits = settings.budgets if settings.features.budgets else ()
    meaning = snapshot.selectors.meaning
    return BudgetBook(limits, time_zone=settings.time_zone, week_start=settings.week_start, meaning=meaning)


def use_budgets(ledger: Ledger, loaded: LoadedSettings, snapshot: Snapshot) -> None:
    """Put the budgets of settings in force, beside those that were set."""
    origin = f"the settings file {loaded.path}" if loaded.path else "the environment"
    ledger.budgets.use(budget_book(loaded, snapshot), enabled=loaded.settings.features.budgets, origin=origin)
