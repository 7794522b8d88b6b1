"""Questions for sums, checked."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from aigend.errors import DomainError, Reason
from aigend.ledger.statistics.query import Dimension, Period, period_start, stats_query, zone_of

NEW_YORK = ZoneInfo("America/New_York")
SEOUL = ZoneInfo("Asia/Seoul")


def _at(zone, *moment):
    return datetime(*moment, tzinfo=zone).timestamp()


def _query(**fields):
    return stats_query(scope="me", now=_at(NEW_YORK, 2026, 11, 4, 15, 30), **fields)


@pytest.mark.parametrize(
    ("period", "week_start", "start"),
    [
        (Period.TODAY, "monday", (2026, 11, 4)),
        (Period.WEEK, "monday", (2026, 11, 2)),
        (Period.WEEK, "sunday", (2026, 11, 1)),
        (Period.WEEK, "saturday", (2026, 10, 31)),
        (Period.MONTH, "monday", (2026, 11, 1)),
    ],
)
def test_periods_begin_at_local_midnight(period, week_start, start):
    """A period begins at midnight of its first day in the query's zone, also across a change of the clock."""
    now = _at(NEW_YORK, 2026, 11, 4, 15, 30)  # a Wednesday; the clock went back on the 1st
    assert period_start(period, now, zone=NEW_YORK, week_start=week_start) == _at(NEW_YORK, *start)


def test_today_differs_by_zone():
    """The same moment is another day in another zone."""
    now = _at(NEW_YORK, 2026, 11, 4, 15, 30)
    assert period_start(Period.TODAY, now, zone=SEOUL) == _at(SEOUL, 2026, 11, 5)


def test_days_of_the_clock_change_are_23_and_25_hours_long():
    """A day is what the zone's calendar says, not 24 hours."""
    for day, hours in ((8, 23), (9, 24)):
        begin = period_start(Period.TODAY, _at(NEW_YORK, 2026, 3, day, 12), zone=NEW_YORK)
        end = period_start(Period.TODAY, _at(NEW_YORK, 2026, 3, day + 1, 12), zone=NEW_YORK)
        assert end - begin == hours * 3_600
    begin, end = (period_start(Period.TODAY, _at(NEW_YORK, 2026, 11, day, 12), zone=NEW_YORK) for day in (1, 2))
    assert end - begin == 25 * 3_600


def test_first_hour_twice_is_still_today():
    """In the repeated hour of autumn today began at the one midnight."""
    twice = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=NEW_YORK).timestamp()
    assert period_start(Period.TODAY, twice, zone=NEW_YORK) == _at(NEW_YORK, 2026, 11, 1)


def test_all_time_has_no_beginning():
    """ALL and no period at all are everything."""
    assert _query(period=Period.ALL).start is None
    assert (_query().start, _query().end) == (None, None)
    assert _query(start=1.0, end=2.0).end == 2.0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
        ({"time_zone": "America"}, "time_zone"),
        ({"time_zone": ""}, "time_zone"),
        ({"time_zone": "x\x00"}, "time_zone"),
        ({"period": Period.TODAY, "start": 1.0}, "period"),
        ({"period": Period.ALL, "end": 1.0}, "period"),
        ({"start": 2.0, "end": 2.0}, "end_time"),
        ({"group_by": (Dimension.DAY, Dimension.MODEL, Dimension.AGENT, Dimension.TASK)}, "group_by"),
        ({"group_by": (Dimension.DAY, Dimension.DAY)}, "group_by"),
        ({"group_by": (Dimension.LABEL,)}, "label_key"),
        ({"label_key": "team"}, "label_key"),
    ],
)
def test_bad_question_is_refused_by_its_field(fields, field):
    """A question that can't be answered names the field that is wrong."""
    with pytest.raises(DomainError) as caught:
        _query(**fields)
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, field)


def test_zones_of_the_world_are_known():
    """IANA names are found."""
    assert zone_of("Asia/Kathmandu").key == "Asia/Kathmandu"
