"""One sleeper for the earliest of all times."""

from aigend.scheduling.dispatch.alarm import Alarm

from tests.fakes import FakeClock, settle


async def test_rings_once_at_the_earliest_time() -> None:
    """A later time that was asked for before an earlier one is not rung for."""
    clock, rings = FakeClock(), []
    alarm = Alarm(clock, lambda: rings.append(clock.monotonic()))
    for at in (5.0, 2.0, 7.0):
        alarm.set(at)
    await settle()
    for _ in range(10):
        clock.advance(1.0)
        await settle()
    assert rings == [2.0]


async def test_off_is_off() -> None:
    """An alarm that was switched off does not ring, and can be set again."""
    clock, rings = FakeClock(), []
    alarm = Alarm(clock, lambda: rings.append(clock.monotonic()))
    alarm.set(1.0)
    alarm.off()
    await settle()
    clock.advance(2.0)
    await settle()
    assert (rings, clock.sleeper_count) == ([], 0)
    alarm.set(1.0)  # past: soon
    await settle()
    clock.advance(0.01)
    await settle()
    assert rings == [2.01]
