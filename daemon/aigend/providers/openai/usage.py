"""Usage and cost as OpenAI's formats and their relatives report them, in disjoint buckets and nano-dollars.

Source:
    OpenAI API reference, chat completions and Responses; OpenRouter, usage accounting; Perplexity API reference. Read 2026-11.
"""

import json
import math
from decimal import Decimal
from typing import Any

from aigend.types import TokenUsage

_NANOS = 1_000_000_000
_MOST_USD = 1_000_000  # a call that costs more is no figure to believe
_DOLLARS = (None, "USD")


def chat_usage(usage: Any) -> TokenUsage | None:
    """Return the usage of a chat completion, unchecked; None where there is none.

    Cached and written tokens are inside the prompt's there, reasoning inside the completion's. Servers that count reasoning
    beside the completion show it in their total: what the total has more is output.

    Example:
        >>> chat_usage({"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}})
        TokenUsage(input=5, cache_read=4, cache_write_5m=0, cache_write_1h=0, output=3, reasoning=0, searches=0)
    """
    if not isinstance(usage, dict) or not are_numbers(usage.get("prompt_tokens"), usage.get("completion_tokens")):
        return None
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    details = mapping(usage.get("prompt_tokens_details"))
    cached = count(details.get("cached_tokens"))
    written = count(details.get("cache_write_tokens"))
    reasoning = count(mapping(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    beside = count(usage.get("total_tokens")) - prompt - output
    return TokenUsage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=output + max(0, beside) if min(prompt, output) >= 0 else output,
        reasoning=reasoning,
        searches=count(usage.get("num_search_queries")),
    )


def responses_usage(usage: Any, *, searches: int = 0) -> TokenUsage | None:
    """Return the usage of a response, unchecked; None where there is none.

    Cached and written tokens are inside the input there, reasoning inside the output. A write that is kept for 12 hours counts
    to the dearer bucket.

    Args:
        usage: As reported.
        searches: Searches that the output shows; the greater of these and the reported ones counts.

    Example:
        >>> responses_usage({"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}})
        TokenUsage(input=5, cache_read=4, cache_write_5m=0, cache_write_1h=0, output=3, reasoning=0, searches=0)
    """
    if not isinstance(usage, dict) or not are_numbers(usage.get("input_tokens"), usage.get("output_tokens")):
        return None
    details = mapping(usage.get("input_tokens_details"))
    cached = count(details.get("cached_tokens", details.get("cache_read_input_tokens")))
    written = count(details.get("cache_write_tokens", details.get("cache_creation_input_tokens")))
    long = min(written, count(mapping(details.get("cache_write_tokens_details")).get("ttl_12h_tokens")))
    return TokenUsage(
        input=usage["input_tokens"] - cached - written,
        cache_read=cached,
        cache_write_5m=written - long,
        cache_write_1h=long,
        output=usage["output_tokens"],
        reasoning=count(mapping(usage.get("output_tokens_details")).get("reasoning_tokens")),
        searches=max(searches, _tool_searches(usage)),
    )


def reported_cost(usage: Any) -> int | None:
    """Return the cost that a server states itself in US dollars (`usage.cost`), in nano-dollars.

    Where a router calls a model under the caller's own key (`is_byok`), its figure is its fee alone, and what that key is
    charged stands beside it.

    Example:
        >>> reported_cost({"cost": 0.0125})
        12500000
    """
    told = mapping(usage)
    cost: Any = told.get("cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost") if cost.get("currency") in _DOLLARS else None
    amounts = [cost]
    if told.get("is_byok") is True:
        amounts.append(mapping(told.get("cost_details")).get("upstream_inference_cost"))
    return _nanos(amounts)


def usage_json(usage: Any) -> str:
    """Return the usage as reported, in one line of JSON; empty where there is none."""
    return json.dumps(usage, separators=(",", ":")) if usage else ""


def mapping(value: Any) -> dict[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def are_numbers(*values: Any) -> bool:
    """Return whether each value is a number; truth values are none."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def count(value: Any) -> Any:
    """Return the value if it is a number, else 0."""
    return value if are_numbers(value) else 0


def _tool_searches(usage: dict[str, Any]) -> Any:
    """Return how often tools searched, as Perplexity counts them by the tool's name."""
    tools = mapping(usage.get("tool_calls_details"))
    return sum(count(mapping(told).get("invocation")) for name, told in tools.items() if "search" in name)


def _nanos(amounts: list[Any]) -> int | None:
    if not are_numbers(*amounts) or not all(math.isfinite(amount) and 0 <= amount <= _MOST_USD for amount in amounts):
        return None
    dollars = sum((Decimal(str(amount)) for amount in amounts), Decimal(0))
    return int((dollars * _NANOS).to_integral_value())
