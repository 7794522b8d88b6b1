"""Google's generateContent: answers and streams as that API spells them.

Source:
    Types of the google-genai SDK 3.4; Google, "Thought signatures". Read 2026-11.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aigen_emulator.answers import ModelAnswer, ModelToolCall, Question
from aigen_emulator.dice import Dice
from aigen_emulator.limits import Allowance
from aigen_emulator.prose import sentence, topics
from aigen_emulator.wire.gemini_errors import BAD_KEY, default_refusal, error_bytes, error_of, refuse
from aigen_emulator.wire.gemini_request import merged, parsed, question_from, signature_of, signed_call, signs_calls
from aigen_emulator.wire.port import RefusalError

_WORDS = re.compile(r"\s*\S+|\s+")
_FINISHES = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"}
_AT_THE_START = ("promptTokenCount", "promptTokensDetails", "cachedContentTokenCount")

Body = dict[str, Any]


class GeminiWire:
    """generateContent, unary and streamed.

    Args:
        held: Returns what a cache holds, by its name and the model that wants it.
    """

    path = re.compile(r"/v1(?:alpha|beta)?/(?:models|tunedModels)/[^/]+:(?:generateContent|streamGenerateContent)")

    def __init__(self, held: Callable[[str, str], Mapping[str, Any]]) -> None:
        self._held = held

    def question(self, body: bytes, path: str) -> Question:
        """Return what a request body asks of the model in its path."""
        model, _, method = path.rpartition("/")[2].rpartition(":")
        asked = parsed(body)
        if asked.get("cachedContent"):
            asked = merged(asked, self._held(str(asked["cachedContent"]), model))
        return question_from(asked, model=model, stream=method == "streamGenerateContent")

    def headers(self, allowance: Allowance) -> list[tuple[bytes, bytes]]:  # noqa: ARG002 - this provider tells no limits
        """Return what Google sends beside every answer."""
        return [(b"server-timing", b"gfet4t7; dur=1"), (b"x-gemini-service-tier", b"standard")]

    def wait_headers(self, seconds: float) -> dict[str, str]:  # noqa: ARG002 - this provider says it in the body alone
        """Return no headers."""
        return {}

    def usage(self, answer: ModelAnswer) -> Body:
        """Return the usage object: cached tokens inside the prompt's, thoughts beside the answer's, what is 0 left out."""
        tokens = answer.tokens
        prompt = tokens.input - tokens.written_5m - tokens.written_1h  # what stands in a cache was billed when it was made
        counts = {
            "promptTokenCount": prompt,
            "cachedContentTokenCount": tokens.cached,
            "candidatesTokenCount": tokens.output - tokens.reasoning,
            "thoughtsTokenCount": tokens.reasoning,
            "totalTokenCount": prompt + tokens.output,
        }
        told: Body = {name: count for name, count in counts.items() if count}
        return told | {
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
            "serviceTier": answer.tier or "standard",
        }

    def unary(self, question: Question, answer: ModelAnswer, *, usage: Any) -> bytes:
        """Return the body of a whole answer."""
        return _json(_body(question, _parts(question, answer), usage, finish=_FINISHES[answer.finish]))

    def events(self, question: Question, answer: ModelAnswer, *, usage: Any) -> Iterator[bytes]:
        """Yield the events: one a word or call, each with what is counted so far, the last with the end."""
        begun = None if usage is None else {name: usage[name] for name in _AT_THE_START if name in usage}
        for part in _parts(question, answer):
            for piece in _pieces(part):
                yield _event(_body(question, [piece], begun))
        yield _event(_body(question, [{"text": ""}], usage, finish=_FINISHES[answer.finish]))

    def error(self, refused: RefusalError) -> bytes:
        """Return the body of an error."""
        return error_bytes(refused)

    def error_event(self, refused: RefusalError) -> bytes:
        """Return an error as an event of a stream."""
        return _event(error_of(refused))

    def default_refusal(self, status: int) -> RefusalError:
        """Return what the provider says with a status."""
        return default_refusal(status)

    def authorized(self, headers: Mapping[bytes, bytes], api_key: str) -> bool:
        """Return True if the request carries the key; without it the provider's own refusal has another status than others'."""
        if headers.get(b"x-goog-api-key") != api_key.encode():
            raise refuse("API key not valid. Please pass a valid API key.", code=BAD_KEY)
        return True

    def models(self, names: tuple[str, ...]) -> bytes:
        """Return the body of a list of models."""
        methods = ["generateContent", "countTokens", "createCachedContent"]
        return _json({"models": [{"name": f"models/{name}", "supportedGenerationMethods": methods} for name in names]})


def _parts(question: Question, answer: ModelAnswer) -> list[Body]:
    """Return the parts of an answer; what was thought about is signed at the end of a text, and on the first of the calls."""
    thought = answer.tokens.reasoning > 0
    parts: list[Body] = []
    if thought and question.shows_thinking:
        text = answer.thinking or sentence(Dice(question.seed), topics(question.last_user_text))
        parts.append({"text": text, "thought": True})
    if answer.text:
        parts.append({"text": answer.text})
        parts += [{"text": "", "thoughtSignature": signature_of(answer.text)}] if thought else []
    signed = signs_calls(question.model)
    calls = [_call(call, with_id=signed) for call in answer.tool_calls]
    if calls and (thought or signed):
        call = calls[0]["functionCall"]
        calls[0]["thoughtSignature"] = signature_of(signed_call(call["name"], call["args"]))
    return [*parts, *calls]


def _call(call: ModelToolCall, *, with_id: bool) -> Body:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:  # the limit cut it
        arguments = {}
    return {"functionCall": ({"id": call.id.removeprefix("call_")} if with_id else {}) | {"name": call.name, "args": arguments}}


def _pieces(part: Body) -> Iterator[Body]:
    """Yield a part in the pieces of a stream."""
    if "thoughtSignature" in part or "text" not in part:
        yield part
    else:
        yield from (part | {"text": word} for word in _WORDS.findall(part["text"]))


def _body(question: Question, parts: list[Body], usage: Any, *, finish: str | None = None) -> Body:
    candidate: Body = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    counted = {} if usage is None else {"usageMetadata": usage}
    return {"candidates": [candidate], **counted, "modelVersion": question.model, "responseId": f"{question.seed:024x}"}


def _event(body: Body) -> bytes:
    return b"data: " + _json(body) + b"\r\n\r\n"


def _json(body: Body) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
