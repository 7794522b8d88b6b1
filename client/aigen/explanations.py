"""What is told of money on request: how one call's cost came about, whether prompt caching pays, and which months were archived.

Frozen values without protobuf, like `reports.py`, which holds what is read every day.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from aigen.reports import AttemptState, Savings
from aigen.results import CacheOutcome, CostBasis, SavingsCause, TokenUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One part of a cost."""

    name: str  # a bucket, "request" or "search"
    count: int  # tokens, requests or searches
    rate: Decimal | None  # dollars a million tokens, or a request or search; None: not known
    stand_in: bool  # a dearer bucket's rate, because its own is not known
    usd_nanos: Decimal | None  # count times rate, in nano-dollars; None: no rate


@dataclass(frozen=True, slots=True, kw_only=True)
class CostArithmetic:
    """How a cost comes about, bucket by bucket."""

    price_entry_id: str
    source: str
    checked_on: str  # YYYY-MM-DD; empty: not known
    above_tokens: int  # input above which these rates hold for the whole request; 0: the ordinary ones
    lines: tuple[CostLine, ...]
    exact_usd_nanos: Decimal | None  # the sum of the lines; None: one of them has no rate
    cost_usd_nanos: int | None  # rounded half to even, once
    booked: bool  # whether that is what is booked


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedWindow:
    """A budget's window in which an attempt counts, in nano-dollars."""

    budget: str
    key: str  # value that it holds for; empty: all
    window: str
    limit_usd_nanos: int | None  # None: there is no such budget any more
    spent_usd_nanos: int
    reserved_usd_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedAttempt:
    """One try at one route; money in nano-dollars."""

    entry_id: str
    attempt_number: int  # from 1
    state: AttemptState | None  # None: a word that this version does not know
    reason: str  # why it was released or its outcome is unknown
    provider: str
    model: str
    resolved_model: str
    cache_outcome: CacheOutcome | None
    create_time: datetime | None
    update_time: datetime | None
    provider_us: int | None
    total_us: int | None
    reserved_usd_nanos: int  # held before it was sent
    cost_usd_nanos: int | None  # 0 where nothing was charged; None: not known
    cost_basis: CostBasis | None
    unknown_low_usd_nanos: int | None  # None: its outcome is known
    unknown_high_usd_nanos: int | None  # what budgets count
    usage: TokenUsage | None
    price_entry_id: str
    arithmetic: CostArithmetic | None  # None: nothing is settled, or its price entry is not known any more
    flags: tuple[str, ...]
    savings: tuple[Savings, ...]
    windows: tuple[ExplainedWindow, ...]
    decisions: tuple[str, ...]  # that a budget sent it to a cheaper model
    prefix: str  # longest prefix marked for the prompt cache; empty: none
    read_prefix: str  # prefix written before that it sent again; empty: none is known
    write_premium_usd_nanos: int | None  # what its writes cost above ordinary input


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeAnswer:
    """One answer that cost nothing."""

    time: datetime | None
    cache_outcome: CacheOutcome | None
    provider: str
    model: str
    saved_usd_nanos: int | None  # None: not known, or a replay
    saved_cause: SavingsCause | None
    total_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRefusal:
    """One refusal before anything was held."""

    time: datetime | None
    reason: str
    text: str
    budget: str  # that refused; empty: none did


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What became of a request id, as far as money goes."""

    request_id: str
    state: AttemptState | None  # None: nothing was paid or held under this id
    create_time: datetime | None
    requested_model: str
    service: str
    agent: str
    session: str
    phase: str
    task: str
    labels: Mapping[str, str]
    attempts: tuple[ExplainedAttempt, ...]
    free_answers: tuple[FreeAnswer, ...]  # among the daemon's last calls
    refusals: tuple[RecentRefusal, ...]  # among the daemon's last ones
    archive_file: str  # where its attempts were archived; empty: they are here


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCachePrefix:
    """What became of one prefix that was marked for a provider's prompt cache."""

    prefix: str  # short digest; empty: of these calls it is not known
    provider: str
    model: str
    service: str  # of the last call, as agent and phase
    agent: str
    phase: str
    last_request_id: str
    last_time: datetime | None
    mark_count: int
    write_count: int
    written_tokens: int
    ttl_seconds: int
    premium_usd_nanos: int  # what its writes cost above ordinary input
    read_count: int
    read_tokens: int
    saved_usd_nanos: int  # what its reads saved
    reads_needed: Decimal | None  # how often all that a write wrote must be read for it to pay; None: no price
    paid: bool
    missed_count: int  # calls that sent it again and read nothing
    expired_count: int  # of them, those that came too late
    advice: tuple[str, ...]
    decision: str  # how it is decided whether it is marked; empty: not known

    @property
    def net_usd_nanos(self) -> int:
        """What it brought in, in nano-dollars; negative where its writes cost more than its reads saved."""
        return self.saved_usd_nanos - self.premium_usd_nanos


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCacheDiagnosis:
    """What the prompt-cache doctor found; sums are over all prefixes, listed or not."""

    prefixes: tuple[PromptCachePrefix, ...]  # greatest net loss first
    prefix_count: int
    never_read_count: int  # written and never read
    write_count: int
    written_tokens: int
    premium_usd_nanos: int
    read_count: int
    read_tokens: int
    saved_usd_nanos: int
    start_time: datetime | None
    end_time: datetime | None
    archive_files: tuple[str, ...]  # hold calls of the range that were not looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerArchive:
    """One month that was taken out of the ledger; its sums stay in it."""

    month: str  # YYYY-MM, in UTC
    file: str
    done: bool
    operation_count: int
    attempt_count: int
    journal_count: int
    hit_count: int
    cost_usd_nanos: int
    size_bytes: int
    sha256: str
    create_time: datetime | None
