"""`python -m benchmarks.day`: the bill of one day with and without aigen, by cause; the last line is a JSON object.

The day stands in `day_plan.py` and was fixed before anything was tuned. Both bills are made in one run: without aigen every
request goes through the same adapter of the provider's SDK, with no cache and no marks; with it, through a daemon with its default
settings and the client. The emulator counts the tokens, the daemon's own price code prices both.

The emulator keeps prefixes for five minutes from their last use: marked ones for Anthropic's models, whatever was sent for the
others, with aigen and without. Nothing is read before the first word of the answer that wrote it. The day passes on a clock that
is put forward between calls, by the same steps for the daemon and the emulator; calls that begin within the time to a first token
of each other are sent at once. So a day takes a minute, and lifetimes are those of a day.
"""

import argparse
import asyncio
import json
import logging
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aigen
import structlog
import uvloop
import yaml
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import EmulatorServer, serving
from aigend.assembly import make_snapshot
from aigend.completion.snapshot import Snapshot
from aigend.config import LoadedSettings, load_settings
from aigend.ledger.prices.pricing import cost_of
from aigend.ledger.prices.published import PublishedPrices
from aigend.providers.port import ProviderCall, ProviderReply
from aigend.providers.registry import ProviderRegistry
from aigend.server import Daemon, take_locks
from aigend.types import CompletionRequest, Message, Part, Role, Stability, Text, TokenUsage

from benchmarks.day_plan import FIRST_TOKEN_S, Asked, Moment, Said, day, totals

FIRST_TOKEN_MS = 20.0  # of real time: calls that are sent at once are under way at once
MIDNIGHT = 1_795_392_000.0  # 2026-11-23: dates the prices
TIMEOUT_S = 60.0
PATHS = {  # behind each provider's name, what its SDK wants in an address
    "anthropic": "/p/anthropic",
    "openai": "/p/openai/v1",
    "google": "/p/google",
    "perplexity": "/p/perplexity/perplexity/v1",
}
CAUSES = ("response_cache", "single_flight", "prompt_cache", "routing")
_CAUSE_OF = {aigen.CacheOutcome.HIT: "response_cache", aigen.CacheOutcome.COALESCED: "single_flight"}


@dataclass(frozen=True, slots=True)
class Charge:
    """What one call of the day came to."""

    nanos: int
    usage: TokenUsage
    cause: str = "prompt_cache"  # of a difference to the other bill


class DayClock:
    """A clock that runs with the machine's and can be put forward; it passes as `aigend.clock.Clock`. Waiting takes real time."""

    def __init__(self) -> None:
        self.sleep = asyncio.sleep
        self._began = time.monotonic()
        self._ahead = 0.0

    def time(self) -> float:
        """Return the wall clock of the day."""
        return MIDNIGHT + self.monotonic()

    def monotonic(self) -> float:
        """Return seconds since midnight."""
        return self._ahead + time.monotonic() - self._began

    def reach(self, moment_s: float) -> float:
        """Put the clock forward to a moment, and return by how much."""
        step = max(0.0, moment_s - self.monotonic())
        self._ahead += step
        return step


async def pass_day(
    moments: Sequence[Moment], ask: Callable[[Asked], Awaitable[Charge]], *, emulator: Emulator, clock: DayClock
) -> list[Charge]:
    """Send all requests at their time and return what each came to, in order."""
    charges = list[Charge]()
    for wave in waves(moments):
        emulator.clock.advance(clock.reach(wave[0].at_s))
        charges += await asyncio.gather(*(ask(moment.asked) for moment in wave))
    return charges


def waves(moments: Sequence[Moment]) -> Iterator[Sequence[Moment]]:
    """Yield requests that begin within the time to a first token of each other."""
    begin = 0
    for index, moment in enumerate(moments):
        if moment.at_s - moments[begin].at_s >= FIRST_TOKEN_S:
            yield moments[begin:index]
            begin = index
    yield moments[begin:]


# --- Without aigen ---------------------------------------------------------------------------------------------------------------


async def without(moments: Sequence[Moment], folder: Path) -> list[Charge]:
    """Return the bill of the providers' SDKs alone."""
    with _emulator() as server:
        loaded = _settings(folder, server)
        snapshot = make_snapshot(loaded, environ={}, published=PublishedPrices())
        await snapshot.prices.load()
        registry = ProviderRegistry(snapshot.providers, answer_bytes=loaded.settings.limits.answer_bytes)

        async def ask(asked: Asked) -> Charge:
            provider = (await registry.ready(asked.model[0]))[0].provider
            return _charge(asked, await provider.complete(_call(asked)), snapshot)

        try:
            return await pass_day(moments, ask, emulator=server.emulator, clock=DayClock())
        finally:
            await registry.aclose()


def _call(asked: Asked) -> ProviderCall:
    request = CompletionRequest(
        system=(Part(Text(asked.system)),),
        messages=tuple(Message(Role(turn.role), tuple(Part(Text(text)) for text in _texts(turn))) for turn in asked.turns),
        max_output_tokens=asked.max_output_tokens,
    )
    return ProviderCall(
        request=request, model=asked.model[1], max_output_tokens=asked.max_output_tokens, timeout_s=TIMEOUT_S, request_id="day"
    )


def _texts(turn: Said) -> list[str]:
    return [*turn.stable, *([turn.changing] if turn.changing else ())]


def _charge(asked: Asked, reply: ProviderReply, snapshot: Snapshot) -> Charge:
    usage = reply.usage or TokenUsage()
    cost = cost_of(usage, snapshot.prices.lookup(*asked.model, at=MIDNIGHT), reply.reported_cost_nanos)
    if cost.nanos is None:
        raise ValueError(f"nobody knows what {'/'.join(asked.model)} costs")
    return Charge(cost.nanos, usage)


# --- With aigen ------------------------------------------------------------------------------------------------------------------


async def with_aigen(moments: Sequence[Moment], folder: Path, **settings: object) -> list[Charge]:
    """Return the bill through a daemon as it is installed, but for these settings, asked by its own client."""
    clock = DayClock()
    with _emulator() as server:
        async with _daemon(_settings(folder, server, **settings), clock) as client:

            async def ask(asked: Asked) -> Charge:
                return _charged(await client.complete(_messages(asked), **_options(asked)))

            charges = await pass_day(moments, ask, emulator=server.emulator, clock=clock)
            await _compare(client, charges)
            return charges


@asynccontextmanager
async def _daemon(loaded: LoadedSettings, clock: DayClock) -> AsyncIterator[aigen.AsyncClient]:
    with ExitStack() as locks:
        for held in take_locks(loaded):
            locks.callback(held.release)
        daemon = Daemon(loaded, environ={}, clock=clock)
        await daemon.start()
        client = aigen.AsyncClient(loaded.places.socket, timeout=TIMEOUT_S)
        try:
            yield client
        finally:
            await client.close()
            await daemon.stop()


def _messages(asked: Asked) -> list[aigen.Message]:
    return [
        aigen.Message(
            turn.role,
            [
                *(aigen.Part(aigen.Text(text), stability=Stability.STABLE) for text in turn.stable),
                *([aigen.Text(turn.changing)] if turn.changing else ()),
            ],
        )
        for turn in asked.turns
    ]


def _options(asked: Asked) -> aigen.CompletionOptions:
    options = aigen.CompletionOptions(system=asked.system, service=asked.service, max_output_tokens=asked.max_output_tokens)
    if asked.phase:
        options["phase"] = asked.phase
    if asked.agent:
        options["agent"] = asked.agent
    else:
        options["model"] = "/".join(asked.model)
    return options


def _charged(answer: aigen.Completion) -> Charge:
    said, cause = answer.usage, _CAUSE_OF.get(answer.cache_outcome or aigen.CacheOutcome.MISS, "prompt_cache")
    if answer.cost_usd_nanos is None:
        raise ValueError(f"nobody knows what {answer.resolved_model} costs")
    usage = TokenUsage(
        input=said.input_tokens,
        cache_read=said.cache_read_tokens,
        cache_write_5m=said.cache_write_5m_tokens,
        cache_write_1h=said.cache_write_1h_tokens,
        output=said.output_tokens,
    )
    return Charge(answer.cost_usd_nanos, usage if cause == "prompt_cache" else TokenUsage(), cause)


async def _compare(client: aigen.AsyncClient, charges: Sequence[Charge]) -> None:
    """Hold the sum of the answers against the ledger."""
    booked = (await client.stats(period="all")).totals
    told = (len(charges), sum(charge.nanos for charge in charges))
    if (booked.call_count, booked.cost_usd_nanos) != told:
        raise AssertionError(
            f"the ledger has {booked.call_count} calls and {booked.cost_usd_nanos} nano-dollars, the answers {told}"
        )


# --- Both ------------------------------------------------------------------------------------------------------------------------


def _emulator() -> AbstractContextManager[EmulatorServer]:
    return serving(Emulator(EmulatorSettings(prompt_cache=True, first_token_ms=FIRST_TOKEN_MS)))


def _settings(folder: Path, server: EmulatorServer, **more: object) -> LoadedSettings:
    """Return the settings that every installation has, with the emulator behind all four providers."""
    folder.mkdir(mode=0o700)
    address = server.base_url.removesuffix("/v1")
    values = {
        "socket": str(folder / "s"),
        "state_directory": str(folder / "state"),
        "cache_directory": str(folder / "cache"),
        "providers": {name: {"base_url": address + path, "api_key": "not-a-secret"} for name, path in PATHS.items()},
    }
    path = folder / "aigend.yaml"
    path.write_text(yaml.safe_dump(values | more), encoding="utf-8")
    path.chmod(0o600)
    return load_settings(path, {"HOME": str(folder)})


def compared(moments: Sequence[Moment], plain: Sequence[Charge], billed: Sequence[Charge]) -> dict[str, object]:
    """Return the last line: both bills in dollars, and where the difference comes from, call by call."""
    by_cause = dict.fromkeys(CAUSES, 0)
    for before, after in zip(plain, billed, strict=True):
        by_cause[after.cause] += before.nanos - after.nanos
    bill = {"without": sum(charge.nanos for charge in plain), "with": sum(charge.nanos for charge in billed)}
    return {
        "bill_usd": {name: nanos / 1e9 for name, nanos in bill.items()},
        "saved_percent": round(100 * (1 - bill["with"] / bill["without"]), 2),
        "by_cause_usd": {cause: nanos / 1e9 for cause, nanos in by_cause.items()},
        "calls": totals(moments),
    }


def print_services(moments: Sequence[Moment], plain: Sequence[Charge], billed: Sequence[Charge]) -> None:
    """Print each service's two bills, and what its calls read from and wrote to the providers' prompt caches."""
    rows: dict[str, list[tuple[Charge, Charge]]] = defaultdict(list)
    for moment, before, after in zip(moments, plain, billed, strict=True):
        rows[f"{moment.asked.service}, {moment.asked.model[1]}"].append((before, after))
    print(f"{'':<36}{'calls':>6}{'without':>10}{'with':>10}{'saved':>8}{'input':>12}{'read before':>12}{'read':>12}{'written':>12}")
    for name, pairs in sorted(rows.items()):
        plain_usd, usd = (sum(pair[side].nanos for pair in pairs) / 1e9 for side in (0, 1))
        read_before, read = (sum(pair[side].usage.cache_read for pair in pairs) for side in (0, 1))
        tokens = sum(before.usage.total_input for before, _ in pairs)
        written = sum(after.usage.cache_write_5m + after.usage.cache_write_1h for _, after in pairs)
        row = f"{name:<36}{len(pairs):>6}{plain_usd:>10.4f}{usd:>10.4f}{100 * (1 - usd / plain_usd):>7.1f}%"
        print(f"{row}{tokens:>12,}{read_before:>12,}{read:>12,}{written:>12,}")


async def measure(folder: Path, **settings: object) -> dict[str, object]:
    """Return what the last line holds, after printing the rest."""
    moments = day()
    plain = await without(moments, folder / "without")
    billed = await with_aigen(moments, folder / "with", **settings)
    print_services(moments, plain, billed)
    figures = compared(moments, plain, billed)
    for cause, usd in figures["by_cause_usd"].items():  # type: ignore[attr-defined]  # a mapping by its making
        print(f"saved by {cause:<16}{usd:>10.4f} USD")
    return figures


def main() -> None:
    """Let the day pass twice and print its bills."""
    parser = argparse.ArgumentParser(prog="benchmarks.day", description="Bill one day with and without aigen.")
    parser.add_argument("--decision", help="prompt_caching.decision of the daemon; the default one where it is not given")
    decision = parser.parse_args().decision
    settings = {"prompt_caching": {"decision": decision}} if decision else {}
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    folder = Path(tempfile.mkdtemp(prefix="aigen-day-"))
    try:
        figures = uvloop.run(measure(folder, **settings))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
