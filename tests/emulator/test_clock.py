"""The emulator's clock, alone and through its control address."""

import httpx2
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.clock import ClockError, MovableClock
from aigen_emulator.server import serving

from tests.fakes import FakeClock


def test_it_follows_the_clock_underneath() -> None:
    """Untouched, it shows what the other shows."""
    below = FakeClock()
    clock = MovableClock(below.monotonic)
    below.advance(5)
    assert clock() == below.monotonic()


def test_it_moves_on_and_runs_faster() -> None:
    """A step adds to the time, a rate multiplies what comes after it."""
    below = FakeClock()
    clock = MovableClock(below.monotonic)
    start = clock()
    clock.advance(100)
    below.advance(1)
    clock.run(60)
    below.advance(2)
    assert clock() - start == 100 + 1 + 120


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), 1e12, "5", True])
def test_bad_steps_and_rates_are_refused(bad) -> None:
    """Clocks go forward, by numbers."""
    clock = MovableClock(FakeClock().monotonic)
    with pytest.raises(ClockError, match="advance_s"):
        clock.advance(bad)
    if bad is not True:
        with pytest.raises(ClockError, match="rate"):
            clock.run(bad)


async def test_the_control_address_moves_it() -> None:
    """The rate limit goes by the clock that the control address moves; what it does not know is refused."""
    below = FakeClock()
    emulator = Emulator(EmulatorSettings(per_minute=1), monotonic=below.monotonic)
    ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    with serving(emulator) as server:
        async with httpx2.AsyncClient(trust_env=False) as http:
            url, clock = f"{server.base_url}/chat/completions", f"{server.control_url}/clock"
            before = (await http.get(clock)).json()
            statuses = [(await http.post(url, json=ask)).status_code for _ in range(2)]
            moved = (await http.post(clock, json={"advance_s": 61, "rate": 2})).json()
            statuses.append((await http.post(url, json=ask)).status_code)
            refused = [await http.post(clock, content=content) for content in ("{", "[]", '{"now": 3}', '{"rate": 0}')]
    assert statuses == [200, 429, 200]
    assert moved == {"now_s": before["now_s"] + 61, "rate": 2}
    assert [answer.status_code for answer in refused] == [400] * 4
    assert all("not understood" in answer.json()["error"]["message"] for answer in refused)
