"""The cases of texts, streams, tools, media, schemas and thinking, each written once.

A case asks through a `Bench` and knows no adapter. What a format can't say is in `conformance.REFUSED`; there the case ends with
the refusal that is named.
"""

import json

from aigend.providers.port import ProviderReply, TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import (
    Content,
    Document,
    FinishReason,
    Image,
    Message,
    Part,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

from tests.daemon.providers.conformance import BOTH, Bench, case, text_of

SCHEMA = '{"type": "object", "properties": {"channel": {"type": "string"}}, "required": ["channel"], "additionalProperties": false}'
CITY = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
WEATHER = Tool(name="weather", description="Weather of a city.", parameters_json_schema=CITY)
TOOLS = (WEATHER, Tool(name="news", description="News of a city.", parameters_json_schema=CITY))
AS_SCHEMA = ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=SCHEMA)
PNG = b"\x89PNG\r\n\x1a\n"
PICTURE_TOKENS = 255  # what the emulator bills for a picture or a paper


def said(role: Role, *contents: Content) -> Message:
    """Return a message."""
    return Message(role, tuple(map(Part, contents)))


def contents_of(reply: ProviderReply, kind: type[Content]) -> list[Content]:
    """Return what an answer holds of a kind."""
    return [part.content for part in reply.parts if isinstance(part.content, kind)]


def calls_of(reply: ProviderReply) -> list[ToolCall]:
    """Return the tool calls of an answer."""
    return [part.content for part in reply.parts if isinstance(part.content, ToolCall)]


# Texts


@case
async def plain(bench: Bench) -> None:
    """An answer is text that ended by itself."""
    reply = await bench.ask()
    assert text_of(reply)
    assert reply.finish_reason is FinishReason.STOP


@case
async def system_prompt(bench: Bench) -> None:
    """A system prompt is read, and decides the answer."""
    without = await bench.ask()
    reply = await bench.ask(system=(Part(Text("Speak like a sailor of old.")),))
    assert reply.usage.input > without.usage.input
    assert text_of(reply) != text_of(without)


@case
async def system_prompt_in_parts(bench: Bench) -> None:
    """Each part of a system prompt is read."""
    one = await bench.ask(system=(Part(Text("Speak like a sailor.")),))
    two = await bench.ask(system=(Part(Text("Speak like a sailor.")), Part(Text("Never mention the weather at sea."))))
    assert two.usage.input > one.usage.input


@case
async def many_turns(bench: Bench) -> None:
    """Earlier turns are read, and the last one is answered."""
    turns = (said(Role.USER, Text("one")), said(Role.ASSISTANT, Text("two")), said(Role.USER, Text("[[answer:echo]] three")))
    reply = await bench.ask(messages=turns)
    assert text_of(reply) == "three"
    assert reply.usage.input > (await bench.ask("[[answer:echo]] three")).usage.input


@case
async def text_in_parts(bench: Bench) -> None:
    """A message of several texts is read whole."""
    reply = await bench.ask(messages=(said(Role.USER, Text("[[answer:echo]] one"), Text("two")),))
    assert text_of(reply).split() == ["one", "two"]


@case
async def any_script(bench: Bench) -> None:
    """Letters of any script, joined emoji and what JSON escapes arrive as they are, whole and in pieces."""
    text = 'Käse 안녕 שלום \U0001d11e 👩\u200d👩\u200d👧 "q" \\ {} \u2028 é e\u0301'
    for stream in BOTH:
        assert text_of(await bench.ask(f"[[answer:echo]] {text}", stream=stream)) == text


@case
async def empty_answer(bench: Bench) -> None:
    """A model that says nothing has given an answer."""
    for stream in BOTH:
        reply = await bench.ask("[[answer:tokens=0]]", stream=stream)
        assert (text_of(reply), reply.finish_reason, reply.usage.output) == ("", FinishReason.STOP, 0)


@case
async def long_answer(bench: Bench) -> None:
    """A long answer comes whole."""
    reply = await bench.ask("[[answer:tokens=5000]]", max_output_tokens=6_000)
    assert reply.usage.output == 5_000
    assert len(text_of(reply)) > 19_000


# Streams


@case
async def stream_is_the_whole_answer(bench: Bench) -> None:
    """A stream ends with what a whole answer is: parts, finish, model and usage."""
    streamed, whole = await bench.ask(stream=True), await bench.ask()
    assert (streamed.parts, streamed.finish_reason, streamed.resolved_model) == (
        whole.parts,
        whole.finish_reason,
        whole.resolved_model,
    )
    assert (streamed.usage, streamed.reported_cost_nanos) == (whole.usage, whole.reported_cost_nanos)


@case
async def stream_comes_in_deltas(bench: Bench) -> None:
    """Text comes in pieces as it is made, and they join to the answer's; the reply is last and once."""
    *before, last = await bench.events()
    deltas = [event.text for event in before if isinstance(event, TextDelta)]
    assert len(deltas) >= 2
    assert "".join(deltas) == text_of(last)
    assert not any(isinstance(event, ProviderReply) for event in before)


@case
async def stream_left_early(bench: Bench) -> None:
    """A consumer that stops early closes its connection, and the next call is answered."""
    bench.emulator.script({"size": 500_000})
    stream = bench.provider.stream(bench.call())
    await anext(stream)
    await stream.aclose()
    await bench.idle()
    assert text_of(await bench.ask())


# Tools


@case
async def tool_call(bench: Bench) -> None:
    """A tool call has an id, a name on offer and arguments that are a JSON object."""
    reply = await bench.ask(tools=(WEATHER,))
    (called,) = calls_of(reply)
    assert called.id
    assert (called.name, list(json.loads(called.arguments_json))) == ("weather", ["city"])
    assert reply.finish_reason is FinishReason.TOOL_CALLS


@case
async def tool_call_streamed(bench: Bench) -> None:
    """In a stream a tool call is one event, equal to the whole answer's."""
    events = await bench.events(tools=(WEATHER,))
    done = [event.call for event in events if isinstance(event, ToolCallDone)]
    assert done == calls_of(events[-1])
    assert [(made.name, made.arguments_json) for made in done] == [
        (made.name, made.arguments_json) for made in calls_of(await bench.ask(tools=(WEATHER,)))
    ]
    assert events[-1].finish_reason is FinishReason.TOOL_CALLS


@case
async def tools_in_parallel(bench: Bench) -> None:
    """Several calls come with ids of their own, in order, whole and streamed."""
    for stream in BOTH:
        reply = await bench.ask("[[answer:tools=3]] weather in Bern?", stream=stream, tools=TOOLS)
        called = calls_of(reply)
        assert [made.name for made in called] == ["weather", "news", "weather"]
        assert len({made.id for made in called}) == 3


@case
async def tool_named(bench: Bench) -> None:
    """The tool that is named is called, not the first."""
    choice = ToolChoice(mode=ToolChoiceMode.NAMED, name="news")
    assert [made.name for made in calls_of(await bench.ask(tools=TOOLS, tool_choice=choice))] == ["news"]


@case
async def tool_required(bench: Bench) -> None:
    """A tool is called although one has just answered."""
    asked, called = await _called(bench)
    choice = ToolChoice(mode=ToolChoiceMode.REQUIRED)
    turns = (*asked, said(Role.TOOL, *(ToolResult(tool_call_id=made.id, text="rain") for made in called)))
    assert calls_of(await bench.ask(messages=turns, tools=TOOLS, tool_choice=choice))


@case
async def tool_forbidden(bench: Bench) -> None:
    """With tools on offer none is called where none may be."""
    reply = await bench.ask(tools=TOOLS, tool_choice=ToolChoice(mode=ToolChoiceMode.NONE))
    assert (calls_of(reply), reply.finish_reason) == ([], FinishReason.STOP)
    assert text_of(reply)


@case
async def tool_left_to_the_model(bench: Bench) -> None:
    """The choice may be left to the model in so many words."""
    assert calls_of(await bench.ask(tools=TOOLS, tool_choice=ToolChoice(mode=ToolChoiceMode.AUTO)))


@case
async def tool_results(bench: Bench) -> None:
    """Results of parallel calls go back in the next turn, and the model goes on."""
    asked, called = await _called(bench)
    turns = (*asked, said(Role.TOOL, *(ToolResult(tool_call_id=made.id, text="rain") for made in called)))
    for stream in BOTH:
        reply = await bench.ask(messages=turns, tools=TOOLS, stream=stream)
        assert (calls_of(reply), reply.finish_reason) == ([], FinishReason.STOP)
        assert text_of(reply)


@case
async def tool_result_is_an_error(bench: Bench) -> None:
    """That a tool failed is told to the model."""
    asked, called = await _called(bench)
    answers = [
        await bench.ask(
            messages=(*asked, said(Role.TOOL, *(ToolResult(tool_call_id=made.id, text="rain", is_error=bad) for made in called))),
            tools=TOOLS,
        )
        for bad in BOTH
    ]
    assert text_of(answers[0]) != text_of(answers[1])


async def _called(bench: Bench) -> tuple[tuple[Message, ...], list[ToolCall]]:
    """Return a question with the turn in which the model calls two tools, and the calls."""
    prompt = "[[answer:tools=2]] weather in Bern and news of Basel?"
    reply = await bench.ask(prompt, tools=TOOLS)
    return (said(Role.USER, Text(prompt)), Message(Role.ASSISTANT, reply.parts)), calls_of(reply)


# Pictures and papers


@case
async def image_bytes(bench: Bench) -> None:
    """A picture's bytes are looked at."""
    assert await _tokens_with(bench, Image(data=PNG)) >= PICTURE_TOKENS


@case
async def image_by_address(bench: Bench) -> None:
    """A picture's address is passed on."""
    assert await _tokens_with(bench, Image(url="https://example.com/a.png")) >= PICTURE_TOKENS


@case
async def document_bytes(bench: Bench) -> None:
    """A paper's bytes are read."""
    assert await _tokens_with(bench, Document(data=b"%PDF-1.7\n", media_type="application/pdf")) >= PICTURE_TOKENS


@case
async def document_by_address(bench: Bench) -> None:
    """A paper's address is passed on."""
    assert await _tokens_with(bench, Document(url="https://example.com/a.pdf")) >= PICTURE_TOKENS


async def _tokens_with(bench: Bench, content: Content) -> int:
    """Return how many tokens more a prompt has with this content."""
    asked = bench.call(messages=(said(Role.USER, Text("what is it?"), content),))
    reply = await bench.provider.complete(asked)
    return reply.usage.total_input - (await bench.ask("what is it?")).usage.total_input


# Structured answers


@case
async def json_object(bench: Bench) -> None:
    """JSON without a schema is a JSON object."""
    for stream in BOTH:
        reply = await bench.ask(response_format=ResponseFormat(type=ResponseFormatType.JSON), stream=stream)
        assert isinstance(json.loads(text_of(reply)), dict)


@case
async def json_schema(bench: Bench) -> None:
    """A schema is kept to."""
    assert list(json.loads(text_of(await bench.ask(response_format=AS_SCHEMA)))) == ["channel"]


@case
async def json_schema_streamed(bench: Bench) -> None:
    """A schema is kept to in pieces that join to it."""
    events = await bench.events(response_format=AS_SCHEMA)
    joined = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert joined == text_of(events[-1])
    assert list(json.loads(joined)) == ["channel"]


# Thinking


@case
async def effort(bench: Bench) -> None:
    """More effort is billed as more output, and counted as reasoning where the provider says so."""
    low, high = [
        await bench.ask("[[answer:tokens=50]]", reasoning_effort=wanted, max_output_tokens=30_000)
        for wanted in (ReasoningEffort.LOW, ReasoningEffort.HIGH)
    ]
    assert (low.usage.output, high.usage.output) == (82, 306)
    assert (low.usage.reasoning, high.usage.reasoning) == ((32, 256) if bench.manners.counts_reasoning else (0, 0))


@case
async def thinking(bench: Bench) -> None:
    """What a model thought is a part of its own before the text, where the provider shows it."""
    reply = await _thought(bench, stream=False)
    assert bool(contents_of(reply, Thinking)) is bench.manners.shows_thinking
    assert text_of(reply)


@case
async def thinking_streamed(bench: Bench) -> None:
    """Thoughts come in pieces that join to the answer's, apart from the text's."""
    events = await bench.events("why?", **_thinking(bench))
    shown = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    assert bool(shown) is bench.manners.shows_thinking
    assert shown == "".join(part.text for part in contents_of(events[-1], Thinking))
    assert events[-1].parts == (await _thought(bench, stream=False)).parts


@case
async def thinking_goes_back(bench: Bench) -> None:
    """Thoughts and their signatures go back with the results of the tools that they led to, and the provider knows them again."""
    reply = await _thought(bench, stream=False, tools=(WEATHER,))
    thought = () if bench.manners.shows_thinking else (Part(Thinking(text="hm", signature="c2lnbmVk")),)
    assert bool(contents_of(reply, Thinking)) is bench.manners.shows_thinking
    turns = (
        said(Role.USER, Text("why?")),
        Message(Role.ASSISTANT, (*thought, *reply.parts)),
        said(Role.TOOL, *(ToolResult(tool_call_id=made.id, text="rain") for made in calls_of(reply))),
    )
    for stream in BOTH:
        reply = await bench.ask(messages=turns, tools=(WEATHER,), stream=stream, **_thinking(bench))
        assert reply.finish_reason is FinishReason.STOP


@case
async def thinking_of_another_provider(bench: Bench) -> None:
    """A thought that another provider signed is refused, never sent as if it were nothing."""
    thought = Thinking(text="hm", signature=f"{bench.manners.foreign_seal}c2lnbmVk")
    await bench.ask(
        messages=(said(Role.USER, Text("why?")), said(Role.ASSISTANT, thought, Text("so")), said(Role.USER, Text("go on")))
    )


def _thinking(bench: Bench) -> dict[str, object]:
    options = bench.manners.thinking_option
    return {"reasoning_effort": ReasoningEffort.LOW, "max_output_tokens": 4_000, "provider_options_json": options}


async def _thought(bench: Bench, *, stream: bool, **more: object) -> ProviderReply:
    return await bench.ask("why?", stream=stream, **_thinking(bench), **more)
