"""How quick routes were lately."""

import pytest
from aigend.routing import latency
from aigend.routing.latency import HALF_LIFE_S, Latencies
from aigend.types import Route

from tests.fakes import FakeClock

ONE, TWO = Route("p", "one"), Route("p", "two")


def test_an_average_is_of_its_own_route() -> None:
    """What was noted together counts the same; other routes are not known."""
    latencies = Latencies(clock=FakeClock())
    for seconds in (1.0, 2.0, 6.0):
        latencies.note(ONE, seconds)
    assert latencies.of(ONE) == pytest.approx(3.0)
    assert latencies.of(TWO) is None


def test_older_calls_count_less() -> None:
    """After its half-life a call has half the weight of a new one."""
    clock = FakeClock()
    latencies = Latencies(clock=clock)
    latencies.note(ONE, 4.0)
    clock.advance(HALF_LIFE_S)
    latencies.note(ONE, 1.0)
    assert latencies.of(ONE) == pytest.approx((4.0 * 0.5 + 1.0) / 1.5)


def test_silence_is_forgotten() -> None:
    """After some silence a route counts as not known, so that it is measured again; a busy one is remembered longer."""
    clock = FakeClock()
    latencies = Latencies(clock=clock)
    latencies.note(ONE, 1.0)
    for _ in range(20):
        latencies.note(TWO, 1.0)
    clock.advance(HALF_LIFE_S * 4)
    assert latencies.of(ONE) == 1.0
    clock.advance(HALF_LIFE_S)
    assert latencies.of(ONE) is None
    assert latencies.of(TWO) == 1.0


def test_routes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without end do not fill the memory: the route that was noted longest ago goes."""
    monkeypatch.setattr(latency, "MOST_ROUTES", 2)
    latencies = Latencies(clock=FakeClock())
    latencies.note(ONE, 1.0)
    latencies.note(TWO, 2.0)
    latencies.note(ONE, 1.0)
    latencies.note(Route("p", "three"), 3.0)
    assert (latencies.of(ONE), latencies.of(TWO), latencies.of(Route("p", "three"))) == (1.0, None, 3.0)
