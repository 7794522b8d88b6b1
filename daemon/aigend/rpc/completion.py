"""CompletionService: raw bytes in, bytes out. The fast path is the one place where a servicer does more than unpack, call, pack."""

import dataclasses
import hashlib
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import grpc
from aigen.v1 import completion_pb2

from aigend.clock import Clock
from aigend.completion.batch import Item, complete_many, item_caller
from aigend.completion.call import Event, Reply, TextDelta
from aigend.completion.engine import CompletionEngine
from aigend.completion.ports import CallMeter
from aigend.completion.quotes import Quote
from aigend.completion.repeats import Origin
from aigend.errors import DomainError, invalid
from aigend.rpc.answer_codec import pack_tool_call
from aigend.rpc.caller import LOCAL_SCOPE, MAX_REQUEST_ID, Sender, check_request_id, make_caller, read_metadata
from aigend.rpc.content import refuse_unknown
from aigend.rpc.request import check_size, parse_request, unpack_request
from aigend.rpc.spans import ended, note
from aigend.rpc.status import as_domain_error, status_proto
from aigend.telemetry import names
from aigend.telemetry.tracing import Span, Tracer
from aigend.types import Caller

Context = grpc.aio.ServicerContext[bytes, bytes]
_Request = completion_pb2.CompleteRequest


class CompletionServicer:
    """Hands requests to the engine.

    Args:
        engine: The spine.
        meter: Counts the failures of a batch's items, which its own status does not tell.
        tracer: Starts spans for calls that are traced.
        clock: Tells when callers stop waiting.
    """

    def __init__(self, engine: CompletionEngine, *, meter: CallMeter, tracer: Tracer, clock: Clock) -> None:
        self._engine = engine
        self._meter = meter
        self._tracer = tracer
        self._clock = clock

    async def complete(self, data: bytes, context: Context) -> bytes:
        """Answer one request; bytes that were seen before are answered without a parse."""
        started = time.perf_counter()
        sender = read_metadata(context.invocation_metadata())  # type: ignore[arg-type]
        origin = Origin(hashlib.sha256(data).digest(), sender.account)
        span = self._tracer.start_span(names.SPAN_COMPLETE, sender.traceparent)
        if span is None and 0 < len(sender.request_id) <= MAX_REQUEST_ID:
            response = self._engine.answer_repeat(origin, LOCAL_SCOPE, sender.request_id, started)
            if response is not None:
                return response
        if span is None:
            return (await self._complete(data, sender, context, None, origin)).response
        with ended(span):
            sender = sender._replace(request_id=check_request_id(sender.request_id))  # made here, so that the span tells it
            reply = await self._complete(data, sender, context, span, origin)
            note(span, sender.request_id, reply)
            return reply.response

    async def _complete(self, data: bytes, sender: Sender, context: Context, span: Span | None, origin: Origin) -> Reply:
        message = parse_request(data, max_bytes=self._max_bytes)
        return await self._engine.complete(unpack_request(message), self._caller(sender, message, context, span), origin)

    async def stream_complete(self, data: bytes, context: Context) -> AsyncGenerator[bytes, None]:
        """Answer one request as a stream."""
        check_size(len(data), self._max_bytes)
        message = _completion_of(completion_pb2.StreamCompleteRequest.FromString(data))
        sender = read_metadata(context.invocation_metadata())  # type: ignore[arg-type]
        span = self._tracer.start_span(names.SPAN_STREAM, sender.traceparent)
        caller = self._caller(sender, message, context, span)
        shown = _Shown()
        with ended(span):
            async with aclosing(self._engine.stream(unpack_request(message), caller)) as steps:
                async for step in steps:
                    for chunk in shown.chunks(step):
                        yield chunk

    async def batch_complete(self, data: bytes, context: Context) -> bytes:
        """Answer many requests."""
        check_size(len(data), self._max_bytes)
        batch = completion_pb2.BatchCompleteRequest.FromString(data)
        refuse_unknown(batch, "request")
        messages = batch.completions
        most = self._engine.snapshot.settings.limits.batch_items
        if not 1 <= len(messages) <= most:
            raise invalid("completions", f"{len(messages)} requests", f"1 to {most}")
        sender = read_metadata(context.invocation_metadata())  # type: ignore[arg-type]
        span = self._tracer.start_span(names.SPAN_BATCH, sender.traceparent)
        caller = self._caller(sender, _Request(), context, span)
        callers = [
            item_caller(caller, index, partial(request_digest, message), partial(request_wire, message))
            for index, message in enumerate(messages)
        ]
        with ended(span):
            ends = await complete_many(self._engine, [_item(message) for message in messages], callers)
        return completion_pb2.BatchCompleteResponse(results=[self._result(end) for end in ends]).SerializeToString()

    async def estimate_cost(self, data: bytes, context: Context) -> bytes:
        """Say what a request would cost at most."""
        check_size(len(data), self._max_bytes)
        message = _completion_of(completion_pb2.EstimateCostRequest.FromString(data))
        caller = self._caller(read_metadata(context.invocation_metadata()), message, context)  # type: ignore[arg-type]
        quotes, cached = await self._engine.estimate(unpack_request(message), caller)
        return completion_pb2.EstimateCostResponse(estimates=[_estimate(q) for q in quotes], cached=cached).SerializeToString()

    def _result(self, end: Reply | BaseException) -> completion_pb2.BatchCompleteResult:
        """Return how one item of a batch ended, and count it where it failed."""
        if isinstance(end, Reply):
            return completion_pb2.BatchCompleteResult(response=completion_pb2.CompleteResponse.FromString(end.response))
        shown = as_domain_error(end)
        self._meter.count_failure(shown.reason)
        return completion_pb2.BatchCompleteResult(status=status_proto(shown))

    @property
    def _max_bytes(self) -> int:
        return self._engine.snapshot.settings.limits.request_bytes

    def _caller(self, sender: Sender, message: _Request, context: Context, span: Span | None = None) -> Caller:
        remaining = context.time_remaining()
        deadline = None if remaining is None else self._clock.monotonic() + remaining
        traceparent = "" if span is None else span.traceparent
        caller = make_caller(sender, digest_of=partial(request_digest, message), deadline=deadline, traceparent=traceparent)
        return dataclasses.replace(caller, wire_of=partial(request_wire, message)) if message.lane else caller


class _Shown:
    """What of an answer a stream's reader has seen, so that the reply brings the rest."""

    def __init__(self) -> None:
        self._text = 0
        self._thinking = 0
        self._tool_calls = 0

    def chunks(self, step: Event | Reply) -> list[bytes]:
        """Return the messages for one step of the engine."""
        if isinstance(step, Reply):
            return self._rest(completion_pb2.CompleteResponse.FromString(step.response))
        if not isinstance(step, TextDelta):
            self._tool_calls += 1
            return [_chunk(tool_call=pack_tool_call(step))]
        if step.thinking:
            self._thinking += len(step.text)
            return [_chunk(thinking_delta=step.text)]
        self._text += len(step.text)
        return [_chunk(text_delta=step.text)]

    def _rest(self, response: completion_pb2.CompleteResponse) -> list[bytes]:
        thinking = "".join(part.thinking.text for part in response.parts if part.HasField("thinking"))[self._thinking :]
        text = response.text[self._text :]
        chunks = [_chunk(thinking_delta=thinking)] if thinking else []
        chunks += [_chunk(text_delta=text)] if text else []
        chunks += [_chunk(tool_call=call) for call in response.tool_calls[self._tool_calls :]]
        return [*chunks, _chunk(response=response)]


def _chunk(**event: object) -> bytes:
    return completion_pb2.StreamCompleteResponse(**event).SerializeToString()  # type: ignore[arg-type]


def request_digest(message: _Request) -> bytes:
    """Return the digest that tells whether a request id comes with the same request; when it is wanted is no part of it."""
    if message.HasField("complete_by"):  # an age from now is another moment whenever the same call is made again
        timeless = _Request()
        timeless.CopyFrom(message)
        timeless.ClearField("complete_by")
        message = timeless
    return hashlib.sha256(request_wire(message)).digest()


def request_wire(message: _Request) -> bytes:
    """Return the whole message, equal for equal requests."""
    return message.SerializeToString(deterministic=True)


def _completion_of(message: completion_pb2.StreamCompleteRequest | completion_pb2.EstimateCostRequest) -> _Request:
    refuse_unknown(message, "request")
    if not message.HasField("completion"):
        raise invalid("completion", "unset", "a CompleteRequest")
    return message.completion


def _item(message: _Request) -> Item:
    try:
        return unpack_request(message)
    except DomainError as error:
        return error


def _estimate(quoted: Quote) -> completion_pb2.CostEstimate:
    return completion_pb2.CostEstimate(
        provider=quoted.route.route.provider,
        model=quoted.route.route.model,
        input_tokens=quoted.input_tokens,
        max_output_tokens=quoted.max_output_tokens,
        max_cost_usd_nanos=quoted.bound_nanos,
        price_entry_id=quoted.price_entry_id,
    )
