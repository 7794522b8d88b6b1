"""Figures as people and programs read them."""

import doctest

import pytest
from aigenctl import figures, options
from hypothesis import given
from hypothesis import strategies as st

MODULES = [figures, options]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_hold(module):
    """Every example of these modules prints what it says."""
    assert doctest.testmod(module).failed == 0


@given(st.integers(-(10**18), 10**18))
def test_exact_dollars_lose_nothing(nanos):
    """The exact amount has nine digits and is the same number of nano-dollars."""
    text = figures.exact_usd(nanos)
    whole, point, rest = text.lstrip("-").partition(".")
    assert point == "."
    assert len(rest) == 9
    assert int(whole + rest) * (-1 if text.startswith("-") else 1) == nanos


@given(st.integers(1, 10**18))
def test_a_paid_amount_never_reads_as_nothing(nanos):
    """However small an amount is, it is shown with a digit other than 0."""
    assert any(digit in "123456789" for digit in figures.usd(nanos))


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [(9_999_999, "$0.010"), (10_000_000, "$0.01"), (1, "$0.0000000010"), (1_234_567_890_000, "$1,234.57"), (-1_000, "-$0.0000010")],
)
def test_dollars_round_at_the_edges(nanos, shown):
    """Two significant digits below one cent, cents above, thousands set apart."""
    assert figures.usd(nanos).startswith(shown[:-1])


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1_000, "1.0 kB"), (999_949, "999.9 kB"), (999_999, "1.0 MB"), (3 * 10**15, "3,000.0 TB")]
)
def test_sizes_change_unit_where_they_would_read_as_1000(size, shown):
    """A size never reads as 1,000.0 of a unit that has a larger one."""
    assert figures.size(size) == shown
