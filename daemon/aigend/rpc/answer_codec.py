"""Answers as the bytes of a `CompleteResponse`: what is stored first, what differs from call to call appended to it."""

from aigen.v1 import completion_pb2, message_pb2

from aigend.rpc.enums import BASIS, CAUSE, FINISH, OUTCOME
from aigend.types import (
    Answer,
    CallFacts,
    Document,
    Image,
    Part,
    Text,
    Thinking,
    Timings,
    TokenUsage,
    ToolCall,
    ToolResult,
)

_REQUEST_ID = completion_pb2.CompleteResponse.DESCRIPTOR.fields_by_name["request_id"].number
_TIMINGS = completion_pb2.CompleteResponse.DESCRIPTOR.fields_by_name["timings"].number
_TOTAL_US = completion_pb2.Timings.DESCRIPTOR.fields_by_name["total_us"].number
_LENGTH_DELIMITED = 2


def _varint(value: int) -> bytes:
    """Return a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_REQUEST_ID_TAG = _varint(_REQUEST_ID << 3 | _LENGTH_DELIMITED)
_TIMINGS_TAG = _varint(_TIMINGS << 3 | _LENGTH_DELIMITED)
_TOTAL_US_TAG = _varint(_TOTAL_US << 3)
# a hit takes well under 16 ms: its timings are looked up, not built
_TIMINGS_FIELD = [_TIMINGS_TAG + _varint(len(field)) + field for us in range(4_096) for field in (_TOTAL_US_TAG + _varint(us),)]
_UUID_HEAD = _REQUEST_ID_TAG + _varint(36)


class WireCodec:
    """Implements `completion.ports.AnswerCodec` and `cache.manager.WireEncoder` with protobuf."""

    def encode_answer(self, answer: Answer, cache_key: bytes) -> bytes:
        """Return fields 1 to 19: the same for all who ask."""
        return completion_pb2.CompleteResponse(
            parts=[pack_part(part) for part in answer.parts],
            text=answer.text,
            finish_reason=FINISH.pack(answer.finish_reason),
            tool_calls=[pack_tool_call(call) for call in answer.tool_calls],
            resolved_model=answer.resolved_model,
            provider=answer.route.provider,
            usage=pack_usage(answer.usage),
            cache_key=cache_key,
        ).SerializeToString()

    def encode_call(self, facts: CallFacts) -> bytes:
        """Return fields from 20 on: what differs from call to call."""
        cost, timings = facts.cost, facts.timings
        message = completion_pb2.CompleteResponse(
            request_id=facts.request_id,
            requested_model=facts.requested_model,
            cache_outcome=OUTCOME.pack(facts.outcome),
            cost_usd_nanos=0 if cost is None else cost.nanos,
            cost_basis=None if cost is None else BASIS.pack(cost.basis),
            price_entry_id="" if cost is None else cost.price_entry_id,
            saved_usd_nanos=facts.saved_nanos,
            saved_cause=None if facts.saved_cause is None else CAUSE.pack(facts.saved_cause),
            attempt_count=facts.attempt_count,
            timings=None if timings == Timings() else pack_timings(timings),
            ledger_entry_id=facts.ledger_entry_id,
            warnings=facts.warnings,
        )
        return message.SerializeToString()

    def encode_repeat(self, request_id: str, total_us: int) -> bytes:
        """Return request id and timings, spelled by hand: this runs on every hit."""
        id_bytes = request_id.encode()
        head = _UUID_HEAD if len(id_bytes) == 36 else _REQUEST_ID_TAG + _varint(len(id_bytes))
        if 0 <= total_us < 4_096:
            return head + id_bytes + _TIMINGS_FIELD[total_us]
        field = _TOTAL_US_TAG + _varint(max(total_us, 0))
        return head + id_bytes + _TIMINGS_TAG + _varint(len(field)) + field


def pack_timings(timings: Timings) -> completion_pb2.Timings:
    """Return the message of a call's timings."""
    return completion_pb2.Timings(queue_us=timings.queue_us, provider_us=timings.provider_us, total_us=timings.total_us)


def pack_usage(usage: TokenUsage) -> message_pb2.TokenUsage:
    """Return the message of token buckets."""
    return message_pb2.TokenUsage(
        input_tokens=usage.input,
        cache_read_tokens=usage.cache_read,
        cache_write_5m_tokens=usage.cache_write_5m,
        cache_write_1h_tokens=usage.cache_write_1h,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        search_count=usage.searches,
    )


def pack_tool_call(call: ToolCall) -> message_pb2.ToolCall:
    """Return the message of a tool call."""
    return message_pb2.ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)


def pack_part(part: Part) -> message_pb2.Part:
    """Return the message of one part of an answer."""
    content = part.content
    match content:
        case Text():
            return message_pb2.Part(text=content.text)
        case ToolCall():
            return message_pb2.Part(tool_call=pack_tool_call(content))
        case Thinking():
            return message_pb2.Part(thinking=message_pb2.Thinking(text=content.text, signature=content.signature))
        case Image():
            return message_pb2.Part(image=_pack_image(content))
        case Document():
            return message_pb2.Part(document=_pack_document(content))
        case ToolResult():
            result = message_pb2.ToolResult(tool_call_id=content.tool_call_id, text=content.text, is_error=content.is_error)
            return message_pb2.Part(tool_result=result)


def _pack_image(image: Image) -> message_pb2.Image:
    if image.url:
        return message_pb2.Image(url=image.url, media_type=image.media_type)
    return message_pb2.Image(data=image.data, media_type=image.media_type)


def _pack_document(document: Document) -> message_pb2.Document:
    if document.url:
        return message_pb2.Document(url=document.url, media_type=document.media_type, title=document.title)
    return message_pb2.Document(data=document.data, media_type=document.media_type, title=document.title)
