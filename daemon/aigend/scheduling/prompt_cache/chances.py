"""How likely a prefix comes again within five minutes and within an hour, learned from what its kind did before.

Whether a prefix comes again is seen whether it was marked or not: nothing has to be tried out. What was sent is watched through a
row of spans of time; a kind's chance in each is what came again in it, of what entered it. So what is young says as much as its
age allows. Where a span was not seen yet, the one before it stands for it: what comes again does so with the logarithm of time.

Habits end. Where what is expected to come again stays away time after time, counts are not worn down one by one: they are cut.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from math import log, sqrt

from aigend.scheduling.prompt_cache.prefix_tree import Cell, Sight

Kind = tuple[str | int, ...]

SPANS_S = (10, 30, 60, 100, 150, 220, 300, 900, 1_800, 3_600)  # ends of the spans; five minutes and an hour are among them
SHORT_SPANS = 7  # those within five minutes
PRIOR = 0.03  # chance of a span of which nothing is known: most of what is sent never comes again
STRENGTH = 8.0  # sendings that outweigh what is known of the wider kind
MEMORY = 300.0  # sendings after which a count has forgotten most of what was: behaviour changes
FALLEN = 0.25  # of a chance: what it is suspected to have fallen to
ALARM = 4.0  # things that should have come again and did not, more than a fallen chance explains: from there on it has fallen
MOST_CELLS = 8_192
MOST_WATCHED = 65_536  # in each span
# How much of what enters a span counts at once, the rest when it leaves: half, as in life tables; beyond five minutes all, for an
# hour is dear.
_AT_ONCE = (0.5,) * SHORT_SPANS + (1.0,) * (len(SPANS_S) - SHORT_SPANS)
_HEAVY = 1e9
_MOST_AHEAD = 0.5  # chance of a span for which the one before it stands, at most
_PAR = (1.0 - FALLEN) / -log(FALLEN)  # of a chance: between what it was and what it may have fallen to
_LOG = [log(end) for end in SPANS_S]
_WIDER = (1.0, 1.0, *((_LOG[n] - _LOG[n - 1]) / (_LOG[n - 1] - _LOG[n - 2]) for n in range(2, len(SPANS_S))))  # than the one before


class Chances:
    """Counts by kind, from the widest to the narrowest.

    Args:
        prior: Chance of a span where nothing is known.
        strength: How many sendings of its own outweigh what is known of the wider kind.
        memory: After how many sendings a count forgets.
    """

    def __init__(self, *, prior: float = PRIOR, strength: float = STRENGTH, memory: float = MEMORY) -> None:
        self._prior, self._strength, self._growth = prior, strength, 1.0 / (1.0 - 1.0 / memory)
        self._cells: OrderedDict[Kind, Cell] = OrderedDict()
        self._watched: list[deque[Sight]] = [deque() for _ in SPANS_S]

    def __len__(self) -> int:
        return len(self._cells)

    def items(self) -> Iterator[tuple[Kind, Cell]]:
        """Yield all counts, the longest unused first."""
        yield from self._cells.items()

    def restore(self, kind: Kind, cell: Cell) -> None:
        """Put back a count that was written down."""
        self._cells[kind] = cell

    def cells(self, kinds: Sequence[Kind]) -> tuple[Cell, ...]:
        """Return the counts of these kinds, for counting."""
        return tuple(self._cell(kind) for kind in kinds)

    def expect(self, kinds: Sequence[Kind], own: Cell | None = None) -> tuple[float, float]:
        """Return the chances to come again within five minutes and within an hour.

        Args:
            kinds: From the widest to the narrowest.
            own: What this very prefix did before.
        """
        cells = [cell for kind in kinds if (cell := self._cells.get(kind)) is not None]
        if own is not None:
            cells.append(own)
        weighed = [(cell.entered, cell.back, self._strength * cell.scale) for cell in cells]
        stays, short, chance = 1.0, 0.0, 0.0
        for span, wider in enumerate(_WIDER):
            chance = max(self._prior, min(_MOST_AHEAD, chance * wider)) if span < SHORT_SPANS else self._prior
            for entered, back, strength in weighed:
                chance = (back[span] + strength * chance) / (entered[span] + strength)
            stays *= 1.0 - min(1.0, chance)
            if span == SHORT_SPANS - 1:
                short = 1.0 - stays
        return short, 1.0 - stays

    def known(self, kinds: Sequence[Kind], own: Cell | None = None) -> float:
        """Return on how many sendings such a chance stands, those of wider kinds as far as they count."""
        known = 0.0
        for cell in (*map(self._cells.get, kinds), own):
            if cell is not None:
                known = cell.entered[0] / cell.scale + known * self._strength / (known + self._strength)
        return known

    def sent(self, cells: tuple[Cell, ...], *, now: float, share: float = 1.0) -> Sight:
        """Count one sending, and watch it.

        Args:
            cells: In which it counts.
            now: Clock, in seconds.
            share: Of its request, by which it is missed where it does not come again.
        """
        for cell in cells:
            cell.scale *= self._growth
            if cell.scale > _HEAVY:
                cell.settle()
        sight = Sight(cells, time=now, share=share)
        _count_in(sight)
        self._watch(sight)
        return sight

    def came_again(self, sight: Sight, *, now: float) -> None:
        """Count that what was sent came again."""
        sight.open = False
        gap = now - sight.time
        span = next((number for number, end in enumerate(SPANS_S) if gap <= end), None)
        while sight.span < (len(SPANS_S) if span is None else span):
            _outlive(sight)
        if span is not None:
            rest, share = 1.0 - _AT_ONCE[span], sight.share
            for cell in sight.cells:
                weight = sight.weight * cell.scale
                cell.back[span] += weight
                cell.entered[span] += rest * weight
                if cell.missed:
                    expected = _PAR * cell.back[span] / (cell.entered[span] + STRENGTH * cell.scale)
                    cell.missed = max(0.0, cell.missed - share * (1.0 - expected))

    def pass_time(self, now: float) -> None:
        """Let what has not come again in a span enter the next one."""
        for span, watched in enumerate(self._watched):
            while watched and now - watched[0].time > SPANS_S[span]:
                sight = watched.popleft()
                if sight.open and sight.span == span:
                    _outlive(sight)
                    self._watch(sight)

    def _cell(self, kind: Kind) -> Cell:
        cell = self._cells.get(kind)
        if cell is not None:
            self._cells.move_to_end(kind)
            return cell
        cell = self._cells[kind] = Cell(len(SPANS_S))
        if len(self._cells) > MOST_CELLS:
            self._cells.popitem(last=False)
        return cell

    def _watch(self, sight: Sight) -> None:
        if sight.span >= len(SPANS_S):
            return
        watched = self._watched[sight.span]
        watched.append(sight)
        if len(watched) > MOST_WATCHED:
            watched.popleft()


def _count_in(sight: Sight) -> None:
    """Count that a sending enters its span."""
    share = _AT_ONCE[sight.span]
    for cell in sight.cells:
        cell.entered[sight.span] += share * sight.weight * cell.scale


def _outlive(sight: Sight) -> None:
    """Count that a sending did not come again in its span, is missed as far as it was expected, and enters the next one.

    Source:
        A cumulative sum for counts, its reference value between two rates: E. S. Page, "Continuous inspection schemes",
        Biometrika 41 (1954); J. M. Lucas, "Counted data CUSUM's", Technometrics 27 (1985).
    """
    span, rest, missed = sight.span, (1.0 - _AT_ONCE[sight.span]) * sight.weight, _PAR * sight.share
    for cell in sight.cells:
        scale, counts = cell.scale, cell.entered
        counts[span] = entered = counts[span] + rest * scale
        back = cell.back[span]
        if back:  # else it is not missed
            cell.missed = so_far = cell.missed + missed * back / (entered + STRENGTH * scale)
            if so_far > ALARM:
                _cut(cell)
    sight.span += 1
    if sight.span < len(SPANS_S):
        _count_in(sight)


def lowered(chance: float, known: float, *, deviations: float) -> float:
    """Return what a chance surpasses but for so many standard deviations of what is known."""
    return max(0.0, chance - deviations * sqrt(chance * (1.0 - chance) / (known + 1.0)))


def _cut(cell: Cell) -> None:
    """Take a cell's chances for fallen, and let what comes now count for more."""
    cell.missed = 0.0
    cell.entered = [FALLEN * count for count in cell.entered]
    cell.back = [FALLEN * FALLEN * count for count in cell.back]
