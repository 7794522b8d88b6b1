"""How many requests and tokens a minute a provider may be sent: by the settings, and by what its own answers say.

The settings hold for a provider as a whole: a token bucket that a minute fills. Answers tell limits of one model under one key, and
what is left of them; between two answers they fill like buckets, as the providers' do. What was let go and has not been answered
yet counts as taken. How many tokens calls of a model really use is learned: providers leave out what they read from their prompt
caches, and few answers reach their limit.

Source:
    Limits as continuously refilled token buckets, and what their headers mean: Anthropic "Rate limits", OpenAI "Rate limits", read
    2026-11. A window longer than a minute (some accounts have limits a day) shows in the time that the used part takes to return.
"""

from collections import OrderedDict
from dataclasses import dataclass

from aigend.rate_facts import RateFact, RateFacts
from aigend.scheduling.dispatch.ask import Ask
from aigend.types import TokenUsage

MINUTE_S = 60.0
EXACT_RESET_S = 5.0  # shorter times to the reset are too coarsely told to compute with
MOST_MODELS = 256  # models and keys that are remembered
LONGEST_REST_S = 3_600.0
_ROUNDING = 1e-6
_LATEST = 0.2  # weight of the latest call in what is learned
_KINDS = ("requests", "tokens", "input_tokens", "output_tokens")


class Bucket:
    """A token bucket: a minute fills it.

    Args:
        per_minute: How much that is.
        now: Monotonic clock; it begins full.
    """

    __slots__ = ("_at", "_level", "per_minute")

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def wait_s(self, amount: float, now: float, *, ahead: int = 0) -> float:
        """Return the seconds until so much is there after as many others took as much; what never fits waits for a full bucket."""
        missing = min(amount, self.per_minute) + ahead * amount - self._filled(now)
        return missing * MINUTE_S / self.per_minute if missing > _ROUNDING else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take out so much, more than is there too; a negative amount puts back."""
        self._level = min(float(self.per_minute), self._filled(now) - amount)

    def _filled(self, now: float) -> float:
        self._level = min(float(self.per_minute), self._level + (now - self._at) * self.per_minute / MINUTE_S)
        self._at = now
        return self._level


class Told:
    """One limit as the provider told it last, and what was let go since."""

    __slots__ = ("_at", "_limit", "_per_second", "_remaining", "pending")

    def __init__(self) -> None:
        self.pending = 0.0
        self._limit = self._remaining = 1.0
        self._per_second = 0.0
        self._at = 0.0

    def hear(self, fact: RateFact, now: float) -> None:
        """Go by what an answer said."""
        self._limit, self._remaining, self._at = float(fact.limit), float(fact.remaining), now
        self._per_second = fact.limit / MINUTE_S
        if fact.reset_s is not None and fact.reset_s >= EXACT_RESET_S:
            self._per_second = min(self._per_second, max(1.0, fact.limit - fact.remaining) / fact.reset_s)

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until so much is left, as far as is known."""
        left = min(self._limit, self._remaining + (now - self._at) * self._per_second)
        missing = min(amount, self._limit) + min(self.pending, self._limit) - left
        return missing / self._per_second if missing > _ROUNDING else 0.0


class _Limits:
    """All that answers to one key and model said."""

    __slots__ = ("rests_until", "told")

    def __init__(self) -> None:
        self.told: dict[str, Told] = {}
        self.rests_until = 0.0

    def wait_s(self, needs: dict[str, float], now: float) -> float:
        waits = (told.wait_s(needs[kind], now) for kind, told in self.told.items())
        return max(self.rests_until - now, 0.0, *waits)

    def hear(self, facts: RateFacts, now: float) -> None:
        for kind in _KINDS:
            fact: RateFact | None = getattr(facts, kind)
            if fact is not None:
                self.told.setdefault(kind, Told()).hear(fact, now)
        if facts.retry_after_s is not None:
            self.rests_until = now + min(facts.retry_after_s, LONGEST_REST_S)

    def hold(self, needs: dict[str, float], sign: float) -> None:
        for kind, told in self.told.items():
            told.pending = max(0.0, told.pending + sign * needs[kind])


class _Habits:
    """What calls of one model really use of what they may."""

    __slots__ = ("fresh", "output", "whole")

    def __init__(self) -> None:
        self.fresh = self.whole = self.output = 1.0

    def note(self, ask: Ask, usage: TokenUsage) -> None:
        read = usage.total_input
        if ask.input_tokens and read:
            self.whole += _LATEST * (min(1.0, read / ask.input_tokens) - self.whole)
            self.fresh += _LATEST * (min(1.0, (read - usage.cache_read) / ask.input_tokens) - self.fresh)
        if ask.max_output_tokens:
            self.output += _LATEST * (min(1.0, usage.output / ask.max_output_tokens) - self.output)


@dataclass(slots=True)
class Taken:
    """What one call took of its provider's rates, so that it can be put right."""

    tokens: float = 0.0  # of the settings' bucket
    needs: dict[str, float] | None = None
    held: _Limits | None = None  # where they are pending


NOTHING_TAKEN = Taken()


class ProviderRates:
    """The rates of one provider.

    Args:
        requests_per_minute: By the settings; None for no bound.
        tokens_per_minute: Likewise, in and out together.
        now: Monotonic clock.
    """

    def __init__(self, *, requests_per_minute: int | None, tokens_per_minute: int | None, now: float) -> None:
        self._requests = Bucket(requests_per_minute, now) if requests_per_minute else None
        self._tokens = Bucket(tokens_per_minute, now) if tokens_per_minute else None
        self._limits: OrderedDict[tuple[str, int], _Limits] = OrderedDict()
        self._keys: dict[str, set[int]] = {}  # of each model in `_limits`
        self._habits: OrderedDict[str, _Habits] = OrderedDict()

    @property
    def unbound(self) -> bool:
        """Whether nothing is known that could make a call wait."""
        return self._requests is None and self._tokens is None and not self._limits

    def use(self, *, requests_per_minute: int | None, tokens_per_minute: int | None, now: float) -> None:
        """Go by other settings; a bucket whose size stays keeps its level."""
        self._requests = _renewed(self._requests, requests_per_minute, now)
        self._tokens = _renewed(self._tokens, tokens_per_minute, now)

    def own_wait_s(self, ask: Ask, now: float, *, ahead: int = 0) -> float:
        """Return how long the settings' rates make a call wait, in seconds, when so many go before it."""
        requests = 0.0 if self._requests is None else self._requests.wait_s(1.0, now, ahead=ahead)
        tokens = 0.0 if self._tokens is None else self._tokens.wait_s(self._expected(ask), now, ahead=ahead)
        return max(requests, tokens)

    def told_wait_s(self, ask: Ask, now: float) -> float:
        """Return how long the provider's own limits make a call wait, in seconds: with several keys, the shortest."""
        keys = self._keys.get(ask.model)
        if not keys or len(keys) < ask.key_count:  # a key that was not heard of may be free
            return 0.0
        needs = self._needs(ask)
        return min(self._limits[ask.model, key].wait_s(needs, now) for key in keys)

    def take(self, ask: Ask, now: float) -> Taken:
        """Take what a call needs; whoever asks has seen that it need not wait."""
        if self.unbound:
            return NOTHING_TAKEN
        taken = Taken()
        if self._requests is not None:
            self._requests.take(1.0, now)
        if self._tokens is not None:
            taken.tokens = self._expected(ask)
            self._tokens.take(taken.tokens, now)
        keys = self._keys.get(ask.model)
        if keys:
            taken.needs = needs = self._needs(ask)
            taken.held = min((self._limits[ask.model, key] for key in keys), key=lambda limits: limits.wait_s(needs, now))
            taken.held.hold(needs, 1.0)
        return taken

    def hear(self, ask: Ask, key: int, facts: RateFacts, *, taken: Taken, now: float) -> None:
        """Go by what the answer to a call said, which counts that call already."""
        self._let_go(taken)
        limits = self._limits.get((ask.model, key))
        if limits is None:
            limits = self._limits[ask.model, key] = _Limits()
            self._keys.setdefault(ask.model, set()).add(key)
            self._forget_oldest()
        limits.hear(facts, now)
        self._limits.move_to_end((ask.model, key))

    def used(self, ask: Ask, usage: TokenUsage, *, taken: Taken, now: float) -> None:
        """Put right what an answered call took, and learn from it."""
        habits = self._habits.setdefault(ask.model, _Habits())
        if len(self._habits) > MOST_MODELS:
            self._habits.popitem(last=False)
        habits.note(ask, usage)
        if self._tokens is not None and taken.tokens:
            self._tokens.take(usage.total_input + usage.output - taken.tokens, now)
            taken.tokens = 0.0

    def give_back(self, taken: Taken, now: float, *, sent: bool) -> None:
        """Take what a call held as let go; where nothing was sent, its share of the settings' rates comes back."""
        if taken is NOTHING_TAKEN:
            return
        self._let_go(taken)
        if not sent:
            for bucket, amount in ((self._requests, 1.0), (self._tokens, taken.tokens)):
                if bucket is not None:
                    bucket.take(-amount, now)

    def _let_go(self, taken: Taken) -> None:
        if taken.held is not None and taken.needs is not None:
            taken.held.hold(taken.needs, -1.0)
            taken.held = taken.needs = None

    def _needs(self, ask: Ask) -> dict[str, float]:
        habits = self._habits.get(ask.model) or _Habits()
        return {
            "requests": 1.0,
            "tokens": ask.input_tokens * habits.whole + ask.max_output_tokens,  # so those count who tell one limit
            "input_tokens": ask.input_tokens * habits.fresh,
            "output_tokens": ask.max_output_tokens * habits.output,
        }

    def _expected(self, ask: Ask) -> float:
        habits = self._habits.get(ask.model) or _Habits()
        return ask.input_tokens * habits.whole + ask.max_output_tokens * habits.output

    def _forget_oldest(self) -> None:
        if len(self._limits) > MOST_MODELS:
            (model, key), _ = self._limits.popitem(last=False)
            self._keys[model].discard(key)
            if not self._keys[model]:
                del self._keys[model]


def _renewed(bucket: Bucket | None, per_minute: int | None, now: float) -> Bucket | None:
    if bucket is not None and bucket.per_minute == per_minute:
        return bucket
    return Bucket(per_minute, now) if per_minute else None
