"""The second phase of several pipelines at once: two agents a run, through the daemon and without it.

Three ways to the same answers: one call after the other, all at once on the providers' SDKs, and one `complete_many` a run through
the daemon. The first two go through the same adapters as the daemon's calls. The emulator takes as long as a quick provider; the
documents of a run are its own, so that no call has a prefix to wait for.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aigen
from aigend.config import ProviderSettings
from aigend.providers.port import ProviderCall
from aigend.providers.registry import ProviderRegistry
from aigend.types import CompletionRequest, Message, Part, Role, Text

from benchmarks import processes

RUNS = 4  # at once: with the usual limits none of their calls has to wait for a slot
LONE_CALLS = 60
AGENTS = {"google": "gemini-2.5-pro", "perplexity": "perplexity/sonar"}
PATHS = {"google": "/p/google", "perplexity": "/p/perplexity/perplexity/v1"}
ADAPTERS = {"google": "gemini", "perplexity": "perplexity"}
DOCUMENT_BYTES = 10_000
ANSWER_TOKENS = 200
PACE = ("--first-token-ms", "150", "--token-ms", "1")
KEY = "not-a-secret"


@dataclass(frozen=True, slots=True)
class PhaseTwo:
    """Wall times of the phase, medians in milliseconds, and what the scheduler adds to a lone call, in microseconds."""

    sequential_ms: float
    gather_ms: float
    aigen_ms: float
    overhead_percent: float  # of the time of all at once on the SDKs
    lone_queue_p50_us: float
    lone_queue_p99_us: float


async def measure(folder: Path, *, rounds: int) -> PhaseTwo:
    """Return medians over interleaved rounds."""
    with processes.emulator(flags=PACE) as emulator:
        address = emulator.base_url.removesuffix("/v1")
        addresses = {name: {"base_url": address + path, "api_key": KEY} for name, path in PATHS.items()}
        with processes.daemon(folder / "phase_two", base_url=None, settings={"providers": addresses}) as daemon:
            direct, through = _Direct(address), _Through(daemon.socket)
            for warm_up in (direct.at_once, through.at_once):
                await warm_up()
            ways = (direct.sequential, direct.at_once, through.at_once)
            taken = [[await _ms(way) for way in ways] for _ in range(rounds)]
            queued = sorted([await through.lone() for _ in range(LONE_CALLS)])
            await through.close()
            await direct.close()
    sequential, gather, mine = (statistics.median(one[way] for one in taken) for way in range(3))
    return PhaseTwo(
        sequential_ms=sequential,
        gather_ms=gather,
        aigen_ms=mine,
        overhead_percent=100 * statistics.median((one[2] - one[1]) / one[1] for one in taken),
        lone_queue_p50_us=statistics.median(queued),
        lone_queue_p99_us=queued[int(len(queued) * 0.99)],
    )


class _Questions:
    """Questions of which no two are alike."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._numbers = itertools.count()

    def next(self, tokens: int = ANSWER_TOKENS) -> str:
        """Return the next one, over a document of its own."""
        name = f"{self._who} {next(self._numbers)} "
        return (name * (DOCUMENT_BYTES // len(name)))[:DOCUMENT_BYTES] + f" [[answer:tokens={tokens}]]"


class _Direct:
    """The providers' SDKs behind their adapters, without a daemon."""

    def __init__(self, address: str) -> None:
        settings = {
            name: ProviderSettings(adapter=ADAPTERS[name], base_url=address + path, api_key=KEY) for name, path in PATHS.items()
        }
        self._registry = ProviderRegistry(settings, answer_bytes=1_000_000)
        self._questions = _Questions("direct")

    async def sequential(self) -> None:
        """Make the calls of all runs one after the other."""
        for _ in range(RUNS):
            for name in AGENTS:
                await self._call(name)

    async def at_once(self) -> None:
        """Make the calls of all runs at the same time."""
        await asyncio.gather(*(self._call(name) for _ in range(RUNS) for name in AGENTS))

    async def close(self) -> None:
        await self._registry.aclose()

    async def _call(self, name: str) -> None:
        provider = (await self._registry.ready(name))[0].provider
        request = CompletionRequest(messages=(Message(Role.USER, (Part(Text(self._questions.next())),)),))
        call = ProviderCall(request=request, model=AGENTS[name], max_output_tokens=800, timeout_s=60.0, request_id="bench")
        await provider.complete(call)


class _Through:
    """The daemon, by its client."""

    def __init__(self, socket: str) -> None:
        self._client = aigen.AsyncClient(socket, timeout=60.0)
        self._questions = _Questions("through")

    async def at_once(self) -> None:
        """Make the calls of all runs at the same time, those of a run in one request."""
        await asyncio.gather(*(self._run() for _ in range(RUNS)))

    async def lone(self) -> float:
        """Make one call and return how long it waited to be let go, in microseconds."""
        answer = await self._client.complete(self._questions.next(1), model="google/" + AGENTS["google"], max_output_tokens=800)
        return float(answer.timings.queue_us)

    async def close(self) -> None:
        await self._client.close()

    async def _run(self) -> None:
        asked = [
            aigen.CompletionRequest(self._questions.next(), model=f"{name}/{model}", max_output_tokens=800)
            for name, model in AGENTS.items()
        ]
        for answer in await self._client.complete_many(asked):
            if isinstance(answer, aigen.AigenError):
                raise answer


async def _ms(way: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await way()
    return (time.perf_counter() - began) * 1e3
