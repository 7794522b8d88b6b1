"""Which budgets a call falls under, and in which window."""

from datetime import UTC, datetime

import pytest
from aigend.ledger.budgets.book import NEVER_US, BudgetBook, Calendar, threshold_passed, usd_nanos

from tests.daemon.ledger.ledger_calls import NOW, budget, intent


def at(*moment: int) -> float:
    """Return a moment in UTC as seconds since 1970."""
    return datetime(*moment, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ({}, True),
        ({"session": "run-1"}, True),
        ({"session": "run-2"}, False),
        ({"service": "flow", "phase": "1"}, True),
        ({"service": "flow", "phase": "2"}, False),
        ({"label:team": "red"}, True),
        ({"label:team": "blue"}, False),
        ({"label:other": "red"}, False),
        ({"provider": "p", "model": "m", "agent": "claude", "task": "t"}, True),
    ],
)
def test_selector_decides(selector, matches):
    """A call falls under a budget when it carries every value of the selector."""
    call = intent(service="flow", session="run-1", task="t", labels={"team": "red"})
    assert bool(BudgetBook([budget(selector=selector)]).matching(call)) is matches


def test_budget_holds_for_each_value():
    """A budget for each value has a window of its own for every value, the missing one included."""
    book = BudgetBook([budget(each="label:team")])
    assert book.matching(intent(labels={"team": "red"}))[0].key == "red"
    assert book.matching(intent())[0].key == ""


def test_selector_is_read_once_in_the_words_of_bookings():
    """What a selector means is asked when a book is made, also with budgets added; calls are compared with that."""
    asked = []

    def meaning(selector):
        asked.append(selector)
        return {"model": "m"} if selector else {}

    book = BudgetBook([budget(selector={"model": "p/m"})], meaning=meaning).with_more([budget("more", selector={"model": "nick"})])
    made = len(asked)
    assert [claim.budget for claim in book.matching(intent())] == ["all", "more"]
    assert len(asked) == made
    assert book.budgets[0].selector == {"model": "p/m"}


def test_calls_without_a_session_fall_under_no_session():
    """A budget whose window is a session counts calls that have one; others would share a window that never ends."""
    book = BudgetBook([budget(period="session"), budget("each", period="session", each="label:team"), budget("day")])
    assert [claim.budget for claim in book.matching(intent())] == ["day"]
    assert [claim.budget for claim in book.matching(intent(session="run-1"))] == ["all", "each", "day"]


def test_missing_value_has_a_name_for_people():
    """Calls without the value that a budget holds for are told as (none); a budget for all has its bare name."""
    book = BudgetBook([budget("team", each="label:team"), budget("plain")])
    assert [claim.label for claim in book.matching(intent())] == ["team[(none)]", "plain"]


def test_session_budget_never_ends():
    """The window of a session is the session."""
    claim = BudgetBook([budget(period="session")]).matching(intent(session="run-1"))[0]
    assert (claim.window.name, claim.window.end_us, claim.window.reset_time) == ("run-1", NEVER_US, None)


@pytest.mark.parametrize(
    ("period", "calendar", "now", "window"),
    [
        ("daily", ("UTC", "monday"), at(2026, 11, 21, 23, 59), ("2026-11-21", at(2026, 11, 21), at(2026, 11, 22))),
        ("daily", ("Asia/Seoul", "monday"), at(2026, 11, 21, 15), ("2026-11-22", at(2026, 11, 21, 15), at(2026, 11, 22, 15))),
        ("weekly", ("UTC", "monday"), at(2026, 11, 22), ("2026-11-16", at(2026, 11, 16), at(2026, 11, 23))),
        ("weekly", ("UTC", "sunday"), at(2026, 11, 22), ("2026-11-22", at(2026, 11, 22), at(2026, 11, 29))),
        ("weekly", ("UTC", "saturday"), at(2026, 11, 22), ("2026-11-21", at(2026, 11, 21), at(2026, 11, 28))),
        ("monthly", ("UTC", "monday"), at(2026, 12, 31), ("2026-12", at(2026, 12, 1), at(2027, 1, 1))),
        ("daily", ("Europe/Berlin", "monday"), at(2026, 3, 29, 12), ("2026-03-29", at(2026, 3, 28, 23), at(2026, 3, 29, 22))),
        ("daily", ("Europe/Berlin", "monday"), at(2026, 10, 25, 12), ("2026-10-25", at(2026, 10, 24, 22), at(2026, 10, 25, 23))),
    ],
)
def test_calendar_windows(period, calendar, now, window):
    """Days, weeks and months begin at local midnight, also where the clock is changed that day."""
    zone, week_start = calendar
    got = Calendar(zone, week_start=week_start).window(period, now)
    assert (got.name, got.start_us / 1e6, got.end_us / 1e6) == window


def test_next_window_begins_without_a_job():
    """A window is over when its time is, without anything having run."""
    calendar = Calendar("UTC", week_start="monday")
    assert calendar.window("daily", NOW).name == "2026-01-01"
    assert calendar.window("daily", NOW + 86_399).name == "2026-01-01"
    assert calendar.window("daily", NOW + 86_400).name == "2026-01-02"
    assert calendar.window("daily", NOW).name == "2026-01-01"


@pytest.mark.parametrize("key", ["sesion", "label:", "label"])
def test_unknown_selector_key_is_refused_by_name(key):
    """A typo in a selector is an error, not a budget that holds for nothing."""
    with pytest.raises(ValueError, match=f"budgets.all: selector key '{key}' is unknown; allowed: service"):
        BudgetBook([budget(selector={key: "x"})])
    with pytest.raises(ValueError, match="is unknown"):
        BudgetBook([budget(each=key)])


def test_unknown_zone_and_doubled_name_are_refused():
    """What can't be meant is refused before anything is counted."""
    with pytest.raises(ValueError, match="time_zone is 'Mars/Base'"):
        BudgetBook([], time_zone="Mars/Base")
    with pytest.raises(ValueError, match="twice"):
        BudgetBook([budget(), budget()])


def test_current_windows_and_actions():
    """Budgets that nobody used yet have a window too; those for each value and session do not."""
    book = BudgetBook([budget(action="warn"), budget("each", each="session"), budget("run", period="session")])
    assert [(claim.budget, claim.window.name) for claim in book.current(NOW)] == [("all", "2026-01-01")]
    assert (book.action_of("all"), book.action_of("run"), book.action_of("gone")) == ("warn", "refuse", "")
    assert BudgetBook([]).matching(intent()) == []


def test_amounts_are_exact():
    """A limit is read as a decimal: no float comes between."""
    assert usd_nanos("0.1") == 100_000_000
    assert usd_nanos("999999999.999999999") == 999_999_999_999_999_999


@pytest.mark.parametrize(
    ("spent", "passed"), [(0, 0), (499, 0), (500, 50), (749, 50), (750, 75), (900, 90), (999, 90), (1_000, 100), (5_000, 100)]
)
def test_thresholds(spent, passed):
    """A threshold is passed when it is reached."""
    assert threshold_passed(spent, 1_000) == passed
