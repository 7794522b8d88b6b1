"""A request of Google's generateContent as a question, and what that API refuses before it answers.

Source:
    Types of the google-genai SDK 3.4; Google's pages on function calling, thought signatures and caching. Read 2026-11.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from aigen_emulator.answers import IMAGE_TOKENS, MESSAGE_TOKENS, Question, ToolOffer, count_tokens
from aigen_emulator.wire.gemini_errors import refuse

SKIP_SIGNATURE = "skip_thought_signature_validator"  # what stands for the signature of a call that another model made
_VERSION = re.compile(r"gemini-(\d{1,2})(?:\.(\d{1,2}))?(?!\d)")
_OLD, _FIRST_SIGNED = (0, 0), (3, 0)
_TOP = frozenset(
    (
        "contents",
        "systemInstruction",
        "tools",
        "toolConfig",
        "generationConfig",
        "safetySettings",
        "cachedContent",
        "labels",
        "store",
        "serviceTier",
    )
)
_CONFIG = frozenset(
    (
        "temperature",
        "topP",
        "topK",
        "maxOutputTokens",
        "stopSequences",
        "seed",
        "candidateCount",
        "responseMimeType",
        "responseSchema",
        "responseJsonSchema",
        "responseModalities",
        "thinkingConfig",
        "mediaResolution",
        "presencePenalty",
        "frequencyPenalty",
        "responseLogprobs",
        "logprobs",
    )
)
_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_FREE = frozenset(("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"))
_OF_A_CACHE = ("systemInstruction", "tools", "toolConfig")
_BESIDES = ("cachedContent", "contents", "generationConfig", "serviceTier")
_NOT_THE_ANSWER = ("maxOutputTokens", "stopSequences")
_EFFORTS = frozenset(("minimal", "low", "medium", "high"))
_BUDGETS = ((0, "none"), (1_024, "low"), (8_192, "medium"))  # thinking tokens up to which an effort is taken for so much

Body = dict[str, Any]


def generation(model: str) -> tuple[int, int]:
    """Return a model's version by its name; a name without one is taken for old.

    Example:
        >>> generation("gemini-3.8-flash"), generation("gpt-4o")
        ((3, 8), (0, 0))
    """
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else _OLD


def signs_calls(model: str) -> bool:
    """Return whether a model gives calls ids and signatures, and demands the signatures back."""
    return generation(model) >= _FIRST_SIGNED


def signature_of(signed: str) -> str:
    """Return the signature that the emulated provider puts on a part, and knows again."""
    return base64.b64encode(hashlib.sha256(b"thought\0" + signed.encode("utf-8", "surrogatepass")).digest()).decode()


def signed_call(name: str, arguments: Any) -> str:
    """Return what the signature of a call is made over."""
    return json.dumps([name, arguments], sort_keys=True)


def parsed(body: bytes) -> Body:
    """Return a body's object, its names in one of the two spellings that the provider takes.

    Raises:
        RefusalError: It is none.
    """
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise refuse("Invalid JSON payload received. Expected a value.") from error
    if not isinstance(asked, dict):
        raise refuse('Invalid JSON payload received. Unknown name "": Root element must be a message.')
    named: Body = _camel(asked)
    return named


def merged(asked: Body, held: Mapping[str, Any]) -> Body:
    """Return a request with what its cache holds before it.

    Raises:
        RefusalError: It brings what only a cache may hold.
    """
    if any(name in asked for name in _OF_A_CACHE):
        text = "CachedContent can not be used with GenerateContent request setting system_instruction, tools or tool_config."
        raise refuse(f"{text}\n\nProposed fix: move those values to CachedContent from GenerateContent request.")
    turns = [*held.get("contents", ()), *asked.get("contents", ())]
    return asked | {name: held[name] for name in _OF_A_CACHE if name in held} | {"contents": turns}


def question_from(asked: Body, *, model: str, stream: bool) -> Question:
    """Return what a request asks, its cache merged into it.

    Raises:
        RefusalError: The provider would refuse it.
    """
    _check_names(asked, _TOP, "")
    config = asked.get("generationConfig") or {}
    _check_names(config, _CONFIG, " at 'generation_config'")
    if model.startswith("unknown"):
        text = f"models/{model} is not found for API version v1beta, or is not supported for generateContent."
        raise refuse(f"{text} Call ModelService.ListModels to see the list of available models.", status=404)
    turns = _turns(asked)
    _check_calls(turns)
    _check_signatures(turns, model)
    texts = prompt_texts(asked | {"contents": turns})
    last_user = next((turn for turn in reversed(turns) if turn["role"] == "user"), None)
    thinking = config.get("thinkingConfig") or {}
    return Question(
        model=model,
        seed=_seed(model, asked, config, turns),
        prompt="\n".join(texts),
        last_user_text="\n".join(str(part["text"]) for part in last_user["parts"] if "text" in part) if last_user else "",
        message_count=len(turns) + bool(asked.get("systemInstruction")),
        image_count=_pictures(turns),
        max_tokens=_limit(config),
        stop=tuple(map(str, config.get("stopSequences") or ())),
        tools=tuple(
            ToolOffer(str(tool.get("name", "")), _schema(tool, "parametersJsonSchema", "parameters")) for tool in _functions(asked)
        ),
        must_call=_must_call(asked),
        after_tool_result=any("functionResponse" in part for part in turns[-1]["parts"]),
        wants_json=config.get("responseMimeType") == "application/json",
        json_schema=_schema(config, "responseJsonSchema", "responseSchema"),
        effort=_effort(thinking, model),
        stream=stream,
        include_usage=True,
        shows_thinking=bool(thinking.get("includeThoughts")),
        cached_content=str(asked.get("cachedContent") or ""),
        tier="flex" if asked.get("serviceTier") == "flex" else "",
    )


def prompt_texts(asked: Mapping[str, Any]) -> list[str]:
    """Return every text of a request or a cache in the order of the prompt: tools, system prompt, turns."""
    system = asked.get("systemInstruction") or {}
    texts = [json.dumps(tool) for tool in _functions(asked)]
    texts += [_text(part) for part in _parts(system)]
    return texts + [_text(part) for turn in asked.get("contents", ()) for part in _parts(turn)]


def tokens_held(content: Mapping[str, Any]) -> int:
    """Return how many tokens a cache holds."""
    turns = _joined(content.get("contents") or ())
    messages = len(turns) + bool(content.get("systemInstruction"))
    return MESSAGE_TOKENS * messages + IMAGE_TOKENS * _pictures(turns) + count_tokens("\n".join(prompt_texts(content)))


def _camel(value: Any) -> Any:
    """Return a message with its names in camelCase; JSON of the caller's own is left alone."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {_SNAKE.sub(lambda found: found[1].upper(), name): item for name, item in value.items()}
    return {name: item if name in _FREE else _camel(item) for name, item in named.items()}


def _check_names(asked: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    for name in asked.keys() - known:
        raise refuse(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')


def _turns(asked: Body) -> list[Body]:
    contents = asked.get("contents")
    if not isinstance(contents, list) or not contents:
        raise refuse("* GenerateContentRequest.contents: contents is not specified")
    for index, turn in enumerate(contents):
        if not isinstance(turn, dict) or turn.get("role", "user") not in ("user", "model"):
            raise refuse("Please use a valid role: user, model.")
        if not _parts(turn):
            raise refuse(f"* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty.")
    return _joined(contents)


def _joined(contents: Any) -> list[Body]:
    """Return the turns with those of one role that follow each other as one, as the model sees them."""
    turns: list[Body] = []
    for turn in contents:
        role = turn.get("role", "user")
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += _parts(turn)
        else:
            turns.append({"role": role, "parts": [*_parts(turn)]})
    return turns


def _parts(turn: Mapping[str, Any]) -> list[Body]:
    parts = turn.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _check_calls(turns: list[Body]) -> None:
    """The calls of a turn are all answered in the next one, and nothing else is."""
    for before, turn in zip([{"parts": []}, *turns], turns, strict=False):
        called = [part["functionCall"]["name"] for part in before["parts"] if "functionCall" in part]
        answered = [part["functionResponse"]["name"] for part in turn["parts"] if "functionResponse" in part]
        if sorted(called) != sorted(answered):
            text = "Please ensure that the number of function response parts is equal to the number of function call parts"
            raise refuse(f"{text} of the function call turn.")


def _check_signatures(turns: list[Body], model: str) -> None:
    """What is signed must be signed rightly; of the calls since the user last spoke, the first of each turn must be."""
    spoken = max((index for index, turn in enumerate(turns) if _is_spoken(turn)), default=0)
    for index, turn in enumerate(turns):
        said = "".join(str(part["text"]) for part in turn["parts"] if "text" in part and not part.get("thought"))
        for part in turn["parts"]:
            _check_signature(part, said)
        calls = [part for part in turn["parts"] if "functionCall" in part]
        if calls and index > spoken and signs_calls(model) and not calls[0].get("thoughtSignature"):
            name = calls[0]["functionCall"]["name"]
            text = "Function call is missing a thought_signature in functionCall parts."
            raise refuse(
                f"{text} This is required for tools to work correctly. Additional data, function call `default_api:{name}`."
            )


def _check_signature(part: Body, said: str) -> None:
    signature = part.get("thoughtSignature")
    plain = str(signature).replace("-", "+").replace("_", "/")  # both alphabets of base64 are understood
    call = part.get("functionCall")
    signed = said if call is None else signed_call(call["name"], call.get("args") or {})
    if signature not in (None, SKIP_SIGNATURE) and plain != signature_of(signed):
        raise refuse("Thought signature is not valid")


def _is_spoken(turn: Body) -> bool:
    return turn["role"] == "user" and not all("functionResponse" in part for part in turn["parts"])


def _functions(asked: Mapping[str, Any]) -> Iterator[Body]:
    for tool in asked.get("tools") or ():
        yield from tool.get("functionDeclarations") or ()


def _schema(holder: Body, plain: str, own: str) -> Any:
    """Return a schema that stands as JSON schema or in the provider's own dialect, whose types are in capitals."""
    return holder[plain] if plain in holder else _in_small_letters(holder.get(own))


def _in_small_letters(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_in_small_letters(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    small = {name: _in_small_letters(item) for name, item in schema.items()}
    return small | ({"type": small["type"].lower()} if isinstance(small.get("type"), str) else {})


def _must_call(asked: Body) -> str | None:
    config = (asked.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode = config.get("mode", "AUTO")
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED"):
        raise refuse(f"Invalid value at 'tool_config.function_calling_config.mode': \"{mode}\"")
    if mode == "ANY":
        return str((config.get("allowedFunctionNames") or ["*"])[0])
    return "" if mode == "NONE" else None


def _limit(config: Body) -> int | None:
    limit = config.get("maxOutputTokens")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise refuse("max_output_tokens must be positive.")
    return limit


def _effort(thinking: Body, model: str) -> str:
    level, budget = thinking.get("thinkingLevel"), thinking.get("thinkingBudget")
    if level is not None and budget is not None:
        raise refuse("You can only set only one of thinking budget and thinking level.")
    if level is not None:
        if not signs_calls(model) or str(level).lower() not in _EFFORTS:
            raise refuse("Thinking level is not supported for this model.")
        return str(level).lower()
    if budget is None:
        return ""
    return next((effort for most, effort in _BUDGETS if 0 <= budget <= most), "high" if budget > 0 else "medium")


def _seed(model: str, asked: Body, config: Body, turns: list[Body]) -> int:
    """Return the digest of all that determines the answer; length, streaming and whether a cache holds a part of it do not."""
    determining = {name: value for name, value in asked.items() if name not in _BESIDES}
    determining["generationConfig"] = {name: value for name, value in config.items() if name not in _NOT_THE_ANSWER}
    spelled = json.dumps([model, determining, turns], sort_keys=True)
    return int.from_bytes(hashlib.sha256(spelled.encode()).digest()[:12], "big")


def _pictures(turns: list[Body]) -> int:
    return sum(_media_type(part).startswith(("image/", "application/pdf")) for turn in turns for part in turn["parts"])


def _media_type(part: Body) -> str:
    media = part.get("inlineData") or part.get("fileData") or {}
    return str(media.get("mimeType") or ("image/unknown" if media else ""))


def _text(part: Body) -> str:
    if "text" in part:
        return str(part["text"])
    for name in ("functionCall", "functionResponse"):
        if name in part:
            return json.dumps(part[name])
    return f"[media {hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]}]"
