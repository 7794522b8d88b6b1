"""What a paid call asks of its provider's prompt cache, and what became of it.

Which prefixes there are is read by `scheduling/prefixes`, whether they are marked is decided by `scheduling/marking`. Here stand
the caller's own marks, switches, lifetimes and minimum sizes: what makes a decision one that can be sent.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.errors import invalid
from aigend.providers.port import NO_PLAN
from aigend.scheduling.marking import Always, Marking, Never, SecondSight, Sights
from aigend.scheduling.prefixes import Prefix, Prefixes, read_prefixes
from aigend.types import CacheMark, CompletionRequest, ModelRoute, PartPlace, PromptCachePlan, Route, TokenUsage

MOST_MARKS = 4
SHORTEST_TTL_S = 300
SHORTEST_KEYED_TOKENS = 1_024  # the shortest prefix that providers without marks keep
MARKING_ADAPTERS = frozenset(("anthropic", "bedrock"))  # whose wire format has marks
STORING_ADAPTERS = frozenset(("gemini",))  # which store what is marked at a price by the hour: marked on request alone
_KEY_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPlan:
    """What one call asks of the prompt cache of one route, with what is to be said and learned of it."""

    wire: PromptCachePlan = NO_PLAN  # what the adapter is told
    marked: tuple[Prefix, ...] = ()  # the prefixes behind the marks
    prefixes: Prefixes = field(default_factory=Prefixes)
    owner: str = ""  # whose cache it is
    minimum: int = 0  # tokens of the shortest prefix that the model keeps; 0 is unknown
    ttl_s: int = SHORTEST_TTL_S
    marking: Marking | None = None  # who decided; None where the caller did
    reason: str = ""
    warnings: tuple[str, ...] = ()

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


NOTHING_ASKED = PromptPlan()


class PromptPlans:
    """Makes the plan of each paid call and learns from what the provider counted.

    Args:
        clock: Tells how long ago prefixes were sent.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._sights = Sights()
        self._markings: Mapping[str, Marking] = {
            "never": Never(),
            "always": Always(),
            "second_sight": SecondSight(self._sights),
        }

    def plan(self, call: Call, route: ModelRoute) -> PromptPlan:
        """Return what a call that is about to be paid asks on a route, and remember its prefixes as sent.

        Raises:
            DomainError: INVALID_REQUEST for marks of the caller that no provider takes together.
        """
        terms, request = _terms(call), call.request
        if not terms.enabled:
            return PromptPlan(warnings=_left_out(request))
        prefixes, owner = read_prefixes(request), _owner(call.caller.scope, route.route)
        draft = PromptPlan(
            wire=PromptCachePlan(prefix_key=_prefix_key(call.caller.scope, prefixes)),
            prefixes=prefixes,
            owner=owner,
            minimum=route.min_cacheable_tokens,
            ttl_s=terms.ttl_s,
        )
        able = _has_marks(call, route)
        plan = _by_caller(draft, request) if prefixes.own and able else self._decided(draft, terms, able=able)
        self._sights.note(_ends(prefixes), owner=owner, now=self._clock.monotonic())
        return plan

    def observe(self, plan: PromptPlan, usage: TokenUsage) -> None:
        """Learn what a settled call read and wrote."""
        longest = plan.marked[-1] if plan.marked else plan.prefixes.longest
        if longest is None:
            return
        now = self._clock.monotonic()
        if plan.marking is not None:
            plan.marking.observe(longest, usage, owner=plan.owner, now=now)
        if usage.cache_read or usage.cache_write_5m or usage.cache_write_1h:
            self._sights.keep(plan.marked or _ends(plan.prefixes), owner=plan.owner, now=now, ttl_s=plan.ttl_s)

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

    def _decided(self, draft: PromptPlan, terms: _Terms, *, able: bool) -> PromptPlan:
        """Return the plan with the marks that the decision in force sets, where the adapter is able to send some."""
        marking = self._markings[terms.decision]
        decision = marking.decide(draft.prefixes, owner=draft.owner, ttl_s=terms.ttl_s, now=self._clock.monotonic())
        wanted = decision.marks if able else ()
        marked = tuple(prefix for prefix in wanted if prefix.tokens >= draft.minimum)[-MOST_MARKS:]
        marks = tuple(CacheMark(place=prefix.place, ttl_s=terms.ttl_s) for prefix in marked)
        return replace(
            draft,
            wire=replace(draft.wire, marks=marks),
            marked=marked,
            marking=marking,
            reason=decision.reason,
            warnings=_warnings(draft, terms, wanted=() if marked else wanted, able=able),
        )


def longest_ttl_s(call: Call, route: ModelRoute) -> int | None:
    """Return the longest time for which a plan of this call may mark something, in seconds; None where it can't."""
    terms = _terms(call)
    if not (terms.enabled and _has_marks(call, route)):
        return None
    if own := _own_marks_of(call.request):
        return max(own)
    return terms.ttl_s if terms.decision != "never" else None


def _by_caller(draft: PromptPlan, request: CompletionRequest) -> PromptPlan:
    """Return the plan with the caller's own marks alone."""
    own = draft.prefixes.own[-MOST_MARKS:]
    marks = _own_marks(request, own)
    wire = replace(draft.wire, marks=marks)
    return replace(draft, wire=wire, marked=own, ttl_s=marks[0].ttl_s, reason="the caller marked it")


def _terms(call: Call) -> _Terms:
    settings, wish = call.snapshot.settings, call.request.prompt_caching
    service = settings.services.get(call.request.service)
    own = service.prompt_caching if service is not None else None
    said = (wish.enabled if wish is not None else None, own.enabled if own is not None else None)
    told = next((enabled for enabled in said if enabled is not None), None)
    return _Terms(
        enabled=settings.features.prompt_caching and told is not False,
        asked=told is True,
        decision=(own.decision if own is not None else None) or settings.prompt_caching.decision,
        ttl_s=(wish.ttl_s if wish is not None else 0) or (own.ttl_s if own is not None else None) or settings.prompt_caching.ttl_s,
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
