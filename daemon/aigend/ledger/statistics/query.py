"""What is asked of the ledger: which calls, of which time, grouped by what. Checked here, before anything is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo

from aigend.errors import invalid

MOST_GROUPS = 3
WEEKDAYS = {"monday": 0, "saturday": 5, "sunday": 6}


class Period(StrEnum):
    """A calendar period in the query's time zone."""

    TODAY = "today"
    WEEK = "week"
    MONTH = "month"
    ALL = "all"


class Dimension(StrEnum):
    """What rows may be grouped by."""

    PROVIDER = "provider"
    MODEL = "model"
    AGENT = "agent"
    SERVICE = "service"
    SESSION = "session"
    PHASE = "phase"
    TASK = "task"
    LABEL = "label"
    OUTCOME = "outcome"
    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """Which calls; a call must match all that is set."""

    provider: str = ""
    model: str = ""
    agent: str = ""
    service: str = ""
    session: str = ""
    phase: str = ""
    task: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsQuery:
    """A checked question for sums; times are wall clock, seconds since 1970."""

    scope: str
    now: float
    start: float | None = None  # inclusive; None: the beginning
    end: float | None = None  # exclusive; None: whatever is there now
    time_zone: str = "UTC"
    group_by: tuple[Dimension, ...] = ()
    label_key: str = ""
    filter: UsageFilter = field(default_factory=UsageFilter)


def stats_query(
    *,
    scope: str,
    now: float,
    period: Period | None = None,
    start: float | None = None,
    end: float | None = None,
    time_zone: str = "UTC",
    week_start: str = "monday",
    group_by: Sequence[Dimension] = (),
    label_key: str = "",
    usage_filter: UsageFilter | None = None,
) -> StatsQuery:
    """Return a checked query.

    Args:
        scope: The caller's identity: only its calls are counted.
        now: Wall clock, seconds since 1970.
        period: Calendar period; excludes `start` and `end`.
        start: First moment, inclusive.
        end: Last moment, exclusive.
        time_zone: IANA name; decides where days and hours begin.
        week_start: Day that a week begins with.
        group_by: At most three dimensions, none twice.
        label_key: Set exactly where grouped by label.
        usage_filter: Which calls; None: all.

    Raises:
        DomainError: INVALID_REQUEST that names the field.
    """
    zone = zone_of(time_zone)
    _check_groups(group_by, label_key)
    if period is not None:
        if start is not None or end is not None:
            raise invalid("period", period.upper(), "unset where start_time or end_time is set")
        start = period_start(period, now, zone=zone, week_start=week_start)
    if start is not None and end is not None and start >= end:
        raise invalid("end_time", _iso(end), f"after start_time, {_iso(start)}")
    return StatsQuery(
        scope=scope,
        now=now,
        start=start,
        end=end,
        time_zone=time_zone,
        group_by=tuple(group_by),
        label_key=label_key,
        filter=usage_filter or UsageFilter(),
    )


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        DomainError: INVALID_REQUEST, field `time_zone`.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found, no relative path, a folder of zones
        raise invalid("time_zone", name, 'an IANA time zone, such as "Asia/Seoul"') from None


def period_start(period: Period, now: float, *, zone: tzinfo, week_start: str = "monday") -> float | None:
    """Return when a calendar period began, seconds since 1970; None for all time.

    Example:
        >>> seoul = ZoneInfo("Asia/Seoul")
        >>> datetime.fromtimestamp(period_start(Period.TODAY, 1_700_000_000.0, zone=seoul), seoul).isoformat()
        '2023-11-15T00:00:00+09:00'
    """
    if period is Period.ALL:
        return None
    midnight = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period is Period.WEEK:
        midnight -= timedelta(days=(midnight.weekday() - WEEKDAYS[week_start]) % 7)
    elif period is Period.MONTH:
        midnight = midnight.replace(day=1)
    return midnight.timestamp()


def _check_groups(group_by: Sequence[Dimension], label_key: str) -> None:
    if len(group_by) > MOST_GROUPS:
        raise invalid("group_by", f"{len(group_by)} dimensions", f"at most {MOST_GROUPS}")
    if len(set(group_by)) < len(group_by):
        raise invalid("group_by", ", ".join(group_by), "each dimension once")
    if bool(label_key) != (Dimension.LABEL in group_by):
        raise invalid("label_key", label_key, "set exactly where group_by has LABEL")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
