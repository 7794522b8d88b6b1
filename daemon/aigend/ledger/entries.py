"""The ledger's words: an intent, its reservation, how it ended, and what is known of a request id."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from aigend.types import Accounting, CacheOutcome, Cost, Route, SavingsCause, TokenUsage

UNPRICED = "unpriced"  # flag of an attempt that held nothing because no price is known
RECORDED = "recorded"  # flag of an attempt that was made elsewhere and told afterwards
RECONCILED = "reconciled"  # flag of an attempt whose outcome was unknown until somebody looked it up
REPRICED = "repriced"  # flag of an attempt whose cost was computed anew from other prices
OVER_RESERVATION = "over_reservation"  # flag of an attempt that cost more than was held for it


class AttemptState(StrEnum):
    """Where an attempt stands; nothing leaves SETTLED or RELEASED."""

    RESERVED = "reserved"  # cost held, nothing sent
    SENT = "sent"  # cost held, the request may have left
    SUBMITTED = "submitted"  # cost held, in a provider's batch job
    SETTLED = "settled"  # real cost booked
    RELEASED = "released"  # nothing charged
    UNKNOWN = "unknown"  # upper bound booked

    @property
    def open(self) -> bool:
        """Whether cost is still held."""
        return self in OPEN_STATES


OPEN_STATES = frozenset({AttemptState.RESERVED, AttemptState.SENT, AttemptState.SUBMITTED})
TRANSITIONS: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.RESERVED: frozenset({AttemptState.SENT, AttemptState.SUBMITTED, AttemptState.RELEASED}),
    AttemptState.SENT: frozenset({AttemptState.SETTLED, AttemptState.RELEASED, AttemptState.UNKNOWN}),
    AttemptState.SUBMITTED: frozenset({AttemptState.SETTLED, AttemptState.RELEASED, AttemptState.UNKNOWN}),
    AttemptState.UNKNOWN: frozenset({AttemptState.SETTLED, AttemptState.RELEASED}),
    AttemptState.SETTLED: frozenset(),
    AttemptState.RELEASED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A call about to be made, and what it costs at most."""

    scope: str
    request_id: str
    request_digest: bytes
    accounting: Accounting
    agent: str
    service: str
    phase: str
    requested_model: str
    route: Route
    outcome: CacheOutcome
    upper_bound_nanos: int | None  # None: no price is known
    price_entry_id: str
    create_time: float  # wall clock, seconds since 1970
    decided: tuple[str, ...] = ()  # what was decided for the caller: a budget sends the call to another model


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """An attempt whose SENT is durable: its request may leave."""

    attempt_id: int
    entry_id: str
    operation_id: int
    attempt_number: int  # from 1
    intent: Intent
    warnings: tuple[str, ...] = ()  # budget thresholds passed and not yet told


class PrefixUse(NamedTuple):
    """What a call asked of its provider's prompt cache, in the order of the row's columns."""

    prefix: str = ""  # short digest of the longest marked prefix; empty: nothing was marked
    read_prefix: str = ""  # short digest of the prefix written before that was sent again; empty: none is known
    write_premium_nanos: int | None = None  # what writes cost above ordinary input; None: not reckoned


NO_PREFIX = PrefixUse()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How a call ended that was charged."""

    usage: TokenUsage
    cost: Cost
    provider_usage_json: str = ""
    resolved_model: str = ""
    flags: tuple[str, ...] = ()
    provider_us: int | None = 0  # None: not known
    total_us: int | None = 0  # None: not known, and in no percentile
    savings: Mapping[SavingsCause, int] = field(default_factory=dict)  # nano-dollars
    reply: bytes = b""  # kept for replays of the request id; empty: none
    prefix_use: PrefixUse = NO_PREFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What settling brought to light."""

    warnings: tuple[str, ...] = ()  # budget thresholds passed
    over_reservation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOperation:
    """What is known of a request id."""

    operation_id: int
    state: AttemptState
    request_digest: bytes
    entry_id: str  # of its last attempt
    attempt_number: int


class AlreadyKnown(Exception):  # noqa: N818 - no mistake: the engine answers it as the state says
    """A request id that must not be sent again as it stands."""

    def __init__(self, known: KnownOperation) -> None:
        super().__init__(f"request id is {known.state}")
        self.known = known


class StateConflict(Exception):  # noqa: N818 - names what happened
    """A state change that found the attempt in another state: nothing was counted."""

    def __init__(self, attempt_id: int, *, source: AttemptState, target: AttemptState) -> None:
        super().__init__(f"attempt {attempt_id} is not {source}, so it can't become {target}")
        self.attempt_id = attempt_id


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """One budget in one window, in nano-dollars."""

    budget: str
    key: str  # the value that it holds for; empty: all, or calls that carry none
    window: str
    limit_nanos: int
    spent_nanos: int
    reserved_nanos: int
    action: str  # "warn", "refuse", "pause" or "downgrade"
    reset_time: float | None  # wall clock; None: the window does not end
    start_time: float | None = None  # wall clock; None: the window is a session
    per_value: bool = False  # whether the budget holds for each value by itself


def canonical_labels(labels: Mapping[str, str]) -> str:
    """Return labels as the JSON text that rows and counters are keyed by.

    Example:
        >>> canonical_labels({"team": "한", "area": "x"})
        '{"area":"x","team":"한"}'
    """
    return json.dumps(dict(labels), sort_keys=True, ensure_ascii=False, separators=(",", ":")) if labels else "{}"


def entry_id_of(attempt_id: int) -> str:
    """Return the identifier under which people and programs know an attempt."""
    return str(attempt_id)
