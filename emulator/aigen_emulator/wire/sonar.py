"""Perplexity's chat format as it was until September 2026: usage in every event, no [DONE], fees and sources beside the answer.

It was spoken at `/chat/completions`, without the version that OpenAI's address has.

Source:
    Perplexity API reference, chat completions, read 2026-11.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aigen_emulator.answers import ModelAnswer, Question, count_tokens
from aigen_emulator.wire.openai import OpenAIWire, envelope, words
from aigen_emulator.wire.perplexity import MILLIONTH_USD, PerplexityManners, sources

REQUEST_MILLIONTHS = 5_000


class SonarWire(PerplexityManners, OpenAIWire):
    """Chat completions with a search, unary and streamed."""

    path = re.compile(r"(?:/perplexity)?/chat/completions")

    def usage(self, answer: ModelAnswer) -> dict[str, Any]:
        """Return the usage object, with what the call cost."""
        tokens = answer.tokens
        cost = {
            "input_tokens_cost": tokens.input * MILLIONTH_USD / 1_000_000,
            "output_tokens_cost": tokens.output * MILLIONTH_USD / 1_000_000,
            "request_cost": REQUEST_MILLIONTHS / 1_000_000,
            "total_cost": ((tokens.input + tokens.output) * MILLIONTH_USD + REQUEST_MILLIONTHS) / 1_000_000,
        }
        return {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "search_context_size": "low",
            "cost": cost,
        }

    def unary(self, question: Question, answer: ModelAnswer, *, usage: Any) -> bytes:
        """Return the body of a whole answer, its sources beside it."""
        body = json.loads(super().unary(question, answer, usage=usage)) | _found(question)
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def events(self, question: Question, answer: ModelAnswer, *, usage: Any) -> Iterator[bytes]:
        """Yield the events: each has a piece of the text, all of it so far, and the usage so far."""
        frame = envelope(question, "chat.completion.chunk") | _found(question)
        said = ""
        for word in words(answer.text):
            said += word
            yield _event(frame, word, said, finish=None, usage=self._so_far(answer, said, usage))
        calls = json.loads(OpenAIWire.unary(self, question, answer, usage=None))["choices"][0]["message"].get("tool_calls")
        yield _event(frame, "", said, finish=answer.finish, usage=usage, calls=calls)

    def _so_far(self, answer: ModelAnswer, said: str, usage: Any) -> Any:
        if usage is None:
            return None
        return self.usage(replace(answer, tokens=replace(answer.tokens, output=count_tokens(said))))


def _found(question: Question) -> dict[str, Any]:
    found = sources(question)
    return {"citations": [source["url"] for source in found], "search_results": found}


def _event(frame: dict[str, Any], piece: str, said: str, *, finish: str | None, usage: Any, calls: Any = None) -> bytes:
    delta: dict[str, Any] = {"role": "assistant", "content": piece}
    delta = delta | {"tool_calls": calls} if calls else delta
    choice = {"index": 0, "delta": delta, "message": {"role": "assistant", "content": said}, "finish_reason": finish}
    body = frame | {"choices": [choice]} | ({} if usage is None else {"usage": usage})
    return b"data: " + json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\r\n\r\n"
