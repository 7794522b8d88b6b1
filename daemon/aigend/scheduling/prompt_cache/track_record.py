"""Whether marking earns its keep: what it would have gained had every decision been carried out, owner by owner.

The record is kept on paper, so that it goes on while nothing is marked: what marking would come to is known before the first mark
is paid for. What reading saves counts when it is read, and with it the premium for what is read; what is not read counts when
its time is over. As long as little was earned, a mark has to be expected to gain more than its premium.

What a few large requests came to may be luck. So it is compared with what chance alone would have brought; until it is more than
that, only what is beyond doubt is paid for. And whatever the paper says, what was paid and not got back stays within a bound.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from math import sqrt

from aigend.scheduling.prompt_cache.prefix_tree import Node

AT_RISK = 0.001  # of what was spent: where more was lost, nothing is marked any more
WORTH_IT = 0.005  # of what was spent: where so much would have been earned, marking begins
PROVEN = 0.03  # of what was spent: where so much was earned, what is expected is believed
HURDLE = 0.2  # of a premium: what is to be gained above it where nothing was earned yet
BEYOND_DOUBT = 2.0  # standard deviations
STAKE = 0.25  # of what was sent: so much may have been written in vain, as long as it was not read
MEMORY = 1_000.0  # requests after which a record has forgotten most of what was
MOST_RECORDS = 1_024


class Record:
    """What deciding came to for one owner, in nano-dollars; later requests weigh more."""

    __slots__ = ("balance", "earned", "open", "proven", "spent", "squares")

    def __init__(
        self,
        *,
        spent: float = 0.0,
        earned: float = 0.0,
        squares: float = 0.0,
        balance: float = 0.0,
        is_open: bool = False,
        is_proven: bool = False,
    ) -> None:
        self.spent = spent  # what prompts cost unmarked
        self.earned = earned  # what reading saved, less the premiums of what is no longer kept
        self.squares = squares  # of what each request and each loss came to
        self.balance = balance  # what reading really saved, less all premiums that were really paid
        self.open = is_open  # whether marks are paid for
        self.proven = is_proven  # whether what was earned is more than chance

    @property
    def hurdle(self) -> float:
        """Share of a premium that is to be gained above it: the less, the more was earned."""
        return HURDLE * min(1.0, max(0.0, 1.0 - self.earned / (PROVEN * self.spent + 1.0)))

    def judge(self, at_risk: float) -> None:
        """Stop where more was lost than may be, and begin where it would have paid; doubt ends where it can't be luck."""
        if self.earned < -at_risk * self.spent:
            self.open = self.proven = False
        elif self.earned > WORTH_IT * self.spent:
            self.open = True
            self.proven = self.proven or self.earned > BEYOND_DOUBT * sqrt(self.squares)

    def bears(self, premium: float, *, dearness: float) -> bool:
        """Return whether a premium may be paid, should nothing that is kept now be read.

        Args:
            premium: In nano-dollars.
            dearness: What writing costs above sending, as a share of sending; what is dearer may cost more.
        """
        return premium <= self.balance + STAKE * dearness * self.spent


class TrackRecords:
    """The records of all owners; the longest unused is given up first.

    Args:
        at_risk: Of what is spent, what may be lost.
        memory: After how many requests a record forgets.
    """

    def __init__(self, *, at_risk: float = AT_RISK, memory: float = MEMORY) -> None:
        self._at_risk, self._keep = at_risk, 1.0 - 1.0 / memory
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._due: list[tuple[float, int, Node, Record]] = []
        self._number = count()

    @property
    def unsettled(self) -> int:
        """How much of what was paid for may still be read."""
        return len(self._due)

    def items(self) -> Iterator[tuple[str, Record]]:
        """Yield all owners and their records."""
        yield from self._records.items()

    def restore(self, owner: str, record: Record) -> None:
        """Put back a record that was written down."""
        self._records[owner] = record

    def of(self, owner: str) -> Record:
        """Return the record of an owner."""
        record = self._records.get(owner)
        if record is not None:
            self._records.move_to_end(owner)
            return record
        record = self._records[owner] = Record()
        if len(self._records) > MOST_RECORDS:
            self._records.popitem(last=False)
        return record

    def count(self, owner: str, *, spent: float, saved: float) -> None:
        """Count a request that would have cost so much unmarked, and whose reading would have saved so much above premiums."""
        record = self.of(owner)
        record.spent = record.spent * self._keep + spent
        record.earned = record.earned * self._keep + saved
        record.squares = record.squares * self._keep**2 + saved**2
        record.balance *= self._keep
        record.judge(self._at_risk)

    def paid(self, owner: str, node: Node, *, premium: float) -> None:
        """Put down that keeping a node was paid for; it is lost when its time is over."""
        if not node.premium:
            heapq.heappush(self._due, (node.paper_until, next(self._number), node, self.of(owner)))
        node.premium += premium

    def repaid(self, node: Node) -> float:
        """Return what keeping a node was paid for: it counts with the request that reads it, and no more when its time is over."""
        premium, node.premium = node.premium, 0.0
        return premium

    def pass_time(self, now: float) -> None:
        """Count what is no longer kept."""
        while self._due and self._due[0][0] <= now:
            _, number, node, record = heapq.heappop(self._due)
            if node.paper_until > now:
                heapq.heappush(self._due, (node.paper_until, number, node, record))
                continue
            record.earned -= node.premium
            record.squares += node.premium**2
            node.premium = 0.0
            record.judge(self._at_risk)
