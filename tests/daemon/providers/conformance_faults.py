"""The cases of errors and of connections that fail, each written once; what they ask through is in `conformance.py`."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import serving
from aigend.config import RetrySettings
from aigend.errors import Reason
from aigend.providers.port import FaultKind, StreamEvent, TextDelta, ThinkingDelta
from aigend.providers.retry import Standing, verdict

from tests.daemon.providers.conformance import BOTH, CODES, KEY, NAME, Bench, Relay, case, fault_of, text_of

EIGHT = 8  # events of a stream after which each format has sent some text
STATUSES = {
    400: FaultKind.REJECTED,
    401: FaultKind.AUTH,
    402: FaultKind.AUTH,
    403: FaultKind.AUTH,
    404: FaultKind.REJECTED,
    413: FaultKind.REJECTED,
    422: FaultKind.REJECTED,
    429: FaultKind.RATE_LIMITED,
    500: FaultKind.SERVER_ERROR,
    503: FaultKind.SERVER_ERROR,
    529: FaultKind.SERVER_ERROR,
}


# Errors in the provider's words


def _error_case(status: int, kind: FaultKind) -> None:
    async def error(bench: Bench) -> None:
        """A status has its kind and the provider's own code, whole and streamed, and no key is told."""
        for stream in BOTH:
            bench.emulator.script({"status": status} | ({"retry_after": "7"} if status == 429 else {}))
            told = await bench.fault(stream=stream)
            assert (told.kind, told.status, told.provider) == (kind, status, NAME)
            assert told.code == CODES[bench.adapter][status]
            assert told.retry_after_s == (7.0 if status == 429 else None)
            assert told.provider_message
            assert KEY not in f"{told} {told.provider_message}"
        assert bench.emulator.charges() == []

    error.__name__ = f"error_{status}"
    case(error)


for _status, _kind in STATUSES.items():
    _error_case(_status, _kind)


@case
async def unknown_model(bench: Bench) -> None:
    """A model that the provider does not know is told as such to the caller."""
    bench.emulator.script({"status": 404})
    told = await bench.fault(stream=False)
    follows = verdict(
        told,
        standing=Standing(attempt=1),
        settings=RetrySettings(),
        on_server_error="count",
        on_ambiguous="stop",
        jitter=lambda: 0.0,
    )
    assert follows.error.reason is Reason.UNKNOWN_MODEL


@case
async def error_that_quotes_the_key(bench: Bench) -> None:
    """A key that the provider repeats is hidden, and our own sentence quotes nothing."""
    error = {"message": f"bad key {KEY} given", "code": "bad_key", "status": "BAD_KEY", "type": "bad_key"}
    for stream in BOTH:
        bench.emulator.script({"status": 400, "body": json.dumps({"type": "error", "error": error})})
        told = await bench.fault(stream=stream)
        assert (told.kind, told.provider_message) == (FaultKind.REJECTED, "bad key *** given")
        assert "bad key" not in told.message
    assert KEY not in repr(bench.provider)


@case
async def key_is_sent(bench: Bench) -> None:
    """The account's key is what the provider demands, and another one is told to be wrong."""
    for demanded, kind in ((KEY, None), ("another", FaultKind.AUTH)):
        with serving(Emulator(EmulatorSettings(api_key=demanded))) as server:
            provider = bench.connect(bench.address_at(server))
            if kind is None:
                assert text_of(await provider.complete(bench.call()))
            else:
                assert (await fault_of(provider, bench.call(), stream=False)).kind is kind
            await provider.aclose()


@case
async def redirect(bench: Bench) -> None:
    """A redirect is not followed: nobody pays elsewhere."""
    for stream in BOTH:
        bench.emulator.script({"status": 307, "headers": {"location": bench.emulator.provider_url("elsewhere")}})
        told = await bench.fault(stream=stream)
        assert (told.kind, told.status) == (FaultKind.BAD_ANSWER, 307)
    assert bench.emulator.requests() == 2


@case
async def error_of_a_proxy(bench: Bench) -> None:
    """A status without the provider's own words says nothing certain."""
    for stream in BOTH:
        bench.emulator.script({"status": 502, "body": "<html>bad gateway</html>"})
        told = await bench.fault(stream=stream)
        assert (told.kind, told.status) == (FaultKind.BAD_ANSWER, 502)


# Connections that fail


@case
async def nobody_listens(bench: Bench) -> None:
    """A refused connection is certainly free, and says so."""
    provider = bench.connect("http://127.0.0.1:1/v1")
    for stream in BOTH:
        told = await fault_of(provider, bench.call(), stream=stream)
        assert told.kind is FaultKind.UNREACHABLE
        assert "nothing was sent" in told.message
    assert bench.emulator.requests() == 0


@case
async def no_answer_in_time(bench: Bench) -> None:
    """Who never answers is left when the call's time is over, and notices it."""
    await bench.ask()  # so that no time goes into connecting
    for stream in BOTH:
        bench.emulator.script({"hang": True})
        told = await bench.fault(stream=stream, timeout_s=0.4)
        assert told.kind is FaultKind.TIMEOUT
    await bench.idle()
    assert len(bench.emulator.charges()) == 3


@case
async def connection_reset(bench: Bench) -> None:
    """A connection that is reset after the request had left may have been billed."""
    for stream in BOTH:
        bench.emulator.script({"reset": True})
        assert (await bench.fault(stream=stream)).kind is FaultKind.RESET
    assert text_of(await bench.ask())


@case
async def cut_answer(bench: Bench) -> None:
    """A whole answer that ends before its end is a reset."""
    bench.emulator.script({"cut_after": 1})
    assert (await bench.fault(stream=False)).kind is FaultKind.RESET


@case
async def cut_stream(bench: Bench) -> None:
    """A stream that ends before its end says how many bytes had come."""
    await _cut(bench, {"cut_after": EIGHT})


@case
async def error_in_a_stream(bench: Bench) -> None:
    """An error inside a stream that began well cuts it."""
    await _cut(bench, {"error_after": EIGHT})


@case
async def bytes_that_are_no_answer(bench: Bench) -> None:
    """A 200 that can't be read is a bad answer, whatever it is made of."""
    for garbage in ("html", "text", "broken_json", "empty", "wrong_shape"):
        for stream in BOTH:
            bench.emulator.script({"garbage": garbage})
            assert (await bench.fault(stream=stream)).kind is FaultKind.BAD_ANSWER, (garbage, stream)


@case
async def answer_too_large(bench: Bench) -> None:
    """An answer beyond the bound is cut off there; beneath it, it is read."""
    provider = bench.connect(answer_bytes=100_000)
    for stream in BOTH:
        bench.emulator.script({"size": 150_000})
        assert (await fault_of(provider, bench.call(), stream=stream)).kind is FaultKind.TOO_LARGE
    bench.emulator.script({"size": 50_000})
    assert len(text_of(await provider.complete(bench.call()))) >= 50_000


@case
async def caller_cancels(bench: Bench) -> None:
    """A caller that leaves closes the connection to the provider, and the next call is answered."""
    for ask in (bench.ask, bench.events):
        bench.emulator.script({"hang": True})
        task = asyncio.create_task(ask())
        while not bench.emulator.emulator.gate.in_flight:  # noqa: ASYNC110 - a counter of another thread
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await bench.idle()
    assert text_of(await bench.ask())


@case
async def connections_are_kept(bench: Bench) -> None:
    """Calls one after the other share a connection, and closing the provider closes it."""
    there = urlsplit(bench.address)
    relay = Relay(there.port)
    async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        provider = bench.connect(there._replace(netloc=f"127.0.0.1:{port}").geturl())
        for _ in range(2):
            assert text_of(await provider.complete(bench.call()))
            assert [event async for event in provider.stream(bench.call())]
        assert (relay.connections, relay.open) == (1, 1)
        await provider.aclose()
        while relay.open:  # noqa: ASYNC110 - the socket's end comes in its own time
            await asyncio.sleep(0.005)


@case
async def calls_side_by_side(bench: Bench) -> None:
    """Calls at the same time get each its own answer."""
    texts = [f"question number {index}" for index in range(8)]
    replies = await asyncio.gather(
        *(bench.ask(f"[[answer:echo]] {text}", stream=index % 2 == 0) for index, text in enumerate(texts))
    )
    assert [text_of(reply) for reply in replies] == texts


async def _cut(bench: Bench, fault: dict[str, object]) -> None:
    seen: list[StreamEvent] = []
    bench.emulator.script(fault)
    told = await bench.fault(stream=True, seen=seen)
    assert told.kind is FaultKind.CUT
    came = "".join(event.text for event in seen if isinstance(event, TextDelta | ThinkingDelta))
    assert told.partial_text_len == len(came.encode()) > 0
