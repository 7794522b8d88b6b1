"""The benchmark's last line is one JSON object whose keys stand in docs/performance.md, no more and no fewer."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.__main__ import Measured, figures_of
from benchmarks.bookkeeping import Bookkeeping
from benchmarks.client_cost import ClientMemory
from benchmarks.first_chunk import FirstChunk
from benchmarks.hot_path import CONCURRENCIES, Cells
from benchmarks.load import Figures
from benchmarks.miss_path import Miss
from benchmarks.phase_two import PhaseTwo

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
CALLERS = '{"1": 0, "16": 0, "64": 0}'
NAMED_FOR_EVER = {"echo_rps.16", "ratio.repeat.64", "p99_us.new_bytes.1", "miss.throughput_ratio", "rss_mb.client_added", "failed"}


def rounds(rps: float) -> list[Figures]:
    """Return two rounds of a cell."""
    one = Figures(rps=rps, p50_us=10.0, p99_us=20.0, server_cpu_us=5.0, calls=7, failed=0)
    return [one, one]


def canned() -> Measured:
    """Return a run that nobody measured."""
    rates = {"echo": 4_000.0, "repeat": 3_600.0, "new_bytes": 2_800.0}
    cells = Cells(rounds={name: {count: rounds(rate) for count in CONCURRENCIES} for name, rate in rates.items()}, calls=42)
    memory = ClientMemory(
        client_added=17.1, client_added_bare=28.5, client_added_call=24.5, client_added_bare_call=35.6, grpc_bare_call=29.9
    )
    miss = Miss(
        sdk_p50_us=1_600.0,
        daemon_p50_us=3_900.0,
        added_p50_us=2_300.0,
        sdk_rps_64=700.0,
        daemon_rps_64=350.0,
        throughput_ratio=0.5,
        emulator_rps_64=3_000.0,
    )
    stream = FirstChunk(sdk_p50_us=24_800.0, daemon_p50_us=26_400.0, added_p50_us=1_600.0)
    phase = PhaseTwo(
        sequential_ms=2_827.2,
        gather_ms=361.3,
        aigen_ms=370.2,
        overhead_percent=2.84,
        lone_queue_p50_us=29.0,
        lone_queue_p99_us=49.0,
    )
    books = Bookkeeping(p50_us=250.0, p99_us=600.0)
    return Measured(
        cells=cells,
        disk_us=890.4,
        client_us=18.04,
        memory=memory,
        miss=miss,
        stream=stream,
        phase_two=phase,
        books=books,
    )


def paths(figures: object, path: str = "") -> Iterator[str]:
    """Yield the dotted path of every figure."""
    if not isinstance(figures, dict):
        yield path
        return
    for name, value in figures.items():
        yield from paths(value, f"{path}.{name}" if path else name)


def documented() -> set[str]:
    """Return the paths of the object that the page shows."""
    shown = re.search(r"```text\n(\{.*?\})\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return set(paths(json.loads(shown[1].replace("{…}", CALLERS).replace("…", "0"))))


def test_line_holds_the_documented_figures():
    """The keys of the object are those of the page; what dashboards read stays."""
    line = json.dumps(figures_of(canned()))
    assert set(paths(json.loads(line))) == documented() >= NAMED_FOR_EVER


def test_a_missing_figure_would_be_noticed():
    """Control: an object that lacks one figure differs from the page."""
    figures = figures_of(canned())
    del figures["failed"]
    assert set(paths(figures)) != documented()


def test_figures_are_those_of_the_run():
    """Ratios are taken round by round, and each figure stands under its name."""
    figures = figures_of(canned())
    assert figures["ratio"] == {"repeat": {"1": 0.9, "16": 0.9, "64": 0.9}, "new_bytes": {"1": 0.7, "16": 0.7, "64": 0.7}}
    assert (figures["disk_hit_p50_us"], figures["client_added_us"], figures["sent_calls"]) == (890, 18.0, 42)
    assert figures["stream"] == {"added_p50_us": 1_600}
    assert (figures["phase_two"]["overhead_percent"], figures["phase_two"]["lone_queue_p50_us"]) == (2.8, 29.0)
    assert figures["miss"] == {"added_p50_us": 2_300, "throughput_ratio": 0.5}
