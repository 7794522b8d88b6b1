"""One call on its way through the spine, and how it ends."""

from collections.abc import Sequence
from dataclasses import dataclass

from aigend.completion.snapshot import Snapshot
from aigend.scheduling.single_flight import Flight
from aigend.types import Answer, CacheMode, CacheOutcome, Caller, CallFacts, CompletionRequest, ModelRoute, ToolCall


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
    def flight_key(self) -> tuple[tuple[bytes, ...], bool] | None:
        """Which flight this call may join; None where it joins none."""
        if not (self.mode.joins and self.snapshot.settings.features.single_flight):
            return None
        return tuple(sorted(self.keys)), self.mode is CacheMode.REFRESH

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
