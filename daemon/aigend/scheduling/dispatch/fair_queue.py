"""Who goes next among those that wait for one provider in one lane: services in turn, within a service the most urgent first.

Turns are deficit round robin in its surplus form: a service whose turn was dear owes the rounds that it took too much. A service
that comes newly joins at the end of the round, so that no number of new ones keeps another from its turn; and a call without a
deadline is due after a while, so that no number of urgent ones keeps it from going. Limits and times are not looked at here.

Source:
    M. Shreedhar, G. Varghese, "Efficient Fair Queuing using Deficit Round Robin", SIGCOMM 1995; the surplus form: H. Adiseshu,
    G. Parulkar, G. Varghese, "A Reliable and Scalable Striping Protocol", SIGCOMM 1996.
"""

import heapq
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice

from aigend.scheduling.dispatch.ask import ServiceKey
from aigend.scheduling.dispatch.waiting import Waiting

MOST_DEAD = 16  # places of those who left, beside as many as still wait, before a heap is made anew
_Heap = list[tuple[float, int, Waiting]]
_Fellows = tuple[str, bytes]  # model and prefix


class _Backlog:
    """What one service has waiting, by model: what holds up one model holds up no other."""

    __slots__ = ("credit", "dead", "heaps", "live")

    def __init__(self) -> None:
        self.credit = 1
        self.heaps: dict[str, _Heap] = {}
        self.live: set[int] = set()  # numbers of those that still wait
        self.dead = 0

    def add(self, waiting: Waiting) -> None:
        heapq.heappush(self.heaps.setdefault(waiting.ask.model, []), (waiting.due, waiting.number, waiting))
        self.live.add(waiting.number)

    def drop(self, waiting: Waiting) -> None:
        """Take one out; its place in the heap stays until it comes to the top or there are too many of them."""
        self.live.discard(waiting.number)
        self.dead += 1
        if self.dead > len(self.live) + MOST_DEAD:
            self._renew()

    def first(self, blocked: set[str]) -> Waiting | None:
        """Return the most urgent one whose model is not blocked."""
        tops = [heap[0] for model in list(self.heaps) if model not in blocked and (heap := self._cleared(model))]
        return min(tops)[2] if tops else None

    def _cleared(self, model: str) -> _Heap:
        heap = self.heaps[model]
        while heap and heap[0][1] not in self.live:
            heapq.heappop(heap)
            self.dead -= 1
        if not heap:
            del self.heaps[model]
        return heap

    def _renew(self) -> None:
        self.heaps = {
            model: kept for model, heap in self.heaps.items() if (kept := [item for item in heap if item[1] in self.live])
        }
        for heap in self.heaps.values():
            heapq.heapify(heap)
        self.dead = 0


class FairQueue:
    """Those that wait for one provider in one lane."""

    def __init__(self) -> None:
        self._turns: OrderedDict[ServiceKey, _Backlog] = OrderedDict()
        self._fellows: dict[_Fellows, OrderedDict[Waiting, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def waiting_of(self, service: ServiceKey) -> int:
        """Return how many calls of a service wait here."""
        backlog = self._turns.get(service)
        return len(backlog.live) if backlog else 0

    @property
    def service_count(self) -> int:
        """How many services take turns."""
        return len(self._turns)

    def push(self, waiting: Waiting) -> None:
        """Let a call wait."""
        ask = waiting.ask
        backlog = self._turns.get(ask.service_key)
        if backlog is None:
            backlog = self._turns[ask.service_key] = _Backlog()
        backlog.add(waiting)
        self._count += 1
        if ask.prefix and not waiting.alone:
            self._fellows.setdefault((ask.model, ask.prefix), OrderedDict())[waiting] = None

    def remove(self, waiting: Waiting) -> None:
        """Take out a call that leaves or is put elsewhere."""
        ask = waiting.ask
        backlog = self._turns[ask.service_key]
        backlog.drop(waiting)
        self._count -= 1
        if not backlog.live:
            del self._turns[ask.service_key]
        together = self._fellows.get((ask.model, ask.prefix))
        if together is not None:
            together.pop(waiting, None)
            if not together:
                del self._fellows[ask.model, ask.prefix]

    def pop(self, ready: Callable[[Waiting], bool], blocked: set[str]) -> Waiting | None:
        """Take out whoever goes next; None where nobody is ready.

        A model whose most urgent call is not ready is passed by whole: were smaller calls let past it, it would never go.

        Args:
            ready: Tells whether a call may go now.
            blocked: Models that are passed by; those that turn out not to be ready are added.
        """
        aside: list[tuple[ServiceKey, _Backlog]] = []
        chosen: Waiting | None = None
        while chosen is None and self._turns:
            service, backlog = next(iter(self._turns.items()))
            first = backlog.first(blocked)
            if first is None:
                aside.append((service, self._turns.pop(service)))
            elif first.left:
                first.leave_place()
            elif backlog.credit <= 0:
                self._next_turn(service, backlog)
            elif ready(first):
                chosen = first
            else:
                blocked.add(first.ask.model)
        for service, backlog in reversed(aside):
            self._turns[service] = backlog
            self._turns.move_to_end(service, last=False)
        if chosen is not None:
            self._charge(chosen)
            chosen.leave_place()
        return chosen

    def fellows(self, waiting: Waiting, most: int) -> list[Waiting]:
        """Return those that wait for the same model with the same prefix, in the order in which they came, at most so many."""
        return list(islice(self._fellows.get((waiting.ask.model, waiting.ask.prefix), ()), most))

    def take(self, fellow: Waiting) -> None:
        """Take out one that goes along with another's turn; it costs its service what it has, and makes no debt.

        One that was not its service's most urgent goes for nothing: were it to use up the turn of another, that might never go.
        """
        backlog = self._turns[fellow.ask.service_key]
        if backlog.first(set()) is fellow:
            backlog.credit = max(backlog.credit - fellow.ask.shares, min(backlog.credit, 0))
        fellow.leave_place()

    def _next_turn(self, service: ServiceKey, backlog: _Backlog) -> None:
        backlog.credit += 1
        self._turns.move_to_end(service)

    def _charge(self, chosen: Waiting) -> None:
        service = chosen.ask.service_key
        backlog = self._turns[service]
        backlog.credit -= chosen.ask.shares
        if backlog.credit <= 0:
            self._next_turn(service, backlog)
