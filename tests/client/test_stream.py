"""Streams: text as it comes, every event on demand, the whole answer at the end."""

import asyncio

import aigen
import pytest
from aigen import _convert
from aigen.testing import FakeDaemon
from aigen.v1 import completion_pb2, message_pb2

TOOL_CALL = message_pb2.ToolCall(id="1", name="search", arguments_json="{}")


def test_stream_gives_text_and_then_the_answer(daemon: FakeDaemon, client: aigen.Client):
    """Iterating gives the deltas; afterwards the whole answer with its cost is there."""
    daemon.answer("one two three", cost_usd_nanos=7)
    with client.stream("count", model="m") as stream:
        assert list(stream) == ["one", " two", " three"]
    assert (stream.completion.text, stream.completion.cost_usd_nanos) == ("one two three", 7)
    assert stream.completion.request_id == stream.request_id == daemon.calls[0].request_id
    assert daemon.calls[0].request.completion.prompt == "count"


def test_events_bring_everything(daemon: FakeDaemon, client: aigen.Client):
    """The events are text deltas, tool calls whole, and the Completion last."""
    daemon.answer("hi", tool_calls=(TOOL_CALL,))
    events = list(client.stream("go").events())
    assert events[:2] == [aigen.TextDelta("hi"), aigen.ToolCall(id="1", name="search", arguments_json="{}")]
    assert isinstance(events[2], aigen.Completion)
    assert events[2].tool_calls == (events[1],)


def test_thinking_is_an_event_and_unknown_kinds_are_skipped():
    """Reasoning is no text of the answer; a kind of a newer daemon is passed over."""
    thought = completion_pb2.StreamCompleteResponse(thinking_delta="hm")
    assert _convert.stream_event_of(thought.SerializeToString()) == aigen.ThinkingDelta("hm")
    assert _convert.stream_event_of(b"\xf2\x06\x01x") is None


def test_answer_is_not_there_before_the_end(client: aigen.Client):
    """Asking for the answer of a stream that was not read is an error that says so."""
    with pytest.raises(aigen.AigenError, match="not been read to its end"):
        _ = client.stream("hi").completion


def test_stream_may_be_left_early(daemon: FakeDaemon, client: aigen.Client):
    """Leaving the block cancels the call; the client works on."""
    with client.stream("one two three") as stream:
        assert next(iter(stream)) == "echo:"
    assert list(stream) == []
    assert client.complete("again").text == "echo: again"


def test_stream_errors_are_ours(daemon: FakeDaemon, client: aigen.Client):
    """A stream that is refused raises the exception of its reason, once."""
    daemon.fail("BUDGET_EXCEEDED")
    with pytest.raises(aigen.BudgetExceeded):
        client.stream("hi").result()
    assert len(daemon.calls) == 1


def test_stream_is_sent_again_before_its_first_piece(daemon: FakeDaemon, client: aigen.Client):
    """As long as nothing has arrived a stream is tried again like any call, under the same id."""
    daemon.fail("DRAINING", times=5)
    assert client.stream("hi").result().text == "echo: hi"
    assert len({call.request_id for call in daemon.calls}) == 1


def test_stream_without_an_end_is_a_fault(client: aigen.Client):
    """A stream that ends without its last message is not taken for an answer."""
    stream = aigen.CompletionStream((event for event in (aigen.TextDelta("a"),)), "id")
    with pytest.raises(aigen.DaemonFault, match="without its last message"):
        stream.result()


async def test_async_stream_gives_the_same(daemon: FakeDaemon):
    """The async stream brings the same pieces, events and errors."""
    daemon.answer("one two", tool_calls=(TOOL_CALL,))
    async with aigen.AsyncClient(daemon.socket) as client:
        async with client.stream("count") as stream:
            assert [text async for text in stream] == ["one", " two"]
        assert stream.completion.text == "one two"
        events = [event async for event in client.stream("a b").events()]
        assert [type(event).__name__ for event in events] == ["TextDelta", "TextDelta", "TextDelta", "Completion"]
        daemon.fail("NOT_CACHED")
        with pytest.raises(aigen.NotFound):
            await client.stream("hi").result()
        async with client.stream("one two") as left:
            async for _ in left:
                break
        assert (await client.complete("again")).text == "echo: again"


async def test_async_stream_ends_when_the_client_is_closed(daemon: FakeDaemon):
    """A stream that waits learns that the client was closed, as a call does."""
    daemon.hang()
    client = aigen.AsyncClient(daemon.socket)
    stream = asyncio.create_task(client.stream("hi").result())
    await asyncio.to_thread(daemon.wait_for_calls, 1)
    await client.close()
    with pytest.raises(aigen.ClientClosed):
        await stream
