"""What a paid call asks of its provider's prompt cache, and what became of it.

Which prefixes there are is read by `scheduling/prompt_cache/prefixes`, whether they are marked is decided by `marking` and
`adaptive` beside it. Here stand the caller's own marks, switches, lifetimes, prices and minimum sizes: what makes a decision one
that can be sent.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.errors import invalid
from aigend.ledger.prices.pricing import PriceEntry, rate_of, rates_for
from aigend.providers.port import NO_PLAN
from aigend.scheduling.prompt_cache.adaptive import Adaptive
from aigend.scheduling.prompt_cache.decisions import DIGEST_DIGITS, DecisionRow, Decisions
from aigend.scheduling.prompt_cache.marking import Always, Decision, Mark, Marking, Never, SecondSight, Sights, Terms, TokenPrices
from aigend.scheduling.prompt_cache.prefixes import Prefix, Prefixes, read_prefixes
from aigend.types import CacheMark, CompletionRequest, ModelRoute, PartPlace, PromptCachePlan, Route, TokenUsage

MOST_MARKS = 4
SHORTEST_TTL_S, LONGEST_TTL_S = 300, 3_600
SHORTEST_KEYED_TOKENS = 1_024  # the shortest prefix that providers without marks keep
MARKING_ADAPTERS = frozenset(("anthropic", "bedrock"))  # whose wire format has marks
STORING_ADAPTERS = frozenset(("gemini",))  # which store what is marked at a price by the hour: marked on request alone
_KEY_DIGITS = 32
_LEARNING = frozenset(("second_sight", "adaptive"))  # which look at what was sent before
_NANOS_PER_RATE = 1_000  # USD per 1,000,000 tokens, as nano-dollars a token


_NO_TERMS = Terms(owner="")
_NO_MARKS = Decision((), "this provider takes no marks")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPlan:
    """What one call asks of the prompt cache of one route, with what is to be said and learned of it."""

    wire: PromptCachePlan = NO_PLAN  # what the adapter is told
    marked: tuple[Prefix, ...] = ()  # the prefixes behind the marks
    prefixes: Prefixes = field(default_factory=Prefixes)
    terms: Terms = _NO_TERMS  # what the decision stood on
    marks: tuple[Mark, ...] = ()  # as they were decided, those that can be sent
    adaptive: bool = False  # whether adaptive marking decided on them
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """Whose cache it is: scope, provider and model."""
        return self.terms.owner

    @property
    def minimum(self) -> int:
        """Tokens of the shortest prefix that the model keeps; 0 is unknown."""
        return self.terms.minimum

    @property
    def marked_ttl_s(self) -> int | None:
        """The longest time for which something is marked, in seconds; None where nothing is."""
        return max((mark.ttl_s for mark in self.wire.marks), default=None)

    def unheeded(self, usage: TokenUsage) -> tuple[str, ...]:
        """Return what the caller must know where the provider neither read nor wrote what was marked."""
        if not self.marked or usage.cache_read or usage.cache_write_5m or usage.cache_write_1h:
            return ()
        longest = max(prefix.tokens for prefix in self.marked)
        if longest < self.minimum:
            return (_too_short(longest, self.minimum),)
        return (f"the provider did not cache the marked prefix of about {longest} tokens",)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What request, service and settings say together."""

    enabled: bool
    asked: bool  # the caller or the service wants prefixes cached, in so many words
    decision: str
    ttl_s: int
    told_ttl: bool  # whether request or service say how long


NOTHING_ASKED = PromptPlan()


class PromptPlans:
    """Makes the plan of each paid call and learns from what the provider counted.

    Args:
        clock: Tells how long ago prefixes were sent.
        adaptive: Learns what comes again; None begins with nothing.
    """

    def __init__(self, *, clock: Clock, adaptive: Adaptive | None = None) -> None:
        self._clock = clock
        self._sights = Sights()
        self.adaptive = adaptive if adaptive is not None else Adaptive()
        self.decisions = Decisions()
        self._markings: Mapping[str, Marking] = {
            "never": Never(),
            "always": Always(),
            "second_sight": SecondSight(self._sights, self.adaptive.tree),
            "adaptive": self.adaptive,
        }

    def plan(self, call: Call, route: ModelRoute, *, prefixes: Prefixes | None = None) -> PromptPlan:
        """Return what a call that is about to be paid asks on a route, and remember its prefixes as sent.

        Args:
            call: The call.
            route: The one it is about to take.
            prefixes: Of its request, where they were read before.

        Raises:
            DomainError: INVALID_REQUEST for marks of the caller that no provider takes together.
        """
        asked, request = _terms(call), call.request
        if not asked.enabled:
            return PromptPlan(warnings=_left_out(request))
        prefixes = prefixes or read_prefixes(request)
        able, now = _has_marks(call, route), self._clock.time()
        terms = _decision_terms(call, route, asked, prefixes if able else None, at=now)
        draft = PromptPlan(
            wire=PromptCachePlan(prefix_key=_prefix_key(call.caller.scope, prefixes)), prefixes=prefixes, terms=terms
        )
        by_caller = bool(prefixes.own) and able
        decision = _NO_MARKS
        if by_caller:
            plan = _by_caller(draft, request)
        else:
            if able:
                decision = self._markings[asked.decision].decide(prefixes, terms, now=now)
            plan = _decided(draft, asked, decision, able=able)
        self._sights.note(_ends(prefixes), owner=terms.owner, now=self._clock.monotonic())
        if able and asked.decision in _LEARNING:
            self.adaptive.note(prefixes, terms, now=now)
            self._put_down(call, route, plan, decision, by="caller" if by_caller else asked.decision)
        return plan

    def observe(self, plan: PromptPlan, usage: TokenUsage) -> None:
        """Learn what a settled call read and wrote."""
        if plan.prefixes.longest is None:
            return
        self.adaptive.observe(plan.prefixes, plan.marks, usage, terms=plan.terms, now=self._clock.time(), decided=plan.adaptive)
        now, ttl_s = self._clock.monotonic(), plan.marked_ttl_s or plan.terms.ttl_s
        self._sights.note(plan.marked[-1:] or (plan.prefixes.longest,), owner=plan.owner, now=now)
        if usage.cache_read or usage.cache_write_5m or usage.cache_write_1h:
            self._sights.keep(plan.marked or _ends(plan.prefixes), owner=plan.owner, now=now, ttl_s=ttl_s)

    def reads_of(self, scope: str) -> Callable[[CompletionRequest, Route], int]:
        """Return what tells how many tokens a route is expected to read from its provider's cache, for one request of a scope."""
        read: list[Prefixes] = []  # once, however many routes are asked about

        def expected(request: CompletionRequest, route: Route) -> int:
            if not read:
                read.append(read_prefixes(request))
            owner, now = _owner(scope, route), self._clock.monotonic()
            kept = (prefix.tokens for prefix in _all(read[0]) if self._sights.kept(prefix, owner=owner, now=now))
            return max(kept, default=0)

        return expected

    def _put_down(self, call: Call, route: ModelRoute, plan: PromptPlan, decision: Decision, *, by: str) -> None:
        """Keep what was decided, for people to look at."""
        shown = plan.marked[-1] if plan.marked else plan.prefixes.longest
        if shown is None:
            return
        self.decisions.add(
            DecisionRow(
                number=self.decisions.count + 1,
                time=self._clock.time(),
                scope=call.caller.scope,
                request_id=call.caller.request_id,
                provider=route.route.provider,
                model=route.route.model,
                service=call.request.service,
                decision=by,
                prefix=shown.digest.hex()[:DIGEST_DIGITS],
                tokens=shown.tokens,
                mark_count=len(plan.marked),
                ttl_s=plan.marked_ttl_s or 0,
                reason=plan.reason,
                expected_gain_nanos=decision.gain_nanos,
                premium_nanos=decision.premium_nanos,
            )
        )


def _decided(draft: PromptPlan, asked: "_Terms", decision: Decision, *, able: bool) -> PromptPlan:
    """Return the plan with the marks of a decision, where the adapter is able to send some."""
    wanted = decision.marks if able else ()
    marks = tuple(mark for mark in wanted if mark.prefix.tokens >= draft.minimum)[-MOST_MARKS:]
    unsent = () if marks else tuple(mark.prefix for mark in wanted)
    return replace(
        draft,
        wire=replace(draft.wire, marks=tuple(CacheMark(place=mark.prefix.place, ttl_s=mark.ttl_s) for mark in marks)),
        marked=tuple(mark.prefix for mark in marks),
        marks=marks,
        adaptive=asked.decision == "adaptive",
        reason=decision.reason,
        warnings=_warnings(draft, asked, wanted=unsent, able=able),
    )


def _decision_terms(call: Call, route: ModelRoute, asked: "_Terms", prefixes: Prefixes | None, *, at: float) -> Terms:
    """Return what a decision about a call on a route stands on; without prefixes nothing is decided, and no price is asked for."""
    longest, entry = None, None
    if prefixes is not None:
        longest = prefixes.longest
        entry = call.snapshot.prices.lookup(call.snapshot.priced_as(route.route), route.route.model, at)
    return Terms(
        owner=_owner(call.caller.scope, route.route),
        service=call.request.service,
        ttl_s=asked.ttl_s,
        may_take_an_hour=asked.decision == "adaptive" and not asked.told_ttl,
        minimum=route.min_cacheable_tokens,
        prices=token_prices(entry, longest.tokens if longest is not None else 0),
    )


def token_prices(entry: PriceEntry | None, total_input: int) -> TokenPrices | None:
    """Return what a token costs in a request of that many; None where input or its reading has no price.

    Where a writing has none of its own, the next dearer price stands for it, as it does in a bill.
    """
    if entry is None:
        return None
    rates = rates_for(entry, total_input)
    found = {bucket: rate_of(rates, bucket) for bucket in ("input", "cache_read", "cache_write_5m", "cache_write_1h")}
    nanos = {bucket: float(rate * _NANOS_PER_RATE) for bucket, rate in found.items() if rate is not None}
    if len(nanos) < len(found):
        return None
    return TokenPrices(
        input=nanos["input"], read=nanos["cache_read"], write_5m=nanos["cache_write_5m"], write_1h=nanos["cache_write_1h"]
    )


def longest_ttl_s(call: Call, route: ModelRoute) -> int | None:
    """Return the longest time for which a plan of this call may mark something, in seconds; None where it can't."""
    terms = _terms(call)
    if not (terms.enabled and _has_marks(call, route)):
        return None
    if own := _own_marks_of(call.request):
        return max(own)
    if terms.decision == "adaptive" and not terms.told_ttl:
        return LONGEST_TTL_S
    return terms.ttl_s if terms.decision != "never" else None


def _by_caller(draft: PromptPlan, request: CompletionRequest) -> PromptPlan:
    """Return the plan with the caller's own marks alone."""
    own = draft.prefixes.own[-MOST_MARKS:]
    marks = _own_marks(request, own)
    wire = replace(draft.wire, marks=marks)
    decided = tuple(Mark(prefix, mark.ttl_s) for prefix, mark in zip(own, marks, strict=True))
    return replace(draft, wire=wire, marked=own, marks=decided, reason="the caller marked it")


def _terms(call: Call) -> _Terms:
    settings, wish = call.snapshot.settings, call.request.prompt_caching
    service = settings.services.get(call.request.service)
    own = service.prompt_caching if service is not None else None
    said = (wish.enabled if wish is not None else None, own.enabled if own is not None else None)
    told = next((enabled for enabled in said if enabled is not None), None)
    told_ttl_s = (wish.ttl_s if wish is not None else 0) or (own.ttl_s if own is not None else None)
    return _Terms(
        enabled=settings.features.prompt_caching and told is not False,
        asked=told is True,
        decision=(own.decision if own is not None else None) or settings.prompt_caching.decision,
        ttl_s=told_ttl_s or settings.prompt_caching.ttl_s,
        told_ttl=bool(told_ttl_s),
    )


def _has_marks(call: Call, route: ModelRoute) -> bool:
    adapter = call.snapshot.providers[route.route.provider].adapter
    wanted = adapter in STORING_ADAPTERS and (_terms(call).asked or bool(_own_marks_of(call.request)))
    return wanted or adapter in MARKING_ADAPTERS


def _owner(scope: str, route: Route) -> str:
    return f"{scope}\0{route.provider}/{route.model}"


def _prefix_key(scope: str, prefixes: Prefixes) -> str:
    """Return the same for all requests of a scope that share a stable prefix worth keeping."""
    if not prefixes.stable or prefixes.stable[-1].tokens < SHORTEST_KEYED_TOKENS:
        return ""
    return hashlib.sha256(scope.encode() + b"\0" + prefixes.stable[-1].digest).hexdigest()[:_KEY_DIGITS]


def _ends(prefixes: Prefixes) -> tuple[Prefix, ...]:
    """The prefixes that later requests may begin with."""
    return (*prefixes.stable, *prefixes.own, *([prefixes.turn] if prefixes.turn is not None else ()))


def _all(prefixes: Prefixes) -> tuple[Prefix, ...]:
    return (*_ends(prefixes), *prefixes.earlier)


def _own_marks_of(request: CompletionRequest) -> list[int]:
    """Return for how long the caller's own marks are, in seconds."""
    parts = chain(request.system, *(message.parts for message in request.messages))
    return [part.prompt_cache_mark_s or SHORTEST_TTL_S for part in parts if part.prompt_cache_mark_s is not None]


def _own_marks(request: CompletionRequest, own: Sequence[Prefix]) -> tuple[CacheMark, ...]:
    """Return the caller's marks; 0 asks for the shortest time.

    Source:
        Longer times stand before shorter ones: Anthropic, "Prompt caching", mixing lifetimes. Read 2026-11.
    """
    marks = tuple(CacheMark(place=prefix.place, ttl_s=_mark_at(request, prefix.place) or SHORTEST_TTL_S) for prefix in own)
    for before, mark in pairwise(marks):
        if mark.ttl_s > before.ttl_s:
            allowed = f"at most {before.ttl_s}, as the mark before it: longer times stand first"
            raise invalid(f"{_field(mark.place)}.prompt_cache_mark.ttl_seconds", mark.ttl_s, allowed)
    return marks


def _mark_at(request: CompletionRequest, place: PartPlace) -> int | None:
    parts = request.system if place.message is None else request.messages[place.message].parts
    return parts[place.part].prompt_cache_mark_s


def _field(place: PartPlace) -> str:
    return f"system[{place.part}]" if place.message is None else f"messages[{place.message}].parts[{place.part}]"


def _left_out(request: CompletionRequest) -> tuple[str, ...]:
    """Say that marks or a wish of the caller came to nothing because prompt caching is off."""
    wished = request.prompt_caching is not None and request.prompt_caching.enabled
    if wished or _own_marks_of(request):
        return ("prompt caching is off: nothing was marked",)
    return ()


def _warnings(draft: PromptPlan, terms: _Terms, *, wanted: Sequence[Prefix], able: bool) -> tuple[str, ...]:
    """Say why nothing can be cached although somebody wants it to be.

    Args:
        draft: The plan so far.
        terms: What is asked for.
        wanted: What was to be marked and is not, for its length.
        able: Whether the adapter can send marks.
    """
    told, prefixes = [], draft.prefixes
    asked = wanted or prefixes.own or ((prefixes.longest,) if terms.asked and prefixes.longest is not None else ())
    if asked and asked[-1].tokens < draft.minimum:
        told.append(_too_short(asked[-1].tokens, draft.minimum))
    if able and terms.asked and terms.decision == "never":
        told.append("prompt caching is asked for, and prompt_caching.decision is never: nothing was marked")
    if prefixes.misplaced:
        told.append("stable parts after dynamic ones can't be cached")
    return tuple(told)


def _too_short(tokens: int, minimum: int) -> str:
    return f"prefix of about {tokens} tokens is below the model's minimum of {minimum}: not cached"
