"""The clock through changes of summer time, ends of months and thirty days either way, in three zones."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from aigend.ledger.budgets.book import Calendar

from tests.daemon.ledger.ledger_calls import budget, intent, opened, rows, settlement
from tests.fakes import FakeClock

ZONES = ("Asia/Seoul", "America/New_York", "UTC")
TURNS = (
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York goes to summer time
    datetime(2026, 11, 1, 6, tzinfo=UTC),  # and back
    datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC),
    datetime(2028, 2, 29, 15, tzinfo=UTC),
    datetime(2026, 12, 31, 23, tzinfo=UTC),
)


def hours_around(turn: datetime) -> list[datetime]:
    """Return each hour of the thirty days before and after a moment."""
    return [turn + timedelta(hours=hour) for hour in range(-30 * 24, 30 * 24)]


def true_name(period: str, local: datetime) -> str:
    """Return what a window is called, by the local date alone."""
    if period == "monthly":
        return local.strftime("%Y-%m")
    first = local.date() - timedelta(days=local.weekday() if period == "weekly" else 0)
    return first.isoformat()


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.date().isoformat())
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("period", ["daily", "weekly", "monthly"])
def test_every_hour_lies_in_the_window_of_its_local_date(period, zone, turn):
    """Windows follow each other without gap or overlap, and begin at local midnight."""
    calendar, before = Calendar(zone, week_start="monday"), None
    for moment in hours_around(turn):
        window = calendar.window(period, moment.timestamp())
        assert window.start_us <= moment.timestamp() * 1e6 < window.end_us
        assert window.name == true_name(period, moment.astimezone(ZoneInfo(zone)))
        start = datetime.fromtimestamp(window.start_us / 1e6, ZoneInfo(zone))
        assert (start.hour, start.minute, start.second) == (0, 0, 0)
        if before is not None and before != window:
            assert before.end_us == window.start_us
        before = window


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("turn", TURNS[:2], ids=lambda turn: turn.date().isoformat())
async def test_alerts_fire_once_a_window_whatever_the_clock_does(tmp_path, zone, turn):
    """Across a change of summer time, with the clock sent back thirty days between, each window tells each threshold once."""
    start = turn.timestamp() - 30 * 86_400
    clock = FakeClock(start)
    number = 0
    for life in range(2):  # the second life sees the same days again
        clock = FakeClock(start)
        async with opened(
            tmp_path,
            budget("day", 1_000_000, action="warn"),
            budget("month", 4_000_000, period="monthly", action="warn"),
            clock=clock,
            time_zone=zone,
        ) as ledger:
            for _ in range(60):
                number += 1
                held = await ledger.reserve(intent(f"{life}-{number}", bound=10_000, create_time=clock.time()))
                await ledger.settle(held, settlement(600_000 if life == 0 else 10))
                clock.advance(86_400)
            told = await rows(ledger, "SELECT budget, window, percent, count(*) FROM alert GROUP BY 1, 2, 3 HAVING count(*) > 1")
            assert told == []
            days = await rows(ledger, "SELECT count(DISTINCT window) FROM alert WHERE budget = 'day'")
            assert days[0][0] >= 59
