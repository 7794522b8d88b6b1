"""What an operator reads: statistics, ledger and cache entries, models and the daemon's state.

Frozen values without protobuf, like `results.py`, which holds what a single completion brings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from aigen.catalog import Capability, ModelTier
from aigen.results import CacheOutcome, Completion, CostBasis, SavingsCause, TokenUsage, usd
from aigen.types import Normalization, Strategy


class Period(StrEnum):
    """A calendar period in the time zone of the statistics."""

    TODAY = "today"
    WEEK = "week"
    MONTH = "month"
    ALL = "all"


class GroupBy(StrEnum):
    """What rows of statistics may be grouped by."""

    PROVIDER = "provider"
    MODEL = "model"
    AGENT = "agent"
    SERVICE = "service"
    SESSION = "session"
    PHASE = "phase"
    TASK = "task"
    LABEL = "label"
    OUTCOME = "outcome"
    DAY = "day"
    HOUR = "hour"


class AttemptState(StrEnum):
    """Where an attempt stands."""

    RESERVED = "reserved"
    SENT = "sent"
    SUBMITTED = "submitted"
    SETTLED = "settled"
    RELEASED = "released"
    UNKNOWN = "unknown"


class DaemonState(StrEnum):
    """Where the daemon stands; CACHE_ONLY: the ledger can't be written, cached answers go on."""

    SERVING = "serving"
    CACHE_ONLY = "cache_only"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What one cause saved."""

    cause: SavingsCause | None
    call_count: int
    saved_usd_nanos: int  # nano-dollars; negative where a prompt-cache write was not read often enough

    @property
    def saved_usd(self) -> Decimal:
        """Saved dollars."""
        return usd(self.saved_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPercentiles:
    """How long calls took in the daemon, in microseconds, from buckets at most 19 % wide."""

    p50_us: int
    p90_us: int
    p99_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageTotals:
    """Sums over calls, by outcome, tokens, cost and savings."""

    call_count: int
    hit_count: int
    miss_count: int
    coalesced_count: int
    bypass_count: int
    refresh_count: int
    replay_count: int
    unknown_count: int  # attempts whose outcome is not known
    released_count: int  # attempts that ended without a charge
    unpriced_count: int  # settled calls without a known price; in no sum
    usage: TokenUsage  # paid tokens
    cost_usd_nanos: int | None  # settled, in nano-dollars; None: no price is known of any of it, which `unpriced_count` counts
    estimated_cost_usd_nanos: int  # part of the settled cost that was estimated, in nano-dollars
    unknown_cost_usd_nanos: int  # bounds of attempts with unknown outcome, in nano-dollars; not in the settled cost
    savings: tuple[Savings, ...]
    latency: LatencyPercentiles | None  # None: no calls
    mean_hit_latency_us: float | None  # microseconds; None: no hit

    @property
    def cost_usd(self) -> Decimal | None:
        """Settled cost in dollars, without calls of which no price is known; None where that is all of them."""
        return usd(self.cost_usd_nanos)

    @property
    def estimated_share(self) -> float | None:
        """Estimated part of the settled cost, 0 to 1; None where nothing was settled."""
        return self.estimated_cost_usd_nanos / self.cost_usd_nanos if self.cost_usd_nanos else None

    @property
    def unknown_share(self) -> float | None:
        """Bounds of unknown outcomes as a part of all that may have been spent, 0 to 1; None where that is nothing."""
        most = (self.cost_usd_nanos or 0) + self.unknown_cost_usd_nanos
        return self.unknown_cost_usd_nanos / most if most else None

    @property
    def saved_usd_nanos(self) -> int:
        """What was saved by all causes together, in nano-dollars."""
        return sum(item.saved_usd_nanos for item in self.savings)

    @property
    def saved_usd(self) -> Decimal:
        """What was saved by all causes together, in dollars."""
        return usd(self.saved_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRow:
    """One group of statistics."""

    group: tuple[str, ...]  # values of `group_by`, in its order
    totals: UsageTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Statistics of a period."""

    rows: tuple[StatsRow, ...]  # dearest first; empty without `group_by`
    totals: UsageTotals
    start_time: datetime | None  # None: the beginning
    end_time: datetime | None  # exclusive
    time_zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One charge, or an attempt that may become one."""

    id: str
    request_id: str
    attempt_number: int  # from 1
    state: AttemptState | None
    provider: str
    model: str
    resolved_model: str
    agent: str
    service: str
    session: str
    phase: str
    task: str
    labels: Mapping[str, str]
    cache_outcome: CacheOutcome | None
    usage: TokenUsage | None  # None: not known
    provider_usage_json: str
    reserved_usd_nanos: int  # nano-dollars held while the outcome is open or unknown
    cost_usd_nanos: int | None  # nano-dollars; None: unknown
    cost_basis: CostBasis | None
    price_entry_id: str
    flags: tuple[str, ...]
    create_time: datetime | None
    update_time: datetime | None
    provider_us: int | None  # microseconds
    savings: tuple[Savings, ...]

    @property
    def cost_usd(self) -> Decimal | None:
        """Cost in dollars; None where unknown."""
        return usd(self.cost_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """How large the cache is and how well it does; counts since the daemon started."""

    entry_count: int  # of the caller's scope
    size_bytes: int
    max_size_bytes: int
    hit_count: int
    miss_count: int
    eviction_count: int
    expiration_count: int
    mean_hit_latency_us: float | None  # microseconds; None: no hit yet
    memory_entry_count: int
    memory_size_bytes: int
    storing: bool  # False: switched off, or its disk failed and calls pass through

    @property
    def hit_rate(self) -> float | None:
        """Hits as a share of look-ups, 0 to 1; None before the first look-up."""
        total = self.hit_count + self.miss_count
        return self.hit_count / total if total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One stored answer."""

    key: str  # hexadecimal
    provider: str
    model: str
    agent: str
    phase: str
    service: str
    namespace: str
    size_bytes: int
    create_time: datetime | None
    expire_time: datetime | None
    last_use_time: datetime | None
    hit_count: int
    saved_per_hit_usd_nanos: int | None  # nano-dollars; None: unknown
    answer: Completion | None = None  # set by `cache_entry()`; lists leave it out

    @property
    def saved_per_hit_usd(self) -> Decimal | None:
        """What a hit saves, in dollars; None where unknown."""
        return usd(self.saved_per_hit_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearedCache:
    """What was removed from the cache, or would be."""

    entry_count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Rates of token buckets in nano-dollars a token, as the ledger counts; None: not known."""

    BUCKETS: ClassVar[tuple[str, ...]] = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")

    price_entry_id: str
    input: Decimal | None  # nano-dollars a token; 150 is 0.15 USD for 1,000,000 tokens
    output: Decimal | None  # nano-dollars a token
    cache_read: Decimal | None  # nano-dollars a token
    cache_write_5m: Decimal | None  # nano-dollars a token
    cache_write_1h: Decimal | None  # nano-dollars a token
    source: str
    checked_on: str  # YYYY-MM-DD; empty: not known

    @property
    def usd_per_million(self) -> Mapping[str, Decimal | None]:
        """The same rates by bucket in dollars for 1,000,000 tokens, as providers publish them."""
        rates = {bucket: getattr(self, bucket) for bucket in self.BUCKETS}
        return {bucket: None if rate is None else rate / 1_000 for bucket, rate in rates.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of one provider."""

    id: str
    provider: str
    aliases: tuple[str, ...]
    agents: tuple[str, ...]
    tier: ModelTier | None
    capabilities: tuple[Capability, ...]
    context_tokens: int  # 0: not known
    max_output_tokens: int  # 0: not known
    default_max_output_tokens: int
    min_cacheable_tokens: int  # 0: not known
    description: str
    price: Price | None
    available: bool  # its provider is configured


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    """What one service may ask for, and what holds where its requests do not say it."""

    service: str
    restricted: bool  # False: it may ask for any model
    allowed_tiers: tuple[ModelTier, ...]  # as a whole
    named_models: tuple[str, ...]  # allowed beside the tiers, as "provider/model"
    required_capabilities: tuple[Capability, ...]
    allowed_models: tuple[str, ...]  # all known ones, as "provider/model"
    default_model: str  # empty: the daemon's
    strategy: Strategy | None  # None: FALLBACK with fallback models, else PRIMARY
    ttl_s: float | None  # seconds; None: the cache's
    normalization: Normalization | None  # None: the cache's
    models: tuple[Model, ...] = ()  # set by `service_policy()`; lists leave them out


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKeyStatus:
    """How one key of a provider does, by its position."""

    number: int  # among the configured keys, from 1
    circuit: str  # "closed" (it is asked), "half_open" (one call tries it) or "open" (it is passed by)
    failure_count: int  # in a row
    refused: bool  # the provider did not take the key, rather than fail
    retry_delay_s: float | None  # until an open circuit is tried again, seconds; None: it is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStatus:
    """One configured provider."""

    name: str
    adapter: str  # wire format it speaks
    loaded: bool  # its SDK is imported
    in_flight_count: int
    queued_count: int  # calls waiting for it
    slot_count: int  # calls that it may have under way now
    keys: tuple[ProviderKeyStatus, ...] = ()  # those that were asked


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetStatus:
    """One budget in its current window."""

    name: str
    window: str
    limit_usd_nanos: int  # nano-dollars
    spent_usd_nanos: int  # nano-dollars, booked
    reserved_usd_nanos: int  # nano-dollars, held for calls under way
    action: str
    reset_time: datetime | None  # None: the window does not end


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """How the daemon is."""

    version: str
    process_id: int
    state: DaemonState | None
    start_time: datetime | None
    socket_path: str
    state_directory: str
    cache_directory: str
    in_flight_count: int  # provider calls under way
    queued_count: int  # calls waiting for a slot
    detached_count: int  # provider calls whose caller has gone
    ledger_epoch: int
    ledger_sequence: int
    resident_bytes: int
    providers: tuple[ProviderStatus, ...]
    budgets: tuple[BudgetStatus, ...]
    warnings: tuple[str, ...]
    deferred_waiting_count: int = 0  # deferred calls that wait for their batch job to leave
    deferred_submitted_count: int = 0  # deferred calls that lie in a provider's job
    open_upload_count: int = 0  # jobs at providers' batch APIs that have not ended
    open_batch_job_count: int = 0  # batch jobs of callers that have not ended
    intake_waiting_count: int = 0  # requests of files taken from the inbox that have no result


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting in force."""

    key: str  # dotted, such as "cache.ttl"
    value_json: str  # secrets are "***"
    origin: str  # "default", "file" or "environment"
