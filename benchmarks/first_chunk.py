"""How much later the first words of a stream come through the daemon than from the same SDK called directly.

The emulator thinks for a while before its first token, as providers do, and then says one token after the other, so that a buffer
anywhere on the way would show.
"""

import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import openai
from aigen.v1 import completion_pb2, completion_pb2_grpc

from benchmarks import processes
from benchmarks.load import OPTIONS, RequestIds
from benchmarks.questions import account, prompt

MODEL = "gpt-4o-mini"
FIRST_TOKEN_MS, TOKEN_MS = 20, 2
MAX_TOKENS = 30
PACE = ("--first-token-ms", str(FIRST_TOKEN_MS), "--token-ms", str(TOKEN_MS))


@dataclass(frozen=True, slots=True)
class FirstChunk:
    """Time to the first text of a stream, medians in microseconds."""

    sdk_p50_us: float
    daemon_p50_us: float
    added_p50_us: float


async def measure(folder: Path, *, rounds: int, calls: int = 20) -> FirstChunk:
    """Return medians over interleaved rounds; the daemon has one core, load and emulator the other."""
    with (
        processes.emulator(flags=PACE) as emulator,
        processes.daemon(folder / "stream", base_url=emulator.base_url) as daemon,
    ):
        direct, through = _Direct(emulator.base_url), _Through(daemon.socket)
        await _median_us(direct.first, calls)
        await _median_us(through.first, calls)
        with processes.placed(daemon.pid, beside_load=(emulator.pid,)):
            pairs = [(await _median_us(direct.first, calls), await _median_us(through.first, calls)) for _ in range(rounds)]
        await through.close()
        await direct.close()
    return FirstChunk(
        sdk_p50_us=statistics.median(sdk for sdk, _ in pairs),
        daemon_p50_us=statistics.median(mine for _, mine in pairs),
        added_p50_us=statistics.median(mine - sdk for sdk, mine in pairs),
    )


class _Direct:
    """The SDK as a program would use it without aigen."""

    def __init__(self, base_url: str) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key="not-a-secret", max_retries=0)
        self._numbers = itertools.count()

    async def first(self) -> float:
        """Return when the first text came, in seconds after the call; the rest is read, too."""
        text, began, came = f"{next(self._numbers)} direct {prompt()}", time.perf_counter(), 0.0
        chunks = await self._client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": text}],
            max_completion_tokens=MAX_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            if not came and chunk.choices and chunk.choices[0].delta.content:
                came = time.perf_counter() - began
        return came

    async def close(self) -> None:
        await self._client.close()


class _Through:
    """The daemon, over a bare stub."""

    def __init__(self, socket: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=OPTIONS)
        self._stub = completion_pb2_grpc.CompletionServiceStub(self._channel)
        self._ids = RequestIds()

    async def first(self) -> float:
        """Return when the first text came, in seconds after the call; the rest is read, too."""
        request_id, came = self._ids.next(), 0.0
        metadata = (("aigen-request-id", request_id), ("aigen-accounting-bin", account()))
        text = f"{request_id} {prompt()}"
        began = time.perf_counter()
        asked = completion_pb2.CompleteRequest(prompt=text, model=f"openai/{MODEL}", max_output_tokens=MAX_TOKENS)
        call = self._stub.StreamComplete(completion_pb2.StreamCompleteRequest(completion=asked), metadata=metadata)
        async for message in call:
            if not came and message.text_delta:
                came = time.perf_counter() - began
        return came

    async def close(self) -> None:
        await self._channel.close()


async def _median_us(first: Callable[[], Awaitable[float]], calls: int) -> float:
    return statistics.median([await first() for _ in range(calls)]) * 1e6
