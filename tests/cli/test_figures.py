"""Figures as people and programs read them."""

import doctest
from decimal import Decimal

import pytest
from aigenctl import figures, machine, options
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


@pytest.mark.parametrize(
    ("nanos", "dollars"), [("1000", "0.000001000"), ("0.5", "0.0000000005"), ("1E+3", "0.000001000"), ("-0.25", "-0.00000000025")]
)
def test_fractions_of_a_nano_dollar_are_kept(nanos, dollars):
    """An amount that has them is told with as many digits as it takes; others with nine."""
    assert machine.plain({"fee_usd_nanos": Decimal(nanos)}) == {"fee_usd_nanos": f"{Decimal(nanos):f}", "fee_usd": dollars}


@given(st.integers(1, 10**18))
def test_a_paid_amount_never_reads_as_nothing(nanos):
    """However small an amount is, it is shown with a digit other than 0."""
    assert any(digit in "123456789" for digit in figures.usd(nanos))


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [
        *((12_300_000, "$0.0123"), (34_500_000, "$0.0345"), (160_000_000, "$0.1600"), (999_949_999, "$0.9999")),
        *((999_950_000, "$1.00"), (1_005_000_000, "$1.01"), (1_234_567_890_000, "$1,234.57"), (0, "$0.00")),
        *((9_999_999, "$0.0100"), (123_456, "$0.00012"), (1, "$0.0000000010"), (-1_000, "-$0.0000010"), (-12_300_000, "-$0.0123")),
    ],
)
def test_dollars_round_at_the_edges(nanos, shown):
    """Cents from a dollar on, thousands set apart; four digits below it, and two significant ones below a tenth of a cent."""
    assert figures.usd(nanos) == shown


@given(st.lists(st.integers(0, 99_999).map(lambda tenths_of_a_mill: tenths_of_a_mill * 100_000), max_size=8))
def test_rows_below_a_dollar_add_up(rows):
    """What is shown of amounts with four digits adds up to what is shown of their sum while that is below a dollar."""
    rows = [nanos for nanos in rows if nanos < 10**9]
    if sum(rows) < 10**9:
        shown = [Decimal(figures.usd(nanos).lstrip("$")) for nanos in rows]
        assert sum(shown, Decimal(0)) == Decimal(figures.usd(sum(rows)).lstrip("$"))


@pytest.mark.parametrize(
    ("spent", "limit", "shown"),
    [
        (17_500_000, 20_000_000, "$0.0175"),
        (1_017_500_000, 1_020_000_000, "$1.018"),
        (999_999_999, 1_000_000_000, "$0.999999999"),
        (1_000_000_000, 1_000_000_000, "$1.00"),
        (5_000_000_000, 10_000_000_000, "$5.00"),
    ],
)
def test_what_is_spent_never_reads_as_the_limit_before_it_is(spent, limit, shown):
    """A budget that has room left never shows the same two figures."""
    assert figures.usd(spent, beside=limit) == shown


@given(st.integers(-(10**13), 10**13), st.integers(-(10**13), 10**13))
def test_two_amounts_read_the_same_only_where_they_are(one, other):
    """However close two amounts are, the first is shown with digits that tell it apart."""
    assert (figures.usd(one, beside=other) == figures.usd(other, beside=one)) is (one == other)


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (1_000, "1.0 kB"), (999_949, "999.9 kB"), (999_999, "1.0 MB"), (3 * 10**15, "3,000.0 TB")]
)
def test_sizes_change_unit_where_they_would_read_as_1000(size, shown):
    """A size never reads as 1,000.0 of a unit that has a larger one."""
    assert figures.size(size) == shown
