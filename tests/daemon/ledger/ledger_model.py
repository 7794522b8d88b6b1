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
    batch: bool = False  # a line that waits for its batch job


@dataclass(frozen=True, kw_only=True)
class Submit:
    """A batch line leaves, or left before."""

    pick: int  # which of the attempts
    of_open: bool = True


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
    early: bool = False  # of a batch line: before it has left


Act = Reserve | Submit | End
OPEN = ("reserved", "sent", "submitted")
YOUNG_S = 86_400


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
    made: float = 0.0  # wall clock

    @property
    def spent(self) -> int:
        """What it has cost, or is booked for."""
        return (self.cost if self.state == "settled" else self.high) or 0

    @property
    def reserved(self) -> int:
        """What it holds."""
        return (self.call.bound or 0) if self.state in OPEN else 0


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
        if isinstance(act, Submit):
            outcome = self._submit(act)
        else:
            outcome = self._reserve(act, now) if isinstance(act, Reserve) else self._end(act, now)
        self.journal += outcome in {*OPEN, "settled", "released", "unknown"}
        return outcome

    def reopen(self, now: float) -> tuple[int, int]:
        """Book what was under way, as a start does, and release lines that waited too long; return how many of each."""
        left = [attempt for attempt in self.attempts if attempt.state == "sent"]
        for attempt in left:
            attempt.state, attempt.low, attempt.high = "unknown", 0, attempt.call.bound or 0
        old = [attempt for attempt in self.attempts if attempt.state == "reserved" and attempt.made <= now - YOUNG_S]
        for attempt in old:
            attempt.state = "released"
        self.journal += len(left) + len(old) + 1
        self.epoch += 1
        return len(left), len(old)

    def lines(self) -> list[tuple[int, int]]:
        """Return the attempts that are batch lines without an end, and whether each has left."""
        waits = ("reserved", "submitted")
        return [(number, each.state == "submitted") for number, each in enumerate(self.attempts, 1) if each.state in waits]

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
        state = "reserved" if call.batch else "sent"
        self.attempts.append(Attempt(call=call, number=number, windows=frozenset(windows), state=state, made=now))
        return state

    def _submit(self, act: Submit) -> str:
        attempt = self.attempts[act.pick]
        if attempt.state != "reserved":
            return "conflict"
        attempt.state = "submitted"
        return "submitted"

    def _end(self, end: End, now: float) -> str:
        attempt = self.attempts[end.pick]
        if attempt.state != source_of(attempt.call, end):
            return "conflict"
        attempt.state = end.state
        if end.state == "settled":
            attempt.cost = end.cost
            if end.reply:
                self.replies.setdefault((attempt.call.scope, attempt.call.request_id), (end.reply, now + REPLY_TTL_S))
        elif end.state == "unknown":
            told = not attempt.call.batch  # of a line nobody knows more than its bound
            attempt.low = (end.low or 0) if told else 0
            attempt.high = end.high if told and end.high is not None else attempt.call.bound or 0
        return end.state


def source_of(call: Reserve, end: End) -> str:
    """Return the state that an end leaves: of batch lines, only a release may come before they have left."""
    if not call.batch:
        return "sent"
    return "reserved" if end.early and end.state == "released" else "submitted"


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
