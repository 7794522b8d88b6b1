"""Perplexity's Agent API: Responses with fees, sources and a reported cost.

The real one is spoken at `/v1/responses` and `/v1/agent` of its own host; here, where hosts are paths, `/perplexity` stands before.

Source:
    Perplexity API reference, Agent API, read 2026-11.
"""

import json
import re
from typing import Any

from aigen_emulator.answers import ModelAnswer, Question, Tokens
from aigen_emulator.wire.openai_errors import parsed
from aigen_emulator.wire.port import RefusalError
from aigen_emulator.wire.responses import ResponsesWire, framed
from aigen_emulator.wire.responses_request import ResponsesQuestion, question_of

MILLIONTH_USD = 1  # a token of input or of output
SEARCH_MILLIONTHS = 5_000
_UNKNOWN = ("messages", "max_tokens", "stop", "seed", "n", "text", "tool_choice", "store", "prompt_cache_key")
_TYPES = {401: "invalid_api_key", 402: "insufficient_credits", 404: "model_not_found", 429: "rate_limit_exceeded"}


class PerplexityManners:
    """How Perplexity spells errors, in each of its formats."""

    def error(self, refused: RefusalError) -> bytes:
        """Return the body of an error: its code is the status."""
        fallback = "server_error" if refused.status >= 500 else "bad_request"
        told = {"message": refused.message, "type": _TYPES.get(refused.status, fallback), "code": refused.status}
        return json.dumps({"error": told}).encode()


class PerplexityWire(PerplexityManners, ResponsesWire):
    """The Agent API, unary and streamed."""

    path = re.compile(r"/perplexity/v1/(?:responses|agent)")

    def question(self, body: bytes, path: str) -> Question:  # noqa: ARG002 - both addresses say the same
        """Return what a request body asks."""
        form = parsed(body).get("response_format") or {}
        return question_of(body, unknown=_UNKNOWN, json_schema=(form.get("json_schema") or {}).get("schema"))

    def usage(self, answer: ModelAnswer) -> dict[str, Any]:
        """Return the usage object, with what tokens cost."""
        tokens = answer.tokens
        return {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cache_creation_input_tokens": 0, "cache_read_input_tokens": tokens.cached},
            "output_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "cost": _cost(tokens, searches=0),
        }

    def output(self, question: Question, answer: ModelAnswer) -> list[dict[str, Any]]:
        """Return the items of the answer, after those of its searches; reasoning is not shown."""
        items = [item for item in super().output(question, answer) if item["type"] != "reasoning"]
        return [_results(question), *items] if searches(question) else items

    def response(self, question: Question, answer: ModelAnswer, *, usage: Any) -> dict[str, Any]:
        """Return the whole answer, with the fees of its searches."""
        made = searches(question)
        if made and usage is not None:
            more = {"tool_calls_details": {"web_search": {"invocation": made}}, "cost": _cost(answer.tokens, searches=made)}
            usage = usage | more
        return super().response(question, answer, usage=usage)

    def error_event(self, refused: RefusalError) -> bytes:
        """Return an error as the event that ends a stream."""
        return framed("response.failed", json.loads(self.error(refused)) | {"sequence_number": 0})


def searches(question: Question) -> int:
    """Return how often the model searches: Perplexity's own models do by themselves, others where they may."""
    offered = isinstance(question, ResponsesQuestion) and question.searching
    return int(offered or question.model.startswith(("perplexity/", "sonar")))


def sources(question: Question) -> list[dict[str, Any]]:
    """Return what a search finds."""
    return [
        {
            "id": number,
            "url": f"https://example.com/{question.seed % 1_000}/{number}",
            "title": f"Source {number}",
            "snippet": "What somebody wrote about it.",
            "source": "web",
            "date": "2026-03-15",
        }
        for number in (1, 2)
    ]


def _results(question: Question) -> dict[str, Any]:
    return {"type": "search_results", "queries": [question.last_user_text[:80]], "results": sources(question)}


def _cost(tokens: Tokens, *, searches: int) -> dict[str, Any]:
    """Return the cost in US dollars; a millionth is the smallest part of one that is told."""
    parts = {
        "input_cost": tokens.input * MILLIONTH_USD,
        "output_cost": tokens.output * MILLIONTH_USD,
        "tool_calls_cost": searches * SEARCH_MILLIONTHS,
    }
    told = {name: millionths / 1_000_000 for name, millionths in parts.items()}
    return {"currency": "USD"} | told | {"total_cost": sum(parts.values()) / 1_000_000}
