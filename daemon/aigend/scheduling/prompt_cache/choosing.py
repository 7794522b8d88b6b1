"""Which beginning of a request is worth its premium: arithmetic over chances and prices."""

from collections.abc import Sequence
from dataclasses import dataclass

from aigend.scheduling.prompt_cache.marking import Mark, Terms, TokenPrices
from aigend.scheduling.prompt_cache.prefixes import Prefix, Prefixes

MOST_MARKS = 4
MOST_READS = 20.0  # of one writing that are reckoned with
SHORT_TTL_S, LONG_TTL_S = 300, 3_600
_LITTLE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of a request that is kept or not kept as a whole."""

    end: Prefix
    tokens: int  # of itself
    chance: float  # to come again within five minutes
    short: float  # what keeping it for five minutes is expected to gain, in nano-dollars
    long: float  # the same for an hour
    caution: float = 0.0  # how much less of both is beyond doubt, where only that is paid for
    kept: bool = False  # by the provider, as far as is known
    on_paper: bool = False  # whether it were kept, had every decision been carried out


@dataclass(frozen=True, slots=True)
class Choice:
    """How many stretches are kept for an hour, how many at all, and what that is expected to gain in nano-dollars."""

    long: int = 0
    all: int = 0
    gain: float = 0.0


NOTHING = Choice()


def gains(
    chance: tuple[float, float], later: tuple[float, float], prices: TokenPrices, *, hurdle: float = 0.0
) -> tuple[float, float]:
    """Return what keeping a token for five minutes and for an hour gains, in nano-dollars.

    A reading saves the difference of input and reading. Those after it could be had by writing then instead of now, so that they
    count for no more than that writing's premium. An hour gains above five minutes what comes again later, reckoned alike.

    Args:
        chance: To come again within five minutes and within an hour.
        later: The same once it has come again.
        prices: Of a token.
        hurdle: Share of the premium of five minutes that is to be gained above it.

    Example:
        >>> prices = TokenPrices(input=5_000, read=500, write_5m=6_250, write_1h=10_000)
        >>> short, _ = gains((0.5, 0.5), (0.0, 0.0), prices)
        >>> short
        1000.0
    """
    saved, short_premium, long_premium = prices.input - prices.read, prices.write_5m - prices.input, prices.write_1h - prices.input
    soon, late = chance[0], chance[1] - chance[0]
    soon_again, late_again = later[0], later[1] - later[0]
    further = min(MOST_READS, soon_again / max(_LITTLE, 1.0 - soon_again)) * saved
    short = soon * (saved + min(further, short_premium)) - short_premium * (1.0 + hurdle)
    ever_late = min(1.0, late + soon * late_again / max(_LITTLE, 1.0 - soon_again))
    further = min(MOST_READS, late_again / max(_LITTLE, 1.0 - later[1])) * saved
    long = ever_late * (saved + min(further, long_premium)) - (long_premium - short_premium)
    return short, short + long


def best(stretches: Sequence[Stretch], terms: Terms, *, paper: bool = False) -> Choice:
    """Return the choice with the highest expected gain; what is kept already costs and gains nothing.

    Args:
        stretches: Of the request, in its order.
        terms: Allowed lifetimes, and the shortest prefix that is kept.
        paper: Whether to go by what were kept, had every decision been carried out; what is on paper needs no caution.

    Source:
        What is kept for longer stands before what is kept for less: Anthropic, "Prompt caching", mixing lifetimes. Read 2026-11.
    """
    hour, minutes = terms.ttl_s > SHORT_TTL_S or terms.may_take_an_hour, terms.ttl_s <= SHORT_TTL_S or terms.may_take_an_hour
    chosen, start = NOTHING, 0
    total_long, run = 0.0, 0.0  # gain of all so far for an hour; and of the best of them for an hour, the others for five minutes
    for number, stretch in enumerate(stretches, 1):
        if not (stretch.on_paper if paper else stretch.kept):
            less = 0.0 if paper else stretch.caution
            total_long += stretch.long - less
            run += stretch.short - less if minutes else float("-inf")
        if stretch.end.tokens < terms.minimum:
            continue
        if hour and total_long > max(run, 0.0):
            run, start = total_long, number
        if run > chosen.gain:
            chosen = Choice(start, number, run)
    return chosen


def premium_of(stretches: Sequence[Stretch], choice: Choice, prices: TokenPrices) -> float:
    """Return what writing costs above sending, in nano-dollars."""
    written = [(number, stretch.tokens) for number, stretch in enumerate(stretches[: choice.all]) if not stretch.kept]
    rates = (prices.write_5m - prices.input, prices.write_1h - prices.input)
    return sum(tokens * rates[number < choice.long] for number, tokens in written)


def marks_of(stretches: Sequence[Stretch], choice: Choice, prefixes: Prefixes, *, minimum: int) -> tuple[Mark, ...]:
    """Return the marks of a choice: its ends, the end of what is kept already so that it is read, and other ends on the way.

    Marks on the way cost nothing, and let requests read that go another way from there.
    """
    kept = max((number for number, stretch in enumerate(stretches, 1) if stretch.kept), default=0)
    ends = [stretches[number - 1].end for number in (choice.long, choice.all, kept) if number]
    wanted = {end.blocks: end for end in ends if end.tokens >= minimum}
    if not wanted:
        return ()
    longest = stretches[choice.long - 1].end.blocks if choice.long else 0
    last = max(wanted)
    for prefix in (*reversed(prefixes.stable), *(stretch.end for stretch in reversed(stretches))):
        if len(wanted) < MOST_MARKS and prefix.blocks <= last and prefix.tokens >= minimum:
            wanted.setdefault(prefix.blocks, prefix)
    return tuple(Mark(prefix, LONG_TTL_S if blocks <= longest else SHORT_TTL_S) for blocks, prefix in sorted(wanted.items()))
