"""The cases of settings and bills, each written once; what they ask through is in `conformance.py`."""

import json

import pytest
from aigend.errors import DomainError, Reason
from aigend.providers.port import FaultKind
from aigend.types import CacheMark, FinishReason, Lane, Part, PartPlace, Processing, PromptCachePlan, Text, Tool

from tests.daemon.providers.conformance import BOTH, NAME, Bench, case, text_of

LONG = "stable words of a handbook " * 400  # 2,700 tokens


# Tiers


@case
async def flex(bench: Bench) -> None:
    """Lane FLEX goes at the cheaper tier, the answer says that it did, and it is the same answer as any other."""
    for stream in BOTH:
        reply = await bench.ask("wait for room", lane=Lane.FLEX, stream=stream)
        assert reply.processing is Processing.FLEX
        assert bench.emulator.charges()[-1]["processing"] == "flex"
        ordinary = await bench.ask("wait for room", stream=stream)
        assert ordinary.processing is Processing.STANDARD
        assert bench.emulator.charges()[-1]["processing"] == "standard"
        assert text_of(reply) == text_of(ordinary)


@case
async def flex_served_otherwise(bench: Bench) -> None:
    """What counts is the tier that served, not the one that was asked for."""
    for stream in BOTH:
        bench.emulator.script({"tier": "default"})
        reply = await bench.ask(lane=Lane.FLEX, stream=stream)
        assert reply.processing is Processing.STANDARD
        assert bench.emulator.charges()[-1]["processing"] == "standard"


@case
async def flex_without_room(bench: Bench) -> None:
    """A cheaper tier without room is a rate limit that costs nothing."""
    for stream in BOTH:
        bench.emulator.script({"status": 429, "code": "resource_unavailable"})
        fault = await bench.fault(lane=Lane.FLEX, stream=stream)
        assert (fault.kind, fault.code) == (FaultKind.RATE_LIMITED, "resource_unavailable")
    assert bench.emulator.charges() == []


# Settings


@case
async def stop_sequence(bench: Bench) -> None:
    """A stop sequence ends the answer before it."""
    for stream in BOTH:
        reply = await bench.ask("[[answer:echo]] one END two", stop_sequences=("END",), stream=stream)
        assert (text_of(reply), reply.finish_reason) == ("one ", FinishReason.STOP)


@case
async def bound(bench: Bench) -> None:
    """The bound of the answer is sent, and an answer that it cut says so."""
    reply = await bench.ask(max_output_tokens=17)
    assert (reply.finish_reason, reply.usage.output) == (FinishReason.LENGTH, 17)
    assert text_of(reply)


@case
async def bound_streamed(bench: Bench) -> None:
    """A stream that the bound cut says so, and is no fault."""
    reply = await bench.ask(max_output_tokens=17, stream=True)
    assert (reply.finish_reason, reply.usage.output) == (FinishReason.LENGTH, 17)
    assert text_of(reply) == text_of(await bench.ask(max_output_tokens=17))


@case
async def temperature(bench: Bench) -> None:
    """The temperature is sent: it changes the answer."""
    await _changes_the_answer(bench, temperature=0.25)


@case
async def temperature_zero(bench: Bench) -> None:
    """A temperature of 0 is sent, not taken for unset."""
    await _changes_the_answer(bench, temperature=0.0)


@case
async def temperature_above_one(bench: Bench) -> None:
    """A temperature that some providers only know is sent to those."""
    await _changes_the_answer(bench, temperature=1.5)


@case
async def top_p(bench: Bench) -> None:
    """The nucleus is sent: it changes the answer."""
    await _changes_the_answer(bench, top_p=0.5)


@case
async def seed(bench: Bench) -> None:
    """A seed is sent: it changes the answer, and the same one repeats it."""
    await _changes_the_answer(bench, seed=7)


@case
async def options_pass_through(bench: Bench) -> None:
    """An option without a field of its own reaches the provider."""
    await _changes_the_answer(bench, provider_options_json=bench.manners.option)


@case
async def options_that_have_a_field(bench: Bench) -> None:
    """An option that would contradict a field is refused, and the field is named."""
    await _refuses_options(bench, '{"model": "other"}', "provider_options.model")


@case
async def options_that_are_no_object(bench: Bench) -> None:
    """Options that are no JSON object are refused."""
    for given in ("[1]", '{"a": '):
        await _refuses_options(bench, given, "provider_options")


@case
async def schema_that_is_no_object(bench: Bench) -> None:
    """A tool's schema that is no JSON object is refused before anything is sent."""
    with pytest.raises(DomainError) as caught:
        await bench.ask(tools=(Tool(name="weather", parameters_json_schema="[]"),))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, "tools[0].parameters_json_schema")
    assert bench.emulator.requests() == 0


async def _changes_the_answer(bench: Bench, **setting: object) -> None:
    without = text_of(await bench.ask(**({} if "provider_options_json" in setting else {"provider_options_json": ""})))
    once, again = [text_of(await bench.ask(**setting)) for _ in range(2)]
    assert once == again != without


async def _refuses_options(bench: Bench, given: str, field: str) -> None:
    with pytest.raises(DomainError) as caught:
        await bench.ask(provider_options_json=given)
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, field)
    assert bench.emulator.requests() == 0


# Bills


@case
async def usage_is_what_was_billed(bench: Bench) -> None:
    """Usage comes in disjoint buckets that add up to the provider's own books, whole and streamed."""
    for stream in BOTH:
        reply = await bench.ask("[[answer:cached=20]] why do bakeries fail in winter, of all seasons?", stream=stream)
        charge = bench.emulator.charges()[-1]
        assert reply.usage.cache_read == (20 if bench.manners.counts_cached else 0)
        assert (reply.usage.total_input, reply.usage.output) == (charge["input_tokens"], charge["output_tokens"])
        assert (charge["provider"], charge["model"], charge["status"]) == (NAME, bench.manners.model, 200)


@case
async def usage_as_told(bench: Bench) -> None:
    """The provider's own account of the usage is kept as it was told."""
    for stream in BOTH:
        reply = await bench.ask(stream=stream)
        told = json.loads(reply.provider_usage_json)
        assert told[bench.manners.input_field] == bench.emulator.charges()[-1]["input_tokens"]


@case
async def usage_missing(bench: Bench) -> None:
    """Usage that was not told is None, never 0, and the answer is there all the same."""
    for stream in BOTH:
        bench.emulator.script({"usage": "missing"})
        reply = await bench.ask(stream=stream)
        assert reply.usage is None
        assert text_of(reply)


@case
async def usage_of_tool_calls(bench: Bench) -> None:
    """The tokens of tools and calls are billed, and told."""
    reply = await bench.ask(tools=(Tool(name="weather", parameters_json_schema='{"type": "object"}'),))
    (charge,) = bench.emulator.charges()
    assert (reply.usage.total_input, reply.usage.output) == (charge["input_tokens"], charge["output_tokens"])


@case
async def cached_prompt(bench: Bench) -> None:
    """The second call with the same long prompt reads it from the provider's cache, as far as the provider tells."""
    marks = (CacheMark(place=PartPlace(None, 0), ttl_s=300),) if bench.manners.marked_caches else ()
    system = (Part(Text(f"{bench.adapter} {LONG}")),)
    first, second = [await bench.ask(system=system, prompt_cache=PromptCachePlan(marks=marks)) for _ in range(2)]
    assert first.usage.cache_read == 0
    assert (second.usage.cache_read > 2_000) is bench.manners.counts_cached
    assert first.usage.total_input == second.usage.total_input
    assert bool(first.usage.cache_write_5m) is bench.manners.marked_caches


@case
async def resolved_model(bench: Bench) -> None:
    """The answer says which model gave it, whole and streamed."""
    assert [(await bench.ask(stream=stream)).resolved_model for stream in BOTH] == [bench.manners.model] * 2


@case
async def request_id_travels(bench: Bench) -> None:
    """The provider's books name our request and attempt, whatever characters the id has."""
    for stream in BOTH:
        await bench.ask(stream=stream, request_id="ärger\r\nx: y/3", attempt=3)
    told = [(charge["request_id"], charge["attempt"]) for charge in bench.emulator.charges()]
    assert told == [("%C3%A4rger%0D%0Ax:%20y/3", 3)] * 2


@case
async def one_request_a_call(bench: Bench) -> None:
    """A call that fails is sent once: retries are not the SDK's to decide."""
    for stream in BOTH:
        bench.emulator.script(*[{"status": 503, "charge": True, "headers": {"x-should-retry": "true", "retry-after-ms": "1"}}] * 3)
        await bench.fault(stream=stream)
        bench.emulator.emulator.script.clear()
    assert bench.emulator.requests() == len(bench.emulator.charges()) == 2


@case
async def usage_that_lies(bench: Bench) -> None:
    """Counts that can't be true arrive as told: judging them is the ledger's."""
    for lie, output in (("negative", -5), ("absurd", 10**15)):
        for stream in BOTH:
            bench.emulator.script({"usage": lie})
            reply = await bench.ask(stream=stream)
            assert reply.usage.output == output, (lie, stream)
