"""What a ledger must hold, in plain Python: sums are counted again from the attempts each time, so no counter can be wrong.

It knows the rules of money and none of the ledger's code; the state machine beside it compares the two.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

ZONE = "America/New_York"
REPLY_TTL_S = 3_600
WindowName = tuple[str, str, str, str]  # budget, key, period, window


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A budget of the model."""

    name: str
    period: str
    nanos: int
    each_session: bool = False
    team: str | None = None  # only calls of this team
    agent: str | None = None  # only calls of this agent
    refuses: bool = True
    demands_price: bool = False


LIMITS = (
    Limit(name="all", period="daily", nanos=20_000),
    Limit(name="every", period="weekly", nanos=3_000, each_session=True, refuses=False),
    Limit(name="team", period="monthly", nanos=12_000, team="x"),
    Limit(name="run", period="session", nanos=9_000),
    Limit(name="strict", period="daily", nanos=10_000, agent="strict", demands_price=True),
)


@dataclass(frozen=True, kw_only=True)
class Reserve:
    """A call that wants to be sent."""

    scope: str
    request_id: str
    session: str
    team: str
    agent: str
    digest: bytes
    bound: int | None  # nano-dollars
    allow_repeat: bool


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of an attempt, or a second one."""

    pick: int  # which of the attempts
    state: str
    of_open: bool = True  # whether it is picked among those under way, where there are any
    cost: int | None = None  # nano-dollars, where it is settled
    low: int | None = None
    high: int | None = None
    reply: bytes = b""


Act = Reserve | End


@dataclass(kw_only=True)
class Attempt:
    """One try, as it must stand in the ledger."""

    call: Reserve
    number: int
    windows: frozenset[WindowName]
    state: str = "sent"
    cost: int | None = None
    low: int | None = None
    high: int | None = None

    @property
    def spent(self) -> int:
        """What it has cost, or is booked for."""
        return (self.cost if self.state == "settled" else self.high) or 0

    @property
    def reserved(self) -> int:
        """What it holds."""
        return (self.call.bound or 0) if self.state == "sent" else 0


@dataclass
class Model:
    """A ledger's contents."""

    attempts: list[Attempt] = field(default_factory=list)
    last: dict[tuple[str, str], int] = field(default_factory=dict)  # scope and request id -> index of the last attempt
    replies: dict[tuple[str, str], tuple[bytes, float]] = field(default_factory=dict)  # with the time at which it expires
    hits: Counter[int] = field(default_factory=Counter)  # minute -> calls, written
    pending: Counter[int] = field(default_factory=Counter)  # counted and not yet written
    journal: int = 0
    epoch: int = 0

    def apply(self, act: Act, now: float) -> str:
        """Do what a ledger must do, and return how it must answer."""
        outcome = self._reserve(act, now) if isinstance(act, Reserve) else self._end(act, now)
        self.journal += outcome in {"sent", "settled", "released", "unknown"}
        return outcome

    def reopen(self) -> int:
        """Book what was under way, as a start does; return how many that were."""
        left = [attempt for attempt in self.attempts if attempt.state == "sent"]
        for attempt in left:
            attempt.state, attempt.low, attempt.high = "unknown", 0, attempt.call.bound or 0
        self.journal += len(left) + 1
        self.epoch += 1
        return len(left)

    def write_hits(self) -> None:
        """Make what was counted durable."""
        self.hits += self.pending
        self.pending.clear()

    def windows(self) -> dict[WindowName, tuple[int, int]]:
        """Return what is spent and reserved in each window."""
        names = {name for attempt in self.attempts for name in attempt.windows}
        return {name: self._sums(name) for name in names}

    def charged(self) -> list[dict[str, object]]:
        """Return the calls that a provider charged, if it charged each of which nobody knows."""
        booked = [attempt for attempt in self.attempts if attempt.state in {"settled", "unknown"}]
        return [{"request_id": f"{attempt.call.scope} {attempt.call.request_id}", "attempt": attempt.number} for attempt in booked]

    def _sums(self, name: WindowName) -> tuple[int, int]:
        inside = [attempt for attempt in self.attempts if name in attempt.windows]
        return sum(attempt.spent for attempt in inside), sum(attempt.reserved for attempt in inside)

    def _reserve(self, call: Reserve, now: float) -> str:
        key = (call.scope, call.request_id)
        before = self.attempts[self.last[key]] if key in self.last else None
        if before is not None and before.call.digest != call.digest:
            return "REQUEST_ID_REUSED"
        free = {"released", "unknown"} if call.allow_repeat else {"released"}
        if before is not None and before.state not in free:
            return f"known {before.state}"
        windows = []
        for limit in LIMITS:
            if not matches(limit, call):
                continue
            if limit.demands_price and call.bound is None:
                return "PRICE_UNKNOWN"
            windows.append(window_of(limit, call, now))
            if limit.refuses and sum(self._sums(windows[-1])) + (call.bound or 0) > limit.nanos:
                return "BUDGET_EXCEEDED"
        number = 1 if before is None else before.number + 1
        self.last[key] = len(self.attempts)
        self.attempts.append(Attempt(call=call, number=number, windows=frozenset(windows)))
        return "sent"

    def _end(self, end: End, now: float) -> str:
        attempt = self.attempts[end.pick]
        if attempt.state != "sent":
            return "conflict"
        attempt.state = end.state
        if end.state == "settled":
            attempt.cost = end.cost
            if end.reply:
                self.replies.setdefault((attempt.call.scope, attempt.call.request_id), (end.reply, now + REPLY_TTL_S))
        elif end.state == "unknown":
            attempt.low = end.low or 0
            attempt.high = (attempt.call.bound or 0) if end.high is None else end.high
        return end.state


def matches(limit: Limit, call: Reserve) -> bool:
    """Return whether a call falls under a budget."""
    return limit.team in (None, call.team) and limit.agent in (None, call.agent)


def window_of(limit: Limit, call: Reserve, now: float) -> WindowName:
    """Return the window of a budget that a call made now falls into."""
    day = datetime.fromtimestamp(now, ZoneInfo(ZONE)).date()
    names = {
        "daily": day.isoformat(),
        "weekly": (day - timedelta(days=day.weekday())).isoformat(),
        "monthly": f"{day:%Y-%m}",
        "session": call.session,
    }
    return limit.name, call.session if limit.each_session else "", limit.period, names[limit.period]
