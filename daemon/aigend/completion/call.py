"""One call on its way through the spine, and how it ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aigend.completion.snapshot import Snapshot
from aigend.scheduling.single_flight import Flight
from aigend.types import (
    Answer,
    CacheMode,
    CacheOutcome,
    Caller,
    CallFacts,
    CompletionRequest,
    Lane,
    ModelRoute,
    SavingsCause,
    ToolCall,
)

FlightKey = tuple[tuple[bytes, ...], bool, Lane]  # sorted cache keys of all routes, whether it refreshes, its lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An admitted request with its routes and keys: what the steps hand to each other."""

    request: CompletionRequest
    caller: Caller
    snapshot: Snapshot
    started: float  # monotonic clock, seconds
    routes: tuple[ModelRoute, ...]  # in the order in which they are tried
    keys: tuple[bytes, ...]  # one for each route
    generation: int  # of the cache namespace, taken before the look-up
    repeat_generation: int  # of the fast path, taken with the snapshot: what was decided under older settings does not enter it
    warnings: tuple[str, ...] = ()  # what was decided for the caller: a budget sends the call to another model

    @property
    def mode(self) -> CacheMode:
        """How the response cache takes part."""
        return self.request.mode

    @property
    def catalog_keys(self) -> Sequence[bytes]:
        """The keys in catalog order, the order of look-up: what is found does not hang on the order of trying."""
        if len(self.keys) == 1:
            return self.keys
        return [key for _, key in sorted(zip((route.position for route in self.routes), self.keys, strict=True))]

    @property
    def id(self) -> tuple[str, str]:
        """The operation this call belongs to: scope and request id."""
        return self.caller.scope, self.caller.request_id

    @property
    def looks_up(self) -> bool:
        """Whether a stored answer may serve."""
        return self.mode.looks_up and self.snapshot.settings.features.cache

    @property
    def stores(self) -> bool:
        """Whether the answer is to be kept."""
        return self.mode.stores and self.snapshot.settings.features.cache

    @property
    def paid_outcome(self) -> CacheOutcome:
        """What a provider's answer to this call is counted as."""
        if self.mode is CacheMode.BYPASS or not self.snapshot.settings.features.cache:
            return CacheOutcome.BYPASS
        return CacheOutcome.REFRESH if self.mode is CacheMode.REFRESH else CacheOutcome.MISS

    @property
    def flight_key(self) -> FlightKey | None:
        """Which flight this call may join, and leads where there is none; None where it joins none."""
        if not (self.mode.joins and self.snapshot.settings.features.single_flight):
            return None
        return tuple(sorted(self.keys)), self.mode is CacheMode.REFRESH, self.request.lane

    @property
    def quicker_flights(self) -> tuple[FlightKey, ...]:
        """Flights of a quicker lane that this call may join as well; nobody joins one of a slower lane."""
        own = self.flight_key
        return ((*own[:2], Lane.INTERACTIVE),) if own is not None and self.request.lane is Lane.FLEX else ()

    def key_of(self, route: ModelRoute) -> bytes:
        """Return the cache key of one of the routes."""
        return self.keys[self.routes.index(route)]

    @property
    def requested_model(self) -> str:
        """The model as the caller named it; the agent or the default model where none was named."""
        return self.request.model or self.request.agent or (self.routes[0].route.model if self.routes else "")


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text to append to what came before; `thinking` where it is reasoning."""

    text: str
    thinking: bool = False


Event = TextDelta | ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """A paid answer, durable in the ledger: what the leader replies and its followers share."""

    answer: Answer
    cache_key: bytes
    wire: bytes
    facts: CallFacts  # of the leader
    savings: Mapping[SavingsCause, int] = field(default_factory=dict)  # of the leader's call, nano-dollars by cause


@dataclass(frozen=True, slots=True)
class KeepTerms:
    """How an answer is kept: of the first caller of a flight who wants it stored."""

    call: Call
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What a caller gets: a whole response as bytes, and where it came from."""

    response: bytes
    outcome: CacheOutcome


AnswerFlight = Flight[Landing, Event, KeepTerms]
