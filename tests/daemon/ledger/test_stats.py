"""Sums over calls."""

from collections import Counter
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from aigend.ledger.statistics.query import Dimension, Period, UsageFilter, stats_query
from aigend.ledger.statistics.stats import Saving, Totals, compute
from aigend.types import SavingsCause, TokenUsage
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.ledger.ledger_rows import add_attempt, add_hits, empty_ledger

NEW_YORK = ZoneInfo("America/New_York")
NOON = datetime(2026, 11, 4, 12, 0, tzinfo=NEW_YORK).timestamp()
COUNTED = (
    "call_count",
    "hit_count",
    "miss_count",
    "coalesced_count",
    "bypass_count",
    "refresh_count",
    "replay_count",
    "unknown_count",
    "released_count",
    "unpriced_count",
    "cost_nanos",
    "estimated_nanos",
    "unknown_nanos",
)


def _ask(connection, **fields):
    return compute(connection, stats_query(scope="me", now=NOON + 3_600, **fields))


def _groups(connection, *dimensions, **fields):
    return {row.group: row.totals for row in _ask(connection, group_by=dimensions, **fields).rows}


def test_empty_ledger_has_empty_sums():
    """Nothing happened: all zero, no percentiles, no mean."""
    stats = _ask(empty_ledger(), period=Period.TODAY, time_zone="America/New_York", group_by=(Dimension.MODEL,))
    assert (stats.rows, stats.totals) == ((), Totals())
    assert stats.start == datetime(2026, 11, 4, tzinfo=NEW_YORK).timestamp()
    assert (stats.end, stats.time_zone) == (NOON + 3_600, "America/New_York")


def test_settled_calls_are_summed():
    """Calls by outcome, tokens by bucket, cost, its estimated part and what is unpriced."""
    ledger = empty_ledger()
    tokens = {"input_tokens": 10, "cache_read_tokens": 4, "output_tokens": 3, "reasoning_tokens": 1, "searches": 2}
    add_attempt(ledger, at=NOON, cost_nanos=100, cost_basis="priced", total_us=1_000, **tokens)
    add_attempt(ledger, at=NOON, cost_nanos=50, cost_basis="estimated", outcome="bypass", total_us=2_000, **tokens)
    add_attempt(ledger, at=NOON, cost_nanos=None, cost_basis="unpriced", outcome="refresh", total_us=90_000)
    totals = _ask(ledger).totals
    assert (totals.call_count, totals.miss_count, totals.bypass_count, totals.refresh_count) == (3, 1, 1, 1)
    assert (totals.cost_nanos, totals.estimated_nanos, totals.unpriced_count) == (150, 50, 1)
    assert totals.usage == TokenUsage(input=20, cache_read=8, output=6, reasoning=2, searches=4)
    assert (totals.latency.p50_us, totals.latency.p99_us) == (2_048, 92_682)
    assert totals.mean_hit_latency_us is None


def test_free_answers_are_summed():
    """Hits and followers count with what they saved; a replay counts and saves nothing."""
    ledger = empty_ledger()
    add_hits(ledger, at=NOON, latencies=[100, 200, 300], saved=30)
    add_hits(ledger, at=NOON + 60, latencies=[400], saved=10)
    add_hits(ledger, at=NOON, latencies=[5_000], saved=7, outcome="coalesced", cause="single_flight")
    add_hits(ledger, at=NOON, latencies=[50], saved=99, outcome="replay", cause="")
    totals = _ask(ledger).totals
    assert (totals.call_count, totals.hit_count, totals.coalesced_count, totals.replay_count) == (6, 4, 1, 1)
    assert totals.mean_hit_latency_us == 250.0
    assert totals.savings == (
        Saving(cause=SavingsCause.CACHE, call_count=4, saved_nanos=40),
        Saving(cause=SavingsCause.SINGLE_FLIGHT, call_count=1, saved_nanos=7),
    )
    assert totals.cost_nanos == 0


def test_savings_of_paid_calls_join_their_cause():
    """What a paid call saved or lost by the prompt cache is summed, the sign kept."""
    ledger = empty_ledger()
    add_attempt(ledger, at=NOON, savings={"prompt_cache": 500})
    add_attempt(ledger, at=NOON, savings={"prompt_cache": -700, "routing": 1, "of_a_later_version": 5})
    add_attempt(ledger, at=NOON, state="released", savings={"prompt_cache": 5})
    assert _ask(ledger).totals.savings == (
        Saving(cause=SavingsCause.PROMPT_CACHE, call_count=2, saved_nanos=-200),
        Saving(cause=SavingsCause.ROUTING, call_count=1, saved_nanos=1),
    )


def test_unknown_cost_stands_apart():
    """The bound of an unknown outcome is not in the settled cost; its call counts where it ended so."""
    ledger = empty_ledger()
    add_attempt(ledger, at=NOON, state="unknown", unknown_low_nanos=10, unknown_high_nanos=900)
    add_attempt(ledger, at=NOON, state="unknown", unknown_high_nanos=None)
    totals = _ask(ledger).totals
    assert (totals.call_count, totals.unknown_count, totals.unknown_nanos, totals.cost_nanos) == (2, 2, 900, 0)
    assert totals.latency is None


def test_call_that_went_on_counts_once():
    """An unknown or released try followed by an answer is one call."""
    ledger = empty_ledger()
    first = add_attempt(ledger, at=NOON, state="unknown", unknown_high_nanos=900)
    add_attempt(ledger, at=NOON + 1, operation=first, attempt_number=2, cost_nanos=5, cost_basis="priced")
    other = add_attempt(ledger, at=NOON, state="released")
    add_attempt(ledger, at=NOON + 1, operation=other, attempt_number=2, cost_nanos=6, cost_basis="priced")
    totals = _ask(ledger).totals
    assert (totals.call_count, totals.unknown_count, totals.released_count, totals.cost_nanos) == (2, 1, 1, 11)


def test_open_attempts_are_not_counted():
    """What is reserved or under way is no call yet."""
    ledger = empty_ledger()
    for state in ("reserved", "sent", "submitted"):
        add_attempt(ledger, at=NOON, state=state)
    assert _ask(ledger).totals == Totals()


def test_other_scopes_are_invisible():
    """A caller sees its own calls alone."""
    ledger = empty_ledger()
    add_attempt(ledger, at=NOON, scope="them", cost_nanos=5)
    add_hits(ledger, at=NOON, latencies=[1], scope="them")
    assert _ask(ledger).totals == Totals()


def test_range_is_exact_for_paid_calls_and_by_the_minute_for_hits():
    """The first moment is in, the last is not; hits of a minute that the range touches are in."""
    ledger = empty_ledger()
    for offset in (-1, 0, 59, 60):
        add_attempt(ledger, at=NOON + offset, cost_nanos=1)
    for minute in (-1, 0, 1):
        add_hits(ledger, at=NOON + 60 * minute, latencies=[1])
    totals = _ask(ledger, start=NOON, end=NOON + 60).totals
    assert (totals.miss_count, totals.hit_count) == (3 - 1, 1)
    assert _ask(ledger, start=NOON + 30, end=NOON + 31).totals.hit_count == 1
    assert _ask(ledger).totals.call_count == 7


@pytest.mark.parametrize("name", ["provider", "model", "agent", "service", "session", "phase", "task"])
def test_groups_and_filters_by_account(name):
    """Each part of the account groups and filters paid calls and hits alike; empty is a group of its own."""
    ledger = empty_ledger()
    add_attempt(ledger, at=NOON, cost_nanos=5, **{name: "a"})
    add_attempt(ledger, at=NOON, cost_nanos=9)
    add_hits(ledger, at=NOON, latencies=[1, 1], saved=2, **{name: "a"})
    groups = _groups(ledger, Dimension(name))
    assert {group: totals.call_count for group, totals in groups.items()} == {("a",): 3, ("",): 1}
    only = _ask(ledger, usage_filter=UsageFilter(**{name: "a"})).totals
    assert (only.call_count, only.cost_nanos, only.hit_count) == (3, 5, 2)


def test_rows_come_dearest_first():
    """Rows are ordered by cost, then by unknown cost, then by name."""
    ledger = empty_ledger()
    for model, cost in (("b", 1), ("a", 1), ("c", 5)):
        add_attempt(ledger, at=NOON, model=model, cost_nanos=cost)
    add_attempt(ledger, at=NOON, state="unknown", model="b", unknown_high_nanos=1)
    assert [row.group for row in _ask(ledger, group_by=(Dimension.MODEL,)).rows] == [("c",), ("b",), ("a",)]


def test_labels_group_and_filter():
    """A label groups by its value, calls without it under the empty one; several labels must all match."""
    ledger = empty_ledger()
    odd = "te\"am's $.x"
    add_attempt(ledger, at=NOON, labels={odd: "red", "env": "prod"}, cost_nanos=1)
    add_attempt(ledger, at=NOON, labels={odd: "blue"}, cost_nanos=1)
    add_attempt(ledger, at=NOON, cost_nanos=1)
    add_hits(ledger, at=NOON, latencies=[1], labels={odd: "red"})
    add_hits(ledger, at=NOON, latencies=[1])
    groups = _groups(ledger, Dimension.LABEL, label_key=odd)
    assert {group: totals.call_count for group, totals in groups.items()} == {("red",): 2, ("blue",): 1, ("",): 2}
    assert _ask(ledger, usage_filter=UsageFilter(labels={odd: "red"})).totals.call_count == 2
    assert _ask(ledger, usage_filter=UsageFilter(labels={odd: "red", "env": "prod"})).totals.call_count == 1


def test_days_and_hours_are_local():
    """The hour that autumn repeats is two hours of one day, told apart by their offsets."""
    ledger = empty_ledger()
    moments = [datetime(2026, 11, 1, 1, 30, fold=fold, tzinfo=NEW_YORK).timestamp() for fold in (0, 1)]
    for moment in moments:
        add_attempt(ledger, at=moment, cost_nanos=1)
        add_hits(ledger, at=moment, latencies=[1])
    hours = _groups(ledger, Dimension.HOUR, time_zone="America/New_York")
    assert {group: totals.call_count for group, totals in hours.items()} == {
        ("2026-11-01T01:00-04:00",): 2,
        ("2026-11-01T01:00-05:00",): 2,
    }
    days = _groups(ledger, Dimension.DAY, time_zone="America/New_York")
    assert {group: totals.call_count for group, totals in days.items()} == {("2026-11-01",): 4}


@pytest.mark.parametrize(("zone", "minutes"), [("Asia/Kathmandu", 345), ("Asia/Kolkata", 330), ("Pacific/Chatham", 825)])
def test_zones_off_the_full_hour_begin_their_day_where_they_do(zone, minutes):
    """A zone whose offset is no full hour has its midnight within an hour of the world's clock."""
    ledger = empty_ledger()
    midnight = datetime(2026, 11, 4, tzinfo=ZoneInfo(zone)).timestamp()
    assert midnight % 3_600 == (-minutes * 60) % 3_600
    for moment in (midnight - 1, midnight):
        add_attempt(ledger, at=moment, cost_nanos=1)
    assert set(_groups(ledger, Dimension.DAY, time_zone=zone)) == {("2026-11-03",), ("2026-11-04",)}


def test_sums_come_from_one_moment():
    """No transaction is left open, and none may be open before: the sums see one state of the ledger."""
    ledger = empty_ledger()
    _ask(ledger)
    assert not ledger.in_transaction


moments = st.integers(min_value=int(NOON) - 400 * 86_400, max_value=int(NOON))
words = st.sampled_from(["", "a", "b"])
attempts = st.fixed_dictionaries(
    {
        "at": moments,
        "state": st.sampled_from(["settled", "released", "unknown", "sent"]),
        "outcome": st.sampled_from(["miss", "bypass", "refresh"]),
        "model": words,
        "agent": words,
        "labels": st.dictionaries(st.sampled_from(["team", "env"]), st.sampled_from(["x", "y"])),
        "total_us": st.none() | st.integers(0, 10**9),
        "input_tokens": st.none() | st.integers(0, 10**6),
        "amount": st.none() | st.integers(0, 10**12),
    }
)
hits = st.fixed_dictionaries(
    {
        "at": moments,
        "latencies": st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
        "saved": st.integers(0, 10**9),
        "outcome": st.sampled_from(["hit", "coalesced", "replay"]),
        "model": words,
        "agent": words,
        "labels": st.dictionaries(st.just("team"), st.sampled_from(["x", "y"])),
    }
)
groupings = st.lists(st.sampled_from(list(Dimension)), min_size=1, max_size=3, unique=True)
zones = st.sampled_from(["UTC", "America/New_York", "Asia/Seoul", "Asia/Kathmandu", "Australia/Lord_Howe"])


def _filled(paid, free):
    ledger = empty_ledger()
    for row in paid:
        fields = dict(row)
        amount = fields.pop("amount")
        column = {"settled": "cost_nanos", "unknown": "unknown_high_nanos"}.get(fields["state"])
        add_attempt(ledger, **fields, **({column: amount} if column else {}))
    seen = set()
    for row in free:
        key = (row["at"] // 60, row["outcome"], row["model"], row["agent"], str(row["labels"]))
        if key not in seen:
            seen.add(key)
            add_hits(ledger, **row)
    return ledger


@settings(max_examples=60, deadline=None)
@given(
    paid=st.lists(attempts, max_size=12),
    free=st.lists(hits, max_size=8),
    dimensions=groupings,
    zone=zones,
)
def test_totals_are_the_sum_over_any_grouping(paid, free, dimensions, zone):
    """However calls are grouped, the groups add up to the totals, and the totals do not depend on the grouping."""
    ledger = _filled(paid, free)
    stats = _ask(
        ledger, group_by=dimensions, label_key="team" if Dimension.LABEL in dimensions else "", time_zone=zone, end=NOON + 86_400
    )
    assert stats.totals == _ask(ledger, end=NOON + 86_400).totals
    assert len({row.group for row in stats.rows}) == len(stats.rows)
    for name in COUNTED:
        assert sum(getattr(row.totals, name) for row in stats.rows) == getattr(stats.totals, name)
    saved = Counter()
    for row in stats.rows:
        for saving in row.totals.savings:
            saved[saving.cause] += saving.saved_nanos
    assert all(saved[saving.cause] == saving.saved_nanos for saving in stats.totals.savings)


@settings(max_examples=60, deadline=None)
@given(paid=st.lists(attempts, max_size=12), zone=zones)
def test_days_are_the_calendars(paid, zone):
    """Each paid call lies in the day that the zone's calendar has for its moment."""
    settled = [row for row in paid if row["state"] == "settled"]
    expected = Counter(datetime.fromtimestamp(row["at"], ZoneInfo(zone)).date().isoformat() for row in settled)
    days = _groups(_filled(settled, []), Dimension.DAY, time_zone=zone)
    assert {group[0]: totals.call_count for group, totals in days.items()} == dict(expected)


@settings(max_examples=30, deadline=None)
@given(paid=st.lists(attempts, max_size=12))
def test_totals_are_what_the_rows_say(paid):
    """Against a plain sum over the rows: cost, unknown cost and counts are equal."""
    totals = _ask(_filled(paid, [])).totals
    by_state = Counter(row["state"] for row in paid)
    amounts = Counter()
    for row in paid:
        amounts[row["state"]] += row["amount"] or 0
    assert totals.call_count == by_state["settled"] + by_state["unknown"]
    assert (totals.released_count, totals.unknown_count) == (by_state["released"], by_state["unknown"])
    assert (totals.cost_nanos, totals.unknown_nanos) == (amounts["settled"], amounts["unknown"])
    assert totals.unpriced_count == sum(row["state"] == "settled" and row["amount"] is None for row in paid)
    assert replace(totals.usage, input=0) == TokenUsage()
