"""Doing what a fault says, on the connection and in the answer."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aigen_emulator.answers import ModelAnswer, Question
from aigen_emulator.batches import Outcome
from aigen_emulator.exchange import Exchange
from aigen_emulator.faults import Fault
from aigen_emulator.wire.port import RefusalError, Wire

_PIECE = 64  # bytes of a unary answer that count as one event
_EVENTS = b"text/event-stream; charset=utf-8"
_JSON = b"application/json"
_HTML = b"text/html; charset=utf-8"
_PROXY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>\n"
_ABSURD = 10**15
_LONG_WORD = "x" * 1_023 + " "


def usage_told(wire: Wire, said: ModelAnswer, lie: str) -> Any:
    """Return the usage object as the provider tells it, with the lie that a fault asks for; None leaves it out."""
    usage = wire.usage(said)
    if not lie:
        return usage
    if lie == "missing":
        return None
    value = {"negative": -5, "absurd": _ABSURD, "nan": float("nan")}[lie]
    return {key: value if isinstance(count, int) else count for key, count in usage.items()}


async def misbehave(exchange: Exchange, wire: Wire, fault: Fault, question: Question, said: ModelAnswer) -> None:
    """Send what the fault leaves of the answer."""
    if fault.hang:
        await exchange.wait_gone()
    elif fault.reset:
        await exchange.reset()
    elif fault.garbage:
        await _garbage(exchange, fault, wire.unary(question, said, usage=usage_told(wire, said, "")))
    elif fault.status is not None and fault.status != 200:
        await _error(exchange, wire, fault)
    else:
        await _spoilt(exchange, wire, fault, question, said)


async def misbehave_about_jobs(exchange: Exchange, wire: Wire, fault: Fault, body: bytes) -> None:
    """Send what the fault leaves of an answer about batch jobs."""
    if fault.hang:
        await exchange.wait_gone()
    elif fault.reset:
        await exchange.reset()
    elif fault.garbage:
        await _garbage(exchange, fault, body)
    elif fault.status is not None and fault.status != 200:
        await _error(exchange, wire, fault)
    else:
        await _spoilt_unary(exchange, fault, body if fault.body is None else fault.body.encode())


def line_outcome(wire: Wire, fault: Fault, question: Question, said: ModelAnswer) -> Outcome:
    """Return what a line of a batch job is answered with: an error of its own, what is no answer, or the answer."""
    if fault.hang or fault.reset or (fault.status or 200) >= 400:
        return Outcome(fault.status or 500, json.loads(error_body(wire, fault)))
    if fault.garbage:
        return Outcome(200, {"result": "this is another API"})
    said = replace(said, text=_LONG_WORD * (fault.size // len(_LONG_WORD) + 1)) if fault.size else said
    return Outcome(200, json.loads(wire.unary(question, said, usage=usage_told(wire, said, fault.usage))))


def error_body(wire: Wire, fault: Fault) -> bytes:
    """Return the body of the error that a fault asks for."""
    if fault.body is not None:
        return fault.body.encode()
    usual = wire.default_refusal(fault.status or 500)
    if fault.code is not None:
        usual = RefusalError(usual.status, usual.message, kind=fault.code, code=fault.code)
    return wire.error(usual)


async def _error(exchange: Exchange, wire: Wire, fault: Fault) -> None:
    status = fault.status or 500
    body = error_body(wire, fault)
    content_type = _HTML if body.lstrip().startswith(b"<") else _JSON
    await exchange.respond(status, body, headers=_extra(fault), content_type=content_type)


async def _garbage(exchange: Exchange, fault: Fault, whole: bytes) -> None:
    """Send what is no answer; `whole` is what the answer would have been."""
    body, content_type = {
        "html": (_PROXY_PAGE, _HTML),
        "text": (b"upstream connect error or disconnect before headers", b"text/plain"),
        "broken_json": (whole[: len(whole) // 2], _JSON),
        "empty": (b"", _JSON),
        "wrong_shape": (b'{"result": "this is another API"}', _JSON),
    }[fault.garbage]
    await exchange.respond(fault.status or 200, body, headers=_extra(fault), content_type=content_type)


async def _spoilt(exchange: Exchange, wire: Wire, fault: Fault, question: Question, said: ModelAnswer) -> None:
    """Send a real answer with false usage, too slowly, only in part, or far too long."""
    said = replace(said, text=_LONG_WORD * (fault.size // len(_LONG_WORD) + 1)) if fault.size else said
    usage = usage_told(wire, said, fault.usage)
    if fault.body is not None:
        await exchange.respond(200, fault.body.encode(), headers=_extra(fault))
    elif question.stream:
        await _spoilt_stream(exchange, wire, fault, wire.events(question, said, usage=usage))
    else:
        await _spoilt_unary(exchange, fault, wire.unary(question, said, usage=usage))


async def _spoilt_stream(exchange: Exchange, wire: Wire, fault: Fault, events: Iterator[bytes]) -> None:
    if fault.cut_after is not None:
        await exchange.cut(itertools.islice(events, fault.cut_after), length=None, content_type=_EVENTS)
    elif fault.error_after is not None:
        told = [*itertools.islice(events, fault.error_after), wire.error_event(wire.default_refusal(500))]
        await exchange.stream(told, pause_s=0, headers=_extra(fault))
    elif fault.drip_ms is not None:
        await exchange.drip(b"".join(events), pause_s=fault.drip_ms / 1000, content_type=_EVENTS)
    else:
        await exchange.stream(events, pause_s=0, headers=_extra(fault))


async def _spoilt_unary(exchange: Exchange, fault: Fault, body: bytes) -> None:
    if fault.cut_after is not None:
        await exchange.cut([body[: _PIECE * fault.cut_after]], length=len(body) + 1, content_type=_JSON)
    elif fault.drip_ms is not None:
        await exchange.drip(body, pause_s=fault.drip_ms / 1000, content_type=_JSON)
    else:
        await exchange.respond(200, body, headers=_extra(fault))


def _extra(fault: Fault) -> dict[str, str]:
    extra = dict(fault.headers)
    if fault.retry_after is not None:
        extra["retry-after"] = fault.retry_after
    return extra
