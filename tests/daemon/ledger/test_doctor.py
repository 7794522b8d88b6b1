"""The prompt-cache doctor: what writes cost and reads saved, by prefix."""

from decimal import Decimal

import pytest
from aigend.errors import DomainError
from aigend.ledger.prices.pricing import PriceEntry
from aigend.ledger.savings import savings_of, write_premium
from aigend.ledger.statistics.doctor import diagnose, prefix_limit, reads_needed
from aigend.ledger.statistics.query import UsageFilter, stats_query
from aigend.ledger.statistics.stats import compute
from aigend.types import SavingsCause, TokenUsage

from tests.daemon.ledger.ledger_rows import add_attempt, empty_ledger

NOW = 1_767_225_600.0
PRICE = PriceEntry(
    input=Decimal(3),
    cache_read=Decimal("0.3"),
    cache_write_5m=Decimal("3.75"),
    cache_write_1h=Decimal(6),
    output=Decimal(15),
)
A, B = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"


def _call(ledger, *, at, prefix="", read_prefix="", price=PRICE, read=0, written=0, long=0, **fields):
    """Write a settled call as the daemon would have booked it."""
    usage = TokenUsage(input=10, cache_read=read, cache_write_5m=written, cache_write_1h=long, output=5)
    saved = {str(cause): nanos for cause, nanos in savings_of(usage, price).items()}
    about = {"provider": "anthropic", "model": "m"} | fields
    return add_attempt(
        ledger,
        at=at,
        cost_nanos=1,
        input_tokens=10,
        cache_read_tokens=read,
        cache_write_5m_tokens=written,
        cache_write_1h_tokens=long,
        output_tokens=5,
        savings=saved,
        prefix=prefix,
        read_prefix=read_prefix,
        write_premium_nanos=write_premium(usage, price),
        **about,
    )


def _examine(ledger, *, limit=20, price=PRICE, minimum=1_024, **fields):
    query = stats_query(scope="me", now=NOW + 100_000, **fields)
    return diagnose(ledger, query, limit=limit, price_of=lambda *_: price, minimum_of=lambda _: minimum)


def _only(ledger, **fields):
    (found,) = _examine(ledger, **fields).prefixes
    return found


def test_a_write_and_its_reads_stand_against_each_other():
    """One write of 1,000 tokens costs 0.75 millicents above input, each read saves 2.7: it has paid after the first."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=1_000)
    for second in (1, 2):
        _call(ledger, at=NOW + second, prefix=A, read_prefix=A, read=1_000)
    found = _only(ledger)
    assert (found.row.write_count, found.row.written_tokens, found.row.premium_nanos) == (1, 1_000, 750_000)
    assert (found.row.read_count, found.row.read_tokens, found.row.saved_nanos) == (2, 2_000, 5_400_000)
    assert (found.net_nanos, found.paid, found.reads_needed, found.advice) == (4_650_000, True, Decimal("0.28"), ())


def test_written_and_never_read_is_said_with_what_it_cost():
    """A prefix without a read is a loss, named as one."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=1_000)
    _call(ledger, at=NOW + 10_000, prefix=A, written=1_000)
    found = _examine(ledger)
    assert not found.prefixes[0].paid
    assert found.prefixes[0].net_nanos == -1_500_000
    told = "written 2 times and never read: its writes cost 0.0015 USD above ordinary input"
    assert found.prefixes[0].advice[0].startswith(told)
    assert (found.totals.never_read_count, found.totals.premium_nanos) == (1, 1_500_000)


def test_a_conversation_reads_what_its_last_turn_wrote():
    """Each turn writes its own prefix and reads the one before, which that read is put down to."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=2_000)
    _call(ledger, at=NOW + 60, prefix=B, read_prefix=A, read=2_000, written=500)
    first, second = sorted(_examine(ledger).prefixes, key=lambda found: found.row.prefix)
    assert (first.row.write_count, first.row.read_count, first.row.read_tokens, first.paid) == (1, 1, 2_000, True)
    assert (second.row.write_count, second.row.written_tokens, second.row.read_count) == (1, 500, 0)
    assert second.row.premium_nanos == 375_000


def test_what_comes_again_after_its_lifetime_is_told_from_what_an_hour_would_have_kept():
    """Twelve minutes later an hour would have been enough, two hours later nothing would."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=1_000)
    _call(ledger, at=NOW + 720, prefix=A, read_prefix=A, written=1_000)
    _call(ledger, at=NOW + 8_000, prefix=A, read_prefix=A, written=1_000)
    found = _only(ledger)
    assert (found.row.missed_count, found.row.expired_count, found.row.sparable_count) == (2, 2, 1)
    assert any("sent again once after it had expired and within an hour" in text for text in found.advice)


def test_a_prefix_kept_for_an_hour_has_not_expired_after_twelve_minutes():
    """What an hour's mark lost within the hour is another matter: calls that began together."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, long=1_000)
    _call(ledger, at=NOW + 720, prefix=A, read_prefix=A, long=1_000)
    found = _only(ledger)
    assert (found.row.kept_long, found.row.missed_count, found.row.expired_count) == (True, 1, 0)
    assert found.reads_needed == Decimal("1.11")
    assert any("while it should have been kept" in text for text in found.advice)


def test_expired_beyond_an_hour_only_is_said_to_come_too_far_apart():
    """No lifetime would help."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=1_000)
    _call(ledger, at=NOW + 8_000, prefix=A, read_prefix=A, written=1_000)
    assert any("too far apart to be cached" in text for text in _only(ledger).advice)


def test_a_mark_that_wrote_nothing_is_below_the_minimum():
    """The provider says nothing of a prefix that is too short; the doctor does."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A)
    found = _only(ledger, minimum=4_096)
    assert found.advice == (
        "marked once and neither written nor read: most likely shorter than the model's minimum of 4096 tokens;"
        " make it longer or unmark it",
    )
    assert "the shortest that its model keeps" in _only(ledger, minimum=0).advice[0]


def test_read_too_seldom_names_how_many_reads_a_write_needs():
    """An hour's write that is read once has not paid."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, long=1_000)
    _call(ledger, at=NOW + 60, prefix=A, read_prefix=A, read=1_000)
    found = _only(ledger)
    assert not found.paid
    assert found.advice == (
        "read too seldom: 1 reads saved less than 1 writes cost; a write needs 1.11 reads of all that it wrote",
    )
    assert _only(ledger, price=None).reads_needed is None


def test_the_greatest_loss_comes_first_and_sums_are_over_all():
    """A limit shortens the list, never the sums."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=1_000)
    _call(ledger, at=NOW, prefix=B, written=5_000)
    found = _examine(ledger, limit=1)
    assert [one.row.prefix for one in found.prefixes] == [B]
    assert (found.totals.prefix_count, found.totals.write_count, found.totals.written_tokens) == (2, 2, 6_000)


def test_sums_are_the_savings_of_the_prompt_cache():
    """What reads saved less what writes cost is what stats call the prompt cache's savings, to the nano-dollar."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=1_003)
    _call(ledger, at=NOW + 1, prefix=B, read_prefix=A, read=1_001, written=77)
    _call(ledger, at=NOW + 2, read=333)  # a provider that caches by itself
    _call(ledger, at=NOW + 3, long=91)  # made elsewhere: of its prefix nothing is known
    totals = _examine(ledger).totals
    (saving,) = compute(ledger, stats_query(scope="me", now=NOW + 100)).totals.savings
    assert saving.cause is SavingsCause.PROMPT_CACHE
    assert saving.saved_nanos == totals.saved_nanos - totals.premium_nanos


def test_rows_of_older_versions_count_what_they_know():
    """Without a premium of its own a row that read nothing says it by its loss."""
    ledger = empty_ledger()
    attempt = _call(ledger, at=NOW, prefix=A, written=1_000)
    ledger.execute("UPDATE attempt SET write_premium_nanos = NULL WHERE id = ?", (attempt,))
    assert _only(ledger).row.premium_nanos == 750_000


def test_range_and_filter_are_those_of_savings():
    """Only calls of the range and the filter, and of the scope."""
    ledger = empty_ledger()
    _call(ledger, at=NOW, prefix=A, written=1_000, service="one")
    _call(ledger, at=NOW + 500, prefix=B, written=1_000, service="two")
    _call(ledger, at=NOW, prefix=B, written=9_000, scope="somebody else")
    assert _only(ledger, usage_filter=UsageFilter(service="one")).row.prefix == A
    assert _only(ledger, start=NOW + 400).row.prefix == B
    assert _only(ledger, start=NOW, end=NOW + 400).row.prefix == A


def test_rows_are_found_by_the_index_alone():
    """Calls without a prompt cache cost the question nothing."""
    ledger = empty_ledger()
    seen = []
    ledger.set_trace_callback(seen.append)
    _examine(ledger)
    ledger.set_trace_callback(None)
    question = next(text for text in seen if "touch" in text)
    plan = [row[3] for row in ledger.execute(f"EXPLAIN QUERY PLAN {question}")]
    assert sum("attempt_by_prefix" in step for step in plan) == 2
    assert not any(step.startswith("SCAN a") for step in plan)


def test_an_empty_ledger_has_nothing_to_say():
    """No prefixes, sums of nothing."""
    found = _examine(empty_ledger())
    assert (found.prefixes, found.totals.prefix_count) == ((), 0)


def test_an_unlisted_count_is_refused():
    """The number of prefixes is bounded."""
    assert prefix_limit(0) == 20
    with pytest.raises(DomainError, match="prefix_count"):
        prefix_limit(1_001)


def test_prices_without_a_discount_have_no_break_even():
    """Where a read costs as much as input no number of reads pays."""
    assert reads_needed(PriceEntry(input=Decimal(1), cache_read=Decimal(1), output=Decimal(1)), kept_long=False) is None
