"""Believing token counts."""

import math

import pytest
from aigend.ledger.prices.usage_check import (
    MOST_INPUT,
    MOST_OUTPUT,
    USAGE_ABSURD,
    USAGE_MISSING,
    USAGE_NEGATIVE,
    checked_usage,
)
from aigend.types import TokenUsage
from hypothesis import given
from hypothesis import strategies as st


def _checked(reported, *, estimated_input=400, max_output=1_000, output_text_len=120):
    return checked_usage(reported, estimated_input=estimated_input, max_output=max_output, output_text_len=output_text_len)


def test_sane_usage_is_taken_as_it_is():
    """Counts that can be believed are booked unchanged and unflagged."""
    usage = TokenUsage(input=90, cache_read=10, output=30, reasoning=12, searches=1)
    assert _checked(usage) == (usage, ())


def test_usage_above_the_reservation_is_booked():
    """More than was held is believed as long as it is no fantasy."""
    usage = TokenUsage(input=900, output=1_500)
    assert _checked(usage) == (usage, ())


@pytest.mark.parametrize("reported", [None, TokenUsage()])
def test_missing_usage_is_estimated(reported):
    """Without counts, or with nothing but zeros beside a text, the estimate of the input and the text's bytes are booked."""
    assert _checked(reported) == (TokenUsage(input=400, output=120), (USAGE_MISSING,))


def test_missing_usage_of_a_long_answer_stays_within_the_limit():
    """An answer can't have more tokens than its limit."""
    usage, _ = _checked(None, output_text_len=50_000)
    assert usage.output == 1_000


def test_nothing_for_nothing():
    """All zeros without a text are believed."""
    assert _checked(TokenUsage(), output_text_len=0) == (TokenUsage(), ())


@pytest.mark.parametrize("bad", [-1, -(10**12), math.nan, 1.5, "7", None])
def test_bad_input_count_is_replaced_by_the_estimate(bad):
    """A count that is negative or no whole number is replaced, and all input together is at least the estimate."""
    usage, flags = _checked(TokenUsage(input=bad, cache_read=50, output=30))
    assert flags == (USAGE_NEGATIVE,)
    assert usage == TokenUsage(input=350, cache_read=50, output=30)


def test_bad_output_and_searches_are_replaced():
    """A bad output count becomes the text's bytes, bad searches none."""
    usage, flags = _checked(TokenUsage(input=90, output=-3, searches=-1, reasoning=-1))
    assert (usage, flags) == (TokenUsage(input=90, output=120), (USAGE_NEGATIVE,))


def test_absurd_counts_are_bounded():
    """Counts beyond every model are replaced by what was held."""
    usage, flags = _checked(TokenUsage(input=MOST_INPUT, cache_read=1, output=MOST_OUTPUT + 1, searches=100_000))
    assert (usage.total_input, usage.output, usage.searches) == (400, 1_000, 30)
    assert flags == (USAGE_ABSURD,)


def test_reasoning_beside_the_output_is_cut_without_a_flag():
    """Reasoning is part of the output by definition; a server that counts it beside costs nothing more."""
    assert _checked(TokenUsage(input=9, output=5, reasoning=50)) == (TokenUsage(input=9, output=5, reasoning=5), ())


@given(
    reported=st.none()
    | st.builds(TokenUsage, **dict.fromkeys(("input", "cache_read", "output", "searches"), st.integers(-(10**15), 10**15))),
    estimated=st.integers(0, 10**6),
    limit=st.integers(1, 10**5),
    length=st.integers(0, 10**6),
)
def test_booked_usage_is_always_sane(reported, estimated, limit, length):
    """Whatever is reported, what is booked is never negative, never absurd, and every change is flagged."""
    usage, flags = checked_usage(reported, estimated_input=estimated, max_output=limit, output_text_len=length)
    assert min(usage.input, usage.cache_read, usage.output, usage.reasoning, usage.searches) >= 0
    assert usage.total_input <= max(MOST_INPUT, estimated * 10)
    assert usage.output <= max(MOST_OUTPUT, limit * 10)
    assert usage == reported or flags
