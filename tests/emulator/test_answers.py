"""What the emulated model says."""

import json

import pytest
from aigen_emulator.answers import Question, ToolOffer, answer, count_tokens, wish_of
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 12},
        "score": {"type": "integer", "minimum": 3, "maximum": 5},
        "ratio": {"type": "number"},
        "kind": {"enum": ["b2b", "b2c"]},
        "open": {"type": "boolean"},
        "nothing": {"type": "null"},
        "fixed": {"const": 7},
        "when": {"type": "string", "format": "date"},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "minItems": 3},
        "optional": {"type": ["string", "null"], "minLength": 40},
    },
    "$defs": {"step": {"type": "object", "properties": {"name": {"type": "string"}}}},
}


def question(prompt: str = "Describe the market for folding kayaks", **more) -> Question:
    """Return a question whose seed is its prompt's length."""
    return Question(**{"model": "m", "seed": 1_234_567 + len(prompt), "prompt": prompt, "last_user_text": prompt} | more)


def test_same_question_same_answer() -> None:
    """Two answers to one question are equal, and another seed gives another text."""
    assert answer(question()) == answer(question())
    assert answer(question(seed=1)).text != answer(question(seed=2)).text


def test_prose_takes_up_the_question() -> None:
    """An answer is several sentences about words of the prompt."""
    text = answer(question()).text
    assert "kayaks" in text
    assert text.count(". ") >= 3


def test_prose_without_telling_words_is_still_prose() -> None:
    """A prompt of nothing but symbols gets a text as well."""
    assert count_tokens(answer(question("?!")).text) >= 80


@pytest.mark.parametrize("tokens", [1, 7, 50, 800])
def test_length_is_as_wished(tokens: int) -> None:
    """A marker or a setting fixes the length to the token."""
    marked = answer(question(f"[[answer:tokens={tokens}]] tell me"))
    assert marked.tokens.output == count_tokens(marked.text) == tokens
    assert answer(question(), answer_tokens=tokens).tokens.output == tokens


def test_no_tokens_wished_is_an_empty_answer() -> None:
    """Zero tokens are an empty text."""
    assert answer(question("[[answer:tokens=0]]")).text == ""


def test_unknown_wish_is_refused() -> None:
    """A marker that can't be understood names what is allowed."""
    with pytest.raises(ValueError, match="allowed: tokens"):
        wish_of("[[answer:length=5]]")


def test_limit_cuts_the_answer() -> None:
    """An answer longer than its limit ends with `length` and costs the limit exactly."""
    said = answer(question(max_tokens=9))
    assert (said.finish, said.tokens.output, len(said.text)) == ("length", 9, 36)


def test_limit_cuts_reasoning_first() -> None:
    """Reasoning is inside the limit."""
    said = answer(question(max_tokens=9, effort="high"))
    assert (said.finish, said.tokens.output, said.tokens.reasoning, said.text) == ("length", 9, 9, "")


def test_limit_cuts_arguments() -> None:
    """A tool call that is cut has broken arguments, as with real models."""
    said = answer(question(tools=(ToolOffer("plan", SCHEMA),), max_tokens=5))
    assert said.finish == "length"
    assert len(said.tool_calls[0].arguments) < 20


def test_stop_ends_the_text() -> None:
    """The text ends before the earliest stop sequence."""
    whole = answer(question()).text
    stops = (whole[30:34], whole[10:14])
    assert answer(question(stop=(*stops, "not there"))).text == whole[:10]


def test_reasoning_is_billed_inside_output() -> None:
    """Reasoning tokens are output tokens."""
    plain, deep = answer(question()), answer(question(effort="medium"))
    assert deep.tokens.output == plain.tokens.output + deep.tokens.reasoning


def test_json_fits_its_schema() -> None:
    """A structured answer has the schema's keys, types, enums and bounds."""
    value = json.loads(answer(question(wants_json=True, json_schema=SCHEMA)).text)
    assert value.keys() == SCHEMA["properties"].keys()
    assert len(value["title"]) <= 12
    assert 3 <= value["score"] <= 5
    assert isinstance(value["ratio"], float)
    assert value["kind"] in ("b2b", "b2c")
    assert isinstance(value["open"], bool)
    assert value["nothing"] is None
    assert value["fixed"] == 7
    assert value["when"].startswith("2026-")
    assert isinstance(value["either"], int)
    assert [list(step) for step in value["steps"]] == [["name"]] * 3
    assert len(value["optional"]) >= 40


def test_recursive_schema_ends() -> None:
    """A schema that holds itself is cut at some depth."""
    schema = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    assert json.loads(answer(question(wants_json=True, json_schema=schema)).text)


def test_json_without_schema_is_an_object() -> None:
    """Plain JSON mode gives an object."""
    assert set(json.loads(answer(question(wants_json=True)).text)) == {"summary", "points", "confidence"}


def test_tools_are_called_until_there_is_a_result() -> None:
    """With tools the model calls one; with a result, or forbidden to, it talks."""
    tools = (ToolOffer("weather", SCHEMA), ToolOffer("stocks"))
    assert [call.name for call in answer(question(tools=tools)).tool_calls] == ["weather"]
    assert answer(question(tools=tools, must_call="stocks")).tool_calls[0].arguments == "{}"
    assert answer(question(tools=tools, after_tool_result=True)).finish == "stop"
    assert answer(question(tools=tools, must_call="")).finish == "stop"
    both = answer(question("[[answer:tools=2]]", tools=tools)).tool_calls
    assert [call.name for call in both] == ["weather", "stocks"]
    assert both[0].id != both[1].id


def test_echo_repeats_the_question() -> None:
    """The echo marker returns the user's text without the marker."""
    assert answer(question("[[answer:echo]] 안녕")).text == "안녕"


@given(st.text())
def test_tokens_are_quarter_bytes(text: str) -> None:
    """One token for every four bytes of UTF-8 begun."""
    size = len(text.encode("utf-8", "surrogatepass"))
    assert count_tokens(text) == (size + 3) // 4


def test_input_counts_messages_and_images() -> None:
    """The prompt costs its text, four tokens a message, 255 an image and three."""
    assert question("12345678", message_count=2, image_count=1).input_tokens == 2 + 8 + 255 + 3
