"""`python -m benchmarks.savings TRACE --model MODEL`: what a trace costs under each way to use prompt caches.

The decisions are made by the classes that the daemon runs, with its prices; only the provider is arithmetic: it keeps what is
marked by the rules that are printed. The last line is a JSON object.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.completion.prompt_cache.plans import PromptPlan, PromptPlans
from aigend.completion.snapshot import Snapshot
from aigend.config import ProviderSettings, Settings
from aigend.errors import DomainError
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.pricing import PriceEntry, cost_nanos
from aigend.routing.catalog import build_catalog
from aigend.routing.policy import build_policies
from aigend.routing.router import Router
from aigend.scheduling.prompt_cache.prefixes import Prefixes, read_prefixes
from aigend.types import Accounting, Caller, CompletionRequest, ModelRoute, TokenUsage

from benchmarks.trace_provider import LONG_S, SHORT_S, Oracle, TraceProvider
from benchmarks.traces import TraceError, TraceRequest, completion_request, half, in_turn, read_trace

START = 1_795_000_000.0  # wall clock at which every replay begins, so that each gives the same
RULES: Mapping[str, tuple[str, int]] = {
    "always_5m": ("always", SHORT_S),
    "always_1h": ("always", LONG_S),
    "second_sight_5m": ("second_sight", SHORT_S),
    "adaptive": ("adaptive", SHORT_S),
}
_ASKED_RULES = """\
A prefix can be read by any request with a later timestamp, within its lifetime of its last writing or reading, up to the end of
any of its blocks. One below the model's minimum is never cached. Equal requests have equal hash_ids and input_length; the exact
cache answers them from the second on. Half deferred is every second request, at the batch price. Points are
percent of `nothing`."""


class TraceClock:
    """A clock that stands where the trace is."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        """Return the wall clock of the replay."""
        return START + self.now

    def monotonic(self) -> float:
        """Return seconds from the trace's beginning."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Nothing waits in a replay."""
        raise RuntimeError(f"a replay was asked to wait {seconds} s")


@dataclass(frozen=True, slots=True)
class Asked:
    """A line of a trace with its request, read once for all ways."""

    line: TraceRequest
    request: CompletionRequest
    prefixes: Prefixes


@dataclass(frozen=True, slots=True)
class Billed:
    """What one way came to."""

    nanos: int  # of all requests
    each: tuple[int, ...]  # of each request
    batch_nanos: tuple[int, ...]  # of each request at the batch price


class Replay:
    """A trace on one model's route, at its prices.

    Args:
        trace: The requests.
        model: As a caller names it; Anthropic's where no provider is named.

    Raises:
        DomainError: Nobody knows the model.
        TraceError: The model has no price.
    """

    def __init__(self, trace: Sequence[TraceRequest], model: str) -> None:
        self.trace = trace
        snapshot = snapshot_of({})
        self.route: ModelRoute = snapshot.router.allowed(CompletionRequest(messages=(), model=model))[0]
        route = self.route.route
        price = snapshot.prices.lookup(snapshot.priced_as(route), route.model, START)
        if price is None:
            raise TraceError(f"MODEL is {model!r}, which has no price")
        self.price: PriceEntry = price
        self.asked = [_asked(line, model) for line in trace]

    def cost(self, usage: TokenUsage, *, batch: bool = False) -> int:
        """Return what a request costs, in nano-dollars."""
        nanos = cost_nanos(usage, (self.price.batch or self.price) if batch else self.price)
        if nanos is None:
            raise TraceError(f"{self.price.id} lacks a rate")
        return nanos

    def plain(self, *, exact: bool) -> Billed:
        """Return the bill without prompt caches."""
        usages = [
            TokenUsage(input=line.input_length, output=line.output_length) if paid else None
            for line, paid in in_turn(self.trace, exact=exact)
        ]
        return self._billed(usages)

    def decided(self, decision: str, ttl_s: int, *, exact: bool = False) -> Billed:
        """Return the bill where the daemon decides in one of its ways."""
        clock = TraceClock()
        plans, provider = PromptPlans(clock=clock), TraceProvider(minimum=self.route.min_cacheable_tokens)
        snapshot = snapshot_of({"decision": decision, "ttl_s": ttl_s})
        usages: list[TokenUsage | None] = []
        for asked, (_, paid) in zip(self.asked, in_turn(self.trace, exact=exact), strict=True):
            usages.append(self._call(asked, plans, provider, snapshot, clock) if paid else None)
        return self._billed(usages)

    def oracle(self, ttl_s: int) -> Billed:
        """Return the bill of one who knows what will be read again within a lifetime, and marks exactly that."""
        oracle, provider = Oracle(self.trace, ttl_s=ttl_s), TraceProvider(minimum=self.route.min_cacheable_tokens)
        marks = ({max(oracle.reach(number), provider.readable(line)): ttl_s} for number, line in enumerate(self.trace))
        return self._billed([provider.call(line, mark) for line, mark in zip(self.trace, marks, strict=True)])

    def _call(self, asked: Asked, plans: PromptPlans, provider: TraceProvider, snapshot: Snapshot, clock: TraceClock) -> TokenUsage:
        """Plan and pay one request as the daemon does."""
        clock.now = asked.line.time
        plan = plans.plan(_call_of(asked, snapshot, self.route, clock), self.route, prefixes=asked.prefixes)
        usage = provider.call(asked.line, marks_of(plan))
        plans.observe(plan, usage)
        return usage

    def _billed(self, usages: Sequence[TokenUsage | None]) -> Billed:
        each = tuple(self.cost(usage) if usage is not None else 0 for usage in usages)
        batch = tuple(self.cost(usage, batch=True) if usage is not None else 0 for usage in usages)
        return Billed(sum(each), each, batch)


def snapshot_of(prompt_caching: Mapping[str, object]) -> Snapshot:
    """Return what is in force with Anthropic configured and these settings of prompt caching."""
    providers = {"anthropic": ProviderSettings(adapter="anthropic", base_url="http://127.0.0.1:9")}
    settings = Settings.model_validate({"providers": {}, "prompt_caching": dict(prompt_caching)}).model_copy(
        update={"providers": providers}
    )
    catalog = build_catalog(settings, configured=tuple(providers))
    return Snapshot(
        settings=settings,
        catalog=catalog,
        router=Router(catalog, build_policies(settings, catalog)),
        prices=_PRICES,
        providers=providers,
        price_providers={},
    )


_PRICES = PriceCatalog()


def marks_of(plan: PromptPlan) -> dict[int, int]:
    """Return after how many blocks a plan marks, and for how many seconds."""
    return {mark.place.part + 1: mark.ttl_s for mark in plan.wire.marks}


def _asked(line: TraceRequest, model: str) -> Asked:
    request = completion_request(line, model=model)
    return Asked(line, CompletionRequest(messages=(), model=model), read_prefixes(request))


def _call_of(asked: Asked, snapshot: Snapshot, route: ModelRoute, clock: Clock) -> Call:
    return Call(
        request=asked.request,
        caller=Caller(scope="local", request_id="", accounting=Accounting()),
        snapshot=snapshot,
        started=clock.monotonic(),
        routes=(route,),
        keys=(b"",),
        generation=0,
        repeat_generation=0,
    )


def bill(replay: Replay, way: str) -> Billed:
    """Return the bill of a trace under one of the ways of `WAYS`."""
    if way in ("nothing", "exact"):
        return replay.plain(exact=way == "exact")
    if way in ORACLES:
        return replay.oracle(ORACLES[way])
    return replay.decided(*RULES[way.removesuffix("_exact")], exact=way.endswith("_exact"))


def bills(replay: Replay, billed: Mapping[str, Billed] | None = None) -> dict[str, int]:
    """Return every bill of a trace, in nano-dollars, the ways of the last line first.

    Args:
        replay: The trace.
        billed: By way, where they were reckoned already.
    """
    billed = billed or {way: bill(replay, way) for way in WAYS}
    both = billed["adaptive_exact"]
    deferred = [
        batch if later else nanos for nanos, batch, later in zip(both.each, both.batch_nanos, half(replay.trace), strict=True)
    ]
    found = {way: billed[way].nanos for way in WAYS} | {"adaptive_exact_half_deferred": sum(deferred)}
    return {way: found[way] for way in (*LAST_LINE, *(way for way in WAYS if way not in LAST_LINE))}


def reckon(replay: Replay, path: Path, model: str) -> dict[str, Billed]:
    """Return the bill under each way, those of a long trace side by side in processes that read it anew."""
    cores = min(os.cpu_count() or 1, len(WAYS))
    if cores < 2 or len(replay.trace) < _WORTH_PROCESSES:
        return {way: bill(replay, way) for way in WAYS}
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn"), initializer=_begin, initargs=(path, model)) as processes:
        return dict(zip(WAYS, processes.map(_bill, WAYS), strict=True))


def _begin(path: Path, model: str) -> None:
    global _replay
    _replay = Replay(read_trace(path), model)


def _bill(way: str) -> Billed:
    return bill(_replay, way)


_replay: Replay
_WORTH_PROCESSES = 2_000  # requests from which on reading a trace once more takes less time than it saves
ORACLES: Mapping[str, int] = {"oracle_5m": SHORT_S, "oracle_1h": LONG_S}
WAYS = (*(f"{rule}_exact" for rule in sorted(RULES)), *sorted(RULES), *ORACLES, "exact", "nothing")  # the longest first
LAST_LINE = (
    "nothing",
    "exact",
    "always_5m",
    "always_1h",
    "second_sight_5m",
    "adaptive",
    "adaptive_exact",
    "adaptive_exact_half_deferred",
    "oracle_5m",
    "oracle_1h",
)


def last_line(path: str, model: str, requests: int, found: Mapping[str, int]) -> dict[str, object]:
    """Return what the last line holds."""
    return {
        "trace": path,
        "model": model,
        "requests": requests,
        "bill_usd": {name: round(found[name] / 1e9, 9) for name in LAST_LINE},
    }


def print_table(found: Mapping[str, int]) -> None:
    """Print the bills for people."""
    print(f"{'':30}{'USD':>14}{'points saved':>14}")
    for name, nanos in found.items():
        print(f"{name:30}{nanos / 1e9:>14.6f}{100 * (1 - nanos / found['nothing']):>14.2f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what a trace costs in every way; the return value is the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.savings", description="Replay a trace and print its bills.")
    parser.add_argument("trace", type=Path, help="JSON lines of timestamp (ms), input_length, output_length, hash_ids")
    parser.add_argument("--model", default="claude-opus-4-5", help="a model of Anthropic's; others have no marks")
    chosen = parser.parse_args(arguments)
    began = time.perf_counter()
    try:
        replay = Replay(read_trace(chosen.trace), chosen.model)
    except (OSError, TraceError, DomainError) as error:
        sys.stderr.write(f"benchmarks.savings: {error}\n")
        return 2
    print(_ASKED_RULES)
    found = bills(replay, reckon(replay, chosen.trace, chosen.model))
    print(f"\n{len(replay.trace)} requests, {replay.price.id}, replayed in {time.perf_counter() - began:.1f} s")
    print_table(found)
    print(json.dumps(last_line(str(chosen.trace), chosen.model, len(replay.trace), found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
