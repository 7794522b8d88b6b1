"""Marks what is expected to pay: the chance that a prefix comes again against the price of writing and reading it.

Each stretch of a request is judged by what it did itself before and by what its kind did: how often it was sent, how far into a
conversation it stands, how long the request is, when it was last sent. The beginning that gains most is marked, for five minutes
or for an hour. Where an owner's record says that marking does not pay, nothing is marked until it would; while that may be
luck, only what is worth its premium beyond doubt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aigend.scheduling.prompt_cache.chances import SPANS_S, Chances, Kind, lowered
from aigend.scheduling.prompt_cache.choosing import (
    LONG_TTL_S,
    NOTHING,
    SHORT_TTL_S,
    Choice,
    Stretch,
    best,
    gains,
    marks_of,
    premium_of,
)
from aigend.scheduling.prompt_cache.marking import Decision, Mark, Terms, TokenPrices
from aigend.scheduling.prompt_cache.prefix_tree import Cell, Node, PrefixTree, Way, names
from aigend.scheduling.prompt_cache.prefixes import Prefixes
from aigend.scheduling.prompt_cache.track_record import BEYOND_DOUBT, Record, TrackRecords
from aigend.types import TokenUsage

_MANY = 4  # from here on it makes no difference how many
_RECENT_S = 60
_LITTLE = 1e-6
_MOST_BELOW = 32  # ways on from a prefix: one from which more go on, as from a greeting, tells less of them than their kind does


@dataclass(frozen=True, slots=True)
class _Question:
    """What was weighed of a request last, so that noting it does not weigh it again."""

    prefixes: Prefixes
    terms: Terms
    now: float
    ends: list[bytes]
    stretches: list[Stretch]


class Adaptive:
    """Learns from every request, and marks by expected gain.

    Args:
        tree: Remembers what was sent.
        chances: Learns what comes again.
        records: Tell whether marking earns its keep.
    """

    def __init__(
        self, *, tree: PrefixTree | None = None, chances: Chances | None = None, records: TrackRecords | None = None
    ) -> None:
        self.tree = tree if tree is not None else PrefixTree()
        self.chances = chances if chances is not None else Chances()
        self.records = records if records is not None else TrackRecords()
        self._last: _Question | None = None

    def decide(self, prefixes: Prefixes, terms: Terms, *, now: float) -> Decision:
        """Return the marks whose expected gain is the highest."""
        if not prefixes.every:
            return Decision((), "the request has nothing that could be kept")
        prices = terms.prices
        if prices is None:
            return Decision((), "no price of the model is known")
        stretches = self._weigh(prefixes, terms, prices, now=now).stretches
        self.records.pass_time(now)
        record = self.records.of(terms.owner)
        wanted = best(stretches, terms) if record.open else NOTHING
        premium = premium_of(stretches, wanted, prices)
        choice = wanted if record.bears(premium, dearness=_dearness(wanted, prices)) else NOTHING
        return Decision(
            marks_of(stretches, choice, prefixes, minimum=terms.minimum),
            _reason(stretches, choice, record, is_bearable=choice is wanted),
            gain_nanos=round(choice.gain),
            premium_nanos=round(premium) if choice is wanted else 0,
        )

    def note(self, prefixes: Prefixes, terms: Terms, *, now: float) -> None:
        """Remember that a request is being sent, and learn from what of it was sent before."""
        if not prefixes.every:
            return
        prices = terms.prices
        question = self._weigh(prefixes, terms, prices, now=now) if prices is not None else None
        self.records.pass_time(now)  # not every request that is noted was decided on here
        self.chances.pass_time(now)
        nodes, known = self.tree.grow(terms.owner, prefixes.every, [cut for _, cut, _ in _new_parts(prefixes, 0)])
        if question is not None and prices is not None:
            self._put_on_paper(nodes, question, best(question.stretches, terms, paper=True), prices)
        for node in nodes[:known]:
            self._seen_again(node, terms, now, share=1.0 / known)
        turn = nodes[known].turn if known < len(nodes) else 0
        at = sum(len(node.ends) for node in nodes[:known])
        for node, (_, _, place) in zip(nodes[known:], _new_parts(prefixes, at), strict=True):
            self._seen_first(node, _first(terms, place, turn=turn, tokens=prefixes.every[-1].tokens), now=now)
        self._last = None

    def observe(
        self, prefixes: Prefixes, marks: Sequence[Mark], usage: TokenUsage, *, terms: Terms, now: float, decided: bool = True
    ) -> None:
        """Learn what a settled call left in the provider's cache, and what it cost.

        Args:
            prefixes: Of the request.
            marks: What was marked.
            usage: What the provider counted.
            terms: What the decision stood on.
            now: Clock, in seconds.
            decided: Whether the marks were decided on here, and what they cost is answered for here.
        """
        if not marks:
            return
        if decided and terms.prices is not None:
            self.records.of(terms.owner).balance += _saved(usage, terms.prices)
        kept = bool(usage.cache_read or usage.cache_write_5m or usage.cache_write_1h)
        last = marks[-1].prefix.tokens
        longest = max((mark.prefix.tokens for mark in marks if mark.ttl_s > SHORT_TTL_S), default=0)
        for step in self.tree.way(terms.owner, names(prefixes.every)).steps:
            node = step.node
            if node.tokens[-1] > last:
                break
            if not kept:
                node.kept_until = 0.0
                continue
            if node.kept_until <= now:
                node.kept_s = LONG_TTL_S if node.tokens[-1] <= longest else SHORT_TTL_S
            node.kept_until = now + node.kept_s

    def _put_on_paper(self, nodes: Sequence[Node], question: _Question, choice: Choice, prices: TokenPrices) -> None:
        """Carry out a decision on paper, whether it was carried out or not."""
        terms, now = question.terms, question.now
        long, last = (question.stretches[number - 1].end.tokens if number else 0 for number in (choice.long, choice.all))
        read = _read_on_paper(nodes, now)
        if read < terms.minimum:
            read = 0
        before, repaid = 0, 0.0
        for node in nodes:
            tokens, before = node.tokens[-1] - before, node.tokens[-1]
            if before <= read:
                repaid += self.records.repaid(node)
                node.paper_until = now + node.paper_s
            elif before <= last:
                node.paper_s = LONG_TTL_S if before <= long else SHORT_TTL_S
                node.paper_until = now + node.paper_s
                write = prices.write_1h if node.paper_s > SHORT_TTL_S else prices.write_5m
                self.records.paid(terms.owner, node, premium=tokens * (write - prices.input))
        self.records.count(terms.owner, spent=before * prices.input, saved=read * (prices.input - prices.read) - repaid)

    def _seen_again(self, node: Node, terms: Terms, now: float, *, share: float) -> None:
        gap = now - node.last
        if gap <= 0.0:  # sent at the same moment: neither could have read what the other wrote
            return
        if node.sight is not None:
            self.chances.came_again(node.sight, now=now)
        node.sights, node.last = node.sights + 1, now
        node.own = node.own or Cell(len(SPANS_S))
        node.sight = self.chances.sent((*self.chances.cells(_again(terms, node.sights, gap)), node.own), now=now, share=share)

    def _seen_first(self, node: Node, kinds: tuple[Kind, ...], *, now: float) -> None:
        cells, parent = self.chances.cells(kinds), node.parent
        if kinds[0][-1] != _REST and parent is not None and parent.parent is not None and len(parent.children) <= _MOST_BELOW:
            parent.below = parent.below or Cell(len(SPANS_S))
            cells = (*cells, parent.below)
        node.sights, node.last = 1, now
        node.sight = self.chances.sent(cells, now=now)

    def _weigh(self, prefixes: Prefixes, terms: Terms, prices: TokenPrices, *, now: float) -> _Question:
        last = self._last
        if last is not None and last.prefixes is prefixes and last.terms == terms and last.now == now:
            return last
        ends = names(prefixes.every)
        way = self.tree.way(terms.owner, ends)
        stretches = [*self._known(way, prefixes, terms, prices, now=now), *self._new(way, prefixes, terms, prices)]
        self._last = _Question(prefixes, terms, now, ends, stretches)
        return self._last

    def _known(self, way: Way, prefixes: Prefixes, terms: Terms, prices: TokenPrices, *, now: float) -> Iterator[Stretch]:
        """Yield the stretches of a request that were sent before."""
        record = self.records.of(terms.owner)
        at = before = 0
        for step in way.steps:
            node = step.node
            at += step.shared
            end = prefixes.every[at - 1]
            tokens, before = end.tokens - before, end.tokens
            kept, on_paper = node.kept_until > now, node.paper_until > now
            chance = short = long = caution = 0.0
            if not (kept and on_paper):  # else nothing is asked of it
                kinds = _again(terms, node.sights + 1, now - node.last)
                later = self.chances.expect(_again(terms, node.sights + 2, None), node.own)
                chance, short, long, caution = self._worth(kinds, node.own, later=later, prices=prices, record=record)
            yield Stretch(
                end=end,
                tokens=tokens,
                chance=chance,
                short=tokens * short,
                long=tokens * long,
                caution=tokens * caution,
                kept=kept,
                on_paper=on_paper,
            )

    def _new(self, way: Way, prefixes: Prefixes, terms: Terms, prices: TokenPrices) -> Iterator[Stretch]:
        """Yield the stretches of a request that are sent for the first time."""
        every = prefixes.every
        before = every[way.known - 1].tokens if way.known else 0
        turn = way.last.turn + 1 if way.steps else 0
        own = way.last.below if way.steps and len(way.last.children) < _MOST_BELOW else None
        later, record = self.chances.expect(_again(terms, 2, None)), self.records.of(terms.owner)
        for _, cut, place in _new_parts(prefixes, way.known):
            end = every[cut - 1]
            tokens, before = end.tokens - before, end.tokens
            kinds = _first(terms, place, turn=turn, tokens=every[-1].tokens)
            chance, short, long, caution = self._worth(
                kinds, own if place != _REST else None, later=later, prices=prices, record=record
            )
            yield Stretch(end=end, tokens=tokens, chance=chance, short=tokens * short, long=tokens * long, caution=tokens * caution)

    def _worth(
        self, kinds: tuple[Kind, ...], own: Cell | None, *, later: tuple[float, float], prices: TokenPrices, record: Record
    ) -> tuple[float, float, float, float]:
        """Return a part's chance within five minutes, what a token of it gains then and in an hour, and the caution."""
        chance = self.chances.expect(kinds, own)
        short, long = gains(chance, later, prices, hurdle=record.hurdle)
        if record.proven or not record.open:
            return chance[0], short, long, 0.0
        careful = lowered(chance[0], self.chances.known(kinds, own), deviations=BEYOND_DOUBT)
        surely, _ = gains((careful, chance[1]), later, prices, hurdle=record.hurdle)
        return chance[0], short, long, short - surely


def _dearness(choice: Choice, prices: TokenPrices) -> float:
    """Return what writing costs above sending, as a share of sending, at the longest time that is chosen."""
    return max(0.0, (prices.write_1h if choice.long else prices.write_5m) / max(prices.input, _LITTLE) - 1.0)


def _saved(usage: TokenUsage, prices: TokenPrices) -> float:
    """Return what a call's readings saved, less the premiums of its writings, in nano-dollars."""
    premiums = usage.cache_write_5m * (prices.write_5m - prices.input) + usage.cache_write_1h * (prices.write_1h - prices.input)
    return usage.cache_read * (prices.input - prices.read) - premiums


_BODY, _REST, _ONE = "body", "rest", "one"


def _new_parts(prefixes: Prefixes, known: int) -> Iterator[tuple[int, int, str]]:
    """Yield begin, end and place of what is new: it is cut where what is stable ends, and before the last part."""
    stable = {prefix.place for prefix in prefixes.stable}
    whole, at = len(prefixes.every), known
    cuts = [number for number, prefix in enumerate(prefixes.every[: whole - 2], 1) if prefix.place in stable] if stable else []
    for cut in (*cuts, whole - 1, whole):
        if cut > at:
            yield at, cut, _BODY if cut < whole else _REST if at > known else _ONE
            at = cut


def _again(terms: Terms, sights: int, gap: float | None) -> tuple[Kind, ...]:
    """Return the kinds of what is sent again, so often and so long after the last time."""
    owner, many = terms.owner, min(sights, _MANY)
    wide: tuple[Kind, ...] = ((owner,), (owner, "again"), (owner, "again", many))
    if gap is None:
        return wide
    return (*wide, (owner, "again", terms.service, many, 0 if gap <= _RECENT_S else 1 if gap <= SHORT_TTL_S else 2))


def _first(terms: Terms, place: str, *, turn: int, tokens: int) -> tuple[Kind, ...]:
    """Return the kinds of what is sent for the first time; the last part of several says nothing of the others."""
    owner, turn = terms.owner, min(turn, _MANY)
    kinds: tuple[Kind, ...] = ((owner, place), (owner, place, turn), (owner, place, terms.service, turn, tokens.bit_length()))
    return kinds if place == _REST else ((owner,), *kinds)


def _read_on_paper(nodes: Sequence[Node], now: float) -> int:
    """Return how many tokens would be read, had every decision been carried out."""
    read = 0
    for node in nodes:
        if node.paper_until <= now:
            break
        read = node.tokens[-1]
    return read


def _reason(stretches: Sequence[Stretch], choice: Choice, record: Record, *, is_bearable: bool) -> str:
    """Say what decided, in a sentence for people."""
    if choice.all:
        stretch = next(each for each in reversed(stretches[: choice.all]) if not each.kept)
        hour = f", {stretches[choice.long - 1].end.tokens} of them later too" if choice.long else ""
        return f"about {stretch.end.tokens} tokens come again within 5 minutes with a chance of {stretch.chance:.0%}{hour}"
    kept = max((stretch.end.tokens for stretch in stretches if stretch.kept), default=0)
    if not is_bearable:
        return "as much as may be lost is written and was not read yet: nothing more is written until it is"
    if kept:
        return f"about {kept} tokens are kept already, and nothing more is worth its premium"
    if not record.open:
        return "marking is not known to pay here: it begins where it would have paid"
    likeliest = max((stretch.chance for stretch in stretches), default=0.0)
    surely = "" if record.proven else "surely "
    return f"nothing is {surely}worth its premium: the likeliest part comes again within 5 minutes with a chance of {likeliest:.0%}"
