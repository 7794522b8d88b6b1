"""Which key of a provider is asked next: a circuit breaker for each, so that a broken one costs nobody time.

A circuit is closed while its key answers. It opens when calls fail one after another or too often: the key is then passed by
without a call. After a cool-down exactly one call tries it: an answer closes the circuit, a failure opens it for longer. A key that
the provider refuses is out at once. What counts as a failure of which kind is said by the caller; nothing here knows HTTP.
"""

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from aigend.clock import Clock
from aigend.config import BreakerSettings
from aigend.errors import DomainError, Reason

MOST_REMEMBERED = 1_000  # calls of one key that count for the ratio of failures
PROBE_RETRY_S = 1.0  # what callers are told to wait while a probe is under way


class CircuitState(StrEnum):
    """What a key's circuit lets through."""

    CLOSED = "closed"  # every call
    HALF_OPEN = "half_open"  # one call, the probe
    OPEN = "open"  # none


class Outcome(StrEnum):
    """What a call says about its key."""

    ANSWERED = "answered"  # the provider is there and knows the key, whatever it said
    FAILED = "failed"  # it is not there, or not well
    REFUSED = "refused"  # it does not take the key


@dataclass(frozen=True, slots=True)
class KeyId:
    """One key of a provider, by its position among those configured, from 1."""

    provider: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitReport:
    """How one key does."""

    key: KeyId
    state: CircuitState
    refused: bool  # whether the provider did not take the key, rather than fail
    failures: int  # in a row
    retry_s: float  # seconds until it is tried again; 0 while it is closed


OnChange = Callable[[CircuitReport], None]


@dataclass(slots=True)
class _Circuit:
    key: KeyId
    state: CircuitState = CircuitState.CLOSED
    failures: int = 0  # in a row
    refused: bool = False
    opened_times: int = 0  # in a row, without an answer between
    until: float = 0.0  # when an open circuit may be tried, monotonic clock
    rests_until: float = 0.0  # until when other keys are preferred to a closed one
    recent: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=MOST_REMEMBERED))
    probe: "Ticket | None" = None


class Ticket:
    """The right to make one call with a key; used as a block, which gives it back where nothing was reported.

    Args:
        key: Whose turn it is.
        report: Takes the outcome; None where the call was not made or says nothing.
    """

    __slots__ = ("_report", "key")

    def __init__(self, key: KeyId, report: "Callable[[Ticket, Outcome | None], None]") -> None:
        self.key = key
        self._report: Callable[[Ticket, Outcome | None], None] | None = report

    def ended(self, outcome: Outcome) -> None:
        """Say what the call tells about the key, once."""
        self._close(outcome)

    def __enter__(self) -> "Ticket":
        return self

    def __exit__(self, *_: object) -> None:
        self._close(None)

    def _close(self, outcome: Outcome | None) -> None:
        report, self._report = self._report, None
        if report is not None:
            report(self, outcome)


class Health:
    """Chooses keys in turn and passes by those whose circuit is open.

    Args:
        clock: Tells the time.
        settings: When circuits open and for how long.
        enabled: False lets every call through, whatever happened before.
        on_change: Told whenever a circuit changes its state.

    Attributes:
        passed_by: Calls that a provider did not get because no circuit let them through, by provider.
    """

    def __init__(
        self, *, clock: Clock, settings: BreakerSettings, enabled: bool = True, on_change: OnChange = lambda _: None
    ) -> None:
        self.passed_by: dict[str, int] = {}
        self._clock = clock
        self._settings = settings
        self._enabled = enabled
        self._on_change = on_change
        self._circuits: dict[KeyId, _Circuit] = {}
        self._turn = itertools.count()

    def use(self, settings: BreakerSettings, *, enabled: bool) -> None:
        """Go by other settings from now on; what is known of keys stays, unless all are let through."""
        self._settings = settings
        self._enabled = enabled
        if not enabled:
            self._circuits.clear()

    def forget(self, provider: str) -> None:
        """Begin anew with a provider, whose settings or keys are others now."""
        for key in [key for key in self._circuits if key.provider == provider]:
            del self._circuits[key]

    def pick(self, keys: Sequence[KeyId], *, but: Collection[KeyId] = ()) -> Ticket | None:
        """Return the right to call with one of the keys, each in its turn; None where none may be asked.

        A key that was told to wait a moment comes after the others. A probe goes first: an open circuit must not starve.

        Args:
            keys: Of one provider.
            but: Keys that this call can't use any more.
        """
        now, start = self._clock.monotonic(), next(self._turn)
        turns = (keys[(start + offset) % len(keys)] for offset in range(len(keys)))
        circuits = [circuit for key in turns if key not in but and self._lets_through(circuit := self._circuit(key), now)]
        if not circuits:
            return None
        chosen = min(circuits, key=lambda circuit: (circuit.state is CircuitState.CLOSED, max(0.0, circuit.rests_until - now)))
        ticket = Ticket(chosen.key, self._ended)
        if chosen.state is not CircuitState.CLOSED:
            chosen.probe = ticket
            self._become(chosen, CircuitState.HALF_OPEN)
        return ticket

    def usable(self, keys: Sequence[KeyId], *, but: Collection[KeyId] = ()) -> bool:
        """Return whether one of the keys may be asked now."""
        now = self._clock.monotonic()
        return any(key not in but and self._lets_through(self._circuit(key), now) for key in keys)

    def rest(self, key: KeyId, seconds: float) -> None:
        """Prefer other keys for a while: this one has been asked too often."""
        self._circuit(key).rests_until = self._clock.monotonic() + seconds

    def pass_by(self, keys: Sequence[KeyId]) -> DomainError:
        """Count a call that none of the keys gets, and return why and when one may be asked again."""
        circuits = [self._circuit(key) for key in keys]
        provider, wait_s = keys[0].provider, min(self._wait_s(circuit) for circuit in circuits)
        self.passed_by[provider] = self.passed_by.get(provider, 0) + 1
        if all(circuit.refused for circuit in circuits):
            text = f"provider {provider} did not take {_named(len(keys))}; it is asked again in {wait_s:.0f} s or after a reload"
            return DomainError(Reason.PROVIDER_REFUSED, text, provider=provider, circuit="open")
        text = f"provider {provider} keeps failing and is not asked for now; it is tried again in {wait_s:.0f} s"
        return DomainError(Reason.PROVIDER_UNAVAILABLE, text, retry_after_s=wait_s, provider=provider, circuit="open")

    def reports(self) -> Iterator[CircuitReport]:
        """Yield how each key does that was asked, by provider and position."""
        for key in sorted(self._circuits, key=lambda key: (key.provider, key.number)):
            yield self._report(self._circuits[key])

    def _circuit(self, key: KeyId) -> _Circuit:
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = _Circuit(key)
        return circuit

    def _lets_through(self, circuit: _Circuit, now: float) -> bool:
        return circuit.state is CircuitState.CLOSED or (circuit.probe is None and now >= circuit.until)

    def _ended(self, ticket: Ticket, outcome: Outcome | None) -> None:
        circuit = self._circuits.get(ticket.key)
        if circuit is None or not self._enabled:
            return
        probed, now = circuit.probe is ticket, self._clock.monotonic()
        if probed:
            circuit.probe = None
        elif circuit.state is not CircuitState.CLOSED:
            return  # it began before the circuit opened and tells nothing new
        if outcome is None:
            self._become(circuit, CircuitState.OPEN if probed else circuit.state)  # the next call may probe instead
        elif outcome is Outcome.ANSWERED:
            self._answered(circuit, now)
        else:
            self._failed(circuit, now, refused=outcome is Outcome.REFUSED)

    def _answered(self, circuit: _Circuit, now: float) -> None:
        circuit.failures, circuit.opened_times, circuit.refused = 0, 0, False
        circuit.recent.append((now, False))
        self._become(circuit, CircuitState.CLOSED)

    def _failed(self, circuit: _Circuit, now: float, *, refused: bool) -> None:
        circuit.failures += 1
        circuit.recent.append((now, True))
        if refused or circuit.state is not CircuitState.CLOSED or self._too_often(circuit, now):
            settings = self._settings
            circuit.until = now + min(settings.max_cool_down_s, settings.cool_down_s * 2.0 ** min(circuit.opened_times, 60))
            circuit.opened_times += 1
            circuit.refused = refused
            circuit.recent.clear()
            self._become(circuit, CircuitState.OPEN)

    def _too_often(self, circuit: _Circuit, now: float) -> bool:
        if circuit.failures >= self._settings.consecutive_failures:
            return True
        recent = circuit.recent
        while recent and recent[0][0] <= now - self._settings.window_s:
            recent.popleft()
        failed = sum(failed for _, failed in recent)
        return len(recent) >= self._settings.min_calls and failed >= self._settings.failure_ratio * len(recent)

    def _become(self, circuit: _Circuit, state: CircuitState) -> None:
        if circuit.state is not state:
            circuit.state = state
            self._on_change(self._report(circuit))

    def _wait_s(self, circuit: _Circuit) -> float:
        return max(circuit.until - self._clock.monotonic(), PROBE_RETRY_S)

    def _report(self, circuit: _Circuit) -> CircuitReport:
        return CircuitReport(
            key=circuit.key,
            state=circuit.state,
            refused=circuit.refused,
            failures=circuit.failures,
            retry_s=0.0 if circuit.state is CircuitState.CLOSED else max(0.0, circuit.until - self._clock.monotonic()),
        )


def _named(count: int) -> str:
    return "its key" if count == 1 else f"any of its {count} keys"
