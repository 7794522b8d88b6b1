"""Made-up traces of differing habits, by which a way to decide is held to its promises. The same seed gives the same trace."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import log
from random import Random

from benchmarks.traces import BLOCK_TOKENS, TraceRequest

HOUR_S = 3_600.0
_Blocks = Sequence[Hashable]


@dataclass
class _Draft:
    """Requests in any order, their blocks named by anything."""

    seed: int
    dice: Random = field(init=False)
    requests: list[tuple[float, int, int, tuple[Hashable, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)  # noqa: S311 - the same seed shall give the same trace

    def send(self, at: float, blocks: _Blocks, *, rest: int, output: int) -> None:
        """Send whole blocks and a rest of so many tokens that nobody else sends."""
        own = (("rest", len(self.requests)),)
        self.requests.append((at, len(blocks) * BLOCK_TOKENS + rest, output, (*blocks, *own)))

    def talk(self, at: float, *, turns: int, first: float, growth: float, gap_s: float, begin: _Blocks = ()) -> None:
        """Hold a conversation in which each request begins with the one before it."""
        name, tokens = len(self.requests), first
        blocks = list(begin)
        for _ in range(turns):
            while (len(blocks) + 1) * BLOCK_TOKENS <= tokens:
                blocks.append((name, len(blocks)))
            self.send(at, blocks, rest=1 + int(tokens) % (BLOCK_TOKENS - 1), output=200)
            tokens += self.dice.lognormvariate(0.0, 0.7) * growth
            at += self.dice.lognormvariate(0.0, 1.0) * gap_s

    def document(self, blocks: int) -> _Blocks:
        """Return a document that nobody sent yet."""
        name = len(self.requests)
        return [("document", name, number) for number in range(blocks)]

    def trace(self, *, until: float = float("inf")) -> list[TraceRequest]:
        """Return the requests in their order, with numbers for blocks: equal ones after equal beginnings."""
        numbers: dict[tuple[int, Hashable], int] = {}
        found = []
        for at, tokens, output, blocks in sorted((each for each in self.requests if each[0] < until), key=lambda each: each[0]):
            before, ids = -1, []
            for block in blocks:
                before = numbers.setdefault((before, block), len(numbers))
                ids.append(before)
            found.append(TraceRequest(round(at, 3), tokens, output, tuple(ids)))
        return found


def chat(seed: int = 1, *, most: int = 3_000, returns: float = 0.35, gap_s: float = 130.0) -> list[TraceRequest]:
    """Return an hour of chat in which few come back."""
    draft = _Draft(seed)
    dice = draft.dice
    while len(draft.requests) < most:
        turns = 1
        while dice.random() < returns and turns < 12:
            turns += 1
        first = min(100_000.0, dice.lognormvariate(8.6, 1.1))
        draft.talk(dice.uniform(0, HOUR_S), turns=turns, first=first, growth=900, gap_s=gap_s, begin=["greeting"])
    return draft.trace(until=HOUR_S)


def slow_chat(seed: int = 2, *, most: int = 3_000) -> list[TraceRequest]:
    """Return an hour of chat in which most who come back come too late."""
    return chat(seed, most=most, returns=0.45, gap_s=365.0)


@dataclass(frozen=True, kw_only=True)
class Habit:
    """How people talk with an assistant that is asked about pasted texts and found pages."""

    again: tuple[float, ...]  # chance to go on after the first request, the second and so on; the last one holds for all later
    gap_s: float  # median time between two requests
    spread: float  # of that time, of its logarithm
    first: float  # logarithm of the median length of a first request, in tokens
    wide: float  # spread of that length, of its logarithm
    shrink: float = 0.0  # by how much long first requests are less often gone on from, for each e-fold above 6,000 tokens
    long_shrink: float = 0.0  # the same for all of more than 20,000 tokens
    pasted: float = 0.1  # share of later requests that bring a long text
    pasted_size: float = 8.6  # logarithm of its median length
    hello: float = 0.15  # share of conversations that begin with a line

    def goes_on(self, turn: int, tokens: float) -> float:
        """Return the chance that a conversation goes on after so many requests before this one."""
        less = self.long_shrink * (tokens > 20_000)
        if not turn:
            less += self.shrink * max(0.0, log(tokens / 6_000))
        return self.again[min(turn, len(self.again) - 1)] - less


LOYAL = Habit(
    again=(0.35, 0.48, 0.61, 0.8), gap_s=140, spread=1.2, first=8.72, wide=1.26, shrink=0.11, long_shrink=0.1, pasted_size=9.0
)
FLEETING = Habit(again=(0.28, 0.5, 0.56, 0.63), gap_s=125, spread=1.0, first=8.65, wide=1.18, long_shrink=0.1, pasted=0.2)
PLAIN = Habit(again=(0.22, 0.5, 0.6, 0.65), gap_s=150, spread=1.2, first=8.45, wide=1.25, pasted=0.12, hello=0.2)
PASTING = Habit(
    again=(0.3, 0.58, 0.66, 0.62), gap_s=103, spread=1.1, first=8.55, wide=1.22, shrink=0.09, long_shrink=0.1, pasted=0.39,
    pasted_size=8.97, hello=0.2,
)  # fmt: skip
_LONGEST = 126_000


def busy_chat(seed: int = 11, *, habit: Habit = LOYAL, most: int = 12_000) -> list[TraceRequest]:
    """Return an hour out of the day of an assistant under one greeting, at moments three seconds apart.

    Conversations go on from the hour before, some requests are sent twice, and every habit comes to about the same bills: marking
    always gains little, second sight more, an hour loses much.
    """
    draft = _Draft(seed)
    dice, inside = draft.dice, 0
    while inside < most:
        at, number = dice.uniform(-HOUR_S, HOUR_S), len(draft.requests)
        tokens = 890 + dice.expovariate(1 / 150) if dice.random() < habit.hello else dice.lognormvariate(habit.first, habit.wide)
        tokens, gap_s = min(_LONGEST, max(600.0, tokens)), habit.gap_s * dice.lognormvariate(0, 0.5)
        blocks: list[Hashable] = ["greeting"]
        for turn in range(100):
            while (len(blocks) + 1) * BLOCK_TOKENS <= tokens:
                blocks.append((number, len(blocks)))
            sent = [at, at + dice.lognormvariate(3.0, 1.0)][: 1 + (dice.random() < 0.008)]
            own, output = [*blocks, ("rest", number, turn)], round(min(2_000, dice.lognormvariate(5.5, 1.0)))
            draft.requests += [
                (when // 3 * 3, max(int(tokens), len(own) * BLOCK_TOKENS - 511), output, tuple(own)) for when in sent
            ]
            inside += sum(0 <= when < HOUR_S for when in sent)
            if dice.random() > habit.goes_on(turn, tokens) or tokens > _LONGEST:
                break
            at += max(3.0, dice.lognormvariate(0, habit.spread) * gap_s)
            tokens += dice.lognormvariate(habit.pasted_size, 0.8) if dice.random() < habit.pasted else dice.lognormvariate(6.9, 0.9)
    draft.requests = [request for request in draft.requests if request[0] >= 0]
    return draft.trace(until=HOUR_S)


def agents(seed: int = 3, *, most: int = 2_000) -> list[TraceRequest]:
    """Return long loops of agents under four system prompts."""
    draft = _Draft(seed)
    dice = draft.dice
    prompts = [draft.document(dice.randint(10, 30))] + [[("prompt", kind, n) for n in range(20)] for kind in range(3)]
    while len(draft.requests) < most:
        begin = dice.choice(prompts)
        first = len(begin) * BLOCK_TOKENS + dice.randint(500, 4_000)
        draft.talk(dice.uniform(0, HOUR_S), turns=dice.randint(5, 40), first=first, growth=900, gap_s=12.0, begin=begin)
    return draft.trace()


def one_shot(seed: int = 4, *, most: int = 3_000) -> list[TraceRequest]:
    """Return requests that share nothing."""
    draft = _Draft(seed)
    for _ in range(most):
        draft.talk(draft.dice.uniform(0, HOUR_S), turns=1, first=draft.dice.lognormvariate(9.0, 0.8), growth=1, gap_s=1)
    return draft.trace()


def bursts(seed: int = 5, *, most: int = 3_000) -> list[TraceRequest]:
    """Return documents of which some are asked about many times within half a minute."""
    draft = _Draft(seed)
    dice = draft.dice
    while len(draft.requests) < most:
        at, document = dice.uniform(0, HOUR_S), draft.document(dice.randint(9, 120))
        for _ in range(1 if dice.random() < 0.6 else dice.randint(2, 20)):
            draft.send(at + dice.uniform(0, 30), document, rest=dice.randint(1, 500), output=100)
    return draft.trace()


def documents(seed: int = 6, *, most: int = 2_500) -> list[TraceRequest]:
    """Return documents that are asked about again and again for some minutes."""
    draft = _Draft(seed)
    dice = draft.dice
    while len(draft.requests) < most:
        at, document = dice.uniform(0, HOUR_S), draft.document(dice.randint(9, 200))
        while True:
            draft.send(at, document, rest=dice.randint(1, 500), output=100)
            at += dice.expovariate(1 / 120)
            if dice.random() > 0.7:
                break
    return draft.trace()


def hourly(seed: int = 7, *, count: int = 20, rounds: int = 140) -> list[TraceRequest]:
    """Return documents that come again after 15 to 55 minutes, for some days: what an hour was made for."""
    draft = _Draft(seed)
    dice = draft.dice
    for _ in range(count):
        at, document = dice.uniform(0, 1_800), draft.document(dice.randint(20, 120))
        for _ in range(rounds):
            draft.send(at, document, rest=200, output=100)
            at += dice.uniform(900, 3_300)
    return draft.trace()


def traps(seed: int = 8, *, cycles: int = 8, good: int = 40, bad: int = 300) -> list[TraceRequest]:
    """Return requests that come again for just so long that one may rely on it, and then do not, time and again."""
    draft = _Draft(seed)
    at = 0.0
    for _ in range(cycles):
        for number in range(good + bad):
            at += 1.0
            document = draft.document(draft.dice.randint(20, 60))
            draft.send(at, document, rest=100, output=50)
            if number < good:
                draft.send(at + 40, document, rest=100, output=50)
    return draft.trace()


def betrayal(seed: int = 10) -> list[TraceRequest]:
    """Return requests that come again for one minute, and then never more: the worst that is known for one who learns."""
    return traps(seed, cycles=1, good=60, bad=3_000)


def regimes(seed: int = 9) -> list[TraceRequest]:
    """Return half hours of differing habits, one after another."""
    parts = (one_shot(seed, most=800), agents(seed, most=1_000), chat(seed, most=1_000), one_shot(seed + 1, most=800))
    found: list[TraceRequest] = []
    for number, part in enumerate(parts):
        above = max((max(asked.hash_ids) for asked in found), default=-1) + 1
        for asked in sorted(part, key=lambda each: each.time):
            ids = tuple(block + above for block in asked.hash_ids)
            found.append(TraceRequest(asked.time / 2 + number * 2 * HOUR_S, asked.input_length, asked.output_length, ids))
    return found


TRACES: Mapping[str, Callable[[], list[TraceRequest]]] = {
    "chat": chat,
    "slow_chat": slow_chat,
    "agents": agents,
    "one_shot": one_shot,
    "bursts": bursts,
    "documents": documents,
    "hourly": hourly,
    "traps": traps,
    "regimes": regimes,
    "busy_chat": busy_chat,
    "busy_chat_fleeting": partial(busy_chat, 12, habit=FLEETING),
    "busy_chat_plain": partial(busy_chat, 13, habit=PLAIN),
    "busy_chat_pasting": partial(busy_chat, 14, habit=PASTING),
}
