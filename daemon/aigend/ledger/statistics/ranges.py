"""Which roll-ups cover a range of time: the coarsest that fit, finer ones at both ends, and rows where an end cuts a quarter."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from aigend.ledger.statistics.query import Dimension, StatsQuery, zone_of
from aigend.ledger.statistics.rollups import (
    ACCOUNT_DAY,
    ACCOUNT_QUARTER,
    KEY_DAY,
    KEY_HOUR,
    KEY_MONTH,
    KEY_PART,
    KEY_WEEK,
    QUARTER_S,
    Level,
)

NO_END = 2**40  # quarters: beyond any time


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time and where its sums stand."""

    level: Level | None  # None: in the rows themselves
    start: int  # slots of the level, inclusive; microseconds since 1970 for rows
    end: int  # exclusive


def by_account(query: StatsQuery) -> bool:
    """Whether the question needs sessions or labels, which only the larger roll-ups tell apart."""
    return bool(query.filter.session or query.filter.labels or {Dimension.SESSION, Dimension.LABEL} & set(query.group_by))


def stretches(query: StatsQuery, *, folded_until: int, archived_until: int = 0) -> Iterator[Stretch]:
    """Yield what a range is made of, without gap or overlap.

    Args:
        query: The question.
        folded_until: Quarter before which all are folded.
        archived_until: Quarter before which rows may be archived: there an end that cuts a quarter is moved outward to a whole one.
    """
    start_us = 0 if query.start is None else max(0, round(query.start * 1e6))
    end_us = NO_END * QUARTER_S * 10**6 if query.end is None else max(0, round(query.end * 1e6))
    if start_us < archived_until * _QUARTER_US:
        start_us -= start_us % _QUARTER_US
    if end_us < archived_until * _QUARTER_US:
        end_us += -end_us % _QUARTER_US
    first, last = -(-start_us // _QUARTER_US), end_us // _QUARTER_US
    if first > last:  # within one quarter
        yield Stretch(None, start_us, end_us)
        return
    if start_us < first * _QUARTER_US:
        yield Stretch(None, start_us, first * _QUARTER_US)
    yield from _levels(first, last, _usable(query, first, min(last, folded_until)), folded_until=folded_until)
    if last * _QUARTER_US < end_us:
        yield Stretch(None, last * _QUARTER_US, end_us)


_QUARTER_US = QUARTER_S * 10**6


def _usable(query: StatsQuery, first: int, last: int) -> Sequence[Level]:
    """Levels from coarse to fine whose slots lie within the groups of time that are asked for."""
    levels = (
        (ACCOUNT_DAY, ACCOUNT_QUARTER) if by_account(query) else (KEY_MONTH, KEY_WEEK, KEY_DAY, KEY_PART, KEY_HOUR, ACCOUNT_QUARTER)
    )
    if not {Dimension.DAY, Dimension.HOUR} & set(query.group_by):
        return levels
    if query.time_zone == "UTC" and Dimension.HOUR not in query.group_by:
        return [level for level in levels if level.quarters <= ACCOUNT_DAY.quarters]
    whole_hours = _whole_hours(zone_of(query.time_zone), first, last)
    return [level for level in levels if level.quarters == 1 or (level.quarters <= 4 and whole_hours)]  # at most an hour


def _whole_hours(zone: ZoneInfo, first: int, last: int) -> bool:
    """Whether a zone's hours begin with UTC's all through a range, looked at once a day: no offset lasts for less."""
    for second in range(first * QUARTER_S - 86_400, last * QUARTER_S + 86_400, 86_400):
        offset = datetime.fromtimestamp(second, zone).utcoffset()
        if offset is None or offset.total_seconds() % 3_600:
            return False
    return True


def _levels(first: int, last: int, levels: Sequence[Level], *, folded_until: int) -> Iterator[Stretch]:
    if first >= last:
        return
    level = levels[0]
    end = min(last, folded_until) if level.folded else last
    start_slot, end_slot = -(-first // level.quarters), end // level.quarters
    if start_slot >= end_slot:
        if len(levels) > 1:
            yield from _levels(first, last, levels[1:], folded_until=folded_until)
        return
    yield Stretch(level, start_slot, end_slot)
    yield from _levels(first, start_slot * level.quarters, levels[1:], folded_until=folded_until)
    yield from _levels(end_slot * level.quarters, last, levels[1:], folded_until=folded_until)
