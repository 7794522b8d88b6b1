"""One attempt while it lasts, and what the attempts of a call have come to: what the steps of the paid half hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aigend.completion.call import AnswerFlight, Call, TextDelta
from aigend.completion.quotes import Quote
from aigend.errors import DomainError
from aigend.ledger.entries import Reservation
from aigend.providers import port
from aigend.providers.port import Provider
from aigend.rate_facts import RateFacts
from aigend.routing.health import KeyId
from aigend.scheduling.dispatch.grant import Grant
from aigend.scheduling.prompt_cache.prefix_gate import Passage
from aigend.types import Lane, TokenUsage

_TOO_MANY = frozenset((503, 529))  # statuses besides 429 that say so


class ProviderVerdictError(Exception):
    """The final word on a flight; everybody aboard gets it."""

    def __init__(self, error: DomainError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class Tries:
    """What the attempts of one call have come to so far."""

    made: int = 0  # attempts whose SENT was durable
    unknown: bool = False  # one of them may have been charged without an answer
    verdict: DomainError | None = None  # a provider's last word
    refusal: DomainError | None = None  # the first route's own refusal, before anything was sent on it
    passed_by: DomainError | None = None  # why the first route was passed by that is not well
    gated_s: float = 0.0  # spent waiting for another call's prefix

    def refused(self, error: DomainError) -> None:
        """Remember why a route was not tried."""
        self.refusal = self.refusal or error

    def skipped(self, error: DomainError) -> None:
        """Remember that a route was passed by, which is so for everybody."""
        self.passed_by = self.passed_by or error

    def ending(self) -> Exception:
        """Return what is to be raised where no route has answered: a provider's word is everybody's, a refusal the leader's."""
        if self.verdict is not None:
            return ProviderVerdictError(self.verdict)
        if self.refusal is not None:
            return self.refusal
        return ProviderVerdictError(self.passed_by) if self.passed_by else AssertionError("a call has at least one route")


@dataclass(slots=True, kw_only=True)
class OnRoute:
    """One route while it is tried."""

    quoted: Quote
    accounts: Mapping[KeyId, Provider]
    last: bool  # no other route is left
    attempt: int = 1  # a change of the key does not count
    out: set[KeyId] = field(default_factory=set)  # keys that the provider did not take from this call
    limited: set[KeyId] = field(default_factory=set)  # keys that were asked too often, until the next wait

    @property
    def provider(self) -> str:
        """The name of the provider."""
        return self.quoted.route.route.provider

    @property
    def keys(self) -> tuple[KeyId, ...]:
        """All keys of the provider."""
        return tuple(self.accounts)

    @property
    def spent(self) -> set[KeyId]:
        """The keys that this call can't use now."""
        return self.out | self.limited


@dataclass(slots=True, kw_only=True)
class Turn:
    """One attempt while it lasts; times are of the monotonic clock, in seconds."""

    call: Call
    flight: AnswerFlight
    tries: Tries
    on: OnRoute
    asked_at: float
    granted_at: float = 0.0
    visible_bytes: int = 0  # of text that callers have seen
    passage: Passage | None = None  # through the prefix gate
    grant: Grant | None = None  # the slot that it holds

    @property
    def quoted(self) -> Quote:
        """The upper bound of the call on its route."""
        return self.on.quoted

    @property
    def awaited(self) -> bool:
        """Whether other calls wait for the first token, so that it has to be seen."""
        return self.passage is not None and self.passage.awaited

    def note_begin(self) -> None:
        """Let those who wait for the prefix go on: the first token has come."""
        if self.passage is not None:
            self.passage.began()

    def note_usage(self, usage: TokenUsage) -> None:
        """Let the prefix gate and the dispatcher learn of an answer."""
        if self.passage is not None:
            self.passage.ended(usage)
        if self.grant is not None:
            self.grant.answered(usage)

    def note_rates(self, key: KeyId, facts: RateFacts) -> None:
        """Let the dispatcher learn what an answer said of the rates of a key; a wait for the cheaper tier is of no other call."""
        if self.grant is not None:
            self.grant.heard(key.number, replace(facts, retry_after_s=None) if self._flex else facts)

    def note_fault(self, fault: port.ProviderFault) -> None:
        """Let the dispatcher learn that the provider has too many calls, where a fault says that."""
        too_many = fault.kind is port.FaultKind.RATE_LIMITED or fault.status in _TOO_MANY
        if self.grant is not None and too_many and not self._flex:
            self.grant.refused()

    @property
    def _flex(self) -> bool:
        return self.call.request.lane is Lane.FLEX

    def show(self, event: port.StreamEvent) -> None:
        """Hand an event to everybody aboard."""
        if isinstance(event, port.ToolCallDone):
            self.visible_bytes += len(event.call.arguments_json) + 1
            self.flight.publish(event.call, len(event.call.arguments_json) + len(event.call.name))
        elif isinstance(event, port.TextDelta | port.ThinkingDelta):
            self.visible_bytes += len(event.text)
            self.flight.publish(TextDelta(event.text, thinking=isinstance(event, port.ThinkingDelta)), len(event.text))


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt whose RESERVED and SENT are durable."""

    turn: Turn
    reservation: Reservation
