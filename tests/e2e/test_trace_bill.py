"""The first 300 requests of a trace, really sent: what the ledger booked is what the replay reckons, to the nano-dollar."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import aigen
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import serving as serving_emulator
from aigend.server import Daemon, take_locks

from benchmarks.savings import START, Replay
from benchmarks.synthetic_traces import agents
from benchmarks.traces import TraceRequest, block_texts, read_trace
from tests.serving import SIGNALS, loaded_settings

pytestmark = pytest.mark.not_on_floor
TRACE = Path(__file__).parents[2].parent / "shared" / "data" / "trace_mooncake_synthetic.jsonl"
MODEL = "claude-opus-4-5"
MANY = 300


class TraceTime:
    """The trace's clock, for the daemon and the emulated provider alike; what waits really waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleep = asyncio.sleep

    def time(self) -> float:
        """Return the wall clock of the trace."""
        return START + self.now

    def monotonic(self) -> float:
        """Return seconds from the trace's beginning."""
        return self.now


@asynccontextmanager
async def daemon_on(folder: Path, clock: TraceTime, **settings: object) -> AsyncIterator[aigen.AsyncClient]:
    """Serve on a real socket by a clock of the test's own."""
    loaded = loaded_settings(folder, **settings)
    thresholds = gc.get_threshold()
    with ExitStack() as stack:
        for held in take_locks(loaded):
            stack.callback(held.release)
        daemon = Daemon(loaded, environ={"HOME": str(folder)}, clock=clock)
        await daemon.start()
        client = aigen.AsyncClient(folder / "s", timeout=10.0)
        try:
            yield client
        finally:
            await client.close()
            await daemon.stop()
            for number in SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
            gc.unfreeze()
            gc.set_threshold(*thresholds)


async def booked(folder: Path, trace: list[TraceRequest], *, decision: str, exact: bool = False) -> tuple[int, int]:
    """Send a trace's requests one after another, on its clock; return what the ledger booked, and how many tokens were read."""
    read = 0
    clock, settings = TraceTime(), EmulatorSettings(trace_rules=True)
    with serving_emulator(Emulator(settings, monotonic=lambda: clock.now)) as provider:
        account = {"base_url": provider.provider_url("anthropic"), "api_key": "made-up"}
        async with daemon_on(
            folder,
            clock,
            providers={"anthropic": account},
            features={"cache": exact},
            prompt_caching={"decision": decision},
        ) as client:
            for asked in trace:
                clock.now = asked.time
                provider.emulator.settings = EmulatorSettings(trace_rules=True, answer_tokens=asked.output_length)
                parts = [aigen.Part(text) for text in block_texts(asked)]
                answer = await client.complete([aigen.Message("user", parts)], model=MODEL)
                assert answer.usage.output_tokens == asked.output_length
                read += answer.usage.cache_read_tokens
            return (await client.stats(period="all")).totals.cost_usd_nanos, read


@pytest.mark.timeout(120)
@pytest.mark.skipif(not TRACE.exists(), reason="../shared/data is not there")
@pytest.mark.parametrize(
    ("decision", "exact"), [("adaptive", False), ("adaptive", True), ("second_sight", False), ("always", False)]
)
async def test_what_is_booked_is_what_the_replay_reckons(tmp_path: Path, decision: str, *, exact: bool) -> None:
    """Daemon, adapter, SDK, provider and ledger together come to the replay's bill, with the exact cache and without."""
    trace = read_trace(TRACE)[:MANY]
    reckoned = Replay(trace, MODEL).decided(decision, 300, exact=exact).nanos
    nanos, read = await booked(tmp_path, trace, decision=decision, exact=exact)
    assert nanos == reckoned
    assert read > 0 or decision == "adaptive"  # which is still careful after 80 seconds


@pytest.mark.timeout(120)
async def test_made_up_agents_are_booked_as_the_replay_reckons(tmp_path: Path) -> None:
    """The same where adaptive marking has learned enough to mark: most of what is sent is read."""
    trace = agents(most=250)
    nanos, read = await booked(tmp_path, trace, decision="adaptive")
    assert nanos == Replay(trace, MODEL).decided("adaptive", 300).nanos
    assert read > 0.5 * sum(asked.input_length for asked in trace)
