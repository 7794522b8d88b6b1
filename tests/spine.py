"""The whole spine on real files with fake providers and a clock that stands: what tests of `completion/` start from."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aigen.v1 import completion_pb2
from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryTier
from aigend.cache.stores.sqlite import SqliteStore
from aigend.completion.attempts import Attempts
from aigend.completion.bookings import Bookings
from aigend.completion.call import Reply
from aigend.completion.deferral.building import deferred_lane
from aigend.completion.deferral.lane import DeferredLane
from aigend.completion.downgrades import Downgrades
from aigend.completion.engine import CompletionEngine
from aigend.completion.free_answers import FreeAnswers
from aigend.completion.known_ids import KnownIds
from aigend.completion.prompt_cache.plans import PromptPlans
from aigend.completion.repeats import Origin
from aigend.completion.sharing import Sharing
from aigend.completion.snapshot import Snapshot
from aigend.completion.watch import Watch
from aigend.config import ProviderSettings, Settings
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.ledger import Ledger
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.file import parse_prices
from aigend.ledger.statistics.query import stats_query
from aigend.ledger.statistics.stats import Stats, compute
from aigend.providers.batch_port import BatchProvider
from aigend.providers.registry import Account
from aigend.providers.retry_budget import RetryBudget
from aigend.routing.catalog import build_catalog
from aigend.routing.health import CircuitReport, Health
from aigend.routing.latency import Latencies
from aigend.routing.policy import build_policies
from aigend.routing.router import Router
from aigend.rpc.answer_codec import WireCodec
from aigend.rpc.request import reread_request
from aigend.scheduling.dispatch.dispatcher import Dispatcher
from aigend.scheduling.prompt_cache.prefix_gate import PrefixGate
from aigend.telemetry.instruments import CallCounters
from aigend.telemetry.tracing import Tracer
from aigend.types import Accounting, Caller, CompletionRequest, Message, Part, Role, Text

from tests.fakes import FakeClock, FakeProvider

PRICES = """
version: 1
currency: USD
providers:
  one:
    model-1:
      {input: 1, output: 10, batch: {input: 0.5, output: 5}, valid_from: 2020-01-01, source: test, checked_on: 2025-12-20}
  two:
    model-2: {input: 2, output: 20, valid_from: 2020-01-01, source: test, checked_on: 2025-12-20}
"""


class NoPublishedPrices:
    """Published prices that know nothing, and are always loaded."""

    loaded = True

    def load(self) -> None:
        """Do nothing."""

    def find(self, provider: str, model: str, at: float) -> tuple:
        """Know nothing."""
        return ()


class FakeRegistry:
    """Hands out fake providers: one account each, or one for each of several keys; `batches` has batch APIs by provider."""

    def __init__(self, providers: Mapping[str, Sequence[FakeProvider]], batches: Mapping[str, BatchProvider]) -> None:
        self.providers = providers
        self.batches = batches
        self.identity = ""  # of all accounts

    async def ready(self, name: str) -> tuple[Account, ...]:
        """Return the accounts of that name."""
        batch = self.batches.get(name)
        return tuple(Account(number, provider, batch, self.identity) for number, provider in enumerate(self.providers[name], 1))


@dataclass
class Spine:
    """An engine and all that stands around it."""

    engine: CompletionEngine
    ledger: Ledger
    cache: CacheManager
    sharing: Sharing
    dispatcher: Dispatcher
    clock: FakeClock
    one: FakeProvider
    two: FakeProvider
    snapshot: Snapshot
    health: Health
    retries: RetryBudget
    latencies: Latencies
    circuits: list[CircuitReport]  # every change, in order
    keys: list[FakeProvider]  # of provider one, the first of them is `one`
    meter: CallCounters = field(default_factory=CallCounters)
    gate: PrefixGate = field(kw_only=True)
    prompts: PromptPlans = field(kw_only=True)
    deferred: DeferredLane = field(kw_only=True)

    async def ask(self, text: str = "a question", *, request_id: str = "", account: Accounting | None = None, **fields) -> Reply:
        """Answer a request."""
        return await self.engine.complete(question(text, **fields), caller(request_id, account))

    def start(self, text: str = "a question", **fields) -> "asyncio.Task[Reply]":
        """Begin to answer a request."""
        return asyncio.create_task(self.ask(text, **fields))

    async def boarded(self, count: int) -> None:
        """Wait until so many callers wait for provider calls under way; look-ups end when the store's thread says so."""
        await eventually(lambda: sum(flight.aboard for flight in self.sharing._work) == count)

    async def stats(self) -> Stats:
        """Return the ledger's totals over all time."""
        query = stats_query(scope="local", now=self.clock.time())
        return await self.ledger.read(lambda connection: compute(connection, query))


async def eventually(holds: Callable[[], object]) -> None:
    """Wait until something holds that a thread of the store brings about; the test's timeout bounds it."""
    while not holds():  # noqa: ASYNC110 - the spine's own state signals nobody
        await asyncio.sleep(0.001)


def question(text: str = "a question", **fields) -> CompletionRequest:
    """Return a request with one user message."""
    return CompletionRequest(messages=(Message(Role.USER, (Part(Text(text)),)),), **({"model": "one/model-1"} | fields))


def caller(request_id: str = "", account: Accounting | None = None, *, digest: bytes = b"d" * 32, wire: bytes = b"") -> Caller:
    """Return a caller."""
    return Caller(
        scope="local",
        request_id=request_id or str(uuid.uuid4()),
        accounting=account or Accounting(),
        digest_of=lambda: digest,
        wire_of=lambda: wire,
    )


def read(reply: Reply | bytes) -> completion_pb2.CompleteResponse:
    """Return the response that a caller gets."""
    return completion_pb2.CompleteResponse.FromString(reply if isinstance(reply, bytes) else reply.response)


def origin(name: str = "bytes") -> Origin:
    """Return where a request with these bytes came from."""
    return Origin(name.encode().ljust(32, b"."), b"")


def make_settings(**changes) -> Settings:
    """Return settings with two providers."""
    providers = {name: ProviderSettings(base_url="http://127.0.0.1:9") for name in ("one", "two")}
    return Settings(**({"providers": providers} | changes))


def make_snapshot(settings: Settings) -> Snapshot:
    """Return what is in force with these settings and the test's prices."""
    catalog = build_catalog(settings, configured=("one", "two"))
    return Snapshot(
        settings=settings,
        catalog=catalog,
        router=Router(catalog, build_policies(settings, catalog)),
        prices=PriceCatalog(user=parse_prices(PRICES, name="test"), published=NoPublishedPrices()),
        providers=settings.providers,
        price_providers={},
    )


@asynccontextmanager
async def spine(
    folder: Path,
    *,
    clock: FakeClock | None = None,
    key_count: int = 1,
    jitter: float = 1.0,
    batches: Mapping[str, BatchProvider] | None = None,
    **changes,
) -> AsyncIterator[Spine]:
    """Run a spine on files in `folder`; provider one has so many keys, waits are that share of the longest ones."""
    keys = [FakeProvider("one") for _ in range(key_count)]
    house = _built(folder, make_settings(**changes), clock=clock or FakeClock(), keys=keys, jitter=jitter, batches=batches or {})
    await house.ledger.open()
    await house.cache.open()
    await house.deferred.start()
    try:
        yield house
    finally:
        for provider in (*keys, house.two):
            provider.release()
        await house.sharing.close()
        await house.deferred.close()
        await house.cache.close()
        await house.ledger.close()


def _built(
    folder: Path,
    settings: Settings,
    *,
    clock: FakeClock,
    keys: list[FakeProvider],
    jitter: float,
    batches: Mapping[str, BatchProvider],
) -> Spine:
    codec, meter, two, snapshot = WireCodec(), CallCounters(), FakeProvider("two"), make_snapshot(settings)
    circuits: list[CircuitReport] = []
    health = Health(clock=clock, settings=settings.breaker, enabled=settings.features.circuit_breaker, on_change=circuits.append)
    retries, latencies, prompts = RetryBudget(clock=clock), Latencies(clock=clock), PromptPlans(clock=clock)
    dispatcher = Dispatcher(
        settings.limits, providers=settings.providers, adaptive=settings.features.adaptive_concurrency, clock=clock
    )
    ledger = Ledger(path=folder / "ledger.db", clock=clock, settings=settings.ledger, budgets=BudgetBook(settings.budgets))
    cache = CacheManager(
        store=SqliteStore(path=folder / "cache.db", clock=clock, settings=settings.cache),
        memory=MemoryTier(max_bytes=settings.cache.memory_size_bytes),
        clock=clock,
        encoder=codec,
        settings=settings.cache,
    )
    gate, registry = PrefixGate(clock=clock), FakeRegistry({"one": keys, "two": [two]}, batches)
    attempts = Attempts(
        gate=gate,
        dispatcher=dispatcher,
        prompts=prompts,
        bookings=Bookings(ledger=ledger, codec=codec, clock=clock),
        providers=registry,
        health=health,
        retries=retries,
        latencies=latencies,
        watch=Watch(meter=meter, tracer=Tracer()),
        clock=clock,
        jitter=lambda: jitter,
    )
    sharing, deferred, engine = _front(
        attempts, snapshot, ledger=ledger, cache=cache, codec=codec, clock=clock, prompts=prompts, providers=registry, health=health
    )
    by_name = {"gate": gate, "prompts": prompts, "deferred": deferred}
    return Spine(
        *(engine, ledger, cache, sharing, dispatcher, clock, keys[0], two, snapshot),
        *(health, retries, latencies, circuits, keys, meter),
        **by_name,
    )


def _front(
    attempts: Attempts,
    snapshot: Snapshot,
    *,
    ledger: Ledger,
    cache: CacheManager,
    codec: WireCodec,
    clock: FakeClock,
    prompts: PromptPlans,
    providers: FakeRegistry,
    health: Health,
) -> tuple[Sharing, DeferredLane, CompletionEngine]:
    limits = snapshot.settings.limits
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
    )
    deferred = deferred_lane(
        snapshot=snapshot,
        desk=BatchDesk(ledger, clock=clock),
        sharing=sharing,
        known_ids=known_ids,
        free=free,
        cache=cache,
        codec=codec,
        read_request=reread_request,
        providers=providers,
        health=health,
        watch=Watch(meter=CallCounters(), tracer=Tracer()),
        clock=clock,
    )
    engine = CompletionEngine(
        snapshot=snapshot,
        cache=cache,
        known_ids=known_ids,
        sharing=sharing,
        deferred=deferred,
        free=free,
        clock=clock,
        reads_of=prompts.reads_of,
        downgrades=Downgrades(ledger.budgets),
    )
    return sharing, deferred, engine
