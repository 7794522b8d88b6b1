"""What a call is expected to cost on a route."""

from dataclasses import replace

import pytest
from aigend.completion.outlook import USUAL_OUTPUT_TOKENS, ExpectedCost, no_reads
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.estimate import estimate_input_tokens
from aigend.ledger.prices.file import parse_prices
from aigend.types import CompletionRequest, Image, Message, ModelRoute, Part, Role, Route

from tests.fakes import FakeClock
from tests.spine import NoPublishedPrices, make_settings, make_snapshot, question

READABLE = """
version: 1
currency: USD
providers:
  three:
    model-3: {input: 10, output: 0, cache_read: 1, valid_from: 2020-01-01, source: test, checked_on: 2025-12-20}
"""

ONE = ModelRoute(route=Route("one", "model-1"), position=0)  # input 1, output 10 USD a million tokens
TWO = ModelRoute(route=Route("two", "model-2"), position=1)  # input 2, output 20


def _expected(request: CompletionRequest) -> ExpectedCost:
    return ExpectedCost(request, make_snapshot(make_settings()), clock=FakeClock(), reads_of=no_reads)


def _tokens(request: CompletionRequest) -> int:
    return estimate_input_tokens(request) // 4


def test_expected_cost_is_input_and_a_usual_answer_at_the_routes_rates() -> None:
    """A quarter of the bytes as input and 500 tokens of output, to the nano-dollar."""
    request = question("word " * 1_000)
    assert _expected(request)(ONE) == _tokens(request) * 1_000 + USUAL_OUTPUT_TOKENS * 10_000
    assert _expected(request)(TWO) == _tokens(request) * 2_000 + USUAL_OUTPUT_TOKENS * 20_000


@pytest.mark.parametrize(("limit", "output"), [(20, 20), (5_000, USUAL_OUTPUT_TOKENS)])
def test_an_answer_is_not_expected_above_its_limit(limit: int, output: int) -> None:
    """A lower limit of the request bounds the expected output."""
    request = question(max_output_tokens=limit)
    assert _expected(request)(ONE) == _tokens(request) * 1_000 + output * 10_000


def test_expected_reads_are_priced_as_reads() -> None:
    """What is expected to be read costs the read rate, and never more is read than there is."""
    prices = PriceCatalog(user=parse_prices(READABLE, name="test"), published=NoPublishedPrices())
    snapshot = replace(make_snapshot(make_settings()), prices=prices)
    request = question("word " * 1_000)
    route = ModelRoute(route=Route("three", "model-3"), position=2)
    tokens = _tokens(request)
    for reads, read in ((0, 0), (300, 300), (10**9, tokens)):
        expected = ExpectedCost(request, snapshot, clock=FakeClock(), reads_of=lambda asked, where, reads=reads: reads)
        assert expected(route) == (tokens - read) * 10_000 + read * 1_000


def test_unknown_prices_and_prompts_that_do_not_fit_are_not_known() -> None:
    """A route without a price, or whose context is too small, has no expected cost."""
    request = question("word " * 1_000)
    assert _expected(request)(ModelRoute(route=Route("one", "unpriced"), position=0)) is None
    assert _expected(request)(ModelRoute(route=Route("one", "model-1"), position=0, context_tokens=100)) is None
    assert _expected(request)(ModelRoute(route=Route("one", "model-1"), position=0, context_tokens=100_000)) is not None


def test_pictures_count_as_the_model_bills_them() -> None:
    """Where pictures cost differently by model, each route's own rule counts."""
    picture = Message(Role.USER, (Part(Image(url="https://e/i.png")),))
    request = CompletionRequest(messages=(picture,))
    expected = _expected(request)
    tokens = estimate_input_tokens(request, model="model-1") // 4
    assert expected(ONE) == tokens * 1_000 + USUAL_OUTPUT_TOKENS * 10_000
