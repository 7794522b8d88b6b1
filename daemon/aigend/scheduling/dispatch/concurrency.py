"""How many calls a provider bears at once, found by trying: one more while it answers, far fewer when it refuses or slows down.

Where nothing speaks against it the limit is the configured one. It falls to half when the provider refuses a call because it has
too many (429, 503, 529), and by a tenth when answers take more than twice as long as they used to; once for all calls that were
under way at that moment. It grows by one for every round of answers that used more than half of it. How long an answer takes hangs
on its length, so what is compared is the time a token, with a hundred tokens for the time before the first one; less than a second
more than usual never counts as slow.

Source:
    Additive increase, multiplicative decrease: D.-M. Chiu, R. Jain, "Analysis of the Increase and Decrease Algorithms for
    Congestion Avoidance in Computer Networks", 1989. Latency against its long-term average, with a tolerance and a drift back
    down: the Gradient2 limit of Netflix' concurrency-limits, read 2026-11.
"""

from collections import OrderedDict

REFUSED_FACTOR = 0.5
SLOW_FACTOR = 0.9
TOLERANCE = 2.0  # times the usual pace
LEAST_EXCESS_S = 1.0  # seconds above the usual time from which an answer can count as slow
FIRST_TOKENS = 100  # what the time before the first token counts as
WARM_UP = 20  # answers of a model before its pace is known
MOST_MODELS = 100
_LONG, _SHORT = 0.01, 0.3  # weight of the latest answer in the averages
_DRIFT = 0.95  # of the long average at each answer that is much quicker than it


class Pace:
    """How long answers of one model take: usually and lately, in seconds a token."""

    __slots__ = ("count", "lately", "usually")

    def __init__(self) -> None:
        self.count = 0
        self.usually = 0.0
        self.lately = 0.0

    def note(self, duration_s: float, output_tokens: int) -> bool:
        """Take an answer in and return whether answers have become slow."""
        tokens = FIRST_TOKENS + output_tokens
        pace = duration_s / tokens
        self.count += 1
        self.usually += (pace - self.usually) * max(_LONG, 1 / self.count)
        self.lately += (pace - self.lately) * max(_SHORT, 1 / self.count)
        if self.usually > TOLERANCE * self.lately:
            self.usually *= _DRIFT
        slow = self.lately > TOLERANCE * self.usually and (self.lately - self.usually) * tokens > LEAST_EXCESS_S
        return slow and self.count > WARM_UP


class AdaptiveLimit:
    """The most calls under way at one provider, between one and the configured number.

    Args:
        most: The configured number, at least 1.
        enabled: False keeps the limit there.
    """

    def __init__(self, most: int, *, enabled: bool) -> None:
        self._most = most
        self._enabled = enabled
        self._exact = float(most)
        self._fell_at = float("-inf")
        self._paces: OrderedDict[str, Pace] = OrderedDict()
        self.value = most

    def use(self, most: int, *, enabled: bool) -> None:
        """Go by other settings; what was found stays, unless it was the old maximum or nothing is to be found."""
        was_most = self.value == self._most
        self._most = most
        self._enabled = enabled
        self._become(float(most) if was_most or not enabled else self._exact)

    def answered(self, model: str, *, duration_s: float, output_tokens: int, in_flight: int, granted_at: float, now: float) -> None:
        """Learn of an answer.

        Args:
            model: Whose answer.
            duration_s: How long it took.
            output_tokens: How long it is.
            in_flight: Calls under way when it came, itself included.
            granted_at: When its call was let go, monotonic clock.
            now: Monotonic clock.
        """
        if not self._enabled:
            return
        slow = self._pace(model).note(duration_s, output_tokens)
        if in_flight * 2 <= self.value:  # with few calls under way the limit is neither needed nor the reason
            return
        if slow:
            self._fall(SLOW_FACTOR, granted_at=granted_at, now=now)
        else:
            self._become(self._exact + 1 / self._exact)

    def refused(self, *, granted_at: float, now: float) -> None:
        """Learn of a call that the provider refused because it has too many."""
        if self._enabled:
            self._fall(REFUSED_FACTOR, granted_at=granted_at, now=now)

    def _fall(self, factor: float, *, granted_at: float, now: float) -> None:
        if granted_at > self._fell_at:  # calls from before the last fall tell of the same trouble
            self._fell_at = now
            self._become(self._exact * factor)

    def _become(self, exact: float) -> None:
        self._exact = min(float(self._most), max(1.0, exact))
        self.value = int(self._exact + 1e-9)

    def _pace(self, model: str) -> Pace:
        pace = self._paces.get(model)
        if pace is None:
            pace = self._paces[model] = Pace()
            if len(self._paces) > MOST_MODELS:
                self._paces.popitem(last=False)
        else:
            self._paces.move_to_end(model)
        return pace
