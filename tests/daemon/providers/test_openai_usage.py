"""Usage and cost of OpenAI's formats and their relatives, in disjoint buckets and nano-dollars."""

import math

import pytest
from aigend.providers.openai.usage import chat_usage, reported_cost, responses_usage, usage_json
from aigend.types import TokenUsage

USAGES = {
    "cached inside prompt": (
        {"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109, "prompt_tokens_details": {"cached_tokens": 64}},
        TokenUsage(input=36, cache_read=64, output=9),
    ),
    "reasoning inside completion": (
        {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14, "completion_tokens_details": {"reasoning_tokens": 7}},
        TokenUsage(input=5, output=9, reasoning=7),
    ),
    "reasoning beside completion": (
        {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 7}},
        TokenUsage(input=5, output=16, reasoning=7),
    ),
    "written": (
        {"prompt_tokens": 50, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 30}},
        TokenUsage(input=10, cache_read=10, cache_write_5m=30, output=1),
    ),
    "searches": ({"prompt_tokens": 1, "completion_tokens": 1, "num_search_queries": 3}, TokenUsage(input=1, output=1, searches=3)),
    "null details": ({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": None}, TokenUsage(input=1, output=1)),
    "negative stays visible": ({"prompt_tokens": -1, "completion_tokens": 5, "total_tokens": 9}, TokenUsage(input=-1, output=5)),
    "no numbers": ({"prompt_tokens": "7", "completion_tokens": 5}, None),
    "a flag is no number": ({"prompt_tokens": True, "completion_tokens": 5}, None),
    "half": ({"prompt_tokens": 7}, None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_normalised_once(name: str) -> None:
    """Every spelling ends in disjoint buckets, with bad counts left for the ledger to see."""
    told, meant = USAGES[name]
    assert chat_usage(told) == meant


@pytest.mark.parametrize(
    ("cost", "nanos"),
    [
        (0.0618, 61_800_000),
        ({"total_cost": 0.005, "input_tokens_cost": 0.001}, 5_000_000),
        (0, 0),
        (-1, None),
        (math.nan, None),
        (math.inf, None),
        (2_000_000, None),
        ("0.1", None),
        (None, None),
        (True, None),
    ],
)
def test_a_stated_cost_is_taken_exactly(cost, nanos: int | None) -> None:
    """US dollars become nano-dollars by decimals, and nonsense is no cost."""
    assert reported_cost({"cost": cost}) == nanos


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        ({"cost": 0.0002, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.004}}, 4_200_000),
        ({"cost": 0.004, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.004}}, 4_000_000),
        ({"cost": 0.0002, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.0002, "is_byok": True}, None),
        ({"cost": {"total_cost": 0.0618, "currency": "USD"}}, 61_800_000),
        ({"cost": {"total_cost": 0.0618, "currency": "EUR"}}, None),
    ],
)
def test_a_cost_is_all_that_was_charged_in_dollars(usage, nanos: int | None) -> None:
    """Under the caller's own key the router's fee is a part only, and other currencies are no dollars."""
    assert reported_cost(usage) == nanos


RESPONSES = {
    "cached inside input": (
        {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 9},
        TokenUsage(input=36, cache_read=64, output=9),
    ),
    "reasoning inside output": (
        {"input_tokens": 5, "output_tokens": 9, "output_tokens_details": {"reasoning_tokens": 7}},
        TokenUsage(input=5, output=9, reasoning=7),
    ),
    "written for half an hour and for twelve": (
        {
            "input_tokens": 50,
            "input_tokens_details": {
                "cached_tokens": 10,
                "cache_write_tokens": 30,
                "cache_write_tokens_details": {"ttl_30m_tokens": 20, "ttl_12h_tokens": 10},
            },
            "output_tokens": 1,
        },
        TokenUsage(input=10, cache_read=10, cache_write_5m=20, cache_write_1h=10, output=1),
    ),
    "as Perplexity spells it": (
        {
            "input_tokens": 50,
            "input_tokens_details": {"cache_read_input_tokens": 10, "cache_creation_input_tokens": 5},
            "output_tokens": 1,
            "tool_calls_details": {"web_search": {"invocation": 3}, "fetch_url": {"invocation": 9}, "people_search": None},
        },
        TokenUsage(input=35, cache_read=10, cache_write_5m=5, output=1, searches=3),
    ),
    "null details": ({"input_tokens": 1, "output_tokens": 1, "input_tokens_details": None}, TokenUsage(input=1, output=1)),
    "negative stays visible": ({"input_tokens": -5, "output_tokens": -5}, TokenUsage(input=-5, output=-5)),
    "half": ({"input_tokens": 7}, None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_usage_of_responses_is_normalised_once(name: str) -> None:
    """Every spelling ends in disjoint buckets, with bad counts left for the ledger to see."""
    told, meant = RESPONSES[name]
    assert responses_usage(told) == meant


def test_searches_that_are_seen_count_where_none_are_reported() -> None:
    """The greater of what the output shows and what the usage says is counted, never both."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    assert responses_usage(usage, searches=2).searches == 2
    assert responses_usage(usage | {"tool_calls_details": {"web_search": {"invocation": 3}}}, searches=2).searches == 3


def test_usage_is_kept_as_reported() -> None:
    """The provider's own spelling is kept in one line; no usage is no text."""
    assert (usage_json({"cost": 0.5, "x": None}), usage_json(None)) == ('{"cost":0.5,"x":null}', "")
